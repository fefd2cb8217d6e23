"""Studio: gates → paint → check → label → Generation. The only way a picture leaves this room."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from gen.gates import Gate, Refused
from gen.pipeline import OnStep, Painter
from provenance.check import Checker
from provenance.images import Picture
from provenance.label.labeller import Labelled
from provenance.recipe import Recipe
from provenance.verdict import NO_VERDICT, Decision, Verdict

Label = Callable[[Image.Image, Recipe, Verdict], Labelled]
"""Makes the file that may leave; raises CheckError where it cannot be signed."""

Hold = Callable[[Labelled, Recipe, Verdict], str]
"""Keeps a picture that a person must review, out of every output; returns where."""


@dataclass(frozen=True)
class Generation:
    """What became of one recipe.

    `picture` is the labelled file and is there only when the verdict is clear. A recipe that a gate
    refused has `refused` and no verdict. `held` says where a picture for review is kept.
    `attempts` are the generations before this one that were not clear, when retries were asked for.
    """

    recipe: Recipe
    verdict: Verdict | None = None
    refused: Refused | None = None
    picture: Labelled | None = None
    held: str | None = None
    attempts: tuple["Generation", ...] = ()

    @property
    def decision(self) -> Decision:
        return self.verdict.decision if self.verdict else Decision.BLOCK

    @property
    def reasons(self) -> tuple[str, ...]:
        if self.refused:
            return (f"refused before painting: {self.refused.reason}",)
        return self.verdict.reasons if self.verdict else ()

    def to_json(self) -> dict[str, Any]:
        """The verdict's JSON with recipe and seed; `refused` and `held` where they apply."""
        verdict = self.verdict.to_json() if self.verdict else NO_VERDICT
        return {
            "path": None,
            **verdict,
            "decision": str(self.decision),
            "reasons": list(self.reasons),
            "error": None,
            "labels": self.picture.labels if self.picture else {},
            "refused": self.refused.reason if self.refused else None,
            "references": [r.uri for r in self.refused.references] if self.refused else [],
            "held": self.held,
            "recipe": self.recipe.to_json(),
            "seed": self.recipe.seed,
            "attempts": [
                {"seed": tried.recipe.seed, "decision": str(tried.decision),
                 "reasons": list(tried.reasons)}
                for tried in self.attempts
            ],
        }  # fmt: skip


class Studio:
    """Holds gates, painter, checker, labeller and the place for what must be reviewed."""

    def __init__(
        self, painter: Painter, checker: Checker, gates: Sequence[Gate], hold: Hold, label: Label
    ) -> None:
        self.painter, self.checker = painter, checker
        self._gates, self._hold, self._label = tuple(gates), hold, label

    def make(
        self,
        recipes: Sequence[Recipe],
        *,
        retries: int = 0,
        on_step: OnStep = lambda done, steps: None,
    ) -> Iterator[Generation]:
        """One Generation for each recipe, as it is made.

        A recipe whose picture is not clear is tried again with the next seed, `retries` times.
        Every recipe needs a seed. Any error in gate, painter or check is raised: no picture.
        """
        complete = [self.painter.complete(recipe) for recipe in recipes]
        for recipe in complete:
            yield self._make_one(recipe, retries, on_step)

    def _make_one(self, recipe: Recipe, retries: int, on_step: OnStep) -> Generation:
        attempts: list[Generation] = []
        while True:
            made = self._attempt(recipe, on_step)
            if made.decision is Decision.CLEAR or len(attempts) == retries:
                return replace(made, attempts=tuple(attempts))
            attempts.append(made)
            recipe = recipe.with_changes(seed=(recipe.seed or 0) + 1)

    def _attempt(self, recipe: Recipe, on_step: OnStep) -> Generation:
        for gate in self._gates:
            if refused := gate(recipe):
                return Generation(recipe, refused=refused)
        image = self.painter.paint(recipe, on_step)
        verdict = self.checker.check(Picture(image))
        return self._released(image, recipe, verdict)

    def _released(self, image: Image.Image, recipe: Recipe, verdict: Verdict) -> Generation:
        if verdict.decision is Decision.BLOCK:
            return Generation(recipe, verdict)
        picture = self._label(image, recipe, verdict)
        if verdict.decision is Decision.CLEAR:
            return Generation(recipe, verdict, picture=picture)
        return Generation(recipe, verdict, held=self._hold(picture, recipe, verdict))
