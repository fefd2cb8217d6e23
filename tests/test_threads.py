"""Side by side: everything is done once, in order, and what is raised comes through."""

import os
import threading
from functools import partial

import pytest

from provenance import threads
from provenance.threads import cores, one_thread_for_products, side_by_side


@pytest.fixture(params=[1, 2, 3])
def allowed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(threads, "cores", lambda: request.param)
    return int(request.param)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_parts(allowed: int, count: int) -> None:
    done: list[int] = []

    def part(number: int) -> int:
        done.append(number)
        return number * number

    numbers = range(count)
    assert side_by_side([partial(part, n) for n in numbers]) == [n * n for n in numbers]
    assert sorted(done) == list(numbers)


def test_two_parts_are_at_work_at_once_on_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    both = threading.Barrier(2, timeout=60)
    assert sorted(side_by_side([both.wait, both.wait])) == [0, 1]


def test_on_one_core_there_is_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert set(side_by_side([threading.get_ident] * 3)) == {threading.get_ident()}


@pytest.mark.parametrize("at", range(3))
def test_what_a_part_raises_is_raised(allowed: int, at: int) -> None:
    parts = [partial(int, "1")] * 3
    parts[at] = partial(int, "one")
    with pytest.raises(ValueError, match="one"):
        side_by_side(parts)


def test_openmp_may_be_told_to_use_fewer_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    all_of_them = cores()
    assert all_of_them >= 1
    for stated, expected in {"1": 1, "999": all_of_them, "0": 1, "many": all_of_them}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
        assert cores() == expected


@pytest.mark.parametrize(("stated", "expected"), [(None, "1"), ("3", "3")])
def test_numpy_multiplies_by_one_thread_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, stated: str | None, expected: str
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", stated or "")
    if stated is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    one_thread_for_products()
    assert os.environ["OPENBLAS_NUM_THREADS"] == expected
