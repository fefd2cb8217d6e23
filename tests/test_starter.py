"""The bundled model: small, the same pixels every time, and it follows the light of its prompt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gen.models import resolve
from gen.pipeline import Painter, load
from provenance.errors import MissingError, UsageError
from provenance.recipe import Recipe

ROOT = Path(__file__).parent.parent


def paint(painter: Painter, prompt: str, seed: int, **changes: Any) -> NDArray[np.float64]:
    recipe = painter.complete(Recipe(prompt, seed=seed, **changes))
    return np.asarray(painter.paint(recipe, lambda done, steps: None)).astype(float)


def test_all_shipped_weights_are_under_64_mib() -> None:
    files = [f for room in ("gen", "provenance") for f in (ROOT / room).rglob("*.safetensors")]
    assert files
    assert sum(file.stat().st_size for file in files) <= 64 * 2**20


def test_the_same_recipe_gives_the_same_pixels(starter: Painter) -> None:
    first = paint(starter, "a fox in the forest", 5, steps=4)
    paint(starter, "a whale at sea", 6, steps=3, sampler="UniPC")
    again = paint(starter, "a fox in the forest", 5, steps=4)
    fresh = paint(load(resolve("starter")), "a fox in the forest", 5, steps=4)
    assert (first == again).all()
    assert (first == fresh).all()
    assert (first != paint(starter, "a fox in the forest", 6, steps=4)).any()


def test_it_follows_setting_and_light(starter: Painter) -> None:
    day = paint(starter, "a house in a meadow", 1)
    night = paint(starter, "a house in a meadow at night", 1)
    assert night.mean() < 0.75 * day.mean()
    green = day[180:, :, 1].mean() - day[180:, :, [0, 2]].mean()
    snow = paint(starter, "a house in the snow", 1)
    assert green > 30
    assert snow[200:].mean() > day[200:].mean() + 30
    sunset = paint(starter, "a house in the desert at sunset", 1)
    assert sunset[..., 0].mean() > sunset[..., 2].mean() + 40


def test_progress_counts_the_steps(starter: Painter) -> None:
    steps: list[tuple[int, int]] = []
    recipe = starter.complete(Recipe("a fox", seed=1, steps=3))
    starter.paint(recipe, lambda done, all_: steps.append((done, all_)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_prompt_of_any_text_is_painted(starter: Painter) -> None:
    assert paint(starter, "雪の中の🦊 " * 40, 1, steps=1).shape == (256, 256, 3)


def test_other_sizes_are_painted(starter: Painter) -> None:
    assert paint(starter, "a fox", 1, steps=1, width=192, height=64).shape == (64, 192, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "Magic"}, "unknown sampler 'Magic'; known to a model.*DPM"),
        ({"model": "sdxl"}, "asks for model sdxl, loaded is starter"),
        ({"model_hash": "ffffffffff"}, "loaded is starter"),
        ({"width": 100}, "multiple of 16 for starter, got 100"),
    ],
)
def test_what_does_not_fit_is_refused(
    starter: Painter, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        starter.complete(Recipe("a fox", seed=1).with_changes(**changes))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"has no model_index\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("part", "place", "name"), [("unet", "os", "system"), ("vae", "evil", "PatchAutoencoder")]
)
def test_a_model_that_brings_code_is_refused(
    tmp_path: Path, part: str, place: str, name: str
) -> None:
    listing = {"_class_name": "StableDiffusionPipeline", part: [place, name]}
    (tmp_path / "model_index.json").write_text(json.dumps(listing))
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=f"wants its {part} from '{place}'"):
        load(resolve(str(tmp_path)))
