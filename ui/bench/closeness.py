"""How often the bundled model comes too close to the gallery that it painted itself."""

import tempfile
from collections import Counter
from pathlib import Path

from gen.models import STARTER, resolve
from gen.pipeline import load
from index.ingest import ingest
from index.sources import FolderSource
from provenance.images import Picture
from provenance.recipe import Recipe
from provenance.verdict import Decision
from ui.demo import GALLERY
from ui.demo.paint_gallery import PROMPTS
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library


def measure(count: int) -> None:
    """Paints the gallery's prompts in turn, with other seeds, and prints the verdicts' shares."""
    painter = load(resolve(STARTER))
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        with make_library(settings) as library:
            ingest(FolderSource(GALLERY), library, factory(settings))
            checker = make_checker(settings, library)
            by_prompt: dict[str, Counter[Decision]] = {prompt: Counter() for prompt in PROMPTS}
            for seed in range(count):
                prompt = PROMPTS[seed % len(PROMPTS)]
                recipe = painter.complete(Recipe(prompt, seed=seed))
                image = painter.paint(recipe, lambda done, steps: None)
                by_prompt[prompt][checker.check(Picture(image, 1)).decision] += 1
    total = sum(by_prompt.values(), Counter[Decision]())
    for decision in Decision:
        print(f"{decision.name.lower()}: {total[decision]} of {count}")
    for prompt, found in by_prompt.items():
        if held := found[Decision.REVIEW] + found[Decision.BLOCK]:
            print(f"  {held} of {found.total()}: {prompt}")
