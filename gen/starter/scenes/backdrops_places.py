"""The settings that people built. Each function draws onto a fresh canvas."""

import numpy as np
from PIL import Image, ImageDraw

from gen.starter.scenes.backdrops_nature import row, scatter
from gen.starter.scenes.canvas import SKY, Canvas, lit, wave
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
            canvas.stamp("building", x, foot, tall * rng.uniform(0.75, 1.1), far=far)
            x += step * rng.uniform(0.85, 1.2)
    row(canvas, "round tree", 196, 26, 54)
    canvas.ridge(_level(192), (206, 204, 206), (196, 194, 200), deep=10)
    canvas.ridge(_level(202), (150, 150, 160), (150, 150, 160))
    canvas.ridge(_level(205), (104, 108, 122), (82, 86, 100), deep=50, dusted=0.45)
    pen = ImageDraw.Draw(canvas.picture)
    for x in range(rng.randint(-50, -10), SIZE, 54):
        pen.polygon([(x + 4, 227), (x + 34, 227), (x + 30, 232), (x - 2, 232)],
                    fill=lit((250, 224, 130), canvas.light))  # fmt: skip
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
    pen = ImageDraw.Draw(canvas.picture)
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
                pen.rounded_rectangle(box, 2, fill=lit(tone, canvas.light))
            x += wide + 2
        y, step = y + step + 1, step * 1.18


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
    for x in range(rng.randint(-20, 0), SIZE + 20, 21):
        canvas.stamp("fence", x, 204, 27, 1)
    canvas.ridge(wave(rng, 203, 2), (166, 196, 90), (124, 168, 74), deep=50)
    scatter(canvas, "tuft", 12, (208, 254), (7, 12))


def _furrows(canvas: Canvas, top: float, vanish: float) -> None:
    """Ploughed rows that run together at the horizon."""
    pen = ImageDraw.Draw(canvas.picture)
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
            pen.polygon(corners, fill=tone)


