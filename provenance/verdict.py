"""Policy, Verdict and `decide`: pure, no clock, no disk beyond the policy file, no model."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from provenance.chance import Calibration, Tail, interval
from provenance.errors import CheckError, UsageError
from provenance.fusion import SPEC as FUSION
from provenance.local.look import ALIGNED
from provenance.match import Candidate, Match, RecipeMatch, Why
from provenance.recipe_match import Likeness

ON_HIT = ("stop", "reseed", "mitigate")
DEFAULT_POLICY = Path(__file__).with_name("policy.toml")


class Decision(IntEnum):
    """Ordered: the worse one wins."""

    CLEAR = 0
    REVIEW = 1
    BLOCK = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Threshold:
    """Similarities of one descriptor (0..1, 1 = same) from which a picture is not clear."""

    review: float
    block: float


@dataclass(frozen=True)
class Rates:
    """False alarms that are put up with, as shares (0..1) of unrelated pictures."""

    review: float
    block: float


@dataclass(frozen=True)
class Policy:
    """What counts as too close. `min_detail` is on PDQ's quality scale, 0..100.

    `cite`: whether a picture's credentials name the references that it came close to.

    `fast` are the thresholds of a check that does without everything else. `rates` apply over a
    library that has been calibrated; `tails` are then what was measured, for a library of the
    present size. `on_hit` says what follows when painting was stopped because what was being
    painted came too close: nothing ("stop"), another seed ("reseed"), or the same one with less
    guidance and away from the match ("mitigate").
    """

    name: str
    min_detail: float
    thresholds: Mapping[str, Threshold]
    fast: Mapping[str, Threshold] = field(default_factory=dict)
    rates: Rates | None = None
    tails: Mapping[str, Tail] = field(default_factory=dict)
    cite: bool = False
    on_hit: str = ON_HIT[0]

    def __post_init__(self) -> None:
        if not self.thresholds:
            raise UsageError(f"policy {self.name!r} is empty: it would call every picture clear")
        if not self.min_detail >= 0:  # also refuses nan
            raise UsageError(f"policy {self.name!r}: min_detail is from 0, got {self.min_detail}")
        if self.rates and not 0 < self.rates.block <= self.rates.review < 1:
            raise UsageError(
                f"policy {self.name!r}: rates need 0 < block <= review < 1, "
                f"got review {self.rates.review}, block {self.rates.block}"
            )
        if self.on_hit not in ON_HIT:
            raise UsageError(
                f"policy {self.name!r}: on_hit is one of {', '.join(ON_HIT)}; got {self.on_hit!r}"
            )
        for name, limit in (*self.thresholds.items(), *self.fast.items()):
            if not 0 < limit.review <= limit.block <= 1:
                raise UsageError(
                    f"policy {self.name!r}: {name} needs 0 < review <= block <= 1, "
                    f"got review {limit.review}, block {limit.block}"
                )

    def fast_only(self) -> "Policy":
        """The same policy for the fast check; its name says so. Raises UsageError without one."""
        if not self.fast:
            raise UsageError(
                f"policy {self.name!r} says nothing of the fast check: give it a table "
                "[fast.phash-256] with review and block"
            )
        return replace(self, name=f"{self.name}, {' '.join(self.fast)} only", thresholds=self.fast)

    def calibrated(self, calibration: Calibration, references: int) -> "Policy":
        """The same policy for a library of so many references, of which unrelated ones are known.

        A threshold is raised to the similarity that unrelated references reach at this policy's
        rate: that of block always, that of review where so many pictures reach it as stated that
        chance does not account for it (the 95 % interval of their share is over the rate). None is
        lowered: what it takes to be a copy stays.
        """
        tails = calibration.at(references)
        tails = {name: tail for name, tail in tails.items() if name in self.thresholds}
        limits = dict(self.thresholds)
        if self.rates:
            for name, tail in tails.items():
                stated, share = limits[name], self.rates.review / len(self.thresholds)
                reached = min(1.0, tail.chance(stated.review)) * calibration.pictures
                kept = interval(reached, calibration.pictures)[0] <= share
                review = stated.review if kept else max(stated.review, tail.similarity(share))
                block = tail.similarity(self.rates.block / len(self.thresholds))
                limits[name] = Threshold(review, max(stated.block, review, block))
        stale = " (stale)" if calibration.stale(references) else ""
        name = f"{self.name}, calibrated at {calibration.references:,} references{stale}"
        return replace(self, name=name, thresholds=limits, tails=tails)

    def chance(self, similarity: Mapping[str, float]) -> float | None:
        """Unrelated references expected to come this close; None where nothing was measured.

        By the fusion, which knows all other descriptors. A policy without it: by the descriptor to
        which this is rarest, times the number of those that had the chance.
        """
        shared = self.tails.keys() & similarity.keys()
        if FUSION.name in shared:
            return self.tails[FUSION.name].most(similarity[FUSION.name])
        each = [self.tails[name].most(similarity[name]) for name in shared]
        return min(each) * len(self.thresholds) if each else None


def load_policy(path: Path = DEFAULT_POLICY) -> Policy:
    """The policy in a TOML file; see policy.toml for its form."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"policy {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"policy {path}: not TOML: {error}") from None
    unknown = set(data) - {"name", "min_detail", "cite", "on_hit", "rates", "fast", "thresholds"}
    if unknown:
        raise UsageError(f"policy {path}: unknown setting {', '.join(sorted(unknown))}")
    try:
        limits, fast = (
            {
                name: Threshold(float(limit["review"]), float(limit["block"]))
                for name, limit in table.items()
            }
            for table in (data["thresholds"], data.get("fast", {}))
        )
        rates = data.get("rates")
        rates = Rates(float(rates["review"]), float(rates["block"])) if rates else None
        detail, cite = float(data["min_detail"]), data.get("cite", False)
        if not isinstance(cite, bool):
            raise TypeError(f"cite is true or false, got {cite!r}")
        on_hit = str(data.get("on_hit", ON_HIT[0]))
        name = str(data["name"])
        return Policy(name, detail, limits, fast, rates, cite=cite, on_hit=on_hit)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"policy {path}: {error!r}; a policy has name, min_detail and "
            "[thresholds.DESCRIPTOR] with review and block; [rates] with review and block, "
            "[fast.phash-256], cite (true or false) and on_hit may be left out"
        ) from None


