"""The demo tells the truth: one picture shown, one recipe refused, one copy blocked."""

from pathlib import Path

import pytest

from index.sources import image_files
from provenance.images import read_picture
from provenance.read import recipe_of
from ui import demo


def test_the_gallery_carries_its_recipes() -> None:
    files = image_files(demo.GALLERY)
    recipes = [recipe_of(read_picture(file)) for file in files]
    assert len(files) >= 24
    assert all(recipe and recipe.key for recipe in recipes)


def test_the_demo_runs_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.run(tmp_path / "demo")
    told = capsys.readouterr().out
    assert "24 known pictures" in told
    clear, refused, blocked = (line for line in told.splitlines() if line.startswith("    "))
    assert clear.split()[0] == "clear"
    assert "refused before painting: this is the recipe of" in refused
    assert blocked.split()[0] == "block"
    assert "near copy of" in blocked
    (shown,) = (tmp_path / "demo" / "pictures").iterdir()
    assert str(shown) in clear
    assert recipe_of(read_picture(shown))
    assert "withheld" in (tmp_path / "demo" / "report.html").read_text("utf-8")
