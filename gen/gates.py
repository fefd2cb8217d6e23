"""Gates: what is refused before a step is spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from provenance.match import Index, Reference, recipe_matches
from provenance.recipe import Recipe
from provenance.recipe_match import Likeness


@dataclass(frozen=True)
class Refused:
    """Why a recipe is not painted, and the references that are the ground for it."""

    reason: str
    references: tuple[Reference, ...]


class Gate(Protocol):
    def __call__(self, recipe: Recipe) -> Refused | None: ...


SURE = 0.75  # with less of a reference's recipe known, what is painted must show it


class RecipeGate:
    """Refuses the recipe of a known picture: same model, prompt, seed and settings.

    `hashes` are all that the loaded model is known by.
    """

    def __init__(self, index: Index, hashes: Sequence[str] = ()) -> None:
        self._index, self._hashes = index, tuple(hashes)

    def __call__(self, recipe: Recipe) -> Refused | None:
        known = [
            match
            for match in recipe_matches(self._index, recipe, hashes=self._hashes)
            if match.likeness.kind == "same" and match.likeness.sure >= SURE
        ]
        if not known:
            return None
        named = ", ".join(f"{match.reference.name}{_gaps(match.likeness)}" for match in known)
        return Refused(f"this is the recipe of {named}", tuple(m.reference for m in known))


def _gaps(likeness: Likeness) -> str:
    return f" (not known there: {', '.join(likeness.unknown)})" if likeness.unknown else ""
