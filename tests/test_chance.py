"""Chance: tails that fit what is known of them, thresholds that keep their rates, a plot."""

import io
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource, image_files
from provenance.chance import Calibration, Measured, Similarities, calibrate, interval
from provenance.check import Checker
from provenance.errors import UsageError
from provenance.fingerprint import DescriptorSpec
from provenance.images import read_picture
from provenance.verdict import Policy, Rates, Threshold
from tests.conftest import KNOWN, PHOTOS, UNKNOWN, hash_policy, hashes_only
from ui import calibration, report

BITS = DescriptorSpec("bits", "1", "hamming", 256)
ROWS = DescriptorSpec("rows", "1", "cosine", 64)
PLACES = DescriptorSpec("places", "1", "features", 128)
SCALE = 0.012  # of the exponential tail that the pictures below are drawn from


def unrelated(count: int, seed: int = 0) -> list[list[Similarities]]:
    """The nearest of each of `count` pictures: bits over 0.6 by an exponential of mean SCALE."""
    rng = np.random.default_rng(seed)
    return [
        [
            {"bits": 0.6 + rng.exponential(SCALE), "rows": rng.uniform(0.1, 0.4), "places": p},
            {"bits": 0.55, "rows": 0.0, "places": 0.0},
        ]
        for p in rng.uniform(0, 0.2, count)
    ]


def measured(
    found: list[list[Similarities]], related: Collection[tuple[int, int]] = ()
) -> Measured:
    return calibrate(found, related, (BITS, ROWS, PLACES), "v-1", 1000)


def test_a_tail_says_how_rare_a_similarity_is_beyond_what_was_measured() -> None:
    tail = measured(unrelated(2000)).calibration.tails["bits"]
    for similarity in (0.62, 0.66, 0.7):
        truth = np.exp(-(similarity - 0.6) / SCALE)
        assert truth / 3 < tail.chance(similarity) < truth * 3
        assert tail.chance(similarity) < tail.most(similarity) < truth * 10
    assert tail.most(1.0) == pytest.approx(tail.share / 1e6)


@pytest.mark.parametrize("name", ["bits", "rows", "places"])
@pytest.mark.parametrize("chance", [0.01, 0.001, 0.00001])
def test_a_similarity_and_its_chance_say_the_same(name: str, chance: float) -> None:
    tail = measured(unrelated(500)).calibration.tails[name]
    assert tail.chance(tail.similarity(chance)) == pytest.approx(chance)


def test_related_pictures_are_set_aside() -> None:
    clean, mixed = unrelated(1000), unrelated(1000)
    for at in range(0, 1000, 20):
        mixed[at] = [*mixed[at], {"bits": 0.95, "rows": 0.9, "places": 0.1}]
    pairs = [(at, 2) for at in range(0, 1000, 20)]
    found = measured(mixed, pairs)
    assert list(found.related) == pairs
    assert found.calibration.related == 50
    assert found.calibration.tails == measured(clean).calibration.tails
    assert measured(mixed).calibration.tails["bits"].similarity(0.001) > 0.95


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match=r"at least 200 .* there are 199.*--unrelated"):
        measured(unrelated(199))


def test_an_empty_library_is_not_calibrated() -> None:
    with pytest.raises(UsageError, match="empty library"):
        calibrate(unrelated(1000), [], [BITS], "v", 0)


def test_ties_make_a_tail_too() -> None:
    same: list[list[Similarities]] = [[{"bits": 0.5, "rows": 0.0, "places": 0.0}]] * 300
    tail = measured(same).calibration.tails["bits"]
    assert 0.5 < tail.similarity(0.001) < 0.6


def test_a_calibration_of_an_earlier_version_is_none(library: Library) -> None:
    library.keep_calibration(made := measured(unrelated(300)).calibration)
    assert library.calibration == replace(made, tails={})
    told = made.to_json()
    told["tails"]["bits"]["shape"] = 0.0
    library._catalog.keep_calibration(json.dumps(told))
    assert library.calibration is None


def test_a_calibration_reads_back() -> None:
    made = measured(unrelated(300)).calibration
    assert Calibration.from_json(made.to_json()) == made


def test_a_larger_library_has_more_chances_and_makes_a_calibration_stale() -> None:
    made = measured(unrelated(300)).calibration
    small, large = made.at(1000)["bits"], made.at(3000)["bits"]
    assert large.chance(0.7) == pytest.approx(3 * small.chance(0.7))
    assert [made.stale(count) for count in (1000, 850, 1150, 800, 1300)] == [
        False, False, False, True, True,
    ]  # fmt: skip


def test_an_interval_holds_the_share() -> None:
    assert interval(0, 1000)[0] == 0
    assert 0.003 < interval(0, 1000)[1] < 0.004
    low, high = interval(10, 1000)
    assert low < 0.01 < high


