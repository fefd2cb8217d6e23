"""What backdrops are drawn on: skies, ridges, water and stamps, all in the light of the scene."""

import math
import random
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from gen.starter.scenes.scene import GRID, SIZE
from gen.starter.scenes.sketch import Colour, mix
from gen.starter.scenes.stamps import VARIANTS, lamps, stamp

Line = NDArray[np.float32]  # (SIZE,) a height in pixels from the top for every column
Matrix = tuple[float, ...]  # twelve numbers: what Image.convert("RGB", matrix) takes

SKY: dict[str, tuple[Colour, Colour, Colour]] = {  # top, middle, horizon
    "day": ((74, 158, 238), (150, 212, 250), (226, 244, 252)),
    "sunset": ((92, 74, 158), (238, 122, 118), (255, 204, 128)),
    "night": ((12, 16, 52), (28, 42, 100), (66, 86, 152)),
    "rain": ((98, 112, 130), (138, 152, 166), (176, 188, 196)),
    "snowfall": ((150, 168, 196), (190, 204, 222), (228, 234, 242)),
}
_CLOUDS = {
    "day": (255, 255, 255),
    "sunset": (255, 176, 150),
    "night": (64, 78, 132),
    "rain": (122, 132, 146),
    "snowfall": (214, 222, 234),
}
_ROWS = np.arange(SIZE, dtype=np.float32)[:, None]
_COLUMNS = np.arange(SIZE)
_HEIGHTS = (8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224)  # of stamps
DARK = ("night", "rain", "sunset", "snowfall")  # lamps are lit


def matrix(vivid: float, factors: tuple[float, float, float], added: Colour) -> Matrix:
    """A grade: `vivid` is the share of colour that is left, then a factor and a sum per band."""
    rows: list[float] = []
    for band in range(3):
        grey = [share * (1 - vivid) * factors[band] for share in (0.3, 0.59, 0.11)]
        grey[band] += vivid * factors[band]
        rows += [*grey, float(added[band])]
    return tuple(rows)


GRADES = {
    "day": matrix(1, (1, 1, 1), (0, 0, 0)),
    "sunset": matrix(0.95, (0.98, 0.76, 0.68), (20, 2, 8)),
    "night": matrix(0.95, (0.42, 0.46, 0.6), (6, 10, 26)),
    "rain": matrix(0.62, (0.72, 0.77, 0.83), (6, 10, 14)),
    "snowfall": matrix(0.8, (0.9, 0.93, 0.97), (18, 20, 24)),
}


def graded(picture: Image.Image, grade: Matrix) -> Image.Image:
    """An RGBA picture in another light."""
    body = picture.convert("RGB").convert("RGB", grade)
    body.putalpha(picture.getchannel("A"))
    return body


def _near(value: float, step: int) -> int:
    """The multiple of `step` that is nearest."""
    return round(value / step) * step


def lit(colour: Colour, light: str) -> Colour:
    grade = GRADES[light]
    red, green, blue = (
        max(
            0,
            min(
                255, int(sum(a * b for a, b in zip((*colour, 1), grade[at : at + 4], strict=True)))
            ),
        )
        for at in (0, 4, 8)
    )
    return red, green, blue


def wave(rng: random.Random, height: float, rise: float, waves: float = 1.2) -> Line:
    """A rolling line: `rise` and `height` in pixels."""
    across = np.arange(SIZE, dtype=np.float32) / SIZE * 2 * math.pi
    line = np.full(SIZE, height, np.float32)
    for octave in range(3):
        pitch = waves * (1.9**octave) * rng.uniform(0.8, 1.2)
        line -= rise * 0.55**octave * np.sin(across * pitch + rng.uniform(0, 6.3))
    return line


def peaks(rng: random.Random, height: float, rise: float, count: int) -> Line:
    """A jagged line of about `count` summits above `height`."""
    step = SIZE / count
    xs, ys = [-step], [height]
    for number in range(-1, count + 2):
        xs += [number * step + rng.uniform(0.1, 0.3) * step]
        ys += [height - rise * rng.uniform(0.65, 1.0)]
        xs += [number * step + rng.uniform(0.7, 0.95) * step]
        ys += [height - rise * rng.uniform(0.05, 0.3)]
    line = np.interp(np.arange(SIZE), xs, ys)
    rough = np.interp(
        np.arange(SIZE), range(0, SIZE + 8, 8), [rng.uniform(-2, 2) for _ in range(33)]
    )
    return (line + rough).astype(np.float32)