@dataclass(frozen=True)
class Verdict:
    """What the check says of one picture, and on what ground."""

    decision: Decision
    reasons: tuple[str, ...]
    matches: tuple[Match, ...]
    policy: str
    library_version: str
    references: int

    def without_names(self) -> "Verdict":
        """The same, whose reasons name no reference."""
        names = {match.reference.name for match in self.matches}
        name = "|".join(re.escape(each) for each in sorted(names, key=len, reverse=True))
        if not name:
            return self
        unnamed = [re.sub(rf"(?<!\w)({name})(?!\w)", "a known picture", r) for r in self.reasons]
        return replace(self, reasons=tuple(unnamed))

    def to_json(self) -> dict[str, Any]:
        return {
            "decision": str(self.decision),
            "reasons": list(self.reasons),
            "matches": [match.to_json() for match in self.matches],
            "policy": self.policy,
            "library": {"version": self.library_version, "references": self.references},
        }


NO_VERDICT: Mapping[str, Any] = {
    "decision": None,
    "reasons": [],
    "matches": [],
    "policy": None,
    "library": None,
}
"""The same fields where there is no verdict: an unreadable file, a refused recipe."""


@dataclass(frozen=True)
class Observation:
    """Everything that a decision rests on: what was seen of one picture and of the library."""

    detail: float
    candidates: Sequence[Candidate]
    library_version: str
    references: int
    recipes: Sequence[RecipeMatch] = ()
    frames: int = 1


MAX_MATCHES = 10
_MENTION = 0.15  # score under which a candidate is not worth listing
_ALIKE_SCORE = 0.3  # of a recipe that is near and decides nothing
_LEAST_PART = 0.05  # of a reference that a picture is said to hold; less is told as near
_LOOKS = 3  # candidates that get a second look for their similarities alone


def decide(seen: Observation, policy: Policy) -> Verdict:
    """The verdict on one picture: the worst that any single rule says.

    Raises CheckError for what is no number: it would be above no threshold.
    """
    _require_numbers(seen)
    matches = _matches(seen, policy)
    findings = [_finding(match) for match in matches]
    if seen.detail < policy.min_detail and not any(match.score == 1 for match in matches):
        findings = [(Decision.REVIEW, "too little detail to compare")]
        findings += [_by_recipe(m.likeness, m) for m in matches if m.likeness]
    if seen.frames > 1:
        findings.append((Decision.REVIEW, f"animated: 1 of {seen.frames} frames was compared"))
    notes = []
    if seen.references == 0:
        notes.append("THE LIBRARY IS EMPTY: the picture was compared with nothing")
    decision = max((found for found, _ in findings), default=Decision.CLEAR)
    reasons = [reason for found, reason in findings if found == decision > Decision.CLEAR]
    return Verdict(
        decision=decision,
        reasons=(*reasons[:3], *notes),
        matches=matches[:MAX_MATCHES],
        policy=policy.name,
        library_version=seen.library_version,
        references=seen.references,
    )


def _require_numbers(seen: Observation) -> None:
    for candidate in seen.candidates:
        for name, similarity in candidate.similarity.items():
            if not math.isfinite(similarity):
                raise CheckError(f"the {name} of {candidate.reference.uri} is {similarity}")
    if not math.isfinite(seen.detail):
        raise CheckError(f"the picture's detail is {seen.detail}")


def score(candidate: Candidate, policy: Policy) -> float:
    """0..1: at least 0.5 where the policy says review, at least 0.75 where it says block.

    The largest over the policy's descriptors of its similarity on a scale that the thresholds
    fix, so that scores of different descriptors, and of different pictures, rank together.
    """
    if candidate.exact:
        return 1.0
    shared = policy.thresholds.keys() & candidate.similarity.keys()
    return max((_scaled(candidate.similarity[n], policy.thresholds[n]) for n in shared), default=0)