POLICY = Policy(
    "test", 30, {"bits": Threshold(0.65, 0.9), "rows": Threshold(0.5, 0.6)}, rates=Rates(1e-3, 1e-5)
)


class TestPolicy:
    def test_thresholds_are_raised_to_the_rates_and_never_lowered(self) -> None:
        made = measured(unrelated(1000)).calibration
        policy = POLICY.calibrated(made, 1000)
        bits = policy.thresholds["bits"]
        assert bits.review == pytest.approx(made.tails["bits"].similarity(1e-3 / 2))
        assert bits.review > 0.65
        assert bits.block == 0.9
        assert (
            policy.thresholds["bits"].review
            < POLICY.calibrated(made, 5000).thresholds["bits"].review
        )

    def test_a_review_threshold_that_keeps_its_rate_stays(self) -> None:
        made = measured(unrelated(1000)).calibration
        stated = made.tails["bits"].similarity(1e-3)  # twice its share, which 1,000 cannot tell
        policy = replace(POLICY, thresholds={**POLICY.thresholds, "bits": Threshold(stated, 0.9)})
        assert policy.calibrated(made, 1000).thresholds["bits"].review == stated
        assert policy.calibrated(made, 50_000).thresholds["bits"].review > stated
        low = replace(POLICY, thresholds={"bits": Threshold(0.55, 0.9)})
        assert low.calibrated(made, 50_000).thresholds["bits"].review > 0.7  # all reach 0.55

    def test_a_policy_without_rates_keeps_its_thresholds_and_tells_the_chance(self) -> None:
        made = measured(unrelated(1000)).calibration
        policy = replace(POLICY, rates=None).calibrated(made, 1000)
        assert policy.thresholds == POLICY.thresholds
        assert policy.chance({"bits": 0.7, "rows": 0.0}) == pytest.approx(
            2 * made.tails["bits"].most(0.7)
        )
        assert POLICY.chance({"bits": 0.9}) is None

    def test_its_name_says_what_it_was_calibrated_for(self) -> None:
        made = measured(unrelated(300)).calibration
        assert POLICY.calibrated(made, 1000).name == "test, calibrated at 1,000 references"
        assert POLICY.calibrated(made, 2000).name.endswith("(stale)")

    @pytest.mark.parametrize("rates", [Rates(1e-5, 1e-3), Rates(1.0, 0.1), Rates(0.1, 0)])
    def test_rates_that_make_no_sense_are_refused(self, rates: Rates) -> None:
        with pytest.raises(UsageError, match="rates need 0 < block <= review < 1"):
            replace(POLICY, rates=rates)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder of 260 small pictures, all different parts of photographs."""
    folder, rng = tmp_path / "crops", np.random.default_rng(0)
    folder.mkdir()
    photos = [Image.open(PHOTOS / name).convert("RGB") for name in KNOWN]
    for number in range(260):
        photo = photos[number % len(photos)]
        side = int(rng.integers(60, 120))
        left = int(rng.integers(0, photo.width - side))
        top = int(rng.integers(0, photo.height - side))
        photo.crop((left, top, left + side, top + side)).save(folder / f"{number:03}.png")
    return folder


def test_a_library_is_calibrated(tmp_path: Path, crops: Path) -> None:
    """From the command's inside: hashes only, so that it is quick."""
    made = Library.create(tmp_path / "calibrated", hashes_only().specs)
    ingest(FolderSource(crops, "crops"), made, hashes_only)
    checker = Checker(hashes_only(), made, hash_policy())
    picture = read_picture(crops / "007.png")
    others = [PHOTOS / name for name in UNKNOWN]
    assert checker.check(picture).matches[0].chance is None
    assert checker.policy.name.endswith("only")

    seen: list[tuple[int, int]] = []
    outcome = calibration.run(
        made, checker, hashes_only, others,
        count=250, workers=1, on_progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert seen[-1] == (254, 255)
    assert made.calibration == outcome.measured.calibration
    assert f"at {len(made)} references" in str(made.describe()["calibrated"])
    assert {row["descriptor"] for row in outcome.rows()} == {"pdq-256", "phash-256"}

    assert checker.check(picture).matches[0].chance == 0
    smaller = Image.open(crops / "007.png").resize((50, 50))
    verdict = checker.check(replace(picture, image=smaller))
    best = verdict.matches[0]
    assert best.reference.title == "007.png"
    assert best.chance is not None
    assert 0 < best.chance < 1e-3
    assert "calibrated at 260 references" in verdict.policy

    drawn = Image.open(io.BytesIO(calibration.plot(outcome)))
    assert drawn.format == "PNG"
    assert drawn.width > 600
    report.write_calibration(outcome, tmp_path / "calibration.html")
    page = (tmp_path / "calibration.html").read_text("utf-8")
    assert "data:image/png;base64," in page
    assert "pdq-256" in page

    made.remove(uri=image_files(crops)[0].as_uri())
    assert made.calibration == outcome.measured.calibration
