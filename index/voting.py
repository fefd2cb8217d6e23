"""Which pictures share local features with a query: each feature votes for its nearest.

Packed features in, ids out; knows nothing of pictures. Approximate: vectors are quantised by
inverted lists and product quantisation (Jégou et al., 2011) with a code book that ships with the
project, so that a library is never trained and an index of any size answers alike.

    python -m index.voting ../shared/data/train     makes the code book from a folder of pictures
"""

import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.vectors import Ids, forget_others, one_thread, write_index
from provenance.errors import CheckError, MissingError
from provenance.fingerprint import DescriptorSpec, Vector
from provenance.local.features import KEPT, descriptors, mirrored
from provenance.threads import cores, side_by_side

CODE_BOOK = Path(__file__).with_name("codebook.safetensors")
VOTERS = 200  # features of a reference that are indexed, the first
_ASKED = 300  # features of a query that vote
_LISTS, _PARTS, _BITS = 4096, 64, 4
_PROBES, _NEIGHBOURS = 8, 8


class VotingStore:
    """The features of many pictures, each with its picture's id."""

    def __init__(self, spec: DescriptorSpec, index: Any = None) -> None:
        self._index = _empty_index() if index is None else index
        if self._index.d != spec.dim:
            raise CheckError(f"an index of {self._index.d} dimensions cannot hold {spec}")
        self._index.nprobe = _PROBES

    def __len__(self) -> int:
        """Features, not pictures."""
        return int(self._index.ntotal)

    def add(self, ids: Ids, rows: Sequence[Vector]) -> None:
        """`rows` are packed features, as `LocalDescriptor` makes them."""
        found = [descriptors(row, VOTERS) for row in rows]
        owners = np.repeat(ids, [len(each) for each in found])
        if len(owners):
            self._index.add_with_ids(np.concatenate(found), owners)

    def nearest_each(self, rows: Sequence[Vector], count: int) -> list[list[int]]:
        """For each the pictures with most votes, best first; fewer than `count` where few share
        anything."""
        asked = [descriptors(row, _ASKED) for row in rows]
        if not len(self) or not any(map(len, asked)):
            return [[] for _ in rows]
        both = [turned for each in asked for turned in (each, mirrored(each))]
        parts = np.array_split(np.concatenate(both), cores())
        found = side_by_side([partial(self._neighbours, part) for part in parts if len(part)])
        far, owners = (np.concatenate(each) for each in zip(*found, strict=True))
        ends = np.cumsum([2 * len(each) for each in asked])[:-1]
        split = zip(np.split(far, ends), np.split(owners, ends), strict=True)
        return [_elected(*each, count) for each in split]

    def _neighbours(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], Ids]:
        """Distances and owners (N, _NEIGHBOURS) of the features nearest to each of these."""
        with one_thread():
            far, owners = self._index.search(np.ascontiguousarray(rows), _NEIGHBOURS)
        return far, owners

    def keep_only(self, ids: Ids) -> None:
        """Forgets the features of all other pictures."""
        forget_others(self._index, ids)

    def write(self, path: Path) -> str:
        """Writes aside, flushes to disk, renames; returns the file's SHA-256."""
        return write_index(self._index, path)

    @classmethod
    def read(cls, spec: DescriptorSpec, path: Path) -> "VotingStore":
        """Reads a file whose SHA-256 has been checked. Never call it on another's file."""
        import faiss

        return cls(spec, faiss.read_index(str(path)))


def _elected(far: NDArray[np.float32], owners: Ids, count: int) -> list[int]:
    """The pictures with most votes of one picture's features, or of its mirror image's.

    `far` and `owners` are those of the one, then of the other. A feature votes once for a picture,
    by how much nearer it is than its last neighbour.
    """
    weights = np.maximum(0, far[:, -1:] - far) / (far[:, -1:] + 1e-6)
    weights[~np.isfinite(weights)] = 0
    known, numbers = np.unique(owners, return_inverse=True)
    numbers = numbers.reshape(owners.shape)
    _, first = np.unique(np.arange(len(far))[:, None] * len(known) + numbers, return_index=True)
    sides = numbers + (np.arange(len(far)) * 2 // max(1, len(far)))[:, None] * len(known)
    sums = np.bincount(sides.ravel()[first], weights.ravel()[first], 2 * len(known))
    votes = sums.reshape(2, -1).max(axis=0)
    order = np.lexsort((known, -votes))
    best = order[(known[order] >= 0) & (votes[order] > 0)]
    return [int(owner) for owner in known[best[:count]]]


def _empty_index() -> Any:
    """An index over the shipped code book, without a vector."""
    import faiss

    centres, parts = _code_book()
    lists: Any = faiss.IndexFlatL2(centres.shape[1])
    lists.add(centres)
    plain = faiss.IndexIVFPQ(lists, centres.shape[1], len(centres), _PARTS, _BITS)
    plain.by_residual = False
    faiss.copy_array_to_vector(parts.ravel(), plain.pq.centroids)
    plain.is_trained = True
    index = faiss.IndexIVFPQFastScan(plain)
    lists.this.disown()
    index.own_fields = True
    return index


@lru_cache
def _code_book() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres of the lists (lists, dim), and of the parts (parts, 2 ** bits, dim / parts)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        held = load_file(CODE_BOOK)
        return held["lists"].astype(np.float32), held["parts"].astype(np.float32)
    except (OSError, SafetensorError, KeyError) as error:
        raise MissingError(
            f"the code book {CODE_BOOK} cannot be loaded ({error}); install Firsthand again"
        ) from None


def make_code_book(folder: Path, every: int = 5) -> None:
    """Trains the code book on every fifth picture of a folder, and writes it."""
    import faiss
    from safetensors.numpy import save_file

    from index.sources import image_files
    from provenance.fingerprint import reduced
    from provenance.images import read_picture
    from provenance.local.features import LocalDescriptor

    describe = LocalDescriptor(KEPT).describe
    found = [
        descriptors(describe([reduced(read_picture(path).image)])[0])
        for path in image_files(folder)[::every]
    ]
    rows = np.random.default_rng(0).permutation(np.concatenate(found))
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], _LISTS, _PARTS, _BITS)
    index.by_residual = False
    index.cp.niter, index.cp.max_points_per_centroid = 10, 50
    index.train(rows)
    parts = faiss.vector_to_array(index.pq.centroids).reshape(_PARTS, 2**_BITS, -1)
    centres = index.quantizer.reconstruct_n(0, _LISTS)
    save_file({"lists": centres.astype(np.float16), "parts": parts.astype(np.float16)}, CODE_BOOK)
    print(f"{len(rows):,} features of {len(found):,} pictures: {CODE_BOOK}", file=sys.stderr)


if __name__ == "__main__":
    make_code_book(Path(sys.argv[1]))
