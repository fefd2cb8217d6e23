"""A1111 infotext, written and read; real files where ../shared is at hand."""

from pathlib import Path

import pytest

from provenance.images import read_picture
from provenance.label.infotext import infotext
from provenance.read import recipe_of
from provenance.read.found import Text
from provenance.read.infotext import parse_found
from provenance.recipe import Lora, Part, Recipe


def parse_infotext(text: str) -> Recipe | None:
    found = parse_found(Text("", "", text))
    return found.recipe if found else None


SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "metadata"

ROUND_TRIPS = [
    Recipe("a fox", "", "starter", "0123456789", 7, 20, 4.0, "DPM++ 2M", None, 128, 96),
    Recipe("a fox,\nat night: blue", "fog, rain", "m", "0123456789", 0, 1, 7.5, "Euler a",
           "Karras", 64, 64),
    Recipe("雪中的狐狸", "雾", "模型, 一", "0123456789", 2**62, 20, 1.0, "UniPC", None, 128, 128),
    Recipe("a fox", "", "m", "0123456789", 7, 20, 4.0, "Euler", None, 64, 64,
           (Lora("ink", 0.8, "aabbccddeeff"),)),
    Recipe("a fox, inky", "", "m", "0123456789", 7, 20, 4.0, "Euler", None, 64, 64, (),
           Part("soft vae", "aabbccddee"), (Part("inky", "00112233aa"), Part("b", "ff")),
           None, "ab" * 32, 0.55),
]  # fmt: skip


@pytest.mark.parametrize("recipe", ROUND_TRIPS)
def test_what_is_written_is_read(recipe: Recipe) -> None:
    assert parse_infotext(infotext(recipe)) == recipe


def test_only_known_hashes_are_written() -> None:
    recipe = Recipe("a fox", steps=1, loras=(Lora("ink"), Lora("fog", 0.5, "aabbccddeeff")),
                    embeddings=(Part("mood"),))  # fmt: skip
    text = infotext(recipe)
    assert 'Lora hashes: "fog: aabbccddeeff"' in text
    assert "None" not in text
    assert "TI hashes" not in text
    assert parse_infotext(text) == recipe.with_changes(embeddings=())


REAL = (
    "portrait of a woman, <lora:add_detail:0.5>\n"
    "Negative prompt: bad hands\n"
    "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, "
    'Model hash: c35782bad8, Model: real, ControlNet 0: "preprocessor: none, weight: 1", '
    "Version: v1.6.0\nTemplate: portrait of a {woman|man}\nNegative Template: bad hands"
)


def test_lines_after_the_parameters_are_not_the_prompt() -> None:
    recipe = parse_infotext(REAL)
    assert recipe
    assert recipe.prompt == "portrait of a woman,"
    assert recipe.negative == "bad hands"
    assert (recipe.width, recipe.height, recipe.seed) == (512, 768, 965400086)
    assert recipe.loras == (Lora("add_detail", 0.5),)


@pytest.mark.parametrize(
    "text",
    ["", "a fox", "Steps: 20", "a fox\nSteps: twenty, Seed: x, Size: y", "Steps: " * 50_000],
)
def test_what_is_no_infotext_is_none(text: str) -> None:
    assert parse_infotext(text) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="real files are not at hand")
def test_real_files() -> None:
    recipe = recipe_of(read_picture(SHARED / "sd-parsers__automatic1111_cropped.png"))
    assert recipe
    assert (recipe.steps, recipe.guidance) != (None, None)
    assert recipe_of(read_picture(SHARED / "sdnext__v1-5-pruned-fp16-emaonly.jpg"))
