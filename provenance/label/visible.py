"""The visible label: a few words in the lower right corner of a picture.

GB 45438-2025, 5.2: at an edge or corner, at least 5 % of the shortest side high. The standard does
not say of what; here it is the ink of the lowest letter at full height (capitals, characters).
"""

import math
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT = Path(__file__).with_name("font") / "wqy-microhei-label.ttf"
SHARE = 0.05  # of the shortest side
LEGIBLE = 9  # pixels: what small pictures get too, where it fits
_EM = 1000


def put_label(image: Image.Image, text: str) -> Image.Image:
    """A copy of the RGB picture with the words in it, white on a dark plate."""
    font = _font(image.size, text)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    pad = _pad(font)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x, y = image.width - width, image.height - height
    labelled = image.copy()
    pen = ImageDraw.Draw(labelled, "RGBA")
    pen.rectangle((x, y, image.width, image.height), fill=(0, 0, 0, 150))
    pen.text((x + pad - left, y + pad - top), text, font=font, fill=(255, 255, 255, 255))
    return labelled


def ink_height(font: ImageFont.FreeTypeFont, text: str) -> float:
    """Pixels, of the lowest letter at full height."""
    boxes = (font.getbbox(letter) for letter in text if letter.isalpha() and not letter.islower())
    return min(bottom - top for _, top, _, bottom in boxes)


def _font(size: tuple[int, int], text: str) -> ImageFont.FreeTypeFont:
    """At the height that is asked for, or the legible one where the label then fits."""
    least = math.ceil(min(size) * SHARE)
    legible = sized(text, max(least, LEGIBLE))
    left, _, right, _ = legible.getbbox(text)
    fits = right - left + 2 * _pad(legible) <= size[0]
    return legible if fits else sized(text, least)


def _pad(font: ImageFont.FreeTypeFont) -> int:
    return max(2, round(font.size / 4))


@lru_cache(maxsize=64)
def sized(text: str, ink: int) -> ImageFont.FreeTypeFont:
    """The font at the smallest size at which the ink is so many pixels high."""
    size = max(1, int(ink * _EM / ink_height(ImageFont.truetype(FONT, _EM), text)) - 1)
    while ink_height(font := ImageFont.truetype(FONT, size), text) < ink:
        size += 1
    return font
