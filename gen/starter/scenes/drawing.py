"""Draws a scene: its backdrop, then its objects with shadows or ripples, then the weather."""

import copy
import json
import math
import random
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from gen.starter.scenes import backdrops_nature as nature
from gen.starter.scenes import backdrops_places as places
from gen.starter.scenes.canvas import Canvas, graded, matrix, snow_capped
from gen.starter.scenes.objects import FLY, OBJECTS, SWIM, THINGS
from gen.starter.scenes.scene import GRID, SIZE, Placed, Scene
from gen.starter.scenes.settings import SETTINGS
from gen.starter.scenes.sketch import Colour

Sprites = dict[str, Image.Image]

_BACKDROPS: dict[str, Callable[[Canvas], None]] = {
    "beach": nature.beach,
    "forest": nature.forest,
    "snow": nature.snow,
    "city": places.city,
    "desert": nature.desert,
    "meadow": nature.meadow,
    "sea": nature.sea,
    "space": nature.space,
    "mountains": nature.mountains,
    "lake": nature.lake,
    "underwater": nature.underwater,
    "farm": places.farm,
    "canyon": nature.canyon,
    "garden": places.garden,
    "jungle": nature.jungle,
    "village": places.village,
    "room": places.room,
}
_TINTS = {
    "sunset": matrix(1, (1.0, 0.84, 0.76), (14, 2, 4)),
    "night": matrix(0.95, (0.66, 0.71, 0.88), (2, 5, 16)),
    "rain": matrix(0.85, (0.86, 0.9, 0.94), (0, 2, 4)),
    "snowfall": matrix(0.94, (0.97, 0.98, 1.0), (4, 5, 8)),
}
_DEEP_TINT = matrix(0.95, (0.74, 0.8, 0.94), (4, 8, 16))  # underwater at night, before the veil
LAYOUTS = 8  # backdrops of a setting in a light: few, so that a small model can learn them
_TILE = 128  # pixels after which rain and snowfall repeat themselves
_RIMS: dict[str, Colour] = {"sunset": (255, 196, 120), "night": (190, 208, 255)}


class Body(NamedTuple):
    """An object's sprite at its final size and place, in pixels."""

    placed: Placed
    picture: Image.Image
    left: int
    top: int

    @property
    def right(self) -> int:
        return self.left + self.picture.width

    @property
    def foot(self) -> int:
        return self.top + self.picture.height


@cache
def load_sprites(folder: Path) -> Sprites:
    """The sprites named in OBJECTS, RGBA, from a folder with `sprites.json`; read once."""
    listed = json.loads((folder / "sprites.json").read_text("utf-8"))["sprites"]
    files = {sprite["name"]: sprite["file"] for sprite in listed}
    return {name: Image.open(folder / files[name]).convert("RGBA") for name in OBJECTS}


def draw(scene: Scene, sprites: Sprites) -> Image.Image:
    """The scene as an RGB picture of SIZE x SIZE pixels."""
    plain = _backdrop(scene.setting, scene.light, scene.seed % LAYOUTS)
    canvas = copy.copy(plain)
    canvas.picture = plain.picture.copy()
    bodies = layout(scene, sprites)
    stacked = scene.relation == "on top of"
    for number, body in sorted(enumerate(bodies), key=lambda pair: (pair[1].foot, -pair[0])):
        if not (stacked and number == 0):
            _ground(canvas, scene, body)
            _show(canvas, scene, body)
    if stacked:
        _show(canvas, scene, bodies[0], standing=False)
    if scene.light in ("rain", "snowfall"):
        _weather(canvas, scene.seed % LAYOUTS)
    return canvas.picture


@lru_cache(maxsize=1024)
def _backdrop(setting: str, light: str, layout: int) -> Canvas:
    canvas = Canvas(random.Random(f"{setting}/{light}/{layout}"), light)
    _BACKDROPS[setting](canvas)
    if light == "rain":
        _puddles(canvas, setting)
    return canvas


def layout(scene: Scene, sprites: Sprites) -> list[Body]:
    """Where the objects are, in the scene's order; all lie within the picture."""
    bodies = [_body(placed, sprites[placed.name]) for placed in scene.objects]
    if scene.relation == "on top of":
        bodies[0] = _stacked(bodies[0], bodies[1])
    elif scene.relation == "in front of":
        bodies[0] = _before(bodies[0], bodies[1])
    return bodies


def covered(scene: Scene, sprites: Sprites) -> NDArray[np.uint8]:
    """(SIZE / GRID, SIZE / GRID): how much of each place objects cover, 0 to 255."""
    mask = Image.new("L", (SIZE, SIZE))
    for body in layout(scene, sprites):
        alpha = body.picture.getchannel("A")
        mask.paste(alpha, (body.left, body.top), alpha)
    return np.asarray(mask.reduce(GRID))


def boxes(scene: Scene, sprites: Sprites) -> list[tuple[int, int, int, int]]:
    """Left, top, right and foot of each object, in places of GRID pixels, outwards."""
    return [
        (b.left // GRID, b.top // GRID, -(-b.right // GRID), -(-b.foot // GRID))
        for b in layout(scene, sprites)
    ]


def _body(placed: Placed, sprite: Image.Image) -> Body:
    scale = placed.size * SIZE / max(sprite.size)
    size = (max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale)))
    picture = sprite.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)
    return _moved(placed, picture, placed.x * SIZE - size[0] / 2, placed.y * SIZE - size[1])


