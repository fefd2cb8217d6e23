"""A batch's pages: every clear picture once, of the others the evidence and no pixel."""

import base64
import re
from dataclasses import replace
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen.jobs import read_jobs
from gen.studio import Studio
from index.library import Library
from provenance.check import Checker
from provenance.recipe import Recipe
from tests.conftest import PHOTOS, hash_policy, hashes_only, labeller
from tests.test_batch import Flaky, batch
from tests.test_jobs import written
from tests.test_studio import Held
from ui import pages
from ui.pages import Thumbnails, withdraw, write_pages
from ui.report import pace

PROMPTS = "grass.png\ncoffee.png\nbad <script>alert(1)</script>\nihc.png\n"


def made(tmp_path: Path, checker: Checker, prompts: str = PROMPTS) -> list[dict[str, Any]]:
    jobs = read_jobs(written(tmp_path, "j.txt", prompts))
    return batch(
        jobs, Studio(Flaky(), checker, (), Held(), labeller()), tmp_path / "out", max_errors=9
    )


def written_pages(tmp_path: Path, rows: list[dict[str, Any]], library: Library) -> tuple[str, str]:
    out = tmp_path / "out"
    write_pages(rows, out, library, Thumbnails(out), title="Batch <1>")
    return (out / "contact-sheet.html").read_text("utf-8"), (out / "evidence.html").read_text(
        "utf-8"
    )


def images(page: str) -> list[Image.Image]:
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(BytesIO(base64.b64decode(each))) for each in found]


def test_the_sheet_has_the_clear_and_the_evidence_the_others(
    tmp_path: Path, library: Library, checker: Checker
) -> None:
    rows = made(tmp_path, checker)
    sheet, evidence = written_pages(tmp_path, rows, library)
    links = [unescape(each) for each in re.findall(r'<figure><a href="([^"]+)"', sheet)]
    assert links == [Path(row["file"]).name for row in rows if row["file"]]
    assert len(images(sheet)) == sheet.count('loading="lazy"') == len(links) == 2
    assert all(max(image.size) <= 160 for image in images(sheet))
    assert "grass.png" in sheet
    assert "coffee.png" not in sheet
    assert "the same pixels as coffee.png" in evidence
    assert 'href="file:///' in evidence
    assert "RuntimeError: no memory" in evidence
    assert "grass" not in evidence
    assert "<script>" not in sheet + evidence


def test_no_withheld_picture_is_on_any_page(tmp_path: Path, library: Library) -> None:
    """Not even where a row names a file of it: the pages show references alone."""
    strict = replace(hash_policy(), min_detail=101)
    rows = made(tmp_path, Checker(hashes_only(), library, strict), "grass.png\n")
    assert rows[0]["decision"] == "review"
    (tmp_path / "out" / "x.png").write_bytes((PHOTOS / "grass.png").read_bytes())
    rows[0] |= {"file": str(tmp_path / "out" / "x.png"), "path": str(tmp_path / "out" / "x.png")}
    sheet, evidence = written_pages(tmp_path, rows, library)
    assert images(sheet) == []
    assert len(images(evidence)) <= len(rows[0]["matches"])
    assert "x.png" not in sheet + evidence
    assert "Held for review as 0" not in sheet


def test_a_thumbnail_is_made_once_and_again_when_its_picture_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes((PHOTOS / "grass.png").read_bytes())
    first = Thumbnails(tmp_path).of("a.png")
    assert first
    with (tmp_path / ".thumbnails.jsonl").open("a") as file:
        file.write('\n["a.png", 12')
    monkeypatch.setattr(pages, "read_picture", None)
    assert Thumbnails(tmp_path).of("a.png") == first
    monkeypatch.undo()
    picture.write_bytes((PHOTOS / "coffee.png").read_bytes())
    again = Thumbnails(tmp_path).of("a.png")
    assert again
    assert again != first
    assert Thumbnails(tmp_path).of("a.png") == again
    picture.unlink()
    assert Thumbnails(tmp_path).of("a.png") is None


def test_the_pace_is_of_the_last_pictures() -> None:
    assert pace([0.0], 5, {}) == ""
    told = pace([10.0, 11.0, 14.0], 6000, {"block": 2, "clear": 1200, "failed": 0})
    assert told == "0.5 pictures/s · 3:20:00 left · 1,200 clear · 2 block"


def test_ten_thousand_pictures_are_twenty_sheets(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Thumbnails, "of", lambda self, name: None)
    (tmp_path / "out").mkdir()
    row = {
        "job": 1, "decision": "clear", "file": "out/#1?.png", "error": None, "library": None,
        "policy": None, "seed": 1, "recipe": Recipe("a fox").to_json(),
    }  # fmt: skip
    sheet, _ = written_pages(tmp_path, [row] * 10_000, library)
    assert sheet.count("<figure>") == 500
    assert 'href="%231%3F.png"' in sheet
    assert len(list((tmp_path / "out").glob("contact-sheet*.html"))) == 20
    assert '<a href="contact-sheet-20.html">20</a>' in sheet


def test_what_is_no_longer_clear_is_on_no_sheet_and_no_thumbnail(
    tmp_path: Path, library: Library, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PER_SHEET", 1)
    rows = made(tmp_path, checker)
    out = tmp_path / "out"
    written_pages(tmp_path, rows, library)
    assert (out / "contact-sheet-2.html").exists()
    assert (out / ".thumbnails.jsonl").read_text().count("data:image") == 2
    withheld = [{**row, "decision": "review", "file": None} for row in rows]
    written_pages(tmp_path, withheld, library)
    assert not (out / "contact-sheet-2.html").exists()
    assert (out / ".thumbnails.jsonl").read_text() == ""
    written_pages(tmp_path, rows, library)
    withdraw(out)
    assert not [*out.glob("contact-sheet*"), *out.glob(".thumbnails*")]
