"""Near duplicates inside an audited folder: what is grouped, what is not, and after a stop."""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageOps

import provenance.check
from index.library import Library
from provenance.audit import Finding, Journal, audit, grouped
from provenance.check import Checker
from provenance.fingerprint import Fingerprinter
from provenance.groups import Grouping
from provenance.verdict import NO_VERDICT, Policy, load_policy
from tests.conftest import (
    PHOTOS,
    hash_policy,
    hashes_only,
    with_second_look,
)
from ui import report

Photo = Callable[[str], Image.Image]


class Desk:
    """An audit of a folder against an empty library."""

    def __init__(
        self, folder: Path, factory: Callable[[], Fingerprinter], policy: Policy, pictures: Path
    ) -> None:
        prints = factory()
        self.folder, self._factory = folder, factory
        self._checker = Checker(
            prints, Library.create(folder.parent / "known", prints.specs), policy
        )
        self.pictures = Library.create(pictures, prints.specs)
        self.grouping = Grouping(Checker(prints, self.pictures, policy), self.pictures)

    def running(self, journal: Journal | None = None) -> Iterator[Finding]:
        files = sorted(self.folder.iterdir())
        return audit(files, self._checker, self._factory, journal=journal, grouping=self.grouping)

    def rows(self, journal: Journal | None = None) -> dict[str, Any]:
        told = grouped(list(self.running(journal)), self.grouping)
        return {Path(row["path"]).name: row for row in told}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "entries"
    made.mkdir()
    return made


@pytest.fixture
def desk(folder: Path, tmp_path: Path) -> Desk:
    return Desk(folder, with_second_look, load_policy(), tmp_path / "pictures")


def groups(rows: dict[str, Any]) -> list[list[str]]:
    found: dict[int, list[str]] = {}
    for name, row in rows.items():
        if row["group"]:
            found.setdefault(row["group"]["id"], []).append(name)
    assert sorted(found) == list(range(1, len(found) + 1))
    return [found[number] for number in sorted(found)]


def near(row: Finding) -> dict[str, Any]:
    return {Path(link["path"]).name: link for link in row["near"]}


def part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (int(left * width), int(top * height), int(right * width), int(bottom * height))
    )


