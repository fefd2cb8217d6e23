"""`decide` as a table: what was seen, what follows."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provenance.errors import CheckError, UsageError
from provenance.fusion import SPEC as FUSION
from provenance.local.look import Agreement, Alignment, Region
from provenance.local.pixels import Resemblance
from provenance.match import Candidate, RecipeMatch, Reference
from provenance.recipe_match import Kind, Likeness
from provenance.verdict import (
    DEFAULT_POLICY,
    Decision,
    Observation,
    Policy,
    Rates,
    Threshold,
    decide,
    load_policy,
    score,
)

POLICY = Policy("test", 30, {"a": Threshold(0.8, 0.9), "b": Threshold(0.6, 0.7)})
CLEAR, REVIEW, BLOCK = Decision


def reference(number: int = 1, **fields: Any) -> Reference:
    return Reference(number, f"file:///known/{number}.png", "known", **fields)


def seen(*candidates: Candidate, **changes: Any) -> Observation:
    facts: dict[str, Any] = {"detail": 100, "library_version": "v", "references": 5}
    return Observation(candidates=candidates, **{**facts, **changes})


def near(a: float, b: float = 0.0, number: int = 1, exact: bool = False) -> Candidate:
    return Candidate(reference(number), {"a": a, "b": b}, exact)


def by_recipe(kind: Kind, *candidates: Candidate, detail: float = 100, **facts: Any) -> Observation:
    found = RecipeMatch(reference(4), Likeness(kind, **facts))
    return seen(*candidates, recipes=[found], detail=detail)


@pytest.mark.parametrize(
    ("what", "decision", "reason"),
    [
        (seen(), CLEAR, ""),
        (seen(near(0.79)), CLEAR, ""),
        (seen(near(0.80)), REVIEW, "close to 1.png"),
        (seen(near(0.8999)), REVIEW, "close to 1.png"),
        (seen(near(0.90)), BLOCK, "near copy of 1.png"),
        (seen(near(0.1, 0.6)), REVIEW, "close to 1.png"),
        (seen(near(0.1, 0.7)), BLOCK, "near copy of 1.png"),
        (seen(near(0.0, exact=True)), BLOCK, "the same pixels as 1.png"),
        (seen(near(0.85), near(0.95, number=2)), BLOCK, "near copy of 2.png"),
        (seen(detail=29), REVIEW, "too little detail to compare"),
        (seen(near(0.95), detail=0), REVIEW, "too little detail to compare"),
        (seen(near(0.1, exact=True), detail=0), BLOCK, "the same pixels as 1.png"),
        (seen(frames=3), REVIEW, "animated: 1 of 3 frames was compared"),
        (by_recipe("same"), REVIEW, "made by the same recipe as 4.png"),
        (
            by_recipe("near", differs=("steps 9, there 8",)),
            REVIEW,
            "made by nearly the recipe of 4.png (steps 9, there 8)",
        ),
        (by_recipe("near", decides=False), CLEAR, ""),
        (
            by_recipe("same", detail=0),
            REVIEW,
            "too little detail to compare made by the same recipe as 4.png",
        ),
        (by_recipe("parent"), REVIEW, "says that it was made from 4.png"),
        (
            by_recipe("same", near(0.95, number=4)),
            BLOCK,
            "near copy of 4.png, made by the same recipe as it",
        ),
        (seen(references=0), CLEAR, "THE LIBRARY IS EMPTY"),
    ],
)
def test_decide(what: Observation, decision: Decision, reason: str) -> None:
    verdict = decide(what, POLICY)
    assert verdict.decision is decision
    assert reason in " ".join(verdict.reasons)
    assert bool(verdict.reasons) == bool(reason)


def test_scores_rank_and_mark_the_thresholds() -> None:
    ladder = [near(s) for s in (0.0, 0.5, 0.7, 0.799, 0.8, 0.85, 0.899, 0.9, 0.95, 1.0)]
    points = [score(candidate, POLICY) for candidate in ladder]
    assert points == sorted(points)
    assert all(0 <= point < 1 for point in points)
    assert score(near(0.799), POLICY) < 0.5 == pytest.approx(score(near(0.8), POLICY))
    assert score(near(0.899), POLICY) < 0.75 == pytest.approx(score(near(0.9), POLICY))
    assert score(near(0, exact=True), POLICY) == 1


@pytest.mark.parametrize("limit", [Threshold(1, 1), Threshold(0.5, 0.5), Threshold(0.1, 1)])
def test_policies_at_their_limits_have_scores(limit: Threshold) -> None:
    policy = Policy("edge", 0, {"a": limit})
    assert all(0 <= score(near(s / 10), policy) < 1 for s in range(11))


def test_matches_come_best_first_and_at_most_ten() -> None:
    verdict = decide(seen(*(near(0.8 + n / 100, number=n + 1) for n in range(15))), POLICY)
    scores = [match.score for match in verdict.matches]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 10


@pytest.mark.parametrize(
    "what", [seen(near(math.nan)), seen(near(0.5), detail=math.nan)], ids=["similarity", "detail"]
)
def test_what_is_no_number_is_no_verdict(what: Observation) -> None:
    with pytest.raises(CheckError, match="nan"):
        decide(what, POLICY)


def test_a_far_candidate_is_not_listed() -> None:
    assert decide(seen(near(0.61)), POLICY).matches == ()


def test_a_descriptor_without_threshold_does_not_decide() -> None:
    candidate = Candidate(reference(), {"a": 0.1, "other": 1.0})
    assert decide(seen(candidate), POLICY).decision is CLEAR


def aligned(cells: int) -> Alignment:
    """An alignment of so many cells, all else of no account."""
    corners = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
    found = Agreement(cells, cells, 1, 0.3, 1, 1, 1, 1, 1, 1, Resemblance())
    return Alignment(found, (Region(corners, corners),), ("cropped",), found.overlap)


@pytest.mark.parametrize(
    ("fusion", "cells", "decision", "why", "reason"),
    [
        (0.85, 30, BLOCK, "edited copy", "edited copy of 1.png (cropped)"),
        (0.65, 30, REVIEW, "edited copy", "holds 30% of 1.png (cropped)"),
        (0.85, 4, BLOCK, "copy", "near copy of 1.png"),
        (0.65, 4, REVIEW, "look-alike", "close to 1.png"),
        (0.55, 30, CLEAR, "look-alike", ""),
    ],
)
def test_what_is_aligned_is_an_edited_copy(
    fusion: float, cells: int, decision: Decision, why: str, reason: str
) -> None:
    policy = Policy("test", 30, {FUSION.name: Threshold(0.6, 0.8)})
    candidate = Candidate(reference(), {FUSION.name: fusion}, alignment=aligned(cells))
    verdict = decide(seen(candidate), policy)
    assert verdict.decision is decision
    assert " ".join(verdict.reasons) == reason
    (match,) = verdict.matches
    assert match.why == why
    assert match.edits == (("cropped",) if why == "edited copy" else ())
    assert (match.overlap == 0.3) == bool(match.regions) == (cells == 30)


def test_the_fast_check_has_thresholds_of_its_own() -> None:
    policy = replace(POLICY, fast={"c": Threshold(0.5, 0.6)}).fast_only()
    assert policy.thresholds.keys() == {"c"}
    assert policy.name == "test, c only"
    with pytest.raises(UsageError, match=r"\[fast.phash-256\]"):
        POLICY.fast_only()


def test_the_default_policy_loads() -> None:
    policy = load_policy(DEFAULT_POLICY)
    assert {"pdq-256", FUSION.name} == policy.thresholds.keys()
    assert policy.rates == Rates(0.001, 0.00001)
    assert policy.fast.keys() == {"phash-256"}


GOOD = 'name = "p"\nmin_detail = 10\n[thresholds.a]\nreview = 0.5\nblock = 0.6\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "p"\nmin_detail = 1\n[thresholds]\n', "empty"),
        ('name = "p"\nmin_detail = 1\n', "thresholds"),
        (GOOD.replace("0.6", "0.4"), "review <= block"),
        (GOOD.replace("0.5", "0.0"), "0 < review"),
        (GOOD.replace("0.6", "1.5"), "block <= 1"),
        (GOOD.replace("0.6", "nan"), "review <= block"),
        (GOOD.replace("review", "reveiw"), "review"),
        (GOOD.replace('name = "p"', ""), "name"),
        (GOOD + "[fast.a]\nreview = 2\nblock = 2\n", "block <= 1"),
        (GOOD + "[rates]\nreview = 0.1\nblock = 0.2\n", "block <= review"),
        (GOOD + "[rates]\nreview = 0.1\n", "block"),
        ("blok = 3\n" + GOOD, "unknown setting blok"),
        ("= 3", "not TOML"),
    ],
)
def test_a_bad_policy_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_policy(path)


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml"):
        load_policy(tmp_path / "gone.toml")


@pytest.mark.parametrize("detail", [float("nan"), -1.0])
def test_no_policy_turns_the_rule_on_detail_off(detail: float) -> None:
    with pytest.raises(UsageError, match="min_detail"):
        replace(load_policy(), min_detail=detail)
