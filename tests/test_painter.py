"""A painter's batches: the pixels of a recipe alone, whatever is painted with it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gen import exact
from gen.models import resolve
from gen.pipeline import DiffusersPainter, Painter, load
from provenance.recipe import Lora, Recipe
from tests import tiny_pipelines

PROMPTS = ("a fox in the snow", "a car", "a house at night", "雪の中の🦊", "a fox in the snow")


@pytest.fixture(scope="module")
def painters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DiffusersPainter]:
    room = tmp_path_factory.mktemp("models")
    return {
        family: load(resolve(str(tiny_pipelines.write(family, room / family))))
        for family in tiny_pipelines.FAMILIES
    }


def pixels(images: Sequence[Image.Image | None]) -> list[NDArray[np.uint8]]:
    return [np.asarray(image) for image in images if image]


def require_same_alone_and_at_once(painter: Painter, **changes: Any) -> None:
    """A batch of five, of two and each alone; all of them differ from each other."""
    given = {"steps": 2, **changes}
    recipes = [
        painter.complete(Recipe(prompt, seed=seed, **given)) for seed, prompt in enumerate(PROMPTS)
    ]
    assert len({painter.shape(recipe) for recipe in recipes}) == 1
    alone = pixels([painter.paint(recipe, lambda *_: None) for recipe in recipes])
    for count in (2, 5):
        together = pixels(painter.paint_each(recipes[:count], lambda *_: None))
        for number, (one, other) in enumerate(zip(alone, together, strict=False)):
            assert (one == other).all(), f"picture {number} of {count}"
    assert len({image.tobytes() for image in alone}) == len(alone)


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_every_family_paints_the_same_at_once(
    painters: dict[str, DiffusersPainter], family: str
) -> None:
    require_same_alone_and_at_once(painters[family], width=64, height=96)


def test_without_guidance_too(painters: dict[str, DiffusersPainter], starter: Painter) -> None:
    for painter in (painters["sd15"], painters["sdxl"], painters["pixart"]):
        require_same_alone_and_at_once(painter, width=64, height=64, guidance=1.0)
    require_same_alone_and_at_once(starter, guidance=1.0)


def test_the_starter_paints_the_same_at_once(starter: Painter) -> None:
    require_same_alone_and_at_once(starter)


def test_samplers_that_add_noise_paint_the_same_at_once(
    painters: dict[str, DiffusersPainter],
) -> None:
    for sampler in ("Euler a", "DPM++ SDE", "LCM"):
        require_same_alone_and_at_once(painters["sd15"], width=64, height=64, sampler=sampler)


def test_init_images_and_loras_paint_the_same_at_once(
    painters: dict[str, DiffusersPainter], tmp_path: Path
) -> None:
    Image.new("RGB", (80, 64), "red").save(tmp_path / "red.png")
    lora = Lora(str(tiny_pipelines.lora(tmp_path / "ink.safetensors", "sd15")))
    changes = {"init": str(tmp_path / "red.png"), "steps": 4, "loras": (lora,)}
    require_same_alone_and_at_once(painters["sd15"], width=64, height=64, **changes)


def test_on_several_cores_too(
    painters: dict[str, DiffusersPainter], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = painters["sdxl"].complete(Recipe("a fox", seed=3, steps=2, width=64, height=64))
    (alone,) = pixels([painters["sdxl"].paint(recipe, lambda *_: None)])
    monkeypatch.setattr(exact, "cores", lambda: 3)
    same = [recipe.with_changes(seed=seed) for seed in (1, 2, 3, 4)]
    assert (pixels(painters["sdxl"].paint_each(same, lambda *_: None))[2] == alone).all()


def test_shares_keep_their_order_and_the_first_error_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(exact, "cores", lambda: 3)
    threads = torch.get_num_threads()
    assert exact.spread(range(8), lambda share: [(n, torch.get_num_threads()) for n in share]) == [
        (n, 1) for n in range(8)
    ]
    assert torch.get_num_threads() == threads

    def fail(share: Sequence[int]) -> list[int]:
        raise ValueError(f"no {share[0]}")

    with pytest.raises(ValueError, match="no 0"):
        exact.spread(range(8), fail)


def test_shapes_tell_what_can_be_painted_at_once(painters: dict[str, DiffusersPainter]) -> None:
    painter = painters["sd15"]

    def shape(prompt: str = "a fox", **changes: Any) -> Any:
        return painter.shape(painter.complete(Recipe(prompt, seed=1, **changes)))

    assert shape() == shape("a car", negative="fog") == shape("a\ncar")
    assert len({shape(), shape(steps=3), shape(guidance=2), shape(sampler="Euler"),
                shape(width=32), shape("a (red:1.2) fox"), shape("word " * 100)}) == 7  # fmt: skip
    require_same_alone_and_at_once(painter, width=64, height=64, negative="(fog:1.3)")


def test_a_text_is_encoded_once(
    painters: dict[str, DiffusersPainter], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    painter, read = painters["sd15"], []
    encoder = painter.pipeline.text_encoder.encoder
    own = encoder.forward

    def counting(*args: Any, **named: Any) -> Any:
        read.append(1)
        return own(*args, **named)

    monkeypatch.setattr(encoder, "forward", counting)
    recipe = painter.complete(Recipe("a crow", "mist", seed=3, steps=1, width=64, height=64))
    painter.paint_each([recipe, recipe.with_changes(seed=4)], lambda *_: None)
    assert len(read) == 2
    painter.paint(recipe.with_changes(prompt="a crow at sea"), lambda *_: None)
    assert len(read) == 3
    lora = Lora(str(tiny_pipelines.lora(tmp_path / "ink.safetensors", "sd15")))
    painter.paint(painter.complete(recipe.with_changes(loras=(lora,))), lambda *_: None)
    assert len(read) == 5  # it may have changed the encoder


def test_a_tokenizer_serves_several_threads(painters: dict[str, DiffusersPainter]) -> None:
    """While some are painted, the next ones' prompts are measured."""
    for family in ("sd15", "flux"):
        read = painters[family].pipeline.components["tokenizer"]
        words = "a fox in the snow " * 3

        def padded(_: int, read: Any = read, words: str = words) -> int:
            found = read(words, padding="max_length", max_length=40, truncation=True)
            return len(found.input_ids)

        def measured(_: int, read: Any = read, words: str = words) -> int:
            return len(read(words, truncation=False, verbose=False).input_ids)

        alone = measured(0)
        assert alone != 40
        with ThreadPoolExecutor(4) as pool:
            works = [pool.submit(work, n) for n in range(400) for work in (padded, measured)]
        assert [work.result() for work in works] == [40, alone] * 400