class Canvas:
    """A picture in the making. Colours are given as by day; the canvas puts them in its light."""

    def __init__(self, rng: random.Random, light: str) -> None:
        self.rng, self.light = rng, light
        self.picture = Image.new("RGB", (SIZE, SIZE))
        self.sun: tuple[float, float] | None = None

    def sky(self, horizon: float) -> None:
        top, middle, low = SKY[self.light]
        stops = np.array((top, middle, low), np.float32)
        rows = np.linspace(0, SIZE / horizon, SIZE)
        column = np.stack([np.interp(rows, (0, 0.55, 1), stops[:, band]) for band in range(3)], 1)
        strip = Image.fromarray(column[:, None].astype(np.uint8))
        self.picture.paste(strip.resize((SIZE, SIZE), Image.Resampling.NEAREST))
        if self.light == "night":
            self.stars(70, horizon)
        if self.light in ("day", "sunset", "night"):
            self._sun(horizon)
        self._clouds(horizon)

    def _sun(self, horizon: float) -> None:
        rng = self.rng
        x = rng.choice((3, 5, 11, 13)) * GRID
        y = _near(horizon * 0.75, GRID) if self.light == "sunset" else 40
        self.sun = x, y
        colour, radius, halo = {
            "day": ((255, 240, 170), 15, 58),
            "sunset": ((255, 226, 140), 21, 92),
            "night": ((250, 246, 222), 16, 60),
        }[self.light]
        glow = (255, 250, 225) if self.light == "day" else colour
        self.soft(x, y, halo, halo, glow, 0.6 if self.light != "night" else 0.4)
        self.paste(_disc(radius, self.light == "night"), x, y, colour)

    def _clouds(self, horizon: float) -> None:
        rng = self.rng
        heavy = self.light in ("rain", "snowfall")
        for _ in range(rng.randint(5, 7) if heavy else rng.randint(1, 4)):
            wide = rng.choice((96, 128, 160) if heavy else (48, 64, 80))
            left = rng.randrange(-2, SIZE // GRID - 1) * GRID
            top = rng.choice((-2, -1, 0) if heavy else range(int(horizon * 0.4) // GRID)) * GRID
            middle = left + wide / 2, top + wide / 4
            if self.sun and math.dist(middle, self.sun) < 52:
                continue
            cloud = _cloud(rng.randrange(VARIANTS), wide, self.light)
            self.picture.paste(cloud, (left, top), cloud)

    def stars(self, count: int, horizon: float) -> None:
        rng = self.rng
        pen = ImageDraw.Draw(self.picture)
        for _ in range(count):
            x, y = rng.uniform(0, SIZE), rng.uniform(0, horizon * 0.95)
            shade = rng.randint(150, 255)
            pen.point((x, y), fill=(shade, shade, 235))
        for _ in range(count // 10):
            x, y = rng.uniform(4, SIZE - 4), rng.uniform(4, horizon * 0.9)
            self.soft(x, y, 5, 5, (255, 252, 232), 0.7)
            pen.line((x - 1, y, x + 1, y), fill=(255, 255, 240))
            pen.line((x, y - 1, x, y + 1), fill=(255, 255, 240))

    def ridge(
        self, line: Line, top: Colour, low: Colour, *, deep: float = 70, facet: float = 0.0,
        lean: float = 0.5, dusted: float = 0.6,
    ) -> None:  # fmt: skip
        """Land below a line, from `top` to `low` over `deep` pixels.

        `facet` darkens what falls off to the right; its edges lean by `lean`. `dusted` is how
        white snowfall makes it.
        """
        if self.light == "snowfall":
            top, low = mix(top, (255, 255, 255), dusted), mix(low, (255, 255, 255), dusted * 0.6)
        start = max(0, int(line.min()))
        depth = _ROWS[start:] - line  # (rows, SIZE)
        share = np.clip(depth * (1 / deep), 0, 1)[..., None]
        first = np.array(lit(top, self.light), np.float32)
        pixels = first + share * (np.array(lit(low, self.light), np.float32) - first)
        if facet:
            fall = np.clip(np.gradient(line) * 1.6, -0.6, 1.0)
            across = np.clip(_COLUMNS + np.clip(-depth, -SIZE, 0) * lean, 0, SIZE - 1).astype(
                np.intp
            )
            pixels *= (1 - facet * fall[across])[..., None]
        mask = np.clip((depth + 1) * 255, 0, 255).astype(np.uint8)
        land = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        self.picture.paste(land, (0, start), Image.fromarray(mask))

    def water(self, line: float, top: Colour, low: Colour, glints: int = 26) -> None:
        """Water from a level line to the foot of the picture, with light on it."""
        top, low = self.watery(top), self.watery(low, 0.2)
        self.ridge(np.full(SIZE, line, np.float32), top, low, deep=SIZE - line, dusted=0.15)
        rng = self.rng
        for _ in range(glints):
            near = rng.random() ** 1.4
            y = line + 2 + near * (SIZE - line - 4)
            self._glint(
                rng.uniform(0, SIZE), y, 12 + 40 * near, mix(top, (255, 255, 255), 0.55), 0.5
            )
        if self.sun and self.light != "day":
            for step in range(18):
                y = line + 1 + step * (SIZE - line) / 24
                x = self.sun[0] + rng.uniform(-4, 4) - rng.choice((-1, 1)) * step * 0.5
                shine = (255, 214, 140) if self.light == "sunset" else (226, 230, 240)
                self._glint(x, y, rng.uniform(16, 34), shine, 0.75, raw=True)

    def watery(self, colour: Colour, share: float = 0.5) -> Colour:
        """Water takes on the glow of a sunset."""
        return mix(colour, (255, 164, 122), share) if self.light == "sunset" else colour

    def _glint(
        self, x: float, y: float, wide: float, colour: Colour, strength: float, raw: bool = False
    ) -> None:
        self.soft(
            _near(x, GRID),
            _near(y, GRID // 4),
            _near(wide / 2, 4),
            max(1.3, wide / 16),
            colour if raw else lit(colour, self.light),
            strength,
        )

    def soft(
        self, x: float, y: float, across: float, down: float, colour: Colour, strength: float
    ) -> None:
        """A blurred ellipse of these half axes; `colour` is taken as it is."""
        mask = _haze(round(across) or 1, round(down) or 1, round(strength * 20))
        self.paste(mask, x, y, colour)

    def paste(self, mask: Image.Image, x: float, y: float, colour: Colour) -> None:
        at = (round(x - mask.width / 2), round(y - mask.height / 2))
        self.picture.paste(colour, (*at, at[0] + mask.width, at[1] + mask.height), mask)

    def stamp(
        self, kind: str, x: float, foot: float, tall: float, variant: int | None = None,
        flipped: bool = False, turn: float = 0, far: float = 0.0,
    ) -> None:  # fmt: skip
        """A stamp with its foot's middle near (x, foot); `far` fades it towards the horizon.

        It has one of a few heights; its left edge and its foot are on the grid.
        """
        chosen = self.rng.randrange(VARIANTS) if variant is None else variant
        height = min(_HEIGHTS, key=lambda each: abs(each - tall))
        body = _stamped(
            kind, chosen, height, flipped, round(turn / 20) * 20, self.light, round(far * 8)
        )
        left, low = _near(x - body.width / 2, GRID), _near(foot, GRID)
        self.picture.paste(body, (left, low - body.height), body)


class Fine:
    """A pen for a band of the canvas that draws at twice the size, for smooth edges."""

    def __init__(self, canvas: Canvas, top: int = 0, bottom: int = SIZE) -> None:
        self.canvas, self.top = canvas, top
        band = canvas.picture.crop((0, top, SIZE, bottom))
        self.picture = band.resize((2 * SIZE, 2 * band.height), Image.Resampling.NEAREST)
        self._pen = ImageDraw.Draw(self.picture)

    def box(
        self, box: tuple[float, float, float, float], colour: Colour, corner: float = 0
    ) -> None:
        self._pen.rounded_rectangle(self._scaled(box), 2 * corner, fill=colour)

    def ellipse(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        self._pen.ellipse(self._scaled(box), fill=colour)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self._pen.polygon([(2 * x, 2 * (y - self.top)) for x, y in points], fill=colour)

    def _scaled(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Right and bottom are the last pixels that are drawn."""
        left, top, right, bottom = box
        return 2 * left, 2 * (top - self.top), 2 * right - 1, 2 * (bottom - self.top) - 1

    def done(self) -> None:
        """Puts what was drawn onto the canvas."""
        self.canvas.picture.paste(self.picture.reduce(2), (0, self.top))


@lru_cache(maxsize=8192)
def _stamped(
    kind: str, variant: int, tall: int, flipped: bool, turn: int, light: str, far: int
) -> Image.Image:
    sketch = stamp(kind, variant)
    size = (max(1, round(sketch.picture.width * tall / sketch.picture.height)), tall)
    body = graded(sketch.picture.resize(size, Image.Resampling.LANCZOS), GRADES[light])
    if far:
        haze = Image.new("RGBA", size, (*SKY[light][2], 255))
        haze.putalpha(body.getchannel("A").point([v * far // 8 for v in range(256)]))
        body.alpha_composite(haze)
    lights = lamps(sketch)
    if lights is not None and light in DARK:
        shine = lights.resize(size, Image.Resampling.LANCZOS)
        if light != "night":
            shine.putalpha(shine.getchannel("A").point([v * 3 // 4 for v in range(256)]))
        body.alpha_composite(shine)
    if flipped:
        body = body.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if turn:
        body = body.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    return snow_capped(body, max(1, tall // 14), 0.85) if light == "snowfall" and tall > 8 else body


@lru_cache(maxsize=512)
def _cloud(variant: int, wide: int, light: str) -> Image.Image:
    picture = stamp("cloud", variant).picture.resize((wide, wide // 2), Image.Resampling.LANCZOS)
    bands = [
        band.point([v * part // 255 for v in range(256)])
        for band, part in zip(picture.split()[:3], _CLOUDS[light], strict=True)
    ]
    alpha = picture.getchannel("A").point([v * 9 // 10 for v in range(256)])
    return Image.merge("RGBA", (*bands, alpha))


@lru_cache(maxsize=8)
def _disc(radius: int, crescent: bool) -> Image.Image:
    mask = Image.new("L", (radius * 8, radius * 8))
    pen = ImageDraw.Draw(mask)
    pen.ellipse((0, 0, radius * 8 - 1, radius * 8 - 1), fill=255)
    if crescent:
        pen.ellipse((radius * 3, -radius, radius * 10, radius * 6), fill=0)
    return mask.resize((radius * 2, radius * 2), Image.Resampling.BOX)


@lru_cache(maxsize=4096)
def _haze(across: int, down: int, strength: int) -> Image.Image:
    """A mask that fades from its middle outwards; `strength` in twentieths."""
    x = np.linspace(-1, 1, 2 * across + 1, dtype=np.float32)
    y = np.linspace(-1, 1, 2 * down + 1, dtype=np.float32)[:, None]
    fade = np.clip(1 - np.sqrt(x * x + y * y), 0, 1)
    smooth = fade * fade * (3 - 2 * fade)
    return Image.fromarray((smooth * (255 * strength / 20)).clip(0, 255).astype(np.uint8))


def snow_capped(body: Image.Image, thick: int, strength: float) -> Image.Image:
    """The RGBA body with snow on every edge that faces up."""
    alpha = body.getchannel("A")
    covered = Image.new("L", body.size)
    covered.paste(alpha, (0, thick))
    cap = ImageChops.subtract(alpha, covered).filter(ImageFilter.GaussianBlur(0.7))
    cap = ImageChops.multiply(cap, alpha).point([int(v * strength) for v in range(256)])
    snow = Image.new("RGBA", body.size, (250, 252, 255))
    snow.putalpha(cap)
    return Image.alpha_composite(body, snow)
