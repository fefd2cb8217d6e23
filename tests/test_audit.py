"""Files → findings: the journal of a stopped audit, and the reports."""

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.audit import Finding, Journal, audit
from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.fingerprint import Fingerprinter
from provenance.label.infotext import infotext
from provenance.ledger import Ledger
from provenance.recipe import Recipe
from provenance.verdict import Decision, Verdict, load_policy
from tests.carriers import xmp
from tests.conftest import (
    PHOTOS,
    UNKNOWN,
    hashes_only,
    with_second_look,
)
from tests.test_library import Photo, fingerprint, new
from ui import report
from ui.evidence import evidence
from ui.inspection import says


@pytest.fixture
def entries(tmp_path: Path) -> list[Path]:
    """Two unknown photographs, two edited known ones, one file that is no picture."""
    folder = tmp_path / "entries"
    folder.mkdir()
    for name in UNKNOWN[:2]:
        Image.open(PHOTOS / name).convert("RGB").save(folder / f"new-{Path(name).stem}.png")
    coffee = Image.open(PHOTOS / "coffee.png").convert("RGB")
    coffee.resize((300, 200)).save(folder / "small.jpg", quality=40)
    coffee.save(folder / "same.webp", lossless=True)
    (folder / "zz-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return sorted(folder.iterdir())


def test_findings_come_in_order(entries: list[Path], checker: Checker) -> None:
    found = list(audit(entries, checker, hashes_only))
    assert [Path(row["path"]) for row in found] == entries
    decisions = {Path(row["path"]).name: row["decision"] for row in found}
    assert decisions == {
        "new-hubble_deep_field.png": "clear",
        "new-motorcycle_left.png": "clear",
        "same.webp": "block",
        "small.jpg": "block",
        "zz-broken.png": None,
    }
    assert found[-1]["error"]
    best = found[2]["matches"][0]
    assert (best["title"], best["score"], best["why"]) == ("coffee.png", 1.0, "copy")


CONTRACT = {
    "path", "decision", "reasons", "error", "matches", "policy", "library", "recipe", "labels",
}  # fmt: skip
MATCH = {
    "uri", "source", "title", "license", "score", "similarity", "overlap", "region",
    "reference_region", "further_regions", "chance", "why", "edits",
}  # fmt: skip


def test_a_finding_has_the_form_of_the_contract(entries: list[Path], checker: Checker) -> None:
    for row in audit(entries, checker, hashes_only):
        assert row.keys() == CONTRACT
        assert all(match.keys() == MATCH for match in row["matches"])
        assert json.dumps(row, allow_nan=False)


def test_a_stopped_audit_goes_on(entries: list[Path], checker: Checker, tmp_path: Path) -> None:
    made: list[Fingerprinter] = []

    def counted() -> Fingerprinter:
        made.append(hashes_only())
        return made[-1]

    file = tmp_path / "journal.jsonl"
    with Journal(file, "basis") as journal:
        running: Iterator[Finding] = audit(entries, checker, counted, journal=journal)
        first = [next(running) for _ in range(3)]
    with file.open("a") as torn:
        torn.write('["half a li')
    with Journal(file, "basis") as journal:
        assert len(journal) == 3
        again = list(audit(entries, checker, counted, journal=journal))
    assert json.loads(json.dumps(again[:3])) == json.loads(json.dumps(first))
    assert len(made) == 2
    fresh = list(audit(entries, checker, hashes_only))
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(fresh))
    with Journal(file, "other basis") as journal:
        assert len(journal) == 0


def test_a_changed_file_is_checked_again(
    entries: list[Path], checker: Checker, tmp_path: Path
) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, "basis") as journal:
        list(audit(entries, checker, hashes_only, journal=journal))
    Image.open(PHOTOS / "rocket.jpg").save(entries[0])
    with Journal(file, "basis") as journal:
        assert journal.finding(entries[0]) is None
        assert journal.finding(entries[1])
        found = list(audit(entries, checker, hashes_only, journal=journal))
    assert found[0]["decision"] == "block"


def test_a_failed_check_is_no_finding(
    entries: list[Path], checker: Checker, library: Library
) -> None:
    running = audit(entries * 20, checker, hashes_only)
    next(running)
    (library.folder / "catalog.sqlite").unlink()
    with pytest.raises(CheckError):
        list(running)


def test_the_html_report_needs_no_other_file(
    entries: list[Path], checker: Checker, library: Library, tmp_path: Path
) -> None:
    rows = list(audit(entries, checker, hashes_only))
    report.write_html(rows, tmp_path / "r.html", library, title="Entries <1>")
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "Entries &lt;1&gt;" in html
    assert "2 clear" in html
    assert "2 block" in html
    assert "1 unreadable" in html
    assert html.count("data:image/webp;base64,") >= 6
    assert not re.search(r'src="(?!data:)|<link|@import|url\(', html)


