"""The settings that people built. Each function draws onto a fresh canvas."""

import math
import random

import numpy as np

from gen.starter.scenes.backdrops_nature import row, scatter
from gen.starter.scenes.canvas import SKY, Canvas, Fine, lit, wave
from gen.starter.scenes.scene import SIZE
from gen.starter.scenes.sketch import Colour, mix


def _level(height: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(SIZE, height, np.float32)


def city(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(180)
    for foot, tall, step, far in ((186, 122, 30, 0.6), (192, 150, 44, 0.12)):
        x = rng.uniform(-step, 0)
        while x < SIZE + step:
            canvas.stamp("building", x, foot, tall * rng.choice((0.8, 1.0)), far=far)
            x += step * rng.uniform(0.85, 1.2)
    row(canvas, "round tree", 196, 26, 54)
    canvas.ridge(_level(192), (206, 204, 206), (196, 194, 200), deep=10)
    canvas.ridge(_level(202), (150, 150, 160), (150, 150, 160))
    canvas.ridge(_level(205), (104, 108, 122), (82, 86, 100), deep=50, dusted=0.45)
    pen = Fine(canvas, 224, 236)
    for x in range(rng.randint(-50, -10), SIZE, 54):
        lane = [(x + 4.0, 227.0), (x + 34.0, 227.0), (x + 30.0, 232.0), (x - 2.0, 232.0)]
        pen.polygon(lane, lit((250, 224, 130), canvas.light))
    pen.done()
    for x in (rng.uniform(10, 40), rng.uniform(216, 246)):
        canvas.stamp("lamp post", x, 206, 84)


def village(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(150)
    canvas.ridge(wave(rng, 138, 10), (164, 206, 150), (136, 188, 116), deep=40)
    row(canvas, "round tree", 160, 40, 34, far=0.2)
    canvas.ridge(wave(rng, 160, 4), (150, 202, 104), (118, 180, 88), deep=40)
    x, variant = rng.uniform(0, 30), rng.randrange(5)
    while x < SIZE + 30:
        variant = (variant + rng.randint(1, 4)) % 5
        canvas.stamp("cottage", x, 192 + rng.uniform(-5, 3), rng.uniform(84, 112), variant)
        x += rng.uniform(84, 108)
    scatter(canvas, "bush", 7, (190, 197), (12, 18))
    canvas.ridge(wave(rng, 194, 2), (146, 196, 98), (128, 184, 88))
    canvas.ridge(wave(rng, 203, 2, 0.8), (226, 206, 172), (190, 166, 138), deep=50, dusted=0.6)
    _cobbles(canvas, 208)
    canvas.stamp("lamp post", rng.choice((rng.uniform(8, 30), rng.uniform(226, 248))), 212, 84)


def _cobbles(canvas: Canvas, top: float) -> None:
    rng = canvas.rng
    pen = Fine(canvas, 204)
    y, step = top, 5.0
    while y < SIZE:
        x = rng.uniform(-20, 0)
        while x < SIZE:
            wide = step * rng.uniform(2.0, 3.0)
            if rng.random() < 0.45:
                tone = mix((204, 180, 148), (240, 224, 196), rng.random())
                if canvas.light == "snowfall":
                    tone = mix(tone, (255, 255, 255), 0.5)
                box = (x, y, x + wide, y + step * 0.75)
                pen.box(box, lit(tone, canvas.light), 2)
            x += wide + 2
        y, step = y + step + 1, step * 1.18
    pen.done()


def farm(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(140)
    canvas.ridge(wave(rng, 134, 7), (184, 214, 140), (166, 202, 118), deep=30)
    row(canvas, "round tree", 146, 22, 40, far=0.3)
    canvas.ridge(wave(rng, 144, 2), (226, 204, 112), (214, 188, 98), deep=40)
    side = rng.choice((-1, 1))
    barn = 128 + side * rng.uniform(70, 84)
    _furrows(canvas, 152, 128 - side * 40)
    canvas.stamp("round tree", barn - side * 64, 158, 60)
    canvas.soft(barn, 165, 60, 6, (60, 50, 50), 0.4)
    canvas.stamp("barn", barn, 166, rng.uniform(92, 104), flipped=side < 0)
    for _ in range(2):
        canvas.stamp("hay", 128 - side * rng.uniform(40, 116), rng.uniform(170, 186), 24)
    for x in range(8, SIZE, 26):
        canvas.stamp("fence", x, 208, 32, 1)
    canvas.ridge(wave(rng, 203, 2), (166, 196, 90), (124, 168, 74), deep=50)
    scatter(canvas, "tuft", 12, (208, 254), (7, 12))


def _furrows(canvas: Canvas, top: float, vanish: float) -> None:
    """Ploughed rows that run together at the horizon."""
    pen = Fine(canvas, int(top), 210)
    soil: tuple[Colour, Colour] = ((150, 192, 82), (168, 124, 84))
    if canvas.light == "snowfall":
        soil = mix(soil[0], (255, 255, 255), 0.5), mix(soil[1], (255, 255, 255), 0.65)
    tones = [lit(tone, canvas.light) for tone in soil]
    for number in range(-16, 17):
        near, wide = vanish + number * 36, 18
        far = vanish + number * 11
        for half, tone in ((0, tones[0]), (1, tones[1])):
            corners = [(far + half * 5.5, top), (far + half * 5.5 + 5.5, top)]
            corners += [(near + half * wide + wide, 210), (near + half * wide, 210)]
            pen.polygon(corners, tone)
    pen.done()


def garden(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(130)
    row(canvas, "round tree", 140, 74, 44, far=0.12)
    for x in range(rng.randint(-20, 0), SIZE + 40, 34):
        canvas.stamp("bush", x, 166, rng.uniform(38, 46), rng.choice((1, 3)))
    canvas.ridge(_level(160), (86, 150, 78), (86, 150, 78))
    for x in range(16, SIZE + 32, 38):
        canvas.stamp("fence", x, 192, 48, 0)
    canvas.ridge(wave(rng, 180, 2), (158, 214, 98), (112, 182, 78), deep=70)
    _path(canvas)
    for foot, tall in ((190, 26), (199, 32)):
        for x in range(rng.randint(-8, 4), SIZE + 8, 11):
            if abs(x - 128) > 24:
                kind = rng.randrange(5)
                canvas.stamp(
                    "flower", x + rng.uniform(-3, 3), foot, tall * rng.uniform(0.8, 1.1), kind
                )
    for side in (-1, 1):
        for _ in range(7):
            near = 128 + side * rng.uniform(84, 128)
            canvas.stamp("flower", near, rng.uniform(226, 256), rng.uniform(30, 44))


def _path(canvas: Canvas) -> None:
    """Stepping stones, from the fence to the foot of the picture."""
    pen = Fine(canvas, 180)
    for step in range(6):
        y, wide = 186 + step * 9 + step * step, 11 + 4 * step
        x = 128 + (4 + step) * (-1) ** step
        stone = mix((206, 198, 190), (250, 250, 255), 0.6 if canvas.light == "snowfall" else 0.0)
        box = (x - wide, y, x + wide, y + 6 + step)
        shade = (box[0], box[1] + 2, box[2], box[3] + 2)
        pen.ellipse(shade, lit(mix(stone, (70, 90, 60), 0.5), canvas.light))
        pen.ellipse(box, lit(stone, canvas.light))
    pen.done()


def room(canvas: Canvas) -> None:
    rng = canvas.rng
    night = canvas.light == "night"
    walls: tuple[Colour, ...] = ((250, 222, 190), (236, 208, 214), (206, 224, 214), (214, 216, 240))
    wall = rng.choice(walls)
    tone = mix(wall, (70, 62, 104), 0.5) if night else wall
    pen = Fine(canvas)
    pen.box((0, 0, SIZE, SIZE), tone)
    for x in range(8, SIZE, 24):
        pen.box((x, 0, x + 9, 178), mix(tone, (255, 255, 255), 0.05 if night else 0.16))
    side = rng.choice((-1, 1))
    _window(pen, 128 + side * 66, night)
    _painting(pen, 128 - side * 74)
    _floor(pen, rng, night)
    lamp = 128 - side * 104
    pen.box((lamp - 1, 118, lamp + 1, 186), (120, 92, 84))
    pen.ellipse((lamp - 13, 182, lamp + 13, 190), (120, 92, 84))
    pen.done()
    if night:
        canvas.soft(128 - side * 74, 120, 110, 110, (255, 206, 120), 0.55)
    pen = Fine(canvas, 88, 126)
    shade = (255, 224, 140) if night else (240, 178, 120)
    pen.polygon([(lamp - 12, 92), (lamp + 12, 92), (lamp + 21, 122), (lamp - 21, 122)], shade)
    pen.done()


def _window(pen: Fine, x: float, night: bool) -> None:
    """A window with curtains; what is seen through it is painted first, then framed."""
    top, _, low = SKY["night" if night else "day"]
    for line in range(32, 128, 2):
        pen.box((x - 42, line, x + 42, line + 2), mix(top, low, (line - 32) / 96))
    if night:
        pen.ellipse((x + 9, 47, x + 25, 63), (250, 246, 222))
        for spot in range(9):
            left, above = x - 34 + spot * 8, 40 + spot * 29 % 70
            pen.ellipse((left, above, left + 1, above + 1), (240, 240, 255))
    else:
        for dx, dy, r in ((-24, 60, 6), (-15, 56, 9), (-6, 60, 6)):
            pen.ellipse((x + dx - r, dy - r, x + dx + r, dy + r), (255, 255, 255))
    grass = (44, 72, 84) if night else (130, 190, 110)
    hill = [(x - 42 + step * 7, 112 - 8 * math.sin(step / 12 * math.pi)) for step in range(13)]
    pen.polygon([(x - 42, 128), *hill, (x + 42, 128)], grass)
    frame = (190, 184, 204) if night else (252, 250, 246)
    bars = [(-46, 26, -40, 132), (40, 26, 46, 132), (-2, 30, 2, 128)]
    bars += [(-46, 26, 46, 32), (-46, 126, 46, 132), (-44, 76, 44, 80)]
    for left, above, right, below in bars:
        pen.box((x + left, above, x + right, below), frame)
    cloth = (136, 70, 92) if night else (226, 110, 110)
    for sign in (-1, 1):
        edges = ((62, 18), (36, 18), (48, 90), (40, 142), (62, 142))
        pen.polygon([(x + sign * dx, y) for dx, y in edges], cloth)
        for fold in (46, 55):
            strip = ((fold, 18), (fold - 3, 18), (fold + 2, 142), (fold + 4, 142))
            pen.polygon([(x + sign * dx, y) for dx, y in strip], mix(cloth, (60, 20, 40), 0.2))
    pen.box((x - 68, 13, x + 68, 19), (150, 110, 84), 3)


def _painting(pen: Fine, x: float) -> None:
    """A small picture of hills on the wall."""
    pen.box((x - 30, 36, x + 30, 80), (168, 122, 84), 2)
    pen.box((x - 25, 41, x + 25, 75), (196, 226, 236))
    pen.polygon([(x - 25, 75), (x - 8, 52), (x + 10, 75)], (120, 170, 140))
    pen.polygon([(x - 6, 75), (x + 12, 58), (x + 25, 75)], (90, 146, 124))
    pen.ellipse((x + 8, 45, x + 16, 53), (255, 214, 110))


def _floor(pen: Fine, rng: random.Random, night: bool) -> None:
    dim = 0.5 if night else 0.0
    plank = mix((206, 150, 102), (56, 42, 74), dim)
    for number in range(-12, 13):
        near, far = 128 + number * 44, 128 + number * 22
        tone = mix(plank, (90, 50, 30), rng.uniform(0.02, 0.16))
        pen.polygon([(far, 176), (far + 22, 176), (near + 44, SIZE), (near, SIZE)], tone)
    pen.box((0, 172, SIZE, 181), mix((252, 248, 240), (70, 62, 104), dim))
    rug: tuple[Colour, ...] = ((96, 146, 190), (206, 104, 108), (116, 160, 120), (150, 118, 180))
    tone = mix(rng.choice(rug), (40, 34, 74), dim * 0.8)
    for inset, share in ((0, 0.0), (6, 0.6), (11, 0.15)):
        box = (18 + inset * 2, 204 + inset, 238 - inset * 2, 260 - inset)
        pen.ellipse(box, mix(tone, (255, 244, 224), share * (0.5 if night else 1)))
