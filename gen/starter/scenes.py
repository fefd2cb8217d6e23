"""Draws captioned scenes from sprites: the starter model's training data.

Knows nothing of models: a random generator goes in, a picture and its caption come out.
"""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

SIZE = 128  # pixels a side of the finished scene
_CANVAS = 2 * SIZE  # scenes are drawn at twice the size and reduced: smooth edges

OBJECTS = (
    "airplane", "astronaut", "balloon", "bus", "cactus", "car", "castle", "cat", "dog", "dolphin",
    "elephant", "flying saucer", "fox", "ghost", "house", "mushroom", "owl", "palm tree", "panda",
    "penguin", "pine tree", "red apple", "robot", "rocket", "sailboat", "snowman", "sunflower",
    "teddy bear", "tent", "tree", "umbrella", "whale",
)  # fmt: skip
SETTINGS = {
    "beach": "on the beach",
    "forest": "in the forest",
    "snow": "in the snow",
    "city": "in the city",
    "desert": "in the desert",
    "meadow": "in a meadow",
    "sea": "at sea",
    "space": "in space",
}
LIGHTS = {
    "day": ("", "by day", "on a sunny day"),
    "sunset": ("at sunset",),
    "night": ("at night",),
}
_TINT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.76, 0.62), "night": (0.42, 0.48, 0.74)}
_SKY: dict[str, tuple[Colour, Colour]] = {
    "day": ((86, 164, 236), (206, 234, 250)),
    "sunset": ((96, 62, 142), (255, 158, 84)),
    "night": ((8, 10, 36), (38, 50, 98)),
}


class Placed(NamedTuple):
    """One object of a scene; `x`, `y` (its foot) and `size` are shares of the picture's side."""

    name: str
    x: float
    y: float
    size: float
    flipped: bool


@dataclass(frozen=True)
class Scene:
    """What a scene shows; `seed` decides everything that the caption leaves open."""

    setting: str
    light: str
    objects: tuple[Placed, ...]
    seed: int


Sprites = dict[str, Image.Image]


def load_sprites(folder: Path) -> Sprites:
    """The sprites named in OBJECTS, RGBA, from a folder with `sprites.json`."""
    listed = json.loads((folder / "sprites.json").read_text("utf-8"))["sprites"]
    files = {sprite["name"]: sprite["file"] for sprite in listed}
    return {name: Image.open(folder / files[name]).convert("RGBA") for name in OBJECTS}


def held_out(name: str, setting: str) -> bool:
    """Whether this object is never drawn in this setting, so that it can be asked for as new."""
    return (OBJECTS.index(name) * 5 + list(SETTINGS).index(setting) * 3) % 19 == 0


def random_scene(rng: random.Random) -> Scene:
    """A scene with one object (two thirds) or two (one third)."""
    setting = rng.choice(list(SETTINGS))
    light = "night" if setting == "space" else rng.choice(list(LIGHTS))
    names = [name for name in OBJECTS if not held_out(name, setting)]
    count = 1 if rng.random() < 0.66 else 2
    floor = 0.68 if setting == "space" else 0.86
    objects = []
    for slot, name in enumerate(rng.sample(names, count)):
        if count == 1:
            size = rng.choice((0.32, 0.5, 0.5, 0.5, 0.66))
            x = rng.uniform(0.04 + size / 2, 0.96 - size / 2)
        else:
            x, size = (0.27, 0.73)[slot] + rng.uniform(-0.04, 0.04), rng.uniform(0.38, 0.46)
        foot = floor + rng.uniform(-0.04, 0.06) + (size - 0.45) * 0.25
        objects.append(Placed(name, x, foot, size, rng.random() < 0.5))
    return Scene(setting, light, tuple(objects), rng.getrandbits(32))


def caption(scene: Scene, rng: random.Random) -> str:
    """One of many English ways to say what the scene shows."""
    phrases = [f"{_article(_sized(placed))} {_sized(placed)}" for placed in scene.objects]
    if len(phrases) == 2:
        joined = rng.choice(("{} and {}", "{} and {}", "{} next to {}", "{} to the left of {}"))
        what = joined.format(*phrases)
    else:
        what = phrases[0] + _side(scene.objects[0], rng)
    light = "" if scene.setting == "space" else rng.choice(LIGHTS[scene.light])
    where = SETTINGS[scene.setting]
    if rng.random() < 0.15 and scene.setting != "space":
        first = f"a {scene.setting} scene {light}".strip()
        return f"{first} with {what}"
    text = " ".join(part for part in (what, where, light) if part)
    return rng.choice(("{}", "{}", "{}", "a picture of {}", "an illustration of {}")).format(text)


def draw(scene: Scene, sprites: Sprites) -> Image.Image:
    """The scene as an RGB picture of SIZE x SIZE pixels."""
    rng = random.Random(scene.seed)
    canvas = _BACKDROPS[scene.setting](rng, scene.light)
    for placed in sorted(scene.objects, key=lambda placed: placed.y):
        _place(canvas, placed, sprites[placed.name], scene)
    return canvas.resize((SIZE, SIZE), Image.Resampling.BOX)


