"""Every edit that detection is measured by makes a picture, the same one for the same seed.

What painting is measured against paints the same pictures.
"""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen.models import resolve
from gen.pipeline import load
from provenance.recipe import Recipe
from tests.conftest import PHOTOS
from ui.bench.architectures import ARCHITECTURES, write
from ui.bench.detection import TIERS
from ui.bench.generation import plain
from ui.bench.random_edits import any_edit, sharing, text_page

ALL_EDITS = {name: edit for tier in TIERS.values() for name, edit in tier.items()}


@pytest.mark.parametrize("name", ALL_EDITS)
@pytest.mark.parametrize("size", [(512, 340), (150, 512)])
def test_an_edit_is_a_function_of_its_seed(name: str, size: tuple[int, int]) -> None:
    image = Image.open(PHOTOS / "coffee.png").convert("RGB").resize(size)
    others = [Image.open(PHOTOS / n).convert("RGB") for n in ("rocket.jpg", "chelsea.png")]
    before = image.tobytes()
    first, again = (ALL_EDITS[name](image, random.Random(7), others) for _ in range(2))
    assert image.tobytes() == before
    assert first.mode == "RGB"
    assert np.array_equal(np.asarray(first), np.asarray(again))
    if name != "none":
        assert first.size != image.size or first.tobytes() != before


def test_the_tiers_name_every_edit_once() -> None:
    assert len(ALL_EDITS) == sum(map(len, TIERS.values())) >= 30


def test_random_edits_and_pages_are_functions_of_their_seeds() -> None:
    photos = [
        Image.open(PHOTOS / name).convert("RGB").resize((200, 160))
        for name in ("coffee.png", "rocket.jpg", "chelsea.png")
    ]
    seen = set()
    for seed in range(60):
        made = []
        for _ in range(2):
            rng = random.Random(seed)
            edited = any_edit(rng)(photos[0], rng, photos[1:])
            made.append((edited, *sharing(photos[0], photos[1], rng, photos), text_page(rng)))
        assert [each.tobytes() for each in made[0]] == [each.tobytes() for each in made[1]]
        assert {each.mode for each in made[0]} == {"RGB"}
        seen.add(made[0][0].tobytes())
    assert len(seen) > 50  # a few draw the same edit


@pytest.mark.parametrize("name", [*ARCHITECTURES, "starter"])
def test_plain_diffusers_paints_the_same_pictures(tmp_path: Path, name: str) -> None:
    if name in ARCHITECTURES:
        write(name, tmp_path / name, tiny=True)
    spec = resolve(str(tmp_path / name) if name in ARCHITECTURES else name)
    painter = load(spec)
    first = painter.complete(Recipe("a fox", seed=0, steps=2, width=64, height=64))
    recipes = [first.with_changes(seed=seed) for seed in range(5)]
    ours = painter.paint_each(recipes, lambda *_: None)
    theirs = plain(spec, painter, recipes)()
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1
