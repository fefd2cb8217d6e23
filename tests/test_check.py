"""The checker refuses a set that does not fit, and never answers when it cannot look."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.check import Asked, Checker
from provenance.errors import CheckError, VersionMismatch
from provenance.fingerprint import Fingerprinter
from provenance.hashes import hash_descriptors
from provenance.images import Picture
from provenance.match import Candidate
from provenance.phash import PHASH
from provenance.recipe import Recipe
from provenance.verdict import Decision, Policy, Threshold, load_policy
from tests.conftest import (
    KNOWN,
    UNKNOWN,
    hash_policy,
    hashes_only,
    with_second_look,
)
from ui.wiring import fingerprinter

ROOT = Path(__file__).parent.parent

Photo = Callable[[str], Image.Image]


def policy(*names: str) -> Policy:
    return Policy("p", 30, {name: Threshold(0.8, 0.9) for name in names})


@pytest.mark.parametrize(
    ("edit", "decision"),
    [
        (lambda image: image, Decision.BLOCK),
        (lambda image: image.resize((image.width // 2, image.height // 2)), Decision.BLOCK),
        (lambda image: image.convert("L").convert("RGB"), Decision.BLOCK),
        (lambda image: image.point(lambda value: int(value * 0.8)), Decision.BLOCK),
    ],
    ids=["same", "half size", "grey", "darker"],
)
def test_a_light_edit_of_a_known_picture_is_blocked(
    checker: Checker, photo: Photo, edit: Callable[[Image.Image], Image.Image], decision: Decision
) -> None:
    verdict = checker.check(Picture(edit(photo("chelsea.png"))))
    assert verdict.decision is decision
    assert verdict.matches[0].reference.title == "chelsea.png"
    assert verdict.references == 5


@pytest.fixture
def thorough(tmp_path: Path, known_folder: Path) -> Checker:
    """A checker that looks twice."""
    library = Library.create(tmp_path / "thorough", with_second_look().specs)
    ingest(FolderSource(known_folder, "photos"), library, with_second_look)
    return Checker(with_second_look(), library, load_policy())


@pytest.mark.parametrize(
    "edit",
    [
        ImageOps.mirror,
        ImageOps.invert,
        lambda image: image.rotate(90, expand=True),
        lambda image: image.rotate(12, expand=True),
        lambda image: image.crop((90, 60, image.width - 40, image.height - 90)),
        lambda image: ImageOps.expand(image, 100, "white"),
        lambda image: ImageOps.mirror(image.crop((100, 60, 420, 280)).resize((200, 138))),
    ],
    ids=["mirrored", "negative", "on its side", "rotated", "cropped", "framed", "chain"],
)
def test_the_second_look_finds_edited_copies(
    thorough: Checker, photo: Photo, edit: Callable[[Image.Image], Image.Image]
) -> None:
    verdict = thorough.check(Picture(edit(photo("chelsea.png"))))
    assert verdict.decision > Decision.CLEAR
    best = verdict.matches[0]
    assert (best.reference.title, best.why) == ("chelsea.png", "edited copy")
    assert best.overlap
    assert best.regions


@pytest.mark.parametrize("name", UNKNOWN)
def test_the_second_look_leaves_unknown_pictures_clear(
    thorough: Checker, photo: Photo, name: str
) -> None:
    assert thorough.check(Picture(photo(name))).decision is Decision.CLEAR


def blanks() -> dict[str, list[Image.Image]]:
    """Pictures of almost nothing, eight of each kind, no two alike."""
    words = (ROOT / "LICENSE").read_text("utf-8").split()
    made: dict[str, list[Image.Image]] = {
        "flat": [],
        "gradient": [],
        "noise": [],
        "text": [],
        "lines": [],
    }
    for number in range(8):
        rng = random.Random(number)
        colour = tuple(rng.randrange(256) for _ in range(3))
        made["flat"].append(Image.new("RGB", (300, 300), colour))
        ramp = Image.linear_gradient("L").resize((400, 300)).convert("RGB")
        made["gradient"].append(Image.blend(ramp, Image.new("RGB", ramp.size, colour), 0.4))
        noise = np.random.default_rng(number).integers(0, 255, (300, 300, 3), np.uint8)
        made["noise"].append(Image.fromarray(noise))
        page, drawing = Image.new("RGB", (600, 800), "white"), Image.new("RGB", (600, 600), "white")
        for y in range(40, 760, 24):
            line = " ".join(rng.choice(words) for _ in range(8))[:62]
            ImageDraw.Draw(page).text((40, y), line, "black", font_size=16)
        for _ in range(6):
            path = [(rng.randint(40, 560), rng.randint(40, 560)) for _ in range(4)]
            ImageDraw.Draw(drawing).line(path, "black", width=3)
        made["text"].append(page)
        made["lines"].append(drawing)
    return made


def test_pictures_of_almost_nothing_never_block_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "blank"
    folder.mkdir()
    kinds = blanks()
    for kind, images in kinds.items():
        for number, image in enumerate(images[:4]):
            image.save(folder / f"{kind}{number}.png")
    library = Library.create(tmp_path / "blanks", fingerprinter().specs)
    ingest(FolderSource(folder), library, fingerprinter)
    checker = Checker(fingerprinter(), library, load_policy())
    for kind, images in kinds.items():
        least = Decision.REVIEW if kind in ("flat", "gradient") else Decision.CLEAR
        for image in images[4:]:
            assert checker.check(Picture(image)).decision is least, kind


class TestFastTier:
    """pHash alone, over a library that holds more."""

    @pytest.fixture
    def fast(self, library: Library) -> Checker:
        return Checker(fingerprinter(fast=True), library, load_policy().fast_only())

    @pytest.mark.parametrize("turn", [None, *Image.Transpose])
    @pytest.mark.parametrize("name", KNOWN)
    def test_it_finds_every_turn(
        self, fast: Checker, photo: Photo, name: str, turn: Image.Transpose | None
    ) -> None:
        image = photo(name) if turn is None else photo(name).transpose(turn)
        verdict = fast.check(Picture(image.resize((300, 280))))
        assert verdict.decision is Decision.BLOCK
        assert verdict.matches[0].reference.title == name
        assert verdict.matches[0].similarity.keys() == {PHASH.name}

    @pytest.mark.parametrize("name", KNOWN)
    def test_it_knows_the_same_pixels(self, fast: Checker, photo: Photo, name: str) -> None:
        assert fast.check(Picture(photo(name))).reasons == (f"the same pixels as {name}",)

    @pytest.mark.parametrize("name", UNKNOWN)
    def test_it_leaves_unknown_pictures_clear(self, fast: Checker, photo: Photo, name: str) -> None:
        assert fast.check(Picture(photo(name))).decision is Decision.CLEAR

    @pytest.mark.parametrize("kind", ["flat", "gradient"])
    def test_too_little_detail_is_for_review(self, fast: Checker, kind: str) -> None:
        for image in blanks()[kind]:
            assert fast.check(Picture(image)).reasons == ("too little detail to compare",)

    def test_several_are_judged_as_each_alone(self, fast: Checker, photo: Photo) -> None:
        images = [photo(name) for name in (*KNOWN, *UNKNOWN)]
        images += [images[0], images[1].resize((90, 60)), Image.new("RGB", (50, 50))]
        asked = [Asked(each) for each in fast.fingerprinter.describe(images)]
        together = fast.judge_each(asked)
        assert together == [fast.check(Picture(image)) for image in images]
        assert fast.judge_each([]) == []


def test_several_are_judged_as_each_alone(thorough: Checker, photo: Photo) -> None:
    images = [photo("coffee.png"), ImageOps.mirror(photo("chelsea.png")), photo("grass.png")]
    asked = [Asked(each) for each in thorough.fingerprinter.describe(images)]
    together = [verdict.to_json() for verdict in thorough.judge_each(asked)]
    assert together == [thorough.check(Picture(image)).to_json() for image in images]


def test_a_policy_of_features_alone_is_refused(thorough: Checker) -> None:
    """It would call everything clear: features have no similarity."""
    policy = Policy("old", 30, {"sift-128": Threshold(0.5, 0.9)})
    with pytest.raises(CheckError, match=r"sift-128.*\[thresholds.fusion\]"):
        Checker(thorough.fingerprinter, thorough.index, policy)


def test_a_library_without_features_is_refused(library: Library) -> None:
    with pytest.raises(CheckError, match="sift-128"):
        Checker(with_second_look(), library, load_policy())


@pytest.mark.parametrize("name", ["grass.png", "ihc.png", "retina.jpg", "hubble_deep_field.jpg"])
def test_an_unknown_picture_is_clear(checker: Checker, photo: Photo, name: str) -> None:
    assert checker.check(Picture(photo(name))).decision is Decision.CLEAR


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (500, 300)])
def test_a_picture_without_detail_is_for_review(checker: Checker, size: tuple[int, int]) -> None:
    verdict = checker.check(Picture(Image.new("RGB", size, "teal")))
    assert verdict.decision is Decision.REVIEW
    assert verdict.reasons == ("too little detail to compare",)


def test_an_animation_is_never_clear(checker: Checker, photo: Photo) -> None:
    verdict = checker.check(Picture(photo("grass.png"), frames=4))
    assert verdict.decision is Decision.REVIEW


def test_an_empty_library_is_said_on_every_verdict(tmp_path: Path, photo: Photo) -> None:
    with Library.create(tmp_path / "empty", hashes_only().specs) as library:
        verdict = Checker(hashes_only(), library, hash_policy()).check(Picture(photo("grass.png")))
    assert verdict.references == 0
    assert "THE LIBRARY IS EMPTY" in verdict.reasons[0]


def test_a_policy_for_a_descriptor_that_is_not_there_is_refused(library: Library) -> None:
    with pytest.raises(CheckError, match="decides by sscd-512"):
        Checker(hashes_only(), library, policy("sscd-512"))


def test_a_library_without_the_policys_descriptor_is_refused(tmp_path: Path) -> None:
    with (
        Library.create(tmp_path / "small", Fingerprinter().specs) as library,
        pytest.raises(CheckError, match="pdq-256, which the library lacks"),
    ):
        Checker(hashes_only(), library, policy("pdq-256"))


def test_a_library_of_another_version_is_refused(tmp_path: Path) -> None:
    old = [replace(spec, version="0") for spec in hashes_only().specs]
    with Library.create(tmp_path / "old", old) as library, pytest.raises(VersionMismatch):
        Checker(Fingerprinter(hash_descriptors()), library, policy("pdq-256"))


def test_a_descriptor_that_is_dropped_while_checking_ends_the_check(
    checker: Checker, library: Library, photo: Photo
) -> None:
    copy = Picture(photo("chelsea.png").resize((200, 133)))
    assert checker.check(copy).decision is Decision.BLOCK
    with Library.open(library.folder) as other:
        other.drop("pdq-256")
    with pytest.raises(CheckError, match="pdq-256, which the library lacks"):
        checker.check(copy)


def test_a_reference_that_is_removed_during_the_search_is_left_out(
    thorough: Checker, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = thorough.index
    assert isinstance(library, Library)
    search = library.search_each

    def searched(*asked: Any) -> list[list[Candidate]]:
        found = search(*asked)
        for reference in {each.reference.uri for rows in found for each in rows}:
            library.remove(uri=reference)
        return found

    monkeypatch.setattr(library, "search_each", searched)
    verdict = thorough.check(Picture(ImageOps.mirror(photo("chelsea.png"))))
    assert (verdict.matches, verdict.references) == ((), 0)


def test_two_narrow_strips_are_for_review_and_no_copies(library: Library, tmp_path: Path) -> None:
    from tests.test_library import fingerprint, new

    one, two = (
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (12, 2000, 3), np.uint8))
        for n in range(2)
    )
    library.add([new("strip", fingerprint(one))])
    checker = Checker(hashes_only(), library, hash_policy())
    assert checker.check(Picture(two)).reasons == ("too little detail to compare",)
    assert checker.check(Picture(one)).decision is Decision.BLOCK


def test_a_parent_counts_though_its_recipe_is_near_too(library: Library, photo: Photo) -> None:
    from tests.test_library import fingerprint, new

    recipe = Recipe("a fox", "", "m", "0123456789", 1, 20, 4.0, "DPM++ 2M", None, 64, 64)
    library.add([new("fox", fingerprint(photo("grass.png")), recipe)])
    checker = Checker(hashes_only(), library, hash_policy())
    (print_,) = hashes_only().describe([photo("ihc.png")])
    for remixed in (None, recipe.with_changes(seed=2)):
        (verdict,) = checker.judge_each([Asked(print_, 1, remixed, ("fox",))])
        assert verdict.decision is Decision.REVIEW


def test_a_file_with_a_known_recipe_is_for_review(library: Library, photo: Photo) -> None:
    from tests.test_library import fingerprint, new

    recipe = Recipe("a fox", "", "m", "0123456789", 1, 20, 4.0, "DPM++ 2M", None, 64, 64)
    library.add([new("fox", fingerprint(photo("grass.png")), recipe)])
    checker = Checker(hashes_only(), library, hash_policy())
    verdict = checker.check(Picture(photo("ihc.png")), recipe)
    assert verdict.decision is Decision.REVIEW
    assert [match.why for match in verdict.matches] == ["same recipe"]
    assert checker.check(Picture(photo("ihc.png"))).decision is Decision.CLEAR
