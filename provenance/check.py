"""Checker: picture → fingerprint → candidates → second look → verdict. An error: no picture."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from provenance.errors import CheckError, VersionMismatch
from provenance.fingerprint import Fingerprint, Fingerprinter
from provenance.fusion import DESCRIPTORS, fused
from provenance.fusion import SPEC as FUSION
from provenance.images import Picture
from provenance.local.features import SPEC as LOCAL
from provenance.local.features import unpacked
from provenance.local.look import Alignment, second_look
from provenance.match import Candidate, Index, recipe_matches
from provenance.recipe import Recipe
from provenance.threads import side_by_side
from provenance.verdict import Observation, Policy, Verdict, decide, worth_a_look

CANDIDATES = 20  # nearest references asked of each descriptor
_WITHOUT_LOOK = 3  # where no second look may find that a farther one is the right one
_ATTEMPTS = 3


class Asked(NamedTuple):
    """A picture that is asked about: its fingerprint, its frames, and what its file says.

    That is its recipe, if known, and the URIs of pictures that it was made from.
    """

    fingerprint: Fingerprint
    frames: int = 1
    recipe: Recipe | None = None
    parents: tuple[str, ...] = ()


class Checker:
    """Holds the descriptors, the index and the policy, and refuses a set that does not fit."""

    def __init__(self, fingerprinter: Fingerprinter, index: Index, policy: Policy) -> None:
        made = {spec.name: spec for spec in fingerprinter.specs}
        self._needed = policy.thresholds.keys() - {FUSION.name}
        self._looks = FUSION.name in policy.thresholds
        if self._looks:
            self._needed |= {LOCAL.name, *DESCRIPTORS}
        missing = sorted(self._needed - made.keys())
        if missing:
            raise CheckError(
                f"policy {policy.name!r} decides by {', '.join(missing)}, "
                f"the checker has {', '.join(sorted(made))}"
            )
        for name in policy.thresholds.keys() & made.keys():
            if made[name].metric == "features":
                raise CheckError(
                    f"policy {policy.name!r} decides by {name}, which has no similarity; "
                    f"what the second look finds decides by [thresholds.{FUSION.name}]"
                )
        self.fingerprinter, self.index, self.stated_policy = fingerprinter, index, policy
        self._require_held()

    def _require_held(self) -> None:
        """Raises CheckError where the library lacks what the policy decides by."""
        made = {spec.name: spec for spec in self.fingerprinter.specs}
        held = {spec.name: spec for spec in self.index.specs}
        if lacking := sorted(self._needed - held.keys()):
            raise CheckError(
                f"policy {self.stated_policy.name!r} decides by {', '.join(lacking)}, which the "
                f"library lacks; it has {', '.join(sorted(held))}: firsthand index describe"
            )
        for name in sorted(self._needed):
            if held[name] != made[name]:
                raise VersionMismatch(
                    f"the library holds {held[name]}, this program makes {made[name]}: "
                    f"firsthand index describe --drop {name}, then firsthand index describe"
                )

    @property
    def policy(self) -> Policy:
        """What decides: the policy as stated, or as the library's calibration makes it."""
        calibration = self.index.calibration
        if calibration is None or not len(self.index):
            return self.stated_policy
        return self.stated_policy.calibrated(calibration, len(self.index))

    def check(self, picture: Picture, recipe: Recipe | None = None) -> Verdict:
        """The verdict on one picture; `recipe`, if known, is looked up too."""
        return self.judge(self.fingerprinter.describe([picture.image])[0], picture.frames, recipe)

    def judge(
        self, fingerprint: Fingerprint, frames: int = 1, recipe: Recipe | None = None
    ) -> Verdict:
        """The verdict on a picture whose fingerprint is at hand."""
        return self.judge_each([Asked(fingerprint, frames, recipe)])[0]

    def judge_each(self, pictures: Sequence[Asked]) -> list[Verdict]:
        """The verdicts on several pictures, by one search."""
        policy = self.policy
        found, version, references = self._searched([asked.fingerprint for asked in pictures])
        return [
            decide(
                Observation(
                    detail=asked.fingerprint.detail,
                    candidates=self._looked_at(asked.fingerprint, candidates, policy),
                    library_version=version,
                    references=references,
                    recipes=recipe_matches(self.index, asked.recipe, parents=asked.parents),
                    frames=asked.frames,
                ),
                policy,
            )
            for asked, candidates in zip(pictures, found, strict=True)
        ]

    def candidates(self, fingerprint: Fingerprint) -> list[Candidate]:
        """What the search returns, and what the second look found of those that are worth it."""
        return self._looked_at(fingerprint, self._search([fingerprint])[0], self.policy)

    def _searched(
        self, fingerprints: Sequence[Fingerprint]
    ) -> tuple[list[list[Candidate]], str, int]:
        """What the search returns, and the version and size of the library that was searched.

        Once more where another process changed it meanwhile; where that goes on, the verdict names
        the version before: all of that was searched.
        """
        for _ in range(_ATTEMPTS):
            version, references = self.index.version, len(self.index)
            found = self._search(fingerprints)
            if self.index.version == version:
                break
        return found, version, references

    def _search(self, fingerprints: Sequence[Fingerprint]) -> list[list[Candidate]]:
        count = CANDIDATES if self._looks else _WITHOUT_LOOK
        found = self.index.search_each(fingerprints, count)
        self._require_held()  # another process may have dropped a descriptor
        return found

    def _looked_at(
        self, fingerprint: Fingerprint, candidates: list[Candidate], policy: Policy
    ) -> list[Candidate]:
        if not self._looks:
            return candidates
        candidates = [with_fusion(candidate, None) for candidate in candidates]
        chosen = {c.reference.id for c in worth_a_look(candidates, policy)}
        likely = [c for c in candidates if c.reference.id in chosen]
        looked = {c.reference.id: c for c in self.look(fingerprint, likely)}
        gone = chosen - looked.keys()
        return [looked.get(c.reference.id, c) for c in candidates if c.reference.id not in gone]

    def look(self, fingerprint: Fingerprint, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates after the second look, where the policy decides by it.

        Without those that another process removed meanwhile.
        """
        if not self._looks or not candidates:
            return list(candidates)
        picture = unpacked(fingerprint.values[LOCAL.name].vector)
        size = fingerprint.width, fingerprint.height
        held = self.index.features_each([candidate.reference for candidate in candidates])
        there = [candidate for candidate in candidates if candidate.reference.id in held]
        for candidate in candidates:
            if candidate.reference.id not in held and self.index.reference(candidate.reference.uri):
                raise CheckError(f"the library has no local features of {candidate.reference.uri}")

        def looked(candidate: Candidate) -> Candidate:
            value, its_size = held[candidate.reference.id]
            return with_fusion(candidate, second_look(picture, size, unpacked(value), its_size))

        return side_by_side([partial(looked, candidate) for candidate in there])


def with_fusion(candidate: Candidate, found: Alignment | None) -> Candidate:
    """The candidate with what the second look found, and the fusion of all that is known."""
    similarity = {**candidate.similarity, FUSION.name: fused(candidate.similarity, found)}
    return replace(candidate, similarity=similarity, alignment=found)
