"""Nearest-vector stores. Ids in, ids out; knows nothing of pictures.

`PlainStore` is the oracle: the FAISS stores return what it returns.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance.errors import CheckError
from provenance.fingerprint import DescriptorSpec

Ids = NDArray[np.int64]


class PlainStore:
    """Compares with every row, in numpy: (N, dim / 8) uint8 or (N, dim) float32 unit rows."""

    def __init__(self, spec: DescriptorSpec) -> None:
        self._hamming = spec.metric == "hamming"
        width = spec.dim // 8 if self._hamming else spec.dim
        self._ids = np.zeros(0, np.int64)
        self._rows = np.zeros((0, width), np.uint8 if self._hamming else np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Ids, rows: NDArray[Any]) -> None:
        self._ids = np.concatenate([self._ids, ids])
        self._rows = np.concatenate([self._rows, rows])

    def nearest(self, asked: NDArray[Any], count: int) -> Ids:
        """Ids of the `count` rows nearest to any of those asked, and of all as near as the last.

        `asked` is one row, or several: (K, dim / 8) or (K, dim).
        """
        if not len(self._ids):
            return self._ids
        far = np.min([self._distances(row) for row in np.atleast_2d(asked)], axis=0)
        limit = np.partition(far, min(count, len(far)) - 1)[min(count, len(far)) - 1]
        chosen = np.flatnonzero(far <= limit)
        order: Ids = self._ids[chosen[np.argsort(far[chosen], kind="stable")]]
        return order

    def _distances(self, row: NDArray[Any]) -> NDArray[np.float64]:
        if self._hamming:
            far: NDArray[np.float64] = np.bitwise_count(self._rows ^ row).sum(axis=1) * 1.0
        else:
            far = 1.0 - self._rows.astype(np.float64) @ row
        return far


_PRODUCTS = 8  # rows asked at once from which FAISS multiplies matrices: a third of the time


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS by this thread alone (see provenance.threads), as fast as one can."""
    import faiss

    faiss.cvar.distance_compute_blas_threshold = _PRODUCTS
    before = faiss.omp_get_max_threads()  # this thread's, and no other's
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class FaissStore:
    """Exact search in FAISS: IndexBinaryFlat for bits, IndexFlatIP for unit rows."""

    def __init__(self, spec: DescriptorSpec, index: Any = None) -> None:
        import faiss

        self._hamming = spec.metric == "hamming"
        if index is None and self._hamming:
            index = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(spec.dim))
        elif index is None:
            index = faiss.IndexIDMap2(faiss.IndexFlatIP(spec.dim))
        if index.d != spec.dim:
            raise CheckError(f"an index of {index.d} dimensions cannot hold {spec}")
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Ids, rows: NDArray[Any]) -> None:
        if len(ids):
            self._index.add_with_ids(np.ascontiguousarray(rows), ids)

    def nearest(self, asked: NDArray[Any], count: int) -> Ids:
        """As `PlainStore.nearest`."""
        return np.array(self.nearest_each([asked], count)[0], np.int64)

    def nearest_each(self, asked: Sequence[NDArray[Any]], count: int) -> list[list[int]]:
        """What `nearest` returns for each of several, found at once."""
        if not len(self):
            return [[] for _ in asked]
        parts = [np.atleast_2d(rows) for rows in asked]
        with one_thread():
            far, ids = self._index.search(np.concatenate(parts), min(count + 1, len(self)))
            ends = np.cumsum([len(part) for part in parts])[:-1]
            found = zip(parts, np.split(far, ends), np.split(ids, ends), strict=True)
            return [self._best(*each, count) for each in found]

    def _best(self, rows: NDArray[Any], far: NDArray[Any], ids: Ids, count: int) -> list[int]:
        """The nearest and their ties, of `count` + 1 that were found for every row."""
        ranked = _ranked(far if self._hamming else -far, ids)
        best = list(ranked)
        if not self._hamming or len(best) <= count:
            return best[:count]
        limit = ranked[best[count - 1]]
        if far.shape[1] < len(self) and far[:, -1].min() <= limit:  # there may be further ties
            _, distances, ties = self._index.range_search(np.ascontiguousarray(rows), limit + 1)
            return list(_ranked(distances, ties))
        return [each for each in best if ranked[each] <= limit]

    def keep_only(self, ids: Ids) -> None:
        """Forgets the rows of all other ids."""
        forget_others(self._index, ids)

    def write(self, path: Path) -> str:
        """Writes aside, flushes to disk, renames; returns the file's SHA-256."""
        return write_index(self._index, path, binary=self._hamming)

    @classmethod
    def read(cls, spec: DescriptorSpec, path: Path) -> "FaissStore":
        """Reads a file whose SHA-256 has been checked. Never call it on another's file."""
        import faiss

        read = faiss.read_index_binary if spec.metric == "hamming" else faiss.read_index
        return cls(spec, read(str(path)))


def _ranked(far: NDArray[Any], ids: Ids) -> dict[int, Any]:
    """Every id with the least of its distances, nearest first."""
    order = np.argsort(far, axis=None, kind="stable")
    ranked: dict[int, Any] = {}
    for found, distance in zip(
        ids.ravel()[order].tolist(), far.ravel()[order].tolist(), strict=True
    ):
        ranked.setdefault(found, distance)
    return ranked


def forget_others(index: Any, ids: Ids) -> None:
    """Removes from a FAISS index what has none of these ids."""
    import faiss

    kept = faiss.IDSelectorBatch(ids)
    index.remove_ids(faiss.IDSelectorNot(kept))


def write_index(index: Any, path: Path, *, binary: bool = False) -> str:
    """Writes a FAISS index aside, flushes it to disk, renames; returns the file's SHA-256.

    Raises CheckError where it cannot be written, as on a full disk.
    """
    import faiss

    part = path.with_suffix(".part")
    write = faiss.write_index_binary if binary else faiss.write_index
    try:
        write(index, str(part))
        with part.open("rb") as file:
            os.fsync(file.fileno())
        digest = file_sha256(part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # the latter is FAISS'
        part.unlink(missing_ok=True)
        raise CheckError(f"{path} cannot be written: {error}") from None
    return digest


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
