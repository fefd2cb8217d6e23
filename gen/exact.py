"""One thread a core, each with pictures of its own: a recipe's pixels alone are those in a batch.

Where threads share one picture's sums, their number decides the last bits; and where a layer has
little to do, so does how many pictures it is given. So each thread computes alone, and such layers
compute in one way for any number. Knows nothing of recipes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from provenance.threads import cores

T = TypeVar("T")
_SMALL = 20480


def one_way(denoiser: Any) -> None:
    """Makes its layers compute each picture's part as they would that picture's alone."""
    import torch

    ways = {torch.nn.Linear: _rows, torch.nn.Conv2d: _planes}
    for module in denoiser.modules():
        for kind, way in ways.items():
            if isinstance(module, kind):
                module.__dict__["forward"] = partial(way, module)


def _rows(module: Any, values: Any) -> Any:
    """Time and pooled text, of which a picture has one row, are multiplied row by row."""
    import torch
    from torch.nn.functional import linear

    if values.ndim != 2 or len(values) == 1:
        return linear(values, module.weight, module.bias)
    return torch.cat([linear(row, module.weight, module.bias) for row in values.split(1)])


def _planes(module: Any, values: Any) -> Any:
    """Small planes by themselves would go another way (`use_mkldnn` in ATen's Convolution.cpp)."""
    own = type(module).forward
    if len(values) == 1 and values.numel() <= _SMALL:
        return own(module, values.repeat(2, 1, 1, 1))[:1]
    return own(module, values)


def spread(things: Sequence[T], work: Callable[[Sequence[T]], Sequence[Any]]) -> list[Any]:
    """What `work` makes of all the things, a like share of them on each core, by one thread.

    Raises what the first share that fails raises, when no share is at work any more.
    """
    import torch

    count = min(cores(), len(things))
    edges = [round(len(things) * at / count) for at in range(count + 1)]
    before = torch.get_num_threads()

    def alone(share: Sequence[T]) -> Sequence[Any]:
        torch.get_num_threads()  # from here on this thread is not new to torch
        torch.set_num_threads(1)
        return work(share)

    try:
        with ThreadPoolExecutor(count) as pool:
            shares = [
                pool.submit(copy_context().run, alone, things[start:end])
                for start, end in pairwise(edges)
            ]
        return [made for share in shares for made in share.result()]
    finally:
        torch.set_num_threads(before)  # for new threads
