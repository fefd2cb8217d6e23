"""Edits of kinds that nothing was fitted to: how far detection carries over to what is new."""

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from ui.bench.edits import Edit, Picture, plain


def _wavy(image: Picture) -> Picture:
    """Bent by up to 6 pixels."""
    pixels = np.asarray(image)
    y, x = np.indices(pixels.shape[:2])
    down = np.rint(y + 6 * np.sin(x / 31)).astype(np.intp).clip(0, image.height - 1)
    right = np.rint(x + 6 * np.sin(y / 25)).astype(np.intp).clip(0, image.width - 1)
    return Image.fromarray(pixels[down, right])


def _pixelated(image: Picture) -> Picture:
    small = image.resize([max(1, side // 16) for side in image.size], Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _hue_turned(image: Picture) -> Picture:
    planes = np.array(image.convert("HSV"))
    planes[..., 0] += 100  # of 256, which wrap around
    return Image.fromarray(planes, "HSV").convert("RGB")


def _watermarked(image: Picture) -> Picture:
    marks = Image.new("L", image.size)
    pen = ImageDraw.Draw(marks)
    for row, top in enumerate(range(0, image.height, 60)):
        for left in range(-40, image.width, 150):
            pen.text((left + row % 2 * 60, top), "SAMPLE © stock", 150, font_size=22)
    return Image.composite(Image.new("RGB", image.size, "white"), image, marks)


def _in_a_grid(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    """One of nine pictures on white."""
    page, place = Image.new("RGB", (600, 600), "white"), rng.randrange(9)
    for number in range(9):
        tile = image if number == place else rng.choice(others)
        at = number % 3 * 200 + 2, number // 3 * 200 + 2
        page.paste(ImageOps.fit(tile, (196, 196)), at)
    return page


def _as_a_story(image: Picture) -> Picture:
    """Upright, before itself blurred, under a line of text."""
    page = ImageOps.fit(image, (405, 720)).filter(ImageFilter.GaussianBlur(20))
    small = ImageOps.contain(image, (360, 360))
    page.paste(small, ((405 - small.width) // 2, 200))
    ImageDraw.Draw(page).text(
        (40, 60), "OMG look at this", "white", font_size=36, stroke_width=2, stroke_fill="black"
    )
    return page


def _as_a_post(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    """A wide cut of it in a dark page, above another picture."""
    page = Image.new("RGB", (600, 760), (21, 32, 43))
    pen = ImageDraw.Draw(page)
    pen.ellipse((20, 20, 70, 70), fill=(90, 120, 160))
    pen.text((85, 25), "Somebody · 3h\nI made this with my new model", "white", font_size=17)
    page.paste(ImageOps.fit(image, (490, 300)), (85, 100))
    page.paste(ImageOps.fit(rng.choice(others), (490, 260)), (85, 470))
    return page


def _in_pieces(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    """Four quarters in another order."""
    wide, high = image.width // 2, image.height // 2
    places = [(left, top) for left in (0, wide) for top in (0, high)]
    page = Image.new("RGB", (2 * wide, 2 * high))
    for place, (left, top) in zip(places, rng.sample(places, 4), strict=True):
        page.paste(image.crop((left, top, left + wide, top + high)), place)
    return page


def _fading(image: Picture) -> Picture:
    ramp = Image.linear_gradient("L").resize(image.size)
    return Image.composite(image, Image.new("RGB", image.size, (240, 120, 30)), ramp)


def _turned_and_cut(image: Picture) -> Picture:
    """By 30°, then the middle three fifths of the sides."""
    wide, high = round(image.width * 0.62), round(image.height * 0.62)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    turned = image.rotate(30, Image.Resampling.BICUBIC)
    return turned.crop((left, top, left + wide, top + high))


def _edges(image: Picture) -> Picture:
    return ImageOps.invert(image.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")


OTHER_EDITS: dict[str, Edit] = {
    "wavy": plain(_wavy),
    "pixels of 16": plain(_pixelated),
    "hue turned": plain(_hue_turned),
    "sepia": plain(lambda image: ImageOps.colorize(image.convert("L"), "#2a1a08", "#ffe8c0")),
    "solarised": plain(lambda image: ImageOps.solarize(image)),
    "halftone": plain(lambda image: image.convert("1").convert("RGB")),
    "fading": plain(_fading),
    "watermarked": plain(_watermarked),
    "rotate 30°, cut": plain(_turned_and_cut),
    "cut to 12:5": plain(lambda image: ImageOps.fit(image, (600, 250))),
    "four pieces": _in_pieces,
    "one of nine": _in_a_grid,
    "story": plain(_as_a_story),
    "post": _as_a_post,
    "embossed": plain(lambda image: image.filter(ImageFilter.EMBOSS)),
    "edges": plain(_edges),
}
"""A tier of its own."""
