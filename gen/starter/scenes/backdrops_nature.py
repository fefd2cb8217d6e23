"""The settings without buildings. Each function draws onto a fresh canvas."""

import numpy as np
from PIL import Image

from gen.starter.scenes.canvas import Canvas, peaks, wave
from gen.starter.scenes.scene import SIZE
from gen.starter.scenes.sketch import Colour, mix


def scatter(
    canvas: Canvas, kind: str, count: int, rows: tuple[float, float], tall: tuple[float, float],
    variant: int | None = None,
) -> None:  # fmt: skip
    """Stamps at random places between two heights, the far ones first and smaller."""
    rng = canvas.rng
    for foot in sorted(rng.uniform(*rows) for _ in range(count)):
        near = (foot - rows[0]) / (rows[1] - rows[0])
        size = tall[0] + near * (tall[1] - tall[0])
        canvas.stamp(kind, rng.uniform(0, SIZE), foot, size, variant)


def row(canvas: Canvas, kind: str, foot: float, tall: float, step: float, far: float = 0.0) -> None:
    """Stamps side by side across the whole picture."""
    rng = canvas.rng
    x = rng.uniform(-step, 0)
    while x < SIZE + step:
        canvas.stamp(kind, x, foot, tall * rng.choice((0.8, 1.1)), far=far)
        x += step * rng.uniform(0.7, 1.3)


def beach(canvas: Canvas) -> None:
    rng = canvas.rng
    horizon = rng.uniform(112, 124)
    canvas.sky(horizon)
    canvas.water(horizon, (66, 178, 214), (120, 218, 222), glints=14)
    shore = wave(rng, rng.uniform(170, 178), 5, 0.8)
    canvas.ridge(shore - 11, (150, 230, 226), (150, 230, 226), dusted=0.1)
    canvas.ridge(shore - 3, (252, 254, 254), (252, 254, 254), dusted=0)
    canvas.ridge(shore, (226, 190, 134), (250, 224, 168), deep=16, dusted=0.5)
    side = rng.choice((-1, 1))
    for step in range(rng.randint(1, 2)):
        x = SIZE / 2 + side * (104 - 34 * step)
        canvas.soft(x, shore[128] + 14 - step * 8, 34, 6, (60, 50, 60), 0.4)
        canvas.stamp("palm", x, shore[128] + 14 - step * 8, 136 - 34 * step, flipped=side > 0)
    scatter(canvas, "rock", 3, (196, 250), (6, 12))


