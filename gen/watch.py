"""Watch: what can be seen inside the denoising loop of a picture that the model repeats by heart.

Two signs. How far the model's prediction with the prompt is from that without it at the first step
(Wen et al., ICLR 2024), which costs nothing under classifier-free guidance. And early looks: the
picture that a step predicts, decoded small and compared with the library. Two alarms are a hit.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from gen.latents import decoded, predicted
from gen.tap import Step, tapped

LOOKS = (0.4, 0.6)  # shares of the steps after which the predicted picture is looked at
HIT = 2  # alarms

Look = Callable[[int, Image.Image], bool]
"""Called with a picture's number and what it is going to be like; whether it is too close."""


@dataclass
class Seen:
    """What was seen of one picture while it was painted.

    `magnitude` is the root mean square of the difference that the prompt makes to the first
    prediction; None without guidance. `looks` are the steps at which an early look was taken,
    `close` those at which it was too close. `stopped` is the step at which painting ended.
    """

    magnitude: float | None = None
    unusual: bool = False
    looks: list[int] = field(default_factory=list)
    close: list[int] = field(default_factory=list)
    stopped: int | None = None

    @property
    def hit(self) -> bool:
        return self.unusual + len(self.close) >= HIT

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Stopped(Exception):
    """Every picture of the batch is a hit, or all is seen: the rest of the steps is not taken."""


class Watch:
    """Watches one batch while it is painted.

    `limit` is the magnitude from which on a prompt is unusual for this model; None where that is
    not known. Early looks are taken of pictures with an unusual prompt, or of all with `always`.
    With `weigh_only` painting ends as soon as the magnitude is known.
    """

    def __init__(
        self,
        pictures: int,
        look: Look = lambda number, picture: False,
        limit: float | None = None,
        *,
        always: bool = False,
        weigh_only: bool = False,
    ) -> None:
        self.seen = [Seen() for _ in range(pictures)]
        self._look, self._limit, self._always = look, limit, always
        self._weigh_only = weigh_only

    def over(self, pipeline: Any, size: tuple[int, int]) -> AbstractContextManager[None]:
        """While this lasts, the pipeline's steps are watched; `size` is width and height.

        Raises Stopped out of the pipeline.
        """

        def see(step: Step) -> Any:
            if step.number == 1:
                self._weigh(step)
            if step.number in look_steps(step.total):
                self._take(step, pipeline, size)
            if self._weigh_only or all(seen.hit for seen in self.seen):
                for seen in self.seen:
                    seen.stopped = step.number
                raise Stopped
            return step.output

        return tapped(pipeline, see)

    def _weigh(self, step: Step) -> None:
        difference = step.difference()
        if difference is None:
            return
        for seen, each in zip(self.seen, difference, strict=True):
            seen.magnitude = float(each.square().mean().sqrt())
            seen.unusual = self._limit is not None and seen.magnitude > self._limit

    def _take(self, step: Step, pipeline: Any, size: tuple[int, int]) -> None:
        rows = [row for row, seen in enumerate(self.seen) if self._always or seen.unusual]
        if not rows:
            return
        clean = predicted(pipeline.scheduler, step.output, step.timestep, step.sample)
        for row, picture in zip(rows, decoded(pipeline, clean[rows], size), strict=True):
            self.seen[row].looks.append(step.number)
            if self._look(row, picture):
                self.seen[row].close.append(step.number)


def look_steps(steps: int) -> set[int]:
    """The steps (from 1) at which early looks are due."""
    return {max(1, int(share * steps)) for share in LOOKS}
