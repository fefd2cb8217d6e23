"""Every edit that detection is measured by makes a picture, the same one for the same seed."""

import random

import numpy as np
import pytest
from PIL import Image

from tests.conftest import PHOTOS
from ui.bench.edits import ALL_EDITS


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
