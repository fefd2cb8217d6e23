"""Parts of one picture's check side by side, where this process may use several cores.

For parts that leave Python's lock while they compute: OpenCV, torch, FAISS. Each has one thread to
itself: where another program wants a core too, threads that wait for each other at every step, as
OpenMP's do, can take fifty times as long as one.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def cores() -> int:
    """How many cores this process may use: OMP_NUM_THREADS of those that the system gives it."""
    given = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(given, int(stated))) if stated.isdecimal() else given


def side_by_side(parts: Sequence[Callable[[], T]]) -> list[T]:
    """What each of the parts returns, in their order; the longest should come first.

    Raises what a part raises, when no part is at work any more.
    """
    if len(parts) < 2 or (helpers := min(cores(), len(parts)) - 1) < 1:
        return [part() for part in parts]
    with ThreadPoolExecutor(helpers) as pool:
        begun = [pool.submit(part) for part in parts[1:]]
        first = parts[0]()
        # What no helper has begun is done here, from the end.
        left = {at: parts[at + 1]() for at in reversed(range(len(begun))) if begun[at].cancel()}
        return [
            first,
            *(left[at] if at in left else each.result() for at, each in enumerate(begun)),
        ]


def one_thread_for_products() -> None:
    """Lets whoever multiplies matrices in numpy do it alone, if numpy is not loaded yet.

    OpenBLAS's threads keep a core busy for a while after every product, and the part of a check
    that runs beside it waits for that core.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