def _moved(placed: Placed, picture: Image.Image, left: float, top: float) -> Body:
    """At the place nearest to this one where its left edge and its foot are on the grid."""
    across = min(max(round(left / GRID), 0), (SIZE - picture.width) // GRID)
    foot = max(round((top + picture.height) / GRID), math.ceil(picture.height / GRID))
    return Body(placed, picture, across * GRID, min(foot * GRID, SIZE - GRID) - picture.height)


def _stacked(upper: Body, lower: Body) -> Body:
    """The upper one on the highest part of the lower one's upper edge."""
    solid = np.asarray(lower.picture.getchannel("A")) > 128
    tops = np.where(solid.any(0), solid.argmax(0), solid.shape[0])
    width = max(4, min(len(tops), upper.picture.width // 3))
    level = np.convolve(tops, np.full(width, 1 / width), "valid")
    middle = (len(level) - 1) / 2
    spot = int(np.argmin(level + 0.15 * np.abs(np.arange(len(level)) - middle)))
    edge = float(np.percentile(tops[spot : spot + width], 30))
    left = lower.left + spot + width / 2 - upper.picture.width / 2
    top = lower.top + edge - upper.picture.height + GRID / 2  # or the grid may leave a gap
    return _moved(upper.placed, upper.picture, left, top)


def _before(front: Body, behind: Body) -> Body:
    """The front one so far to its side that most of the other is seen."""
    side = 1 if front.placed.x >= behind.placed.x else -1
    covered = 0.27 * behind.picture.width
    left = behind.right - covered if side > 0 else behind.left + covered - front.picture.width
    top = behind.foot + GRID - front.picture.height
    return _moved(front.placed, front.picture, left, top)


def _afloat(scene: Scene, body: Body) -> bool:
    """Whether the object's foot is in water."""
    if scene.relation not in ("on top of", "in front of") and THINGS[body.placed.name].way == FLY:
        return False
    if scene.setting == "sea":
        return True
    return scene.setting == "lake" and body.foot < 0.84 * SIZE


def _ground(canvas: Canvas, scene: Scene, body: Body) -> None:
    """The shadow on the ground below a body, or the ripples around it."""
    if scene.setting == "space":
        return
    way = THINGS[body.placed.name].way
    left, right = _footprint(body.picture)
    middle, half = body.left + (left + right) / 2, max(5.0, (right - left) / 2)
    kind = SETTINGS[scene.setting]
    if _afloat(scene, body):
        canvas.soft(middle, body.foot - _sunk(body) + 2, half * 1.7, 9, (14, 50, 92), 0.6)
        return
    ground = kind.ground * SIZE if way == FLY else body.foot
    lifted = ground - body.foot > 12 or (scene.setting == "underwater" and way == SWIM)
    if lifted:
        far = min(250.0, max(ground, body.foot + 8))
        canvas.soft(middle, far, half * 0.9, 6, (10, 14, 34), 0.3)
        return
    lean = 0.0
    if scene.light == "sunset" and canvas.sun:
        lean = 1.0 if canvas.sun[0] < SIZE / 2 else -1.0
        canvas.soft(middle + lean * half * 1.1, body.foot - 1, half * 1.9, 8, (50, 24, 50), 0.5)
    strength = 0.55 if scene.light in ("rain", "snowfall") else 0.75
    canvas.soft(middle, body.foot - 1, half * 1.45, max(5.0, half * 0.26), (14, 16, 36), strength)


def _footprint(picture: Image.Image) -> tuple[float, float]:
    """The columns (first, last) that the lowest eighth of a sprite covers."""
    alpha = np.asarray(picture.getchannel("A"))
    columns = np.flatnonzero((alpha[-max(2, len(alpha) // 8) :] > 100).any(0))
    return (float(columns[0]), float(columns[-1])) if len(columns) else (0.0, float(picture.width))


def _show(canvas: Canvas, scene: Scene, body: Body, standing: bool = True) -> None:
    picture = body.picture
    if scene.setting != "space" and scene.light in _TINTS:
        deep = scene.setting == "underwater"
        picture = graded(picture, _DEEP_TINT if deep else _TINTS[scene.light])
    if scene.light in _RIMS and canvas.sun:
        picture = _rimmed(
            picture, canvas.sun[0] < body.left + picture.width / 2, _RIMS[scene.light]
        )
    if scene.light == "snowfall" and scene.setting != "underwater":
        picture = snow_capped(picture, max(2, picture.height // 32), 0.9)
    if standing and _afloat(scene, body):
        picture = picture.copy()
        fade = Image.new("L", picture.size, 255)
        ImageDraw.Draw(fade).rectangle((0, picture.height - _sunk(body), *picture.size), fill=0)
        picture.putalpha(ImageChops.multiply(picture.getchannel("A"), fade))
    canvas.picture.paste(picture, (body.left, body.top), picture)
    if standing and _afloat(scene, body):
        _ripple(canvas, body)
    if scene.setting == "underwater":
        veil = picture.getchannel("A").point([v // 7 for v in range(256)])
        canvas.picture.paste((40, 150, 200), (body.left, body.top), veil)


def _sunk(body: Body) -> int:
    """How many of its lowest rows are under water; boats bring a piece of sea of their own."""
    share = {"sailboat": 0.13, "ship": 0.16, "canoe": 0.28}.get(body.placed.name, 0.09)
    return round(body.picture.height * share)


def _ripple(canvas: Canvas, body: Body) -> None:
    """Foam where the body meets the water, and rings around it."""
    bright, deep = {
        "day": ((236, 250, 255), (60, 152, 212)),
        "sunset": ((255, 226, 196), (150, 120, 140)),
        "night": ((136, 164, 216), (26, 52, 104)),
    }.get(canvas.light, ((214, 228, 236), (70, 116, 148)))
    left, right = _footprint(
        body.picture.crop((0, 0, body.picture.width, body.picture.height - _sunk(body)))
    )
    x, y = body.left + (left + right) / 2, body.foot - _sunk(body)
    half = max(8.0, (right - left) / 2)
    canvas.soft(x, y + 2, half * 1.5, 7, deep, 1.4)
    for wide, down, strength in ((1.25, 0, 1.1), (1.0, 4, 0.7), (1.6, 7, 0.55)):
        canvas.soft(x, y + down, half * wide, 2, bright, strength)


def _rimmed(picture: Image.Image, from_left: bool, colour: Colour) -> Image.Image:
    """Light on the edges that face the sun or the moon."""
    alpha = picture.getchannel("A")
    thick = max(2, picture.width // 30)
    covered = Image.new("L", picture.size)
    covered.paste(alpha, (thick if from_left else -thick, thick // 2))
    rim = ImageChops.subtract(alpha, covered).filter(ImageFilter.BoxBlur(1))
    rim = ImageChops.multiply(rim, alpha).point([v * 7 // 10 for v in range(256)])
    lit = Image.new("RGBA", picture.size, colour)
    lit.putalpha(rim)
    return Image.alpha_composite(picture, lit)


def _puddles(canvas: Canvas, setting: str) -> None:
    """Wet ground that mirrors the sky; rings where there is water anyway."""
    rng = canvas.rng
    for _ in range(7):
        x, y = rng.randrange(17) * GRID, rng.choice((216, 232, 248))
        wide = rng.choice((24, 40))
        if setting in ("sea", "lake"):
            pen = ImageDraw.Draw(canvas.picture)
            y = rng.choice(range(168, 250, 16) if setting == "sea" else (152, 168, 184, 200))
            pen.ellipse((x - wide / 4, y - 2, x + wide / 4, y + 2), outline=(206, 222, 232))
            continue
        for scale, tone in ((1.0, (112, 128, 144)), (0.9, (158, 174, 188))):
            canvas.soft(x, y, wide * scale, 7 * scale, tone, 3.0)
        canvas.soft(x - wide * 0.2, y - 1, wide * 0.5, 2, (226, 234, 240), 1.2)


def _weather(canvas: Canvas, layout: int) -> None:
    overlay = _streaks() if canvas.light == "rain" else _flakes()
    across, down = divmod(layout, 4)
    mask = ImageChops.offset(overlay, 2 * across * GRID, 2 * down * GRID)
    colour = (226, 236, 244) if canvas.light == "rain" else (255, 255, 255)
    canvas.picture.paste(colour, (0, 0), mask)


@cache
def _streaks() -> Image.Image:
    """Rain as a mask, drawn at twice the size."""
    rng = random.Random("rain")
    mask = Image.new("L", (2 * _TILE, 2 * _TILE))
    pen = ImageDraw.Draw(mask)
    for _ in range(32):
        x, y, long = rng.uniform(0, 256), rng.uniform(0, 256), rng.uniform(24, 52)
        strength = rng.randint(80, 170)
        for dx, dy in ((0, 0), (256, 0), (0, -256), (256, -256)):
            line = (x + dx, y + dy, x + dx - long * 0.28, y + dy + long)
            pen.line(line, fill=strength, width=2)
    return _tiled(mask)


@cache
def _flakes() -> Image.Image:
    rng = random.Random("snow")
    mask = Image.new("L", (2 * _TILE, 2 * _TILE))
    pen = ImageDraw.Draw(mask)
    for _ in range(38):
        r = rng.choice((2.5, 3, 3.5, 4, 5))
        x, y = rng.uniform(r + 1, 255 - r), rng.uniform(r + 1, 255 - r)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=rng.randint(190, 250))
    return _tiled(mask.filter(ImageFilter.GaussianBlur(0.8)))


def _tiled(mask: Image.Image) -> Image.Image:
    tile = mask.resize((_TILE, _TILE), Image.Resampling.BOX)
    whole = Image.new("L", (SIZE, SIZE))
    for left in range(0, SIZE, _TILE):
        for top in range(0, SIZE, _TILE):
            whole.paste(tile, (left, top))
    return whole
