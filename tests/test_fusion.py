"""The fusion of evidence: monotone, and nothing where nothing was seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from provenance import fusion
from provenance.errors import MissingError
from provenance.fusion import DESCRIPTORS, SPEC, evidence, fused, log_odds, squashed
from provenance.local.look import Agreement, Alignment
from provenance.local.pixels import Resemblance
from ui.bench.fit import train

FAR = dict.fromkeys(DESCRIPTORS, 0.5)
NEAR = dict.fromkeys(DESCRIPTORS, 0.99)


def aligned(cells: int, share: float) -> Alignment:
    """An alignment that explains so many places, and by `share` of everything."""
    pixels = Resemblance(share, share, share)
    found = Agreement(cells, cells, share, share, share, share, share, share, 0.98, 0.99, pixels)
    return Alignment(found, ())


def test_what_is_seen_of_a_copy_makes_it_likely() -> None:
    assert fused(FAR, None) < 0.3
    assert fused(FAR, aligned(150, 0.8)) > 0.6
    assert fused(NEAR, None) > 0.5
    assert fused({}, None) <= fused(FAR, None)


@pytest.mark.parametrize("similarity", [FAR, NEAR], ids=["far", "near"])
@pytest.mark.parametrize("found", [None, aligned(12, 0.3), aligned(80, 0.7)], ids=["0", "12", "80"])
def test_more_evidence_never_makes_a_copy_less_likely(
    similarity: dict[str, float], found: Alignment | None
) -> None:
    base = evidence(similarity, found)
    held = fusion._members()
    for number in range(SPEC.dim):
        rows = np.tile(base, (30, 1))
        rows[:, number] += np.linspace(0, 2, 30, dtype=np.float32)
        assert (np.diff(log_odds(rows, held)) >= -1e-4).all()


def test_few_places_count_as_none() -> None:
    perfect = aligned(4, 1.0)
    assert np.array_equal(evidence(FAR, perfect), evidence(FAR, None))
    more = replace(perfect, agreement=perfect.agreement._replace(cells=5))
    assert not np.array_equal(evidence(FAR, more), evidence(FAR, None))


def test_odds_are_squashed_between_0_and_1() -> None:
    points = [squashed(odds) for odds in (-1e9, -5, 0, 5, 50, 1e9)]
    assert points == sorted(points)
    assert points[0] >= 0
    assert points[2] == 0.5
    assert points[-1] <= 1


def test_fitting_tells_copies_from_others_and_stays_monotone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ui.bench.fit._STEPS", 60)
    rng = np.random.default_rng(0)
    others = rng.normal(0.4, 0.1, (400, SPEC.dim)).astype(np.float32)
    copies = rng.normal(0.6, 0.1, (300, SPEC.dim)).astype(np.float32)
    held = train(copies, others)
    assert all((held[name] >= 0).all() for name in held if name.startswith(("weights", "linear")))
    assert (log_odds(copies, held) > 0).mean() > 0.95
    assert (log_odds(others, held) > 0).mean() < 0.05


def test_weights_that_are_gone_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "WEIGHTS", tmp_path / "gone.safetensors")
    fusion._members.cache_clear()
    with pytest.raises(MissingError, match=r"gone\.safetensors"):
        fused(FAR, None)
    fusion._members.cache_clear()