def test_a_report_shows_so_many_and_tells_of_the_others(
    entries: list[Path], checker: Checker, library: Library, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = list(audit(entries, checker, hashes_only))
    monkeypatch.setattr(report, "MAX_ILLUSTRATED", 1)
    report.write_html(rows, tmp_path / "r.html", library, title="Entries")
    html = (tmp_path / "r.html").read_text("utf-8")
    blocked = [row for row in rows if row["decision"] == "block"]
    assert all(row["path"] in html for row in rows)
    assert html.count("checked picture</figcaption>") == 1 < len(blocked)
    assert html.count("<article>") == len(rows) - 2
    assert html.count(blocked[1]["matches"][0]["uri"]) >= 2


def test_the_report_outlines_what_is_shared(
    entries: list[Path], known_folder: Path, tmp_path: Path
) -> None:
    coffee = Image.open(PHOTOS / "coffee.png").convert("RGB")
    page = Image.new("RGB", (700, 600), "white")
    page.paste(coffee.resize((300, 200)), (350, 350))
    page.save(entries[0].with_name("pasted.png"))
    with Library.create(tmp_path / "second", with_second_look().specs) as library:
        ingest(FolderSource(known_folder), library, with_second_look)
        checker = Checker(with_second_look(), library, load_policy())
        (row,) = audit([entries[0].with_name("pasted.png")], checker, with_second_look)
        (match,) = row["matches"]
        assert (match["title"], match["why"]) == ("coffee.png", "edited copy")
        xs, ys = zip(*match["region"], strict=True)
        assert 340 < min(xs) < max(xs) < 660
        assert 340 < min(ys) < max(ys) < 560
        shown = evidence(row, library)
    for picture in (shown["image"], shown["shown"][0]["image"]):
        webp = base64.b64decode(picture.removeprefix("data:image/webp;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(webp)).convert("RGB")).astype(int)
        red = (pixels[..., 0] > 200) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
        assert red.sum() > 200


KNOWN_RECIPE = Recipe(
    "a cup of coffee", "", "m", "0123456789", 5, 20, 7.0, "Euler a", None, 512, 512
)


def telling(path: Path, recipe: Recipe, photo: str, **more: str) -> Path:
    """A photograph that says it was made by this recipe."""
    info = PngInfo()
    info.add_text("parameters", infotext(recipe).replace("Version: Firsthand", "Version: v1.9.4"))
    for key, text in more.items():
        info.add_text(key, text)
    Image.open(PHOTOS / photo).convert("RGB").save(path, pnginfo=info)
    return path


@pytest.fixture
def with_recipes(library: Library, checker: Checker, photo: Photo) -> Checker:
    """One reference has a recipe, another is a picture of Civitai."""
    library.add([new("gallery/5", fingerprint(photo("coins.png")), KNOWN_RECIPE)])
    library.add([new("https://civitai.com/images/77", fingerprint(photo("rocket.jpg")))])
    return checker


@pytest.mark.parametrize(
    ("change", "why", "reason"),
    [
        ({}, "same recipe", "made by the same recipe as gallery/5"),
        ({"sampler": "euler_ancestral"}, "same recipe", "made by the same recipe as gallery/5"),
        (
            {"steps": 30},
            "near recipe",
            "made by nearly the recipe of gallery/5 (steps 30, there 20)",
        ),
    ],
)
def test_what_the_file_says_finds_the_recipe(
    with_recipes: Checker, tmp_path: Path, change: dict[str, Any], why: str, reason: str
) -> None:
    file = telling(tmp_path / "a.png", KNOWN_RECIPE.with_changes(**change), "grass.png")
    (row,) = audit([file], with_recipes, hashes_only)
    assert (row["decision"], row["reasons"]) == ("review", [reason])
    assert (row["matches"][0]["uri"], row["matches"][0]["why"]) == ("gallery/5", why)


def test_another_seed_is_mentioned_and_clear(with_recipes: Checker, tmp_path: Path) -> None:
    file = telling(tmp_path / "a.png", KNOWN_RECIPE.with_changes(seed=6), "grass.png")
    (row,) = audit([file], with_recipes, hashes_only)
    assert (row["decision"], row["reasons"]) == ("clear", [])
    assert [match["why"] for match in row["matches"]] == ["near recipe"]


def test_a_parent_that_is_a_reference_is_for_review(with_recipes: Checker, tmp_path: Path) -> None:
    text = json.dumps({"extraMetadata": json.dumps({"prompt": "x", "remixOfId": 77})})
    file = tmp_path / "a.png"
    info = PngInfo()
    info.add_text("prompt", text)
    Image.open(PHOTOS / "grass.png").save(file, pnginfo=info)
    (row,) = audit([file], with_recipes, hashes_only)
    assert row["decision"] == "review"
    assert row["reasons"] == ["says that it was made from https://civitai.com/images/77"]
    assert row["labels"]["parents"] == [
        {"uri": "https://civitai.com/images/77", "why": "remixOfId"}
    ]


def test_no_text_clears_a_copy(with_recipes: Checker, tmp_path: Path) -> None:
    """Text is evidence against a picture, never for it: anyone can have written it."""
    recipe = KNOWN_RECIPE.with_changes(prompt="all my own work", seed=99)
    file = telling(tmp_path / "a.png", recipe, "coffee.png", Artist="me", Copyright="mine")
    (row,) = audit([file], with_recipes, hashes_only)
    assert row["decision"] == "block"


def test_a_report_has_what_each_file_says(with_recipes: Checker, tmp_path: Path) -> None:
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    packet = xmp(f'e:DigitalSourceType="{source}"')
    file = telling(tmp_path / "a.png", KNOWN_RECIPE, "grass.png", **{"XML:com.adobe.xmp": packet})
    rows = list(audit([file, PHOTOS / "retina.jpg"], with_recipes, hashes_only))
    assert rows[0]["labels"]["made_by"] == {"tool": "A1111", "version": "v1.9.4"}
    assert rows[1]["labels"] == {}
    said = "A1111 v1.9.4, seed 5; AI-generated (claimed)"
    report.write_html(rows, tmp_path / "r.html", with_recipes.index, title="Entries")
    assert f"says: {said}" in (tmp_path / "r.html").read_text("utf-8")
    report.write_csv(rows, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as table:
        assert [row["says"] for row in csv.DictReader(table)] == [said, ""]


def test_what_was_made_here_is_told(checker: Checker, tmp_path: Path) -> None:
    file = telling(tmp_path / "a.png", KNOWN_RECIPE, "grass.png")
    smaller = tmp_path / "b.png"
    Image.open(file).resize((256, 256)).save(smaller)
    verdict = Verdict(Decision.CLEAR, (), (), "default-5", "v1", 5)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(file.read_bytes(), KNOWN_RECIPE, verdict)
        rows = list(audit([file, smaller], checker, hashes_only, ledger=ledger))
    assert [row["labels"]["ledger"]["recovered"] for row in rows] == ["pixels", "similarity"]
    assert "recovered by similarity" in says(rows[1])


def test_csv_cells_are_no_formulas(tmp_path: Path, checker: Checker) -> None:
    path = tmp_path / "=1+1.png"
    Image.open(PHOTOS / "coffee.png").save(path)
    rows = [{**row, "path": path.name} for row in audit([path], checker, hashes_only)]
    report.write_csv(rows, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["path"] == "'=1+1.png"
    assert (line["decision"], line["title"]) == ("block", "coffee.png")


def test_a_file_that_changes_during_the_audit_is_read_again(
    entries: list[Path], checker: Checker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judging(pictures: Any) -> Any:
        Image.open(PHOTOS / "rocket.jpg").save(entries[0])  # read already, not yet judged
        return judge_each(pictures)

    judge_each = checker.judge_each
    monkeypatch.setattr(checker, "judge_each", judging)
    with Journal(tmp_path / "journal.jsonl", "basis") as journal:
        (found,) = audit(entries[:1], checker, hashes_only, journal=journal)
    assert found["decision"] == "clear"
    with Journal(tmp_path / "journal.jsonl", "basis") as journal:
        (found,) = audit(entries[:1], checker, hashes_only, journal=journal)
    assert found["decision"] == "block"


def test_a_damaged_journal_goes_on_from_its_last_good_line(
    entries: list[Path], checker: Checker, tmp_path: Path
) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, "basis") as journal:
        list(audit(entries, checker, hashes_only, journal=journal))
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = b"\0" * 100 + b"\n"
    file.write_bytes(b"".join(lines))
    with Journal(file, "basis") as journal:
        assert len(journal) == 2
        assert len(list(audit(entries, checker, hashes_only, journal=journal))) == len(entries)
    with Journal(file, "basis") as journal:
        assert len(journal) == len(entries)


def test_two_audits_do_not_share_a_journal(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, "basis"), pytest.raises(UsageError, match="another audit"):
        Journal(file, "basis")
