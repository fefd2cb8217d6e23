"""A tap on a pipeline's denoising loop: sees every prediction before the scheduler takes it.

Works on all of diffusers' pipelines alike, because each of them asks a denoiser and then hands the
guided prediction to its scheduler's `step`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Protocol

from gen.loading import denoiser


@dataclass(frozen=True)
class Step:
    """A step that is about to be taken, the `number`-th of `total`, from 1.

    `output` is the guided prediction for `sample` (N, …) at `timestep`; `predictions` are the
    denoiser's, of which it is made.
    """

    number: int
    total: int
    output: Any
    timestep: Any
    sample: Any
    predictions: Sequence[Any]

    def difference(self) -> Any:
        """(N, …) what the prompt changes, up to its sign; None without guidance.

        Guided pipelines ask for both predictions at once, (2N, …), or one after the other, (N, …).
        """
        import torch

        if sum(map(len, self.predictions)) != 2 * len(self.sample):
            return None
        one, other = torch.cat([*self.predictions]).float().chunk(2)
        return other - one


class OnTap(Protocol):
    def __call__(self, step: Step) -> Any:
        """The prediction to go on with: the step's `output`, or another."""


@contextmanager
def tapped(pipeline: Any, on_tap: OnTap) -> Iterator[None]:
    """While this lasts, `on_tap` sees the pipeline's steps; what it raises ends the painting.

    The pipeline's scheduler must be the one that it will paint with, by this thread: others may
    paint with the same denoiser.
    """
    predictions: list[Any] = []
    painting = get_ident()
    scheduler = pipeline.scheduler
    take, number = scheduler.step, 0

    def step(output: Any, timestep: Any, sample: Any, *args: Any, **more: Any) -> Any:
        nonlocal number
        number += 1
        total = getattr(pipeline, "num_timesteps", None) or len(scheduler.timesteps)
        seen = Step(number, total, output, timestep, sample, tuple(predictions))
        predictions.clear()
        return take(on_tap(seen), timestep, sample, *args, **more)

    def predicts(_: Any, __: Any, made: Any) -> None:
        if get_ident() == painting:
            predictions.append(made[0].detach())

    hook = denoiser(pipeline).register_forward_hook(predicts)
    scheduler.step = step
    try:
        yield
    finally:
        hook.remove()
        scheduler.step = take
