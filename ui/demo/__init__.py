"""The demo: the whole path on the bundled gallery, from an empty folder to a report."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from gen.studio import Generation, Studio
from index.ingest import ingest
from index.sources import FolderSource
from provenance.errors import MissingError
from provenance.files import write_whole
from provenance.images import read_picture
from provenance.read import recipe_of
from provenance.recipe import Recipe
from ui import report
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library, make_studio

GALLERY = Path(__file__).parent / "gallery"
NEW_PROMPT, NEW_SEED = "a robot in the snow at sunset", 2026


def run(out: Path) -> None:
    """Indexes the gallery, paints, checks, writes pictures and report under `out`."""
    say = Console(highlight=False, soft_wrap=True).print
    out = out.absolute()
    settings = load_settings(home=out / "home", library=out / "library")
    with make_library(settings) as library:
        tally = ingest(FolderSource(GALLERY, "demo gallery"), library, factory(settings))
        say(f"1. Indexed the community gallery: {tally.done} known pictures with their recipes.")
        checker = make_checker(settings, library)
        studio = make_studio(settings, checker)
        known = _gallery_recipe()
        rows: list[dict[str, Any]] = []
        say("\n2. A new prompt:")
        rows += _paint(studio, Recipe(NEW_PROMPT, seed=NEW_SEED), out, say)
        say("\n3. A gallery picture's recipe, repeated exactly:")
        rows += _paint(studio, known, out, say)
        say("\n4. The same recipe with one more step, which no recipe gate can know:")
        changed = known.with_changes(steps=(known.steps or 0) + 1)
        rows += _paint(studio, changed, out, say)
        page = out / "report.html"
        report.write_html(rows, page, library, title="Firsthand demo")
    say(f"\nPictures that may be shown: {out / 'pictures'}\nEvidence on the others:     {page}")


def _gallery_recipe() -> Recipe:
    recipe = recipe_of(read_picture(GALLERY / "01.png"))
    if recipe is None:
        raise MissingError(f"{GALLERY / '01.png'} carries no recipe; install Firsthand again")
    return recipe


def _paint(studio: Studio, recipe: Recipe, out: Path, say: Any) -> Iterable[dict[str, Any]]:
    (made,) = studio.make([recipe])
    say(f"   {recipe.prompt!r}, seed {recipe.seed}")
    row = {**made.to_json(), "path": _saved(made, out)}
    say("   ", report.line(row))
    return [row]


def _saved(made: Generation, out: Path) -> str | None:
    if made.picture is None:
        return None
    path = out / "pictures" / f"{made.recipe.seed}{made.picture.suffix}"
    write_whole(path, made.picture.data)
    return str(path)