def pasted(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", (900, 700), "white")
    page.paste(image.resize((420, 280)), (430, 380))
    return page


def test_edited_copies_are_a_group_and_other_pictures_are_not(
    desk: Desk, folder: Path, photo: Photo
) -> None:
    coffee = photo("coffee.png")
    coffee.save(folder / "a.png")
    part(coffee, 0.1, 0.1, 0.9, 0.9).save(folder / "b-crop.png")
    ImageOps.mirror(coffee).save(folder / "c-flip.jpg")
    pasted(coffee).save(folder / "d-paste.png")
    for name in ("astronaut.png", "rocket.jpg", "chelsea.png"):
        photo(name).save(folder / name)
    (folder / "zz-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = desk.rows()
    assert groups(rows) == [["a.png", "b-crop.png", "c-flip.jpg", "d-paste.png"]]
    assert {row["group"]["lead"] for row in rows.values() if row["group"]} == {
        str(folder / "a.png")
    }
    assert rows["a.png"]["group"]["score"] == 1
    assert rows["c-flip.jpg"]["group"]["edits"] == ["mirrored"]
    assert rows["d-paste.png"]["group"]["why"] == "edited copy"
    assert "part of a larger picture" in rows["d-paste.png"]["group"]["edits"]
    assert near(rows["a.png"])["b-crop.png"]["edits"] == ["part of a larger picture"]
    assert near(rows["b-crop.png"])["a.png"]["edits"] == ["cropped"]
    assert rows["rocket.jpg"]["near"] == []
    assert (rows["zz-broken.png"]["group"], rows["zz-broken.png"]["near"]) == (None, None)
    assert json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("order", ["123", "213", "231"])
def test_a_chain_is_not_a_group(desk: Desk, folder: Path, photo: Photo, order: str) -> None:
    """Left and right half are each a part of the whole, and share nothing."""
    coffee = photo("coffee.png")
    left, whole, right = (f"{place}.png" for place in order)
    coffee.save(folder / whole)
    part(coffee, 0, 0, 0.5, 1).save(folder / left)
    part(coffee, 0.5, 0, 1, 1).save(folder / right)
    rows = desk.rows()
    first, second = sorted((left, right))
    assert groups(rows) == [sorted((whole, first))]
    assert near(rows[second]).keys() == {whole}
    assert near(rows[whole]).keys() == {left, right}


@pytest.mark.parametrize("names", [("1.png", "2.png"), ("2.png", "1.png")])
def test_a_small_part_and_its_whole_are_found_in_either_order(
    desk: Desk, folder: Path, photo: Photo, names: tuple[str, str]
) -> None:
    """A ninth of a picture is too little of it to say that the picture was found."""
    astronaut = photo("astronaut.png")
    astronaut.save(folder / names[0])
    part(astronaut, 0.3, 0.05, 0.6, 0.35).resize((400, 400)).save(folder / names[1])
    rows = desk.rows()
    assert groups(rows) == [["1.png", "2.png"]]
    assert "cropped" in near(rows[names[1]])[names[0]]["edits"]


def test_same_pixels_are_a_group_in_any_format(desk: Desk, folder: Path, photo: Photo) -> None:
    for name in ("a.png", "b.webp", "c.bmp"):
        photo("rocket.jpg").save(folder / name, lossless=True)
    for number in range(12):
        photo("coins.png").save(folder / f"coins-{number:02}.png")
    rows = desk.rows()
    assert [len(group) for group in groups(rows)] == [3, 12]
    assert rows["c.bmp"]["near"][0] == {
        "path": str(folder / "a.png"), "score": 1.0, "why": "copy", "edits": [],
    }  # fmt: skip
    assert len(rows["coins-03.png"]["near"]) == 10


def test_pictures_without_detail_are_grouped_by_their_pixels_only(desk: Desk, folder: Path) -> None:
    for name, size in (("a", 300), ("b", 300), ("c", 310), ("d", 320)):
        Image.new("RGB", (size, size), "white").save(folder / f"{name}.png")
    for number in (1, 2):
        dot = Image.new("RGB", (300, 300), "grey")
        ImageDraw.Draw(dot).point((number, number), "white")
        dot.save(folder / f"dot-{number}.png")
    rows = desk.rows()
    assert groups(rows) == [["a.png", "b.png"]]
    assert rows["c.png"]["near"] == []


def test_a_group_may_be_larger_than_what_a_search_returns(
    desk: Desk, folder: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance.check, "CANDIDATES", 1)
    monkeypatch.setattr("index.stores._VOTED", 1)
    monkeypatch.setattr("index.stores._LIKE", 0)
    for number in range(6):
        shift = number / 50
        part(photo("chelsea.png"), shift, shift, 0.85 + shift, 0.85 + shift).save(
            folder / f"{number}.png"
        )
    (group,) = groups(desk.rows())
    assert len(group) == 6


def test_hashes_alone_group_what_hashes_find(folder: Path, tmp_path: Path, photo: Photo) -> None:
    desk = Desk(folder, hashes_only, hash_policy(), tmp_path / "pictures")
    coffee = photo("coffee.png")
    coffee.save(folder / "a.png")
    coffee.resize((300, 200)).save(folder / "b.jpg", quality=40)
    ImageOps.mirror(coffee).save(folder / "c-flip.png")
    part(coffee, 0, 0, 0.5, 0.5).save(folder / "d-crop.png")
    assert groups(desk.rows()) == [["a.png", "b.jpg", "c-flip.png"]]


@pytest.fixture
def mixed(folder: Path, photo: Photo) -> Path:
    """Two groups, something outside of them, something flat, something unreadable."""
    coffee, rocket = photo("coffee.png"), photo("rocket.jpg")
    for name, image in {
        "a": part(coffee, 0, 0, 0.5, 1),
        "b": coffee,
        "c": part(coffee, 0.5, 0, 1, 1),
        "d": rocket,
        "e": Image.new("RGB", (200, 200)),
        "g": ImageOps.mirror(rocket),
        "h": Image.new("RGB", (200, 200)),
        "i": ImageOps.mirror(coffee),
        "j": coffee,
    }.items():
        image.save(folder / f"{name}.png")
    (folder / "f.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_stopped_audit_finds_the_same_groups(mixed: Path, tmp_path: Path, stop: int) -> None:
    def at(place: str) -> Desk:
        return Desk(mixed, with_second_look, load_policy(), tmp_path / place)

    whole = at("whole").rows()
    assert groups(whole) == [
        ["a.png", "b.png", "i.png", "j.png"],
        ["d.png", "g.png"],
        ["e.png", "h.png"],
    ]
    with Journal(tmp_path / "journal", "basis") as journal:
        running = at("pictures").running(journal)
        for _ in range(stop):
            next(running)
    (mixed / "zz.png").write_bytes((PHOTOS / "chelsea.png").read_bytes())
    with Journal(tmp_path / "journal", "basis") as journal:
        assert len(journal) == stop
        again = at("pictures").rows(journal)
    del again["zz.png"]
    assert {n: (r["group"], r["near"]) for n, r in again.items()} == {
        n: (r["group"], r["near"]) for n, r in whole.items()
    }


def test_a_picture_that_changed_leaves_its_group(mixed: Path, tmp_path: Path) -> None:
    def at() -> Desk:
        return Desk(mixed, with_second_look, load_policy(), tmp_path / "pictures")

    with Journal(tmp_path / "journal", "basis") as journal:
        list(at().running(journal))
    (mixed / "d.png").write_bytes((PHOTOS / "chelsea.png").read_bytes())
    (mixed / "a.png").unlink()
    with Journal(tmp_path / "journal", "basis") as journal:
        rows = at().rows(journal)
    assert groups(rows) == [["b.png", "c.png", "i.png", "j.png"], ["e.png", "h.png"]]
    assert rows["g.png"]["near"] == rows["d.png"]["near"] == []


def test_every_pair_of_a_group_is_linked(mixed: Path, desk: Desk) -> None:
    rows = desk.rows()
    for group in groups(rows):
        for one, other in combinations(group, 2):
            assert other in near(rows[one])
            assert near(rows[one])[other]["score"] == near(rows[other])[one]["score"] >= 0.5
    scores = [link["score"] for link in rows["b.png"]["near"]]
    assert all(one >= other for one, other in pairwise(scores))


def test_reports_show_the_groups(mixed: Path, desk: Desk, tmp_path: Path) -> None:
    rows = list(desk.rows().values())
    assert list(report.group_lines(rows)) == [
        f"group 1    {mixed}/a.png, {mixed}/b.png, {mixed}/i.png, {mixed}/j.png",
        f"group 2    {mixed}/d.png, {mixed}/g.png",
        f"group 3    {mixed}/e.png, {mixed}/h.png",
        f"close      {mixed}/c.png: to {mixed}/i.png, {mixed}/b.png, {mixed}/j.png",
    ]
    said = report.summary(rows).splitlines()[1]
    assert said == "8 pictures in 3 groups of near duplicates, 1 more close to some of a group"
    report.write_csv(rows, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        table = {Path(line["path"]).name: line for line in csv.DictReader(file)}
    assert [table[f"{name}.png"]["group"] for name in "abcdef"] == ["1", "1", "", "2", "3", ""]
    assert (table["b.png"]["near"], table["b.png"]["near_score"]) == (f"{mixed}/j.png", "1.0")
    report.write_html(rows, tmp_path / "r.html", desk.pictures, title="Entries")
    _, section = (tmp_path / "r.html").read_text("utf-8").split("<h2>Near duplicates")
    section, _ = section.split("<h2>Clear</h2>")
    assert section.count("data:image/webp;base64,") == 9
    assert "Group 1: 4 pictures" in section
    assert "not of the group" in section
    assert "mirrored" in section


def test_reports_of_very_many_groups_end(tmp_path: Path) -> None:
    def row(number: int, group: int) -> Finding:
        link = {"score": 1.0, "why": "copy", "edits": []}
        return {
            "path": f"{number}.png", **NO_VERDICT, "decision": "clear", "error": None,
            "group": {"id": group, "lead": "x", **link}, "near": [{"path": "x", **link}],
        }  # fmt: skip

    rows = [row(number, number // 20) for number in range(4000)]
    lines = list(report.group_lines(rows))
    assert len(lines) == 41
    assert lines[0].endswith("4.png and 15 more")
    assert lines[-1].startswith("... and 160 more")
    with Library.create(tmp_path / "known", hashes_only().specs) as known:
        report.write_html(rows, tmp_path / "r.html", known, title="Many")
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "8 more are in the JSON" in html
    assert "100 more groups" in html


def test_a_full_group_takes_no_more(
    folder: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance.groups.MAX_GROUP", 2)
    coffee = Image.open(PHOTOS / "coffee.png").convert("RGB")
    for number in range(5):
        coffee.resize((300 + 8 * number, 200)).save(folder / f"{number}.png")
    rows = desk.rows()
    assert groups(rows) == [["0.png", "1.png"], ["2.png", "3.png"]]
    assert rows["4.png"]["group"] is None
    assert rows["4.png"]["near"]