def _sized(placed: Placed) -> str:
    if placed.size < 0.36:
        return f"tiny {placed.name}"
    return f"huge {placed.name}" if placed.size > 0.6 else placed.name


def _article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiou" else "a"


def _side(placed: Placed, rng: random.Random) -> str:
    if rng.random() < 0.4 or 0.38 < placed.x < 0.62:
        return ""
    return " on the left" if placed.x < 0.5 else " on the right"


def _place(canvas: Image.Image, placed: Placed, sprite: Image.Image, scene: Scene) -> None:
    side = int(placed.size * _CANVAS)
    scale = side / max(sprite.size)
    body = sprite.resize((int(sprite.width * scale), int(sprite.height * scale)))
    if placed.flipped:
        body = body.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = int(placed.x * _CANVAS - body.width / 2)
    top = int(placed.y * _CANVAS - body.height)
    if scene.setting != "space":
        _shadow(canvas, left, top + body.height, body.width)
        body = _tinted(body, scene.light)
    canvas.paste(body, (left, top), body)


def _shadow(canvas: Image.Image, left: int, foot: int, width: int) -> None:
    mask = Image.new("L", canvas.size, 0)
    tall = max(4, width // 7)
    box = (left + width // 10, foot - tall, left + width * 9 // 10, foot + tall // 2)
    ImageDraw.Draw(mask).ellipse(box, fill=90)
    canvas.paste((12, 16, 30), (0, 0), mask.filter(ImageFilter.BoxBlur(3)))


def _tinted(picture: Image.Image, light: str) -> Image.Image:
    bands = list(picture.split())
    for band, factor in enumerate(_TINT[light]):
        bands[band] = bands[band].point([int(value * factor) for value in range(256)])
    return Image.merge(picture.mode, bands)


# Backdrops. Each draws at _CANVAS size; `light` is a key of LIGHTS.


def _sky(rng: random.Random, light: str) -> Image.Image:
    top, bottom = _SKY[light]
    column = Image.new("RGB", (1, _CANVAS))
    for y in range(_CANVAS):
        share = min(1.0, y / (_CANVAS * 0.62))
        column.putpixel((0, y), _mix(top, bottom, share))
    sky = column.resize((_CANVAS, _CANVAS))
    pen = ImageDraw.Draw(sky)
    x, y = rng.randint(20, _CANVAS - 20), rng.randint(24, 64)
    if light == "night":
        for _ in range(rng.randint(18, 40)):
            _dot(
                pen, rng.randrange(_CANVAS), rng.randrange(140), rng.choice((1, 2)), (255, 255, 230)
            )
        _dot(pen, x, y, 17, (246, 242, 214))
        _dot(pen, x + 8, y - 5, 15, _mix(top, bottom, y / (_CANVAS * 0.62)))
    else:
        low = light == "sunset"
        _dot(pen, x, y + 60 if low else y, 24 if low else 18, (255, 222, 120))
        for _ in range(rng.randint(0, 3)):
            _cloud(pen, rng, _mix((255, 255, 255), bottom, 0.35 if low else 0.1))
    return sky


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (int(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def _lit(colour: Colour, light: str) -> Colour:
    red, green, blue = (int(c * t) for c, t in zip(colour, _TINT[light], strict=True))
    return red, green, blue


def _dot(pen: ImageDraw.ImageDraw, x: int, y: int, radius: int, colour: Colour) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _cloud(pen: ImageDraw.ImageDraw, rng: random.Random, colour: Colour) -> None:
    x, y = rng.randrange(_CANVAS), rng.randint(16, 70)
    for _ in range(5):
        _dot(pen, x + rng.randint(-24, 24), y + rng.randint(-4, 4), rng.randint(7, 13), colour)


def _hills(pen: ImageDraw.ImageDraw, rng: random.Random, y: int, rise: int, colour: Colour) -> None:
    phase, waves = rng.uniform(0, 6.3), rng.uniform(0.6, 1.9)
    edge = [
        (x, y - rise * math.sin(phase + waves * 2 * math.pi * x / _CANVAS))
        for x in range(0, _CANVAS + 8, 8)
    ]
    pen.polygon([(0, _CANVAS), *edge, (_CANVAS, _CANVAS)], fill=colour)


def _beach(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    horizon = rng.randint(118, 136)
    pen.rectangle((0, horizon, _CANVAS, _CANVAS), fill=_lit((38, 148, 200), light))
    for _ in range(8):
        x, y = rng.randrange(_CANVAS), rng.randint(horizon + 4, horizon + 40)
        pen.line((x, y, x + 26, y), fill=_lit((150, 214, 236), light), width=2)
    shore = rng.randint(166, 180)
    state = rng.getstate()
    _hills(pen, rng, shore - 6, 8, _lit((240, 250, 252), light))
    rng.setstate(state)
    _hills(pen, rng, shore, 8, _lit((240, 214, 150), light))
    return picture


def _forest(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    for y, size, colour in ((128, 44, (44, 104, 64)), (156, 60, (30, 84, 48))):
        for x in range(-10, _CANVAS + 20, size // 3):
            foot, tall = y + rng.randint(0, 14), size + rng.randint(0, 24)
            shade = _lit(_mix(colour, (70, 150, 70), rng.random() * 0.35), light)
            pen.polygon([(x - 15, foot), (x + 15, foot), (x, foot - tall)], fill=shade)
    _hills(pen, rng, 160, 5, _lit((74, 132, 58), light))
    return picture


def _snow(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    _hills(pen, rng, 128, 20, _lit((206, 222, 238), light))
    _hills(pen, rng, 156, 12, _lit((230, 240, 248), light))
    _hills(pen, rng, 182, 7, _lit((250, 252, 255), light))
    for _ in range(rng.randint(24, 44)):
        _dot(pen, rng.randrange(_CANVAS), rng.randrange(_CANVAS), 2, (250, 252, 255))
    return picture


def _city(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    window = (255, 226, 130) if light != "day" else (176, 208, 230)
    x = -rng.randint(0, 20)
    while x < _CANVAS:
        wide, top = rng.randint(28, 50), rng.randint(56, 128)
        grey = rng.randint(96, 150)
        pen.rectangle((x, top, x + wide, 190), fill=_lit((grey, grey, grey + 18), light))
        for row in range(top + 7, 178, 14):
            for column in range(x + 6, x + wide - 6, 11):
                if rng.random() < 0.6:
                    pen.rectangle((column, row, column + 5, row + 7), fill=window)
        x += wide + rng.randint(0, 5)
    pen.rectangle((0, 188, _CANVAS, _CANVAS), fill=_lit((92, 94, 102), light))
    for x in range(rng.randint(-30, 0), _CANVAS, 48):
        pen.rectangle((x, 238, x + 24, 242), fill=_lit((236, 232, 200), light))
    return picture


def _desert(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    _hills(pen, rng, 132, 18, _lit((216, 152, 84), light))
    _hills(pen, rng, 156, 14, _lit((228, 170, 98), light))
    _hills(pen, rng, 186, 8, _lit((238, 188, 116), light))
    return picture


def _meadow(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    _hills(pen, rng, 130, 16, _lit((150, 206, 104), light))
    _hills(pen, rng, 160, 10, _lit((120, 188, 80), light))
    petals: tuple[Colour, ...] = ((250, 240, 120), (250, 150, 190), (250, 250, 250), (240, 90, 80))
    for _ in range(rng.randint(24, 46)):
        place = rng.randrange(_CANVAS), rng.randint(178, _CANVAS)
        _dot(pen, *place, rng.choice((2, 3)), _lit(rng.choice(petals), light))
    return picture


def _sea(rng: random.Random, light: str) -> Image.Image:
    picture = _sky(rng, light)
    pen = ImageDraw.Draw(picture)
    horizon = rng.randint(128, 146)
    for step, y in enumerate(range(horizon, _CANVAS, 26)):
        colour = _lit(_mix((30, 128, 196), (12, 74, 140), step / 5), light)
        _hills(pen, rng, y, 0 if step == 0 else 5, colour)
        for _ in range(3):
            x, at = rng.randrange(_CANVAS), y + rng.randint(6, 20)
            pen.line((x, at, x + 30, at), fill=_lit((110, 186, 226), light), width=2)
    return picture


def _space(rng: random.Random, light: str) -> Image.Image:
    picture = Image.new("RGB", (_CANVAS, _CANVAS), (6, 6, 20))
    pen = ImageDraw.Draw(picture)
    for _ in range(4):
        haze = rng.choice(((50, 20, 84), (20, 34, 92), (70, 20, 60)))
        _dot(pen, rng.randrange(_CANVAS), rng.randrange(_CANVAS), rng.randint(40, 90), haze)
    picture = picture.filter(ImageFilter.BoxBlur(26))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randint(50, 80)):
        spot = rng.randrange(_CANVAS), rng.randrange(_CANVAS)
        _dot(pen, *spot, rng.choice((1, 1, 2)), (255, 255, 240))
    x, y, radius = rng.randrange(_CANVAS), rng.randint(10, 60), rng.randint(16, 34)
    planet = rng.choice(((214, 120, 80), (110, 160, 220), (196, 176, 120), (150, 110, 200)))
    _dot(pen, x, y, radius, planet)
    _dot(pen, x - radius // 3, y - radius // 3, radius // 2, _mix(planet, (255, 255, 255), 0.25))
    return picture


_BACKDROPS: dict[str, Callable[[random.Random, str], Image.Image]] = {
    "beach": _beach,
    "forest": _forest,
    "snow": _snow,
    "city": _city,
    "desert": _desert,
    "meadow": _meadow,
    "sea": _sea,
    "space": _space,
}