def worth_a_look(candidates: Sequence[Candidate], policy: Policy) -> list[Candidate]:
    """The candidates that deserve a second look: the promising ones, and the best of the rest."""
    scored = [(score(candidate, policy), candidate) for candidate in candidates]
    scored.sort(key=lambda pair: -pair[0])
    likely = [candidate for points, candidate in scored if points >= _MENTION]
    return likely[:_LOOKS] + [candidate for candidate in candidates if candidate.promising]


REVIEW_SCORE = 0.5  # the score at which the policy says review
BLOCK_SCORE = 0.75  # ... at which it says block
_TOP_SCORE = 0.999
_STEEPNESS = 8  # of the fall under `review`: under 0.86 of it nothing is mentioned


def _scaled(similarity: float, limit: Threshold) -> float:
    if similarity >= limit.block:
        span = (1 - limit.block) or 1
        return BLOCK_SCORE + (_TOP_SCORE - BLOCK_SCORE) * (similarity - limit.block) / span
    if similarity >= limit.review:
        share = (similarity - limit.review) / (limit.block - limit.review)
        return REVIEW_SCORE + (BLOCK_SCORE - REVIEW_SCORE) * share * 0.999
    return float(REVIEW_SCORE * 0.999 * (similarity / limit.review) ** _STEEPNESS)


def as_match(candidate: Candidate, policy: Policy, likeness: Likeness | None = None) -> Match:
    """The candidate with its score and the kind of its closeness; `likeness` is that of recipes."""
    points = score(candidate, policy)
    why = _why(candidate, policy, likeness)
    points = max(points, _recipe_score(likeness)) if likeness else points
    exact = candidate.exact and policy.tails
    chance = 0.0 if exact else policy.chance(candidate.similarity)
    match = Match(
        candidate.reference, candidate.similarity, points, why, chance=chance, likeness=likeness
    )
    if (found := candidate.alignment) and found.agreement.cells >= ALIGNED:
        match = replace(
            match,
            overlap=1.0 if candidate.exact else found.covered,
            regions=found.regions,
            edits=found.edits if why == "edited copy" else (),
        )
    return match


def _matches(seen: Observation, policy: Policy) -> tuple[Match, ...]:
    alike = {found.reference.id: found for found in seen.recipes}
    matches = []
    for candidate in seen.candidates:
        found = alike.pop(candidate.reference.id, None)
        if found or score(candidate, policy) >= _MENTION:
            matches.append(as_match(candidate, policy, found.likeness if found else None))
    for reference, likeness in ((found.reference, found.likeness) for found in alike.values()):
        points, why = _recipe_score(likeness), _recipe_why(likeness)
        matches.append(Match(reference, {}, points, why, likeness=likeness))
    return tuple(sorted(matches, key=lambda match: (-match.score, match.reference.uri)))


def _recipe_score(likeness: Likeness) -> float:
    """What a file says is evidence for a person to judge, never more; and it clears nothing."""
    return REVIEW_SCORE if likeness.decides else _ALIKE_SCORE


def _recipe_why(likeness: Likeness) -> Why:
    return "same recipe" if likeness.kind == "same" else "near recipe"


def _why(candidate: Candidate, policy: Policy, likeness: Likeness | None) -> Why:
    """A copy by the picture as a whole; an edited copy by the places that agree, or once edited."""
    found = candidate.alignment
    aligned = found is not None and found.agreement.cells >= ALIGNED
    whole = {n: s for n, s in candidate.similarity.items() if n != FUSION.name}
    by_whole, points = score(replace(candidate, similarity=whole), policy), score(candidate, policy)
    if by_whole >= BLOCK_SCORE or (points >= BLOCK_SCORE and not aligned):
        return "edited copy" if aligned and found and found.edits else "copy"
    if points >= REVIEW_SCORE and aligned:
        return "edited copy"
    return _recipe_why(likeness) if likeness else "look-alike"


def _finding(match: Match) -> tuple[Decision, str]:
    name, likeness = match.reference.name, match.likeness
    done = f" ({', '.join(match.edits)})" if match.edits else ""
    too = f", {likeness.words('it')}" if likeness and likeness.decides else ""
    if match.score == 1:
        return Decision.BLOCK, f"the same pixels as {name}{too}"
    if match.score >= BLOCK_SCORE:
        kind = "edited copy" if match.why == "edited copy" else "near copy"
        return Decision.BLOCK, f"{kind} of {name}{done}{too}"
    if match.why == "edited copy" and (match.overlap or 0.0) >= _LEAST_PART:
        return Decision.REVIEW, f"holds {match.overlap:.0%} of {name}{done}{too}"
    if match.score < REVIEW_SCORE:
        return Decision.CLEAR, ""
    if likeness and likeness.decides:
        return _by_recipe(likeness, match)
    return Decision.REVIEW, f"close to {name}"


def _by_recipe(likeness: Likeness, match: Match) -> tuple[Decision, str]:
    words = likeness.words(match.reference.name)
    return (Decision.REVIEW, words) if likeness.decides else (Decision.CLEAR, "")