def garden(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(130)
    row(canvas, "round tree", 140, 74, 44, far=0.12)
    for x in range(rng.randint(-20, 0), SIZE + 40, 34):
        canvas.stamp("bush", x, 166, rng.uniform(38, 46), rng.choice((1, 3)))
    canvas.ridge(_level(160), (86, 150, 78), (86, 150, 78))
    for x in range(rng.randint(-24, 0), SIZE + 30, 30):
        canvas.stamp("fence", x, 182, 38, 0)
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
    pen = ImageDraw.Draw(canvas.picture)
    for step in range(6):
        y, wide = 186 + step * 9 + step * step, 11 + 4 * step
        x = 128 + (4 + step) * (-1) ** step
        stone = mix((206, 198, 190), (250, 250, 255), 0.6 if canvas.light == "snowfall" else 0.0)
        box = (x - wide, y, x + wide, y + 6 + step)
        shade = (box[0], box[1] + 2, box[2], box[3] + 2)
        pen.ellipse(shade, fill=lit(mix(stone, (70, 90, 60), 0.5), canvas.light))
        pen.ellipse(box, fill=lit(stone, canvas.light))


def room(canvas: Canvas) -> None:
    rng = canvas.rng
    night = canvas.light == "night"
    walls: tuple[Colour, ...] = ((250, 222, 190), (236, 208, 214), (206, 224, 214), (214, 216, 240))
    wall = rng.choice(walls)
    tone = mix(wall, (70, 62, 104), 0.5) if night else wall
    canvas.picture.paste(tone, (0, 0, SIZE, SIZE))
    pen = ImageDraw.Draw(canvas.picture)
    for x in range(8, SIZE, 24):
        pen.rectangle(
            (x, 0, x + 9, 178), fill=mix(tone, (255, 255, 255), 0.16 if not night else 0.05)
        )
    side = rng.choice((-1, 1))
    _view(canvas, 128 + side * 66)
    _frame(canvas, 128 - side * 74)
    _floor(canvas, night)
    if night:
        canvas.soft(128 - side * 74, 120, 110, 110, (255, 206, 120), 0.55)
    lamp = 128 - side * 104
    pen.rectangle((lamp - 1, 118, lamp + 1, 186), fill=(120, 92, 84))
    pen.ellipse((lamp - 13, 182, lamp + 13, 190), fill=(120, 92, 84))
    shade = (255, 224, 140) if night else (240, 178, 120)
    pen.polygon([(lamp - 12, 92), (lamp + 12, 92), (lamp + 21, 122), (lamp - 21, 122)], fill=shade)


def _view(canvas: Canvas, x: float) -> None:
    """A window with the sky of the scene's light in it, and curtains."""
    pen = ImageDraw.Draw(canvas.picture)
    top, _, low = SKY[canvas.light]
    strip = Image.new("RGB", (1, 2))
    strip.putdata([top, low])
    pen.rectangle((x - 46, 26, x + 46, 132), fill=(252, 250, 246))
    pane = strip.resize((80, 94), Image.Resampling.BILINEAR)
    canvas.picture.paste(pane, (int(x - 40), 32))
    if canvas.light == "night":
        canvas.soft(x + 16, 56, 20, 20, (250, 246, 222), 0.6)
        pen.ellipse((x + 9, 49, x + 23, 63), fill=(250, 246, 222))
        for spot in range(9):
            pen.point((x - 34 + spot * 8, 40 + spot * 29 % 70), fill=(240, 240, 255))
    else:
        for dx, dy, r in ((-14, 62, 8), (-4, 58, 10), (7, 63, 7)):
            pen.ellipse((x + dx - r, dy - r, x + dx + r, dy + r), fill=(255, 255, 255))
        pen.ellipse((x - 60, 108, x + 60, 190), fill=(130, 190, 110))
        pen.rectangle((x - 60, 133, x + 60, 190), fill=canvas.picture.getpixel((2, 150)))
        for edge in (-60, 41):
            pen.rectangle(
                (x + edge, 100, x + edge + 19, 133), fill=canvas.picture.getpixel((2, 150))
            )
        pen.rectangle((x - 46, 126, x - 40, 132), fill=(252, 250, 246))
    frame = (252, 250, 246) if canvas.light != "night" else (190, 184, 204)
    pen.rectangle((x - 2, 30, x + 2, 128), fill=frame)
    pen.rectangle((x - 44, 76, x + 44, 80), fill=frame)
    pen.rectangle((x - 46, 26, x + 46, 132), outline=frame, width=6)
    cloth = (226, 110, 110) if canvas.light != "night" else (136, 70, 92)
    for sign in (-1, 1):
        outer, inner = x + sign * 62, x + sign * 36
        pen.polygon(
            [(outer, 18), (inner, 18), (x + sign * 48, 90), (x + sign * 40, 142), (outer, 142)],
            fill=cloth,
        )
        for fold in (0.25, 0.6):
            at = outer + (inner - outer) * fold
            pen.line(
                (at, 18, outer + (at - outer) * 0.7, 142),
                fill=mix(cloth, (60, 20, 40), 0.2),
                width=2,
            )
    pen.rounded_rectangle((x - 68, 13, x + 68, 19), 3, fill=(150, 110, 84))


def _frame(canvas: Canvas, x: float) -> None:
    """A small painting of hills."""
    pen = ImageDraw.Draw(canvas.picture)
    pen.rectangle((x - 30, 36, x + 30, 80), fill=(168, 122, 84))
    pen.rectangle((x - 25, 41, x + 25, 75), fill=(196, 226, 236))
    pen.polygon([(x - 25, 75), (x - 8, 52), (x + 10, 75)], fill=(120, 170, 140))
    pen.polygon([(x - 6, 75), (x + 12, 58), (x + 25, 75)], fill=(90, 146, 124))
    pen.ellipse((x + 8, 45, x + 16, 53), fill=(255, 214, 110))


def _floor(canvas: Canvas, night: bool) -> None:
    rng = canvas.rng
    pen = ImageDraw.Draw(canvas.picture)
    dim = 0.5 if night else 0.0
    plank = mix((206, 150, 102), (56, 42, 74), dim)
    pen.rectangle((0, 178, SIZE, SIZE), fill=plank)
    for number in range(-12, 13):
        near, far = 128 + number * 44, 128 + number * 22
        tone = mix(plank, (90, 50, 30), rng.uniform(0.02, 0.16))
        pen.polygon([(far, 182), (far + 22, 182), (near + 44, SIZE), (near, SIZE)], fill=tone)
    pen.rectangle((0, 172, SIZE, 181), fill=mix((252, 248, 240), (70, 62, 104), dim))
    rug: tuple[Colour, ...] = ((96, 146, 190), (206, 104, 108), (116, 160, 120), (150, 118, 180))
    tone = mix(rng.choice(rug), (40, 34, 74), dim * 0.8)
    for inset, share in ((0, 0.0), (6, 0.6), (11, 0.15)):
        box = (18 + inset * 2, 204 + inset, 238 - inset * 2, 260 - inset)
        pen.ellipse(box, fill=mix(tone, (255, 244, 224), share * (0.5 if night else 1)))
