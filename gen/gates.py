"""Gates: what is refused before a step is spent."""

from dataclasses import dataclass
from typing import Protocol

from provenance.match import Index, Reference
from provenance.recipe import Recipe


@dataclass(frozen=True)
class Refused:
    """Why a recipe is not painted, and the references that are the ground for it."""

    reason: str
    references: tuple[Reference, ...]


class Gate(Protocol):
    def __call__(self, recipe: Recipe) -> Refused | None: ...


class RecipeGate:
    """Refuses the recipe of a known picture: same model, prompt, seed and settings."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(self, recipe: Recipe) -> Refused | None:
        known = self._index.find_recipe(recipe)
        if not known:
            return None
        names = ", ".join(reference.name for reference in known)
        return Refused(f"this is the recipe of {names}", tuple(known))
