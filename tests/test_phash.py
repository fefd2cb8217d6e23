"""pHash: what imagehash gives, to the last bit, and the hashes of turned pictures."""

from collections.abc import Callable, Iterator

import imagehash
import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageFilter, ImageOps

from provenance.fingerprint import Value, reduced, similarity
from provenance.phash import PHASH, phash, reduced_luminance
from tests.conftest import KNOWN, PHOTOS, UNKNOWN
from tests.test_check import blanks

Photo = Callable[[str], Image.Image]
LANCZOS = Image.Resampling.LANCZOS
MIN_DETAIL = 30


def pictures() -> Iterator[Image.Image]:
    """Photographs, parts of them, enlarged and reduced ones, and pictures of almost nothing."""
    for name in KNOWN + UNKNOWN:
        image = Image.open(PHOTOS / name).convert("RGB")
        width, height = image.size
        yield image
        yield image.crop((width // 5, 0, width - 11, height // 2))
        yield image.crop((0, 0, 60, 40))
        yield image.resize((1200, 301))
        yield ImageOps.grayscale(image).convert("RGB")
    for images in blanks().values():
        yield from images


def test_it_is_what_imagehash_gives() -> None:
    compared = 0
    for image in pictures():
        expected = imagehash.phash(image, hash_size=16).hash
        assert np.packbits(expected).tolist() == phash(image)[0][0].tolist()
        compared += 1
    assert compared == 5 * 10 + 5 * 8


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 90), (63, 64), (64, 65), (200, 63), (601, 333), (2, 9000), (4100, 90)]
)
def test_the_reduced_picture_is_pillows(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (*reversed(size), 3), np.uint8))
    expected = np.asarray(image.convert("L").resize((64, 64), LANCZOS))
    assert np.array_equal(reduced_luminance(image), expected)


@pytest.mark.parametrize("turn", list(Image.Transpose), ids=lambda turn: turn.name)
@pytest.mark.parametrize("name", KNOWN)
def test_one_of_eight_hashes_is_that_of_the_turned_picture(
    photo: Photo, name: str, turn: Image.Transpose
) -> None:
    whole, asked = phash(photo(name))[0][0], phash(photo(name).transpose(turn))[0]
    assert similarity(Value(PHASH, asked), Value(PHASH, whole)) > 0.97
    assert similarity(Value(PHASH, asked[0]), Value(PHASH, whole)) < 0.7


def test_detail_is_on_the_scale_of_pdqs_quality(photo: Photo) -> None:
    for image in pictures():
        softened = [image.filter(ImageFilter.GaussianBlur(image.width / n)) for n in (30, 14)]
        for each in (image, *softened):
            quality = pdqhash.compute(np.asarray(reduced(each)))[1]
            detail = phash(each)[1]
            assert detail == pytest.approx(quality, abs=12)
            if not MIN_DETAIL - 5 < quality < MIN_DETAIL + 5:
                assert (detail < MIN_DETAIL) == (quality < MIN_DETAIL)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (500, 300)])
def test_flat_pictures_have_no_detail(size: tuple[int, int]) -> None:
    assert phash(Image.new("RGB", size, "teal"))[1] == 0
