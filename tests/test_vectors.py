"""The FAISS stores return what PlainStore returns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.vectors import FaissStore, PlainStore
from provenance.errors import CheckError
from provenance.fingerprint import DescriptorSpec

BITS = DescriptorSpec("bits", "1", "hamming", 64)
REALS = DescriptorSpec("reals", "1", "cosine", 32)


def rows(spec: DescriptorSpec, count: int, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if spec.metric == "hamming":
        return rng.integers(0, 256, (count, spec.dim // 8), dtype=np.uint8)
    values = rng.standard_normal((count, spec.dim)).astype(np.float32)
    unit: NDArray[Any] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("spec", [BITS, REALS], ids=str)
class TestEveryKind:
    def test_faiss_finds_what_plain_finds(self, spec: DescriptorSpec) -> None:
        body, ids = rows(spec, 500), np.arange(1000, 1500)
        plain, faiss = PlainStore(spec), FaissStore(spec)
        for store in (plain, faiss):
            store.add(ids[:300], body[:300])
            store.add(ids[300:], body[300:])
            assert len(store) == 500
        for query in rows(spec, 40, seed=1):
            for count in (1, 10, 600):
                expected = set(plain.nearest(query, count).tolist())
                assert set(faiss.nearest(query, count).tolist()) == expected

    def test_several_rows_find_what_is_nearest_to_any_of_them(self, spec: DescriptorSpec) -> None:
        body, ids = rows(spec, 500), np.arange(1000, 1500)
        plain, faiss = PlainStore(spec), FaissStore(spec)
        for store in (plain, faiss):
            store.add(ids, body)
        asked = np.concatenate([rows(spec, 7, seed=1), body[17:18]])
        assert plain.nearest(asked, 5)[0] == faiss.nearest(asked, 5)[0] == 1017
        for count in (1, 10, 600):
            expected = set(plain.nearest(asked, count).tolist())
            assert len(expected) >= min(count, 500)
            assert set(faiss.nearest(asked, count).tolist()) == expected

    def test_the_nearest_comes_first(self, spec: DescriptorSpec) -> None:
        body = rows(spec, 50)
        for store in (PlainStore(spec), FaissStore(spec)):
            store.add(np.arange(50), body)
            assert store.nearest(body[17], 5)[0] == 17

    def test_an_empty_store_finds_nothing(self, spec: DescriptorSpec) -> None:
        for store in (PlainStore(spec), FaissStore(spec)):
            assert len(store.nearest(rows(spec, 1)[0], 5)) == 0

    def test_a_written_store_reads_back(self, spec: DescriptorSpec, tmp_path: Path) -> None:
        store, query = FaissStore(spec), rows(spec, 1, seed=2)[0]
        store.add(np.arange(80), rows(spec, 80))
        store.write(tmp_path / "s.faiss")
        again = FaissStore.read(spec, tmp_path / "s.faiss")
        assert again.nearest(query, 7).tolist() == store.nearest(query, 7).tolist()
        assert [file.name for file in tmp_path.iterdir()] == ["s.faiss"]


def test_ties_are_all_returned() -> None:
    same = np.repeat(rows(BITS, 1), 30, axis=0)
    for store in (PlainStore(BITS), FaissStore(BITS)):
        store.add(np.arange(30), same)
        assert len(store.nearest(same[0], 3)) == 30


def test_a_store_of_other_dimensions_is_refused(tmp_path: Path) -> None:
    FaissStore(BITS).write(tmp_path / "s.faiss")
    with pytest.raises(CheckError, match="64 dimensions"):
        FaissStore.read(DescriptorSpec("wide", "1", "hamming", 256), tmp_path / "s.faiss")


def test_a_search_leaves_the_threads_as_they_were() -> None:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        store = FaissStore(REALS)
        store.add(np.arange(9), rows(REALS, 9))
        store.nearest(rows(REALS, 1)[0], 2)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_an_index_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    store = FaissStore(DescriptorSpec("pdq-256", "1", "hamming", 256))
    with pytest.raises(CheckError, match="cannot be written"):
        store.write(tmp_path / "no such folder" / "pdq-256-1.faiss")
