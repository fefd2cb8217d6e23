"""Watch: what can be seen inside the denoising loop of a picture that the model repeats by heart.

Two signs. How far the model's prediction with the prompt is from that without it at the first step
(Wen et al., ICLR 2024), which costs nothing under classifier-free guidance; of that difference the
detail alone, because at first an ordinary prompt means a blurred mean of many pictures, and one
that is known by heart a sharp picture. It depends on the model how much that tells
(docs/measurements.md). And early looks, from the first step on: the picture that a step predicts,
decoded small and compared with the library. Two alarms, the second a look that the check would
block, are a hit.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from gen.latents import decoded, predicted
from gen.tap import Step, tapped
from provenance.match import Reference
from provenance.recipe import Recipe
from provenance.verdict import Decision

LOOKS = (0.0, 0.4, 0.6)  # shares of the steps after which the predicted picture is looked at
HIT = 2  # alarms

Look = Callable[[Image.Image], Decision]
"""Called with what a picture is going to be like; what the check says of that."""


def _unseen(picture: Image.Image) -> Decision:
    return Decision.CLEAR


@dataclass
class Seen:
    """What was seen of one picture while it was painted.

    `magnitude` is the root mean square of the detail in the difference that the prompt makes to the
    first prediction; None without guidance. `looks` are the steps at which an early look was taken,
    `near` those at which the check would hold what it saw for review, `close` those at which it
    would block it. `stopped` is the step at which painting ended.
    """

    magnitude: float | None = None
    unusual: bool = False
    looks: list[int] = field(default_factory=list)
    near: list[int] = field(default_factory=list)
    close: list[int] = field(default_factory=list)
    stopped: int | None = None

    @property
    def hit(self) -> bool:
        return self.stopped is not None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Stopped(Exception):
    """Every picture is a hit, or all is seen: the rest of the steps is not taken."""


class Watch:
    """Watches one picture while it is painted.

    `limit` is the magnitude from which on a prompt is unusual for this model; None where that is
    not known. Early looks are taken where the prompt is unusual, or `always`. With `weigh_only`
    painting ends as soon as the magnitude is known.
    """

    def __init__(
        self,
        look: Look = _unseen,
        limit: float | None = None,
        *,
        always: bool = False,
        weigh_only: bool = False,
    ) -> None:
        self.seen = Seen()
        self._look, self._limit, self._always = look, limit, always
        self._weigh_only = weigh_only

    @property
    def looks(self) -> bool:
        return (self._always or self.seen.unusual) and not self.seen.hit

    @property
    def done(self) -> bool:
        return self._weigh_only or self.seen.hit

    def weigh(self, difference: Any) -> None:
        """Takes the difference that the prompt makes to the first prediction, or None."""
        if difference is not None:
            self.seen.magnitude = float(_detail(difference).square().mean().sqrt())
            self.seen.unusual = self._limit is not None and self.seen.magnitude > self._limit

    def look(self, step: int, picture: Image.Image) -> None:
        """Takes an early look at what the picture is going to be."""
        seen = self.seen
        seen.looks.append(step)
        said = self._look(picture)
        if said is Decision.REVIEW:
            seen.near.append(step)
        elif said is Decision.BLOCK:
            seen.close.append(step)
            if seen.unusual + len(seen.near) + len(seen.close) >= HIT:
                seen.stopped = step


def watching(
    pipeline: Any, size: tuple[int, int], watches: Sequence[Watch]
) -> AbstractContextManager[None]:
    """While this lasts, the pipeline paints pictures that are watched, one by each watch.

    `size` is width and height in pixels. Raises Stopped out of the pipeline.
    """

    for watch in watches:
        watch.seen = Seen()  # where memory ran out, this is not the first time

    def see(step: Step) -> Any:
        if step.number == 1:
            difference = step.difference()
            for row, watch in enumerate(watches):
                watch.weigh(None if difference is None else difference[row])
        rows = [row for row, watch in enumerate(watches) if watch.looks]
        if rows and step.number in look_steps(step.total):
            clean = predicted(pipeline.scheduler, step.output, step.timestep, step.sample)
            for row, picture in zip(rows, decoded(pipeline, clean[rows], size), strict=True):
                watches[row].look(step.number, picture)
        if watches and all(watch.done for watch in watches):
            raise Stopped
        return step.output

    return tapped(pipeline, see) if watches else nullcontext()


def mitigated(recipe: Recipe, match: Reference) -> Recipe:
    """The recipe with half of what guidance adds, away from the match's title or prompt.

    The terms of AMG (Chen et al., CVPR 2024) that need no gradient, by means that every guided
    pipeline has and the recipe records: less guidance, and the match's caption as negative prompt.
    """
    away = match.recipe.prompt if match.recipe else match.title
    guidance = None if recipe.guidance is None else (1 + recipe.guidance) / 2
    negative = ", ".join(filter(None, (recipe.negative, away)))
    return recipe.with_changes(guidance=guidance, negative=negative)


def _detail(difference: Any) -> Any:
    """(channels, h, w): what differs from the mean of its neighbours; packed latents have none."""
    from torch.nn.functional import avg_pool2d

    if difference.ndim != 3:
        return difference
    return difference - avg_pool2d(difference, 3, 1, 1, count_include_pad=False)


def look_steps(steps: int) -> set[int]:
    """The steps (from 1) at which early looks are due."""
    return {max(1, int(share * steps)) for share in LOOKS}
