"""Softly shaded shapes, from which the stamps of the backdrops are put together."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]

_SIDE = 256  # pixels of a sketch's height; stamps are reduced from it


def mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (int(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


class Sketch:
    """An RGBA drawing in units of its height: x from 0 to `wide`, y from 0 to 1 downwards."""

    def __init__(self, wide: float = 1.0) -> None:
        self.picture = Image.new("RGBA", (round(_SIDE * wide), _SIDE))
        self.lights = Image.new("RGBA", self.picture.size)  # what shines at night

    def polygon(self, points: Sequence[Point], colour: Colour, puff: float = 0.04) -> None:
        mask, pen = self._mask()
        pen.polygon([(x * _SIDE, y * _SIDE) for x, y in points], fill=255)
        self._add(mask, colour, puff)

    def blob(
        self, circles: Sequence[tuple[float, float, float]], colour: Colour, puff: float = 0.06
    ) -> None:
        """The union of circles (x, y, radius), as one body."""
        mask, pen = self._mask()
        for x, y, radius in circles:
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse([part * _SIDE for part in box], fill=255)
        self._add(mask, colour, puff)

    def ellipse(
        self, box: tuple[float, float, float, float], colour: Colour, puff: float = 0.04
    ) -> None:
        mask, pen = self._mask()
        pen.ellipse([part * _SIDE for part in box], fill=255)
        self._add(mask, colour, puff)

    def box(
        self,
        box: tuple[float, float, float, float],
        colour: Colour,
        puff: float = 0.03,
        corner: float = 0.0,
    ) -> None:
        mask, pen = self._mask()
        pen.rounded_rectangle([part * _SIDE for part in box], corner * _SIDE, fill=255)
        self._add(mask, colour, puff)

    def window(self, box: tuple[float, float, float, float], lit: bool = True) -> None:
        """Blue by day; `lit` says whether a lamp burns behind it after dark."""
        scaled = [part * _SIDE for part in box]
        ImageDraw.Draw(self.picture).rounded_rectangle(scaled, 3, fill=(150, 198, 226, 255))
        if lit:
            ImageDraw.Draw(self.lights).rounded_rectangle(scaled, 3, fill=(255, 218, 120, 255))

    def _mask(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        mask = Image.new("L", self.picture.size)
        return mask, ImageDraw.Draw(mask)

    def _add(self, mask: Image.Image, colour: Colour, puff: float) -> None:
        body = _puffed(mask, colour, puff * _SIDE)
        self.picture.alpha_composite(body)


def _puffed(mask: Image.Image, colour: Colour, radius: float) -> Image.Image:
    """The shape as a rounded body lit from above left: its blurred mask is taken for a height."""
    if radius < 1:
        flat = Image.new("RGBA", mask.size, colour)
        flat.putalpha(mask)
        return flat
    height = np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    down, right = np.gradient(height)
    slope = np.asarray((0.5 * right + 0.85 * down) * (radius / 128))  # about -1 to 1
    base = np.array(colour, np.float32)
    up, low = (np.asarray(part.clip(0, 1) * 0.6)[:, :, None] for part in (slope, -slope))
    dark = base * np.array((0.5, 0.48, 0.62), np.float32)
    bright = base + (np.array((255, 252, 235), np.float32) - base) * 0.55
    pixels = base + (bright - base) * up + (dark - base) * low
    body = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGBA")
    body.putalpha(mask.filter(ImageFilter.GaussianBlur(0.8)))
    return body