def forest(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(150)
    row(canvas, "conifer", 142, 84, 17, far=0.55)
    canvas.ridge(wave(rng, 138, 4), (126, 172, 126), (70, 130, 88), deep=30)
    row(canvas, "conifer", 162, 104, 30, far=0.2)
    canvas.ridge(wave(rng, 160, 4), (92, 150, 84), (60, 112, 66), deep=40)
    for side in (0, 1):
        for _ in range(2):
            x = rng.uniform(-8, 52) if side == 0 else rng.uniform(204, 264)
            canvas.stamp("conifer", x, rng.uniform(184, 200), rng.uniform(136, 176))
    canvas.ridge(wave(rng, 190, 4), (104, 156, 76), (66, 116, 58), deep=60)
    scatter(canvas, "tuft", 12, (200, 254), (8, 13))
    scatter(canvas, "bush", 3, (186, 200), (14, 20))
    scatter(canvas, "rock", 2, (204, 240), (8, 12))


def snow(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(132)
    canvas.ridge(peaks(rng, 132, 50, 3), (224, 234, 248), (196, 214, 240), facet=0.12)
    canvas.ridge(wave(rng, 136, 8), (236, 243, 253), (206, 222, 244), deep=40)
    row(canvas, "snowy conifer", 154, 44, 26, far=0.3)
    canvas.ridge(wave(rng, 152, 7), (246, 250, 255), (212, 226, 246), deep=50)
    for side in (0, 1):
        for _ in range(rng.randint(1, 2)):
            x = rng.uniform(0, 50) if side == 0 else rng.uniform(206, 256)
            canvas.stamp("snowy conifer", x, rng.uniform(182, 194), rng.uniform(90, 116))
    canvas.ridge(wave(rng, 186, 6), (255, 255, 255), (214, 228, 248), deep=76)
    for _ in range(4):
        canvas.soft(rng.uniform(0, SIZE), rng.uniform(204, 250), 50, 5, _shade(canvas), 0.3)


def _shade(canvas: Canvas) -> Colour:
    return (150, 176, 222) if canvas.light != "night" else (20, 30, 70)


def desert(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(140)
    x, tall = rng.uniform(40, 216), rng.uniform(50, 72)
    for shift, share in ((0.0, 1.0), (rng.choice((-1, 1)) * 64, 0.6)):
        _pyramid(canvas, x + shift, 146, tall * share)
    canvas.ridge(
        wave(rng, 142, 8), (240, 196, 128), (226, 168, 98), deep=30, facet=0.22, dusted=0.35
    )
    canvas.ridge(
        wave(rng, 162, 11, 0.9), (250, 208, 136), (232, 174, 100), deep=40, facet=0.3, dusted=0.35
    )
    front = wave(rng, 192, 9, 0.7)
    canvas.ridge(front, (255, 220, 150), (236, 184, 110), deep=70, facet=0.3, dusted=0.4)
    for y in range(8, 60, 9):
        for _ in range(2):
            canvas.soft(rng.uniform(0, SIZE), front[128] + y, 40, 2, (200, 142, 84), 0.28)
    scatter(canvas, "rock", 2, (206, 246), (6, 12))


def _pyramid(canvas: Canvas, x: float, foot: float, tall: float) -> None:
    across = np.abs(np.arange(SIZE, dtype=np.float32) - x)
    line = (foot - tall + across * 0.72).astype(np.float32)
    canvas.ridge(
        np.minimum(line, SIZE), (238, 190, 120), (226, 174, 108), facet=0.34, lean=0.0, dusted=0.3
    )


def meadow(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(140)
    canvas.ridge(wave(rng, 130, 10), (168, 214, 160), (150, 204, 130), deep=30)
    canvas.ridge(wave(rng, 146, 10), (156, 212, 112), (130, 192, 92), deep=40)
    for _ in range(rng.randint(1, 3)):
        x = rng.choice((rng.uniform(10, 70), rng.uniform(186, 246)))
        canvas.stamp("round tree", x, rng.uniform(156, 164), rng.uniform(40, 56), far=0.12)
    canvas.ridge(wave(rng, 172, 8), (146, 208, 90), (96, 170, 70), deep=70)
    scatter(canvas, "tuft", 22, (184, 254), (6, 12))
    scatter(canvas, "flower", rng.randint(34, 46), (182, 254), (9, 19))


def sea(canvas: Canvas) -> None:
    rng = canvas.rng
    horizon = rng.uniform(108, 120)
    canvas.sky(horizon)
    canvas.water(horizon, (74, 168, 220), (26, 104, 178), glints=10)
    for step in range(5):
        y = horizon + 16 + step * step * 4 + step * 12
        crest = wave(rng, y, 2 + step, 2.4 - step * 0.25)
        top = mix((126, 206, 236), (70, 168, 222), step / 4)
        canvas.ridge(crest - 1.5, (214, 242, 250), (214, 242, 250), dusted=0.1)
        low = mix((46, 138, 204), (20, 92, 164), step / 4)
        top, low = canvas.watery(top, 0.5 - step * 0.06), canvas.watery(low, 0.4 - step * 0.08)
        canvas.ridge(crest, top, low, deep=24, dusted=0.1)
        if canvas.sun and canvas.light in ("sunset", "night"):
            shine = (255, 206, 140) if canvas.light == "sunset" else (206, 214, 238)
            for _ in range(3):
                x = canvas.sun[0] + rng.uniform(-10, 10)
                canvas.soft(x, y + rng.uniform(2, 12), 12 + 3 * step, 1.6, shine, 0.7)


def space(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.light = "day"  # planets are lit by a sun of their own
    canvas.picture.paste((13, 11, 36), (0, 0, SIZE, SIZE))
    hazes = ((96, 44, 150), (36, 70, 168), (150, 48, 128), (30, 110, 150))
    for _ in range(6):
        x, y = rng.uniform(0, SIZE), rng.uniform(0, SIZE)
        canvas.soft(
            x, y, rng.randrange(70, 150, 10), rng.randrange(50, 110, 10), rng.choice(hazes), 0.5
        )
    canvas.stars(170, SIZE * 1.05)
    corners = rng.sample([(44, 62), (212, 62), (40, 214), (216, 210)], 2)
    canvas.stamp("planet", corners[0][0], corners[0][1] + 34, rng.uniform(56, 88))
    canvas.stamp("planet", corners[1][0], corners[1][1] + 16, rng.uniform(22, 36))
    for _ in range(rng.randint(2, 4)):
        x, foot = rng.uniform(0, SIZE), rng.uniform(20, SIZE)
        canvas.stamp("asteroid", x, foot, rng.uniform(7, 15))


def mountains(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(160)
    _summits(canvas, 128, 74, 4, (168, 186, 222), far=0.5)
    _summits(canvas, 156, 92, 3, (122, 140, 184), far=0.0)
    canvas.ridge(wave(rng, 164, 7), (130, 176, 140), (98, 154, 112), deep=30)
    row(canvas, "conifer", 178, 26, 15, far=0.15)
    canvas.ridge(wave(rng, 178, 5), (142, 192, 106), (92, 156, 80), deep=70)
    scatter(canvas, "rock", 5, (192, 250), (7, 16))
    scatter(canvas, "tuft", 12, (192, 254), (6, 12))


def _summits(
    canvas: Canvas, foot: float, rise: float, count: int, rock: Colour, far: float
) -> None:
    rng = canvas.rng
    line = peaks(rng, foot, rise, count)
    white = mix((255, 255, 255), (206, 224, 246), far)
    canvas.ridge(line, white, white, facet=0.2, lean=0.4)
    zigzag = np.interp(
        np.arange(SIZE), range(0, SIZE + 9, 9), [rng.uniform(-7, 7) for _ in range(30)]
    )
    snow_line = (foot - rise * 0.56 + zigzag).astype(np.float32)
    bare = np.maximum(line, snow_line)
    canvas.ridge(bare, rock, mix(rock, (196, 214, 232), 0.5), deep=90, facet=0.16, dusted=0.2)


def lake(canvas: Canvas) -> None:
    rng = canvas.rng
    shore = rng.uniform(128, 136)
    canvas.sky(shore)
    canvas.ridge(wave(rng, shore - 34, 12, 1.5), (140, 176, 198), (160, 194, 206), facet=0.1)
    canvas.ridge(wave(rng, shore - 14, 8, 1.8), (116, 170, 140), (98, 154, 120), deep=26)
    row(canvas, "conifer", shore + 2, 30, 13)
    _mirror(canvas, round(shore))
    bank = wave(rng, 216, 4, 0.7)
    canvas.ridge(bank - 4, (214, 196, 148), (214, 196, 148))
    canvas.ridge(bank, (146, 200, 96), (96, 160, 72), deep=40)
    for x in (
        rng.uniform(0, 40),
        rng.uniform(20, 60),
        rng.uniform(200, 230),
        rng.uniform(226, 256),
    ):
        canvas.stamp("weed", x, 222 + rng.uniform(0, 6), rng.uniform(34, 52), rng.choice((1, 3)))
    scatter(canvas, "tuft", 8, (222, 254), (7, 12))


def _mirror(canvas: Canvas, shore: int) -> None:
    """The picture above the shore, upside down, under blue and with ripples."""
    rng = canvas.rng
    height = SIZE - shore
    above = np.asarray(canvas.picture)[max(0, shore - height) : shore][::-1]
    rows = np.minimum(np.arange(height), len(above) - 1)
    shift = np.round(1.6 * np.sin(np.arange(height) * 0.9)).astype(int)
    columns = np.clip(np.arange(SIZE) + shift[:, None], 0, SIZE - 1)
    mirrored = above[rows[:, None], columns]
    canvas.water(shore, (92, 170, 206), (52, 132, 182), glints=0)
    plain = canvas.picture.crop((0, shore, SIZE, SIZE))
    canvas.picture.paste(Image.blend(Image.fromarray(mirrored), plain, 0.5), (0, shore))
    for _ in range(22):
        y = shore + rng.random() ** 1.5 * (height - 40)
        canvas.soft(rng.uniform(0, SIZE), y, 14 + (y - shore) * 0.3, 1.4, _ripple(canvas), 0.5)


def _ripple(canvas: Canvas) -> Colour:
    return {"day": (232, 248, 252), "sunset": (255, 214, 168), "night": (110, 134, 190)}.get(
        canvas.light, (212, 224, 232)
    )


def underwater(canvas: Canvas) -> None:
    rng = canvas.rng
    night = canvas.light == "night"
    canvas.picture.paste((28, 132, 190) if not night else (10, 36, 84), (0, 0, SIZE, SIZE))
    level = np.zeros(SIZE, np.float32)
    canvas.ridge(level, (96, 212, 226), (14, 96, 160), deep=240)
    for _ in range(5):
        x, lean = rng.uniform(0, SIZE), rng.uniform(-40, 40)
        for step in range(7):
            glow = (190, 246, 246) if not night else (70, 120, 180)
            canvas.soft(x + lean * step / 6, step * 26, 13 + 3 * step, 44, glow, 0.3 - step * 0.04)
    canvas.ridge(wave(rng, 186, 9), (46, 134, 164), (52, 140, 160), deep=40)
    for _ in range(5):
        canvas.stamp("weed", rng.uniform(0, SIZE), 202, rng.uniform(40, 70), far=0.0)
    canvas.ridge(wave(rng, 202, 6), (226, 208, 158), (180, 170, 140), deep=60)
    for side in (0, 1):
        x = rng.uniform(6, 56) if side == 0 else rng.uniform(200, 250)
        canvas.stamp("weed", x + rng.uniform(-26, 26), 226, rng.uniform(60, 110))
        canvas.stamp("coral", x, rng.uniform(224, 236), rng.uniform(34, 60))
    scatter(canvas, "rock", 4, (214, 252), (8, 16))
    scatter(canvas, "coral", 3, (214, 250), (12, 20))
    for _ in range(12):
        x, y, r = rng.uniform(0, SIZE), rng.uniform(10, 200), rng.uniform(2, 5)
        canvas.stamp("bubble", x, y, 2 * r + 2)


def canyon(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(170)
    rocks: tuple[tuple[float, Colour], ...] = (
        (0.3, (232, 172, 150)), (0.62, (216, 126, 92)), (1.0, (190, 92, 66)),
    )  # fmt: skip
    for share, rock in rocks:
        _mesas(canvas, 150 + 40 * share, 86 + 50 * share, share, rock)
    canvas.ridge(wave(rng, 196, 4), (222, 144, 100), (196, 112, 78), deep=60)
    for _ in range(5):
        canvas.soft(rng.uniform(0, SIZE), rng.uniform(206, 250), 44, 3, (150, 76, 60), 0.3)
    scatter(canvas, "rock", 4, (204, 250), (8, 18), 2)
    scatter(canvas, "tuft", 5, (206, 252), (7, 10), 2)


def _mesas(canvas: Canvas, foot: float, rise: float, share: float, rock: Colour) -> None:
    """Walls left and right (the nearer, the further apart), with bands of rock."""
    rng = canvas.rng
    gap = 30 + 86 * share
    middle = SIZE / 2 + rng.uniform(-14, 14)
    xs = [-20.0, middle - gap - 30, middle - gap - 16, middle - gap + 2, middle - gap + 12]
    heights = [1.0, rng.uniform(0.85, 1), 0.62, 0.56, 0.0]
    xs += [middle + gap - 12, middle + gap - 2, middle + gap + 16, middle + gap + 30, 276.0]
    heights += [0.0, 0.5, 0.6, rng.uniform(0.8, 1), 1.0]
    tops = np.interp(np.arange(SIZE), xs, heights)
    rough = np.interp(
        np.arange(SIZE), range(0, SIZE + 7, 7), [rng.uniform(-3, 3) for _ in range(38)]
    )
    line = (foot - rise * tops + rough).astype(np.float32)
    for band in range(6):
        level = foot - rise + band * rise / 5.2 + rng.uniform(-4, 4)
        tone = mix(rock, (255, 226, 190) if band % 2 else (120, 50, 50), 0.16)
        below = np.maximum(line, np.float32(level)) if band else line
        canvas.ridge(
            below + 0.4 * rough.astype(np.float32) * (band > 0),
            tone,
            mix(tone, rock, 0.6),
            deep=30,
            dusted=0.35,
        )


def jungle(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.sky(160)
    row(canvas, "leaf", 140, 70, 18, far=0.55)
    canvas.soft(128 + rng.uniform(-30, 30), 110, 110, 70, _glade(canvas), 0.5)
    canvas.ridge(wave(rng, 132, 5), (120, 180, 124), (84, 150, 96), deep=40)
    row(canvas, "leaf", 168, 60, 18, far=0.2)
    for _ in range(3):
        canvas.stamp("palm", rng.uniform(0, SIZE), 190, rng.uniform(110, 150), far=0.15)
    canvas.ridge(wave(rng, 176, 5), (58, 132, 72), (44, 104, 64), deep=40)
    row(canvas, "leaf", 190, 50, 22)
    canvas.ridge(wave(rng, 192, 5), (84, 142, 68), (60, 100, 54), deep=60)
    for x in (rng.uniform(-4, 24), rng.uniform(232, 260)):
        canvas.stamp("trunk", x, 216, 216)
    for number in range(11):  # a frame of leaves, hanging from above
        x = number * 26 + rng.uniform(-10, 10)
        drop = 34 + 34 * abs(x - 128) / 128
        canvas.stamp(
            "leaf",
            x,
            drop + rng.uniform(-12, 12),
            rng.uniform(52, 84),
            turn=180 + rng.uniform(-50, 50),
        )
    for side in (-1, 1):
        for step in range(3):
            x = 128 + side * (128 - step * 14)
            canvas.stamp(
                "leaf", x, 250 + step * 5, rng.uniform(50, 80), turn=side * (20 - step * 36)
            )
    scatter(canvas, "tuft", 8, (204, 250), (8, 13))


def _glade(canvas: Canvas) -> Colour:
    return {"day": (250, 255, 214), "sunset": (255, 200, 140), "night": (96, 120, 180)}.get(
        canvas.light, (214, 226, 222)
    )
