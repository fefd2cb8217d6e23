"""References, candidates and matches, and what the check needs of an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from provenance.chance import Calibration
from provenance.fingerprint import DescriptorSpec, Fingerprint, Vector
from provenance.local.look import Alignment, Region
from provenance.recipe import Recipe
from provenance.recipe_match import Likeness, compared

Why = Literal["copy", "edited copy", "same recipe", "near recipe", "look-alike"]


@dataclass(frozen=True)
class Reference:
    """One known picture: where it came from and what may be done with it."""

    id: int
    uri: str
    source: str
    title: str = ""
    license: str = ""
    recipe: Recipe | None = None

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return self.title or self.uri.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Candidate:
    """A reference that a search returned.

    `similarity` has every descriptor that picture and library share; `exact` says that the decoded
    pixels are equal; `promising` asks for a second look whatever the similarities. After the second
    look `alignment` says what it found, and `similarity` has the fusion of it all too.
    """

    reference: Reference
    similarity: Mapping[str, float]
    exact: bool = False
    promising: bool = False
    alignment: Alignment | None = None


@dataclass(frozen=True)
class Match:
    """A candidate after the comparison.

    `score` (0..1) is comparable between pictures and ranks them. `overlap` (0..1) is the share of
    the reference that was found, `regions` where, best first. `chance` is the number of unrelated
    references expected to come this close in a library of this size (as BLAST's E-value). They are
    None, or empty, until something has measured them; `edits` are words for what was done to the
    reference. `likeness` is that of the recipes, where they are alike.
    """

    reference: Reference
    similarity: Mapping[str, float]
    score: float
    why: Why
    overlap: float | None = None
    regions: tuple[Region, ...] = ()
    chance: float | None = None
    edits: tuple[str, ...] = ()
    likeness: Likeness | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "uri": self.reference.uri,
            "source": self.reference.source,
            "title": self.reference.title,
            "license": self.reference.license,
            "score": round(self.score, 4),
            "similarity": {name: round(value, 4) for name, value in self.similarity.items()},
            "overlap": self.overlap,
            "region": self.regions[0].picture if self.regions else None,
            "reference_region": self.regions[0].reference if self.regions else None,
            "further_regions": [each._asdict() for each in self.regions[1:]],
            "chance": self.chance,
            "why": self.why,
            "edits": list(self.edits),
        }


@dataclass(frozen=True)
class RecipeMatch:
    """A reference whose recipe is like one that was looked up."""

    reference: Reference
    likeness: Likeness


class Index(Protocol):
    """The searchable references. Raises CheckError when it cannot answer."""

    @property
    def version(self) -> str: ...

    @property
    def specs(self) -> tuple[DescriptorSpec, ...]: ...

    @property
    def calibration(self) -> Calibration | None:
        """How close unrelated references come, if that has been measured."""

    def __len__(self) -> int: ...

    def search(self, fingerprint: Fingerprint, limit: int) -> list[Candidate]:
        """The `limit` nearest references of each descriptor, and every exact one."""

    def search_each(self, fingerprints: Sequence[Fingerprint], limit: int) -> list[list[Candidate]]:
        """What `search` returns for each of several, at one moment of the library."""

    def features(self, reference: Reference) -> tuple[Vector, tuple[int, int]] | None:
        """The reference's packed local features, if there are any, and its (width, height)."""

    def features_each(
        self, references: Sequence[Reference]
    ) -> Mapping[int, tuple[Vector, tuple[int, int]]]:
        """What `features` returns for each of those that have any, by the reference's id."""

    def find_recipe(self, recipe: Recipe) -> list[Reference]:
        """The references whose recipe may be the same or near, likeliest first, within a limit."""

    def reference(self, uri: str) -> Reference | None:
        """The reference of this URI."""

    def thumbnail(self, reference: Reference) -> bytes | None:
        """A small WebP of the reference, if the library keeps one."""


_MENTIONED = 3  # references that are near by their recipe and decide nothing


def recipe_matches(
    index: Index,
    recipe: Recipe | None,
    *,
    parents: Sequence[str] = (),
    hashes: Sequence[str] = (),
) -> list[RecipeMatch]:
    """The references made by the same recipe or nearly so, or named as a parent; surest first.

    `hashes` are further hashes of the recipe's model.
    """
    named = [reference for uri in parents if (reference := index.reference(uri))]
    found = {each.id: RecipeMatch(each, Likeness("parent")) for each in named}
    for reference in index.find_recipe(recipe) if recipe else ():
        likeness = recipe and reference.recipe and compared(recipe, reference.recipe, hashes)
        if likeness and (likeness.decides or reference.id not in found):
            found[reference.id] = RecipeMatch(reference, likeness)
    ordered = sorted(
        found.values(), key=lambda m: (_KINDS.index(m.likeness.kind), -m.likeness.sure)
    )
    decide = [match for match in ordered if match.likeness.decides]
    return decide + [match for match in ordered if not match.likeness.decides][:_MENTIONED]


_KINDS = ("same", "parent", "near")
