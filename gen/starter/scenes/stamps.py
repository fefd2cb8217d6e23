"""The things that backdrops are furnished with: trees, clouds, houses, flowers and the like.

Every stamp has some variants; a variant is drawn once and then reduced to the size asked for.
"""

import math
import random
from collections.abc import Callable
from functools import cache

from PIL import Image

from gen.starter.scenes.sketch import Colour, Sketch, mix

VARIANTS = 5
_BARK = (122, 82, 58)
_WHITE = (250, 250, 252)


@cache
def stamp(kind: str, variant: int) -> Sketch:
    """Never changed after it is drawn."""
    return _STAMPS[kind](random.Random(f"{kind}/{variant}"), variant)


def lamps(sketch: Sketch) -> Image.Image | None:
    return sketch.lights if sketch.lights.getbbox() else None


def _cloud(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(2.0)
    circles = [(1.0, 0.5, 0.36)]
    for side in (-1, 1):
        for step in range(1, 3):
            circles.append(
                (1 + side * step * rng.uniform(0.28, 0.34), 0.5 + 0.09 * step, 0.3 - 0.07 * step)
            )
    floor = 0.82
    sketch.blob([(x, min(y, floor - r), r) for x, y, r in circles], _WHITE, 0.12)
    return sketch


def _conifer(rng: random.Random, variant: int, snowy: bool = False) -> Sketch:
    sketch = Sketch(0.62)
    greens: tuple[Colour, ...] = (
        *((44, 122, 82), (54, 136, 84), (36, 108, 84)),
        *((66, 146, 90), (48, 128, 98)),
    )
    sketch.box((0.27, 0.84, 0.35, 1.0), _BARK)
    for tier in range(3, -1, -1):
        top, half = 0.02 + tier * 0.17, 0.12 + tier * 0.055
        low = top + 0.34
        edge = [(0.31, top), (0.31 + half, low - 0.03), (0.31 + half * 0.5, low)]
        edge += [(0.31 - half * 0.5, low), (0.31 - half, low - 0.03)]
        sketch.polygon(edge, mix(greens[variant], (20, 70, 70), tier * 0.1), 0.05)
        if snowy:
            cap = [(0.31, top), (0.31 + half * 0.62, top + 0.2), (0.31 + half * 0.3, top + 0.15)]
            cap += [(0.31, top + 0.21), (0.31 - half * 0.3, top + 0.15)]
            sketch.polygon([*cap, (0.31 - half * 0.62, top + 0.2)], (246, 250, 255), 0.02)
    return sketch


def _snowy_conifer(rng: random.Random, variant: int) -> Sketch:
    return _conifer(rng, variant, snowy=True)


def _round_tree(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(0.8)
    greens: tuple[Colour, ...] = (
        *((104, 178, 78), (82, 160, 78), (126, 190, 84)),
        *((70, 146, 86), (148, 196, 80)),
    )
    sketch.polygon([(0.36, 1.0), (0.38, 0.5), (0.42, 0.5), (0.44, 1.0)], _BARK)
    crown = [(0.4, 0.3, 0.28)]
    for corner in range(6):
        angle = corner * math.pi / 3 + rng.uniform(-0.2, 0.2)
        crown.append((0.4 + 0.2 * math.cos(angle), 0.36 + 0.17 * math.sin(angle), 0.18))
    sketch.blob(crown, greens[variant], 0.09)
    for _ in range(4):
        x, y = rng.uniform(0.22, 0.5), rng.uniform(0.14, 0.42)
        sketch.blob([(x, y, 0.05)], mix(greens[variant], (255, 255, 160), 0.18), 0.02)
    return sketch


def _trunk(rng: random.Random, variant: int) -> Sketch:
    """A tree so near that its crown is above the picture."""
    sketch = Sketch(0.3)
    brown = ((112, 78, 58), (128, 90, 64), (96, 70, 58), (120, 84, 66), (104, 76, 54))[variant]
    sketch.polygon(
        [(0.08, 0), (0.2, 0), (0.21, 0.8), (0.27, 1), (0.02, 1), (0.07, 0.8)], brown, 0.05
    )
    for _ in range(6):
        x, y = rng.uniform(0.1, 0.17), rng.uniform(0.05, 0.85)
        sketch.box((x, y, x + 0.012, y + 0.09), mix(brown, (50, 30, 30), 0.4), 0)
    return sketch


def _bush(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.5)
    green = ((98, 170, 78), (76, 150, 80), (120, 184, 84), (66, 138, 86), (88, 160, 70))[variant]
    circles = [(0.35, 0.7, 0.28), (0.75, 0.5, 0.4), (1.12, 0.68, 0.3)]
    sketch.blob([(x + rng.uniform(-0.06, 0.06), y, r) for x, y, r in circles], green, 0.1)
    return sketch


def _palm(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(0.8)
    lean = rng.uniform(0.06, 0.16)
    for step in range(14):
        share = step / 13
        x, y = 0.36 + lean * share**2, 1 - 0.68 * share
        wide = 0.04 - 0.014 * share
        sketch.ellipse((x - wide, y - 0.045, x + wide, y + 0.03), (158, 116, 80), 0.02)
    top = 0.36 + lean
    for reach, rise, drop in (
        *((-0.34, 0.1, 0.24), (0.34, 0.1, 0.24), (-0.36, 0.16, 0.02), (0.36, 0.16, 0.02)),
        *((-0.2, 0.2, 0.3), (0.2, 0.2, 0.3), (0.06, 0.24, -0.12)),
    ):
        upper, under = [], []
        for step in range(11):
            share = step / 10
            x, y = top + reach * share, 0.3 - 2.2 * rise * share * (1 - share) + drop * share**2
            upper.append((x, y - 0.045 * math.sin(share * math.pi)))
            under.append((x, y + (0.05 - 0.022 * (step % 2)) * math.sin(share * math.pi)))
        green = mix((60, 150, 82), (122, 198, 92), rng.random())
        sketch.polygon([*upper, *reversed(under)], green, 0.025)
    return sketch


def _rock(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.4)
    grey = ((150, 150, 158), (134, 138, 150), (164, 158, 156), (142, 146, 152), (156, 152, 164))
    points = [(0.05, 1.0), (0.15, 0.55), (0.45, 0.2), (0.85, 0.12), (1.2, 0.5), (1.35, 1.0)]
    jitter = [
        (x + rng.uniform(-0.05, 0.05), min(1, y + rng.uniform(-0.05, 0.05))) for x, y in points
    ]
    sketch.polygon(jitter, grey[variant], 0.14)
    return sketch


def _flower(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(0.6)
    petal = ((252, 252, 250), (250, 126, 160), (255, 206, 76), (240, 96, 84), (176, 132, 240))
    middle = (255, 206, 84) if variant != 2 else (220, 120, 60)
    sketch.box((0.28, 0.3, 0.32, 1.0), (84, 156, 70), 0)
    sketch.ellipse((0.3, 0.62, 0.52, 0.76), (98, 172, 78), 0.02)
    for corner in range(6):
        angle = corner * math.pi / 3
        x, y = 0.3 + 0.15 * math.cos(angle), 0.27 + 0.15 * math.sin(angle)
        sketch.blob([(x, y, 0.1)], petal[variant], 0.03)
    sketch.blob([(0.3, 0.27, 0.09)], middle, 0.03)
    return sketch


def _tuft(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.0)
    green = ((104, 178, 72), (84, 158, 70), (128, 192, 80), (92, 166, 84), (116, 184, 68))[variant]
    for x, tip, tall in (
        (0.3, 0.08, 0.5),
        (0.7, 0.94, 0.55),
        (0.42, 0.34, 0.15),
        (0.58, 0.68, 0.2),
    ):
        sketch.polygon([(x - 0.08, 1), (tip, tall), (x + 0.08, 1)], green, 0.03)
    return sketch


def _building(rng: random.Random, variant: int) -> Sketch:
    tall = (1.0, 0.82, 0.68, 0.92, 0.6)[variant]
    sketch = Sketch(0.4)
    wall = ((118, 144, 186), (206, 150, 132), (148, 168, 178), (132, 126, 168), (218, 186, 140))
    top = 1 - tall
    if variant == 0:
        sketch.box((0.19, 0.0, 0.21, 0.1), (150, 150, 166), 0)
        top = 0.08
    if variant == 3:
        sketch.polygon([(0.06, top + 0.1), (0.2, top), (0.34, top + 0.1)], (108, 100, 146))
        top += 0.1
    sketch.box((0.02, top, 0.38, 1.0), wall[variant], 0.03)
    sketch.box((0.0, top, 0.4, top + 0.03), mix(wall[variant], (60, 60, 80), 0.2), 0.01)
    for row in range(int((0.97 - top) / 0.085)):
        for column in range(4):
            x, y = 0.055 + column * 0.08, top + 0.06 + row * 0.085
            sketch.window((x, y, x + 0.05, y + 0.05), rng.random() < 0.62)
    return sketch


def _cottage(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.1)
    wall = ((252, 232, 196), (238, 196, 170), (206, 226, 232), (250, 246, 236), (236, 214, 140))
    roof = ((206, 90, 76), (120, 106, 150), (190, 104, 80), (92, 132, 168), (160, 92, 72))
    sketch.box((0.78, 0.1, 0.88, 0.4), (176, 120, 104), 0.02)
    sketch.box((0.12, 0.42, 0.98, 1.0), wall[variant], 0.03)
    sketch.polygon([(0.02, 0.48), (0.26, 0.1), (0.84, 0.1), (1.08, 0.48)], roof[variant], 0.04)
    sketch.box((0.46, 0.64, 0.64, 1.0), mix(roof[variant], (80, 50, 50), 0.35), 0.02, 0.03)
    for x in (0.22, 0.72):
        sketch.box((x - 0.02, 0.58, x + 0.18, 0.82), _WHITE, 0)
        sketch.window((x, 0.6, x + 0.16, 0.8))
    return sketch


def _barn(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.3)
    sketch.box((1.06, 0.16, 1.26, 1.0), (206, 210, 218), 0.05)  # the silo
    sketch.ellipse((1.06, 0.06, 1.26, 0.28), (150, 160, 176), 0.04)
    red = (204, 72, 62)
    sketch.polygon([(0.08, 1), (0.08, 0.5), (0.5, 0.14), (0.92, 0.5), (0.92, 1)], red, 0.04)
    roof = [(0.0, 0.5), (0.22, 0.2), (0.5, 0.04), (0.78, 0.2), (1.0, 0.5), (0.92, 0.54)]
    roof += [(0.74, 0.29), (0.5, 0.15), (0.26, 0.29), (0.08, 0.54)]
    sketch.polygon(roof, (112, 100, 112), 0.02)
    sketch.box((0.42, 0.3, 0.58, 0.44), _WHITE, 0)
    sketch.window((0.44, 0.32, 0.56, 0.42))
    sketch.box((0.3, 0.58, 0.7, 1.0), _WHITE, 0)
    sketch.box((0.33, 0.61, 0.67, 1.0), (180, 56, 52), 0)
    for start, end in ((0.33, 0.67), (0.67, 0.33)):
        tip = 0.03 if end > start else -0.03
        sketch.polygon([(start, 0.61), (start + tip, 0.61), (end, 1), (end - tip, 1)], _WHITE, 0)
    return sketch


def _hay(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.3)
    sketch.box((0.2, 0.1, 1.25, 1.0), (226, 186, 92), 0.1, 0.42)
    sketch.ellipse((0.05, 0.1, 0.75, 1.0), (240, 206, 116), 0.04)
    for inset, tone in ((0.1, (222, 182, 96)), (0.2, (246, 214, 130)), (0.3, (222, 182, 96))):
        box = (0.05 + inset, 0.1 + inset, 0.75 - inset, 1 - inset)
        sketch.ellipse(box, tone, 0.02)
    return sketch


def _fence(rng: random.Random, variant: int) -> Sketch:
    """Two pickets wide, to be repeated; even variants are white, odd ones of brown wood."""
    sketch = Sketch(0.8)
    colour = (252, 250, 244) if variant % 2 == 0 else (170, 124, 88)
    for y in (0.36, 0.7):
        sketch.box((0, y, 0.8, y + 0.1), mix(colour, (120, 110, 120), 0.14), 0)
    for x in (0.08, 0.48):
        sketch.polygon(
            [(x, 1), (x, 0.2), (x + 0.12, 0.06), (x + 0.24, 0.2), (x + 0.24, 1)], colour, 0.03
        )
    return sketch


def _lamp_post(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(0.3)
    sketch.box((0.135, 0.2, 0.165, 1), (66, 70, 86), 0)
    sketch.polygon([(0.07, 0.08), (0.23, 0.08), (0.2, 0.24), (0.1, 0.24)], (196, 206, 216), 0)
    sketch.polygon([(0.05, 0.09), (0.15, 0.02), (0.25, 0.09)], (66, 70, 86), 0)
    lamp = Sketch(0.3)
    lamp.polygon([(0.085, 0.09), (0.215, 0.09), (0.19, 0.23), (0.11, 0.23)], (255, 222, 130), 0)
    sketch.lights = lamp.picture
    return sketch


def _weed(rng: random.Random, variant: int) -> Sketch:
    """Seaweed: a few wavy ribbons."""
    sketch = Sketch(0.6)
    green = ((62, 158, 110), (92, 172, 92), (40, 132, 116), (124, 178, 84), (66, 150, 132))[variant]
    for foot, tall in ((0.2, 0.25), (0.32, 0.02), (0.43, 0.35)):
        phase = rng.uniform(0, 6)
        left, right = [], []
        for step in range(13):
            share = step / 12
            x = foot + 0.05 * math.sin(phase + share * 7) * share
            y, wide = 1 - share * (1 - tall), 0.045 * (1 - share * 0.8)
            left.append((x - wide, y))
            right.append((x + wide, y))
        sketch.polygon([*left, *reversed(right)], green, 0.03)
    return sketch


def _coral(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.0)
    pink = ((244, 112, 130), (250, 150, 96), (200, 112, 200), (252, 188, 90), (240, 96, 100))
    circles = []
    for angle in (-0.9, -0.35, 0.2, 0.8):
        bend = angle + rng.uniform(-0.1, 0.1)
        for step in range(12):
            reach = 0.08 + step * 0.065
            x, y = 0.5 + math.sin(bend) * reach * 0.75, 1 - math.cos(bend) * reach
            circles.append((x, y, 0.075 - step * 0.002))
    sketch.blob(circles, pink[variant], 0.05)
    return sketch


def _leaf(rng: random.Random, variant: int) -> Sketch:
    """A broad jungle leaf, its stalk at the foot."""
    sketch = Sketch(0.7)
    green = ((42, 140, 84), (66, 162, 76), (28, 116, 84), (92, 176, 72), (36, 128, 70))[variant]
    edge = [(0.35, 1.0), (0.1, 0.72), (0.06, 0.42), (0.2, 0.14), (0.35, 0.0)]
    sketch.polygon([*edge, *((0.7 - x, y) for x, y in reversed(edge[:-1]))], green, 0.06)
    rib = mix(green, (220, 250, 150), 0.4)
    sketch.polygon([(0.34, 1), (0.36, 1), (0.352, 0.08)], rib, 0)
    for y in (0.3, 0.45, 0.6, 0.75):
        for side in (-1, 1):
            tip = (0.35 + side * 0.2, y - 0.1)
            sketch.polygon([(0.35, y), (0.35, y + 0.016), tip], rib, 0)
    return sketch


def _planet(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.6)
    colour = ((224, 132, 92), (112, 170, 226), (226, 190, 120), (166, 122, 216), (120, 196, 170))
    main = colour[variant]
    ringed = variant in (2, 3)
    if ringed:
        sketch.ellipse((0.05, 0.38, 1.55, 0.62), mix(main, (255, 255, 255), 0.4), 0)
    sketch.ellipse((0.42, 0.12, 1.18, 0.88), main, 0.17)
    for _ in range(3):
        x, y, r = rng.uniform(0.62, 0.98), rng.uniform(0.3, 0.7), rng.uniform(0.04, 0.08)
        sketch.ellipse(
            (x - 1.5 * r, y - r / 2, x + 1.5 * r, y + r / 2), mix(main, (70, 40, 80), 0.2)
        )
    if ringed:
        band = Sketch(1.6)
        band.ellipse((0.05, 0.38, 1.55, 0.62), mix(main, (255, 255, 255), 0.5), 0)
        band.picture.paste((0, 0, 0, 0), (0, 0, band.picture.width, band.picture.height // 2))
        sketch.picture.alpha_composite(band.picture)
    return sketch


def _hollow(rng: random.Random, variant: int) -> Sketch:
    """A cratered rock adrift in space."""
    sketch = Sketch(1.2)
    sketch.blob([(0.45, 0.55, 0.36), (0.72, 0.48, 0.34), (0.6, 0.66, 0.3)], (140, 132, 150), 0.14)
    for x, y, r in ((0.4, 0.5, 0.09), (0.72, 0.62, 0.07), (0.66, 0.34, 0.06)):
        sketch.ellipse((x - r, y - r, x + r, y + r), (104, 96, 118), 0.02)
    return sketch


def _bubble(rng: random.Random, variant: int) -> Sketch:
    sketch = Sketch(1.0)
    sketch.ellipse((0.05, 0.05, 0.95, 0.95), (226, 250, 255), 0)
    sketch.ellipse((0.2, 0.2, 0.8, 0.8), (120, 206, 228), 0)
    sketch.ellipse((0.28, 0.26, 0.46, 0.44), (250, 255, 255), 0)
    return sketch


_STAMPS: dict[str, Callable[[random.Random, int], Sketch]] = {
    "asteroid": _hollow,
    "barn": _barn,
    "bubble": _bubble,
    "building": _building,
    "bush": _bush,
    "cloud": _cloud,
    "conifer": _conifer,
    "coral": _coral,
    "cottage": _cottage,
    "fence": _fence,
    "flower": _flower,
    "hay": _hay,
    "lamp post": _lamp_post,
    "leaf": _leaf,
    "palm": _palm,
    "planet": _planet,
    "rock": _rock,
    "round tree": _round_tree,
    "snowy conifer": _snowy_conifer,
    "trunk": _trunk,
    "tuft": _tuft,
    "weed": _weed,
}
