"""The second look finds what is shared, says where, and does not find what is not there."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from provenance.fusion import SPEC as FUSION
from provenance.fusion import fused
from provenance.local.features import (
    KEPT,
    Features,
    LocalDescriptor,
    inverted,
    kept,
    mirrored,
    unpacked,
)
from provenance.local.fit import Fit, in_perspective
from provenance.local.look import Alignment, second_look
from provenance.verdict import load_policy

Photo = Callable[[str], Image.Image]
Edit = Callable[[Image.Image], Image.Image]


def features(image: Image.Image) -> Features:
    return unpacked(LocalDescriptor().describe([image])[0])


def look(picture: Image.Image, reference: Image.Image) -> Alignment | None:
    return second_look(features(picture), picture.size, features(reference), reference.size)


def places(found: Alignment) -> float:
    """How many places agree, fewer where few of the pairs do."""
    return found.agreement.cells * found.agreement.share


def on_another(image: Image.Image) -> Image.Image:
    page = Image.effect_noise((600, 500), 60).convert("RGB")
    page.paste(image.resize((240, 160)), (300, 250))
    return page


@pytest.mark.parametrize(
    ("edit", "overlap"),
    [
        (lambda image: image, 0.6),
        (lambda image: image.resize((image.width // 2, image.height // 2)), 0.5),
        (lambda image: image.crop((150, 100, 450, 300)), 0.1),
        (lambda image: image.rotate(8, expand=True), 0.5),
        (lambda image: image.rotate(90, expand=True), 0.5),
        (lambda image: image.resize((image.width * 7 // 5, image.height)), 0.5),
        (lambda image: ImageOps.expand(image, 120, "black"), 0.5),
        (ImageOps.mirror, 0.5),
        (ImageOps.flip, 0.5),
        (ImageOps.invert, 0.5),
        (lambda image: ImageOps.invert(ImageOps.mirror(image)), 0.5),
        (on_another, 0.4),
    ],
    ids=[
        "same", "half size", "cropped", "rotated 8", "rotated 90", "wider", "framed",
        "mirrored", "upside down", "negative", "mirrored negative", "pasted",
    ],
)  # fmt: skip
def test_an_edited_copy_is_aligned(photo: Photo, edit: Edit, overlap: float) -> None:
    reference = photo("coffee.png").resize((600, 400))
    found = look(edit(reference), reference)
    assert found is not None
    assert places(found) >= 10
    assert found.agreement.overlap > overlap


def covered(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    copy = image.copy()
    copy.paste("navy", box)
    return copy


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda image: image.resize((300, 200)), ()),
        (ImageOps.mirror, ("mirrored",)),
        (ImageOps.invert, ("negative",)),
        (lambda image: image.rotate(-8), ("rotated by 8°",)),
        (lambda image: image.resize((900, 400)), ("stretched",)),
        (lambda image: image.crop((100, 60, 480, 320)), ("cropped",)),
        (on_another, ("part of a larger picture",)),
        (lambda image: image.convert("L").convert("RGB"), ("grey",)),
        (lambda image: ImageEnhance.Color(image).enhance(2.5), ("other colours",)),
        (lambda image: ImageEnhance.Brightness(image).enhance(0.7), ("other colours",)),
        (lambda image: covered(image, (150, 80, 420, 300)), ("covered in part",)),
        (
            lambda image: ImageOps.mirror(ImageOps.invert(image)).rotate(-90, expand=True),
            ("mirrored", "negative", "rotated by 90°"),
        ),
    ],
)
def test_it_says_what_was_done(photo: Photo, edit: Edit, words: tuple[str, ...]) -> None:
    reference = photo("coffee.png").resize((600, 400))
    found = look(edit(reference), reference)
    assert found is not None
    assert [word for word in found.edits if word != "cropped" or "cropped" in words] == list(words)


def test_the_region_is_where_the_picture_was_pasted(photo: Photo) -> None:
    found = look(on_another(photo("coffee.png")), photo("coffee.png"))
    assert found is not None
    corners = np.array(found.regions[0].picture)
    assert (corners.min(0) > (290, 240)).all()
    assert (corners.max(0) < (550, 420)).all()
    assert (corners.max(0) - corners.min(0) > (150, 90)).all()


@pytest.mark.parametrize("name", ["grass.png", "ihc.png", "retina.jpg", "motorcycle_left.png"])
def test_unrelated_pictures_do_not_align(photo: Photo, name: str) -> None:
    found = look(photo(name), photo("coffee.png"))
    assert found is None or places(found) < 7


def test_a_shared_caption_is_little_of_the_picture(photo: Photo) -> None:
    pictures = []
    for name in ("coffee.png", "chelsea.png"):
        image = photo(name).resize((512, 340))
        ImageDraw.Draw(image).text((20, 290), "FIRST HAND 2026", "white", font_size=36)
        pictures.append(image)
    found = look(*pictures)
    assert found is not None
    assert found.agreement.cells >= 8
    assert found.agreement.overlap < 0.1
    assert found.agreement.pixels.alike < 0.4
    assert fused({}, found) < load_policy().thresholds[FUSION.name].review


def test_a_crop_of_a_picture_whose_features_keep_together_is_a_copy(photo: Photo) -> None:
    whole = Image.new("RGB", (800, 800), "lightgray")
    whole.paste(photo("coffee.png").resize((230, 160)), (430, 520))
    found = look(whole.crop((330, 420, 780, 800)), whole)
    assert found is not None
    assert found.agreement.overlap < 0.1
    assert found.agreement.explained > 0.4
    assert found.agreement.matched > 0.4
    assert found.agreement.pixels.structure > 0.8


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (64, 64), (500, 300)])
def test_flat_pictures_have_no_features(size: tuple[int, int]) -> None:
    flat = Image.new("RGB", size, "teal")
    assert len(features(flat)) == 0
    assert look(flat, flat) is None


def test_pieces_in_another_order_are_several_regions(photo: Photo) -> None:
    reference = photo("coffee.png").resize((600, 400))
    pieces = Image.new("RGB", reference.size)
    for left in (0, 300):
        pieces.paste(reference.crop((left, 0, left + 300, 400)), (300 - left, 0))
    found = look(pieces, reference)
    assert found is not None
    assert len(found.regions) == 2
    middles = [np.array(each.picture).mean(0)[0] for each in found.regions]
    assert min(middles) < 300 < max(middles)
    one = look(pieces.crop((0, 0, 300, 400)), reference)
    assert one is not None
    assert len(one.regions) == 1
    assert found.agreement.overlap > one.agreement.overlap
    exact, cells = found.agreement.exact_cells, found.agreement.cells
    assert exact > 0.75 * cells, "both pieces are exact"


def through_a_lens(image: Image.Image, strength: float) -> Image.Image:
    """Barrel distortion, by the square of the distance from the middle."""
    y, x = np.indices((image.height, image.width), np.float64)
    middle = np.array([image.width, image.height])[:, None, None] / 2
    away = np.stack([x, y]) - middle
    at = middle + away * (1 + strength * (away**2).sum(0) / (middle**2).sum())
    at = at.clip(0, 2 * middle - 1).round().astype(np.intp)
    return Image.fromarray(np.asarray(image)[at[1], at[0]])


def test_what_a_lens_has_bent_is_one_region(photo: Photo) -> None:
    reference = photo("coffee.png").resize((600, 400))
    bent = look(through_a_lens(reference, 0.2), reference)
    straight = look(reference.resize((500, 333)), reference)
    assert bent is not None
    assert straight is not None
    assert "warped" in bent.edits
    assert "warped" not in straight.edits
    assert len(bent.regions) == 1
    assert bent.covered > 0.5
    assert bent.agreement.exact_cells > 0.5 * bent.agreement.cells


def test_pieces_are_no_bend(photo: Photo) -> None:
    """Two halves of a picture, apart from each other."""
    reference = photo("coffee.png").resize((600, 400))
    apart = Image.new("RGB", (700, 400))
    apart.paste(reference.crop((0, 0, 300, 400)), (0, 0))
    apart.paste(reference.crop((300, 0, 600, 400)), (400, 0))
    found = look(apart, reference)
    assert found is not None
    assert "warped" not in found.edits


def test_points_on_a_line_and_points_thrown_together_bend_nothing() -> None:
    """What a homography can be fitted to, but only a folded one."""
    rng = np.random.default_rng(0)
    line = np.stack([np.linspace(10, 500, 40), np.linspace(20, 400, 40)], 1).astype(np.float32)
    for here, there in (
        (line, line[::-1].copy()),
        (line, line * 0.5),
        (rng.uniform(0, 500, (40, 2)).astype(np.float32), line),
        (np.full((40, 2), 7, np.float32), line),
    ):
        plain = Fit(4, np.eye(2, 3), there[:4], np.arange(4), np.eye(3))
        bent = in_perspective(here, there, plain)
        assert np.linalg.det(bent.homography) > 0
        assert np.isfinite(bent.moved_back(here)).all()


def test_pixels_tell_what_features_cannot(photo: Photo) -> None:
    """The same ground with another thing on it has the features of the ground."""
    ground = photo("grass.png").resize((512, 512))
    a, b = ground.copy(), ground.copy()
    a.paste(photo("coffee.png").resize((330, 330)), (90, 90))
    b.paste(photo("chelsea.png").resize((330, 330)), (90, 90))
    shared, copy = look(a, b), look(a, a.resize((300, 300)))
    assert shared is not None
    assert copy is not None
    assert shared.agreement.pixels.structure < 0.7 < copy.agreement.pixels.structure
    assert shared.agreement.pixels.colour < 0.7 < copy.agreement.pixels.colour


def test_repeated_elements_do_not_fake_an_alignment(photo: Photo) -> None:
    """Many features of one picture near a single one of another: the trap of an unguarded fit."""
    dots = Image.new("RGB", (400, 400), "white")
    for x in range(20, 400, 40):
        for y in range(20, 400, 40):
            ImageDraw.Draw(dots).ellipse((x - 8, y - 8, x + 8, y + 8), "black")
    one = photo("coffee.png").resize((400, 300))
    ImageDraw.Draw(one).ellipse((180, 120, 220, 160), "black")
    found = look(dots, one)
    assert found is None or places(found) < 7


def test_features_are_spread_and_kept_features_too(photo: Photo) -> None:
    image = photo("coffee.png").resize((512, 340))
    pen = ImageDraw.Draw(image)
    for line in range(12):  # text has the strongest features of all
        pen.text((5, 5 + 12 * line), "the strongest features " * 2, "black", font_size=11)
    packed = LocalDescriptor().describe([image])[0]
    for value, least in ((packed, 100), (kept(packed), 80)):
        points = unpacked(value).points
        assert (points[:, 1] > 0.5).sum() > least
    assert len(unpacked(kept(packed))) == KEPT


def test_order_of_cells_stands_for_mirror_and_negative(photo: Photo) -> None:
    image = photo("coffee.png").resize((300, 200))
    asked = features(image)
    for edit, reorder in ((ImageOps.mirror, mirrored), (ImageOps.invert, inverted)):
        other = features(edit(image))
        best = (reorder(asked.descriptors) @ other.descriptors.T).max(1)
        assert np.median(best) > 0.98
