"""What people do to pictures: edits to measure detection by. Each is seeded by its caller."""

import io
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from ui.bench.repaint import repainted

Picture = Image.Image
Edit = Callable[[Picture, random.Random, Sequence[Picture]], Picture]
"""A picture, a random generator and other pictures (for backgrounds) → the edited picture."""

_SIDE = 512  # pixels a side of what pictures are pasted on


def plain(change: Callable[[Picture], Picture]) -> Edit:
    return lambda image, rng, others: change(image)


def chain(*edits: Edit) -> Edit:
    def edit(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
        for each in edits:
            image = each(image, rng, others)
        return image

    return edit


def jpeg(quality: int) -> Edit:
    def edit(image: Picture) -> Picture:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return plain(edit)


def resized(across: float, down: float | None = None) -> Edit:
    return plain(
        lambda image: image.resize(
            (max(1, round(image.width * across)), max(1, round(image.height * (down or across))))
        )
    )


def blurred(radius: float) -> Edit:
    return plain(lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def rotated(degrees: float) -> Edit:
    return plain(lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, expand=True))


def cropped(area: float) -> Edit:
    """A part of this share of the area, anywhere."""

    def edit(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
        width, height = (round(side * math.sqrt(area)) for side in image.size)
        left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))

    return edit


def _background(rng: random.Random, others: Sequence[Picture]) -> Picture:
    return ImageOps.fit(rng.choice(others), (_SIDE, _SIDE))


def pasted(area: float) -> Edit:
    """On another picture, as this share of its area."""

    def edit(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
        page = _background(rng, others)
        scale = math.sqrt(area * _SIDE * _SIDE / (image.width * image.height))
        width, height = (min(_SIDE, round(side * scale)) for side in image.size)
        place = rng.randint(0, _SIDE - width), rng.randint(0, _SIDE - height)
        page.paste(image.resize((width, height)), place)
        return page

    return edit


def collage(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    page = Image.new("RGB", (_SIDE, _SIDE))
    place = rng.randrange(4)
    for number in range(4):
        tile = image if number == place else rng.choice(others)
        at = (number % 2 * _SIDE // 2, number // 2 * _SIDE // 2)
        page.paste(ImageOps.fit(tile, (_SIDE // 2, _SIDE // 2)), at)
    return page


def captioned(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    image = image.copy()
    for _ in range(3):
        place = rng.randint(0, image.width // 3), rng.randint(0, image.height * 3 // 4)
        ImageDraw.Draw(image).text(
            place, "Limited offer! Buy now", "yellow", font_size=max(8, image.height // 9),
            stroke_width=2, stroke_fill="black",
        )  # fmt: skip
    return image


def sticker(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    image = image.copy()
    size = image.width * 2 // 5, image.height * 2 // 5
    place = rng.randint(0, image.width - size[0]), rng.randint(0, image.height - size[1])
    image.paste(rng.choice(others).resize(size), place)
    return image


def striped(image: Picture) -> Picture:
    image = image.copy()
    for left in range(0, image.width, max(2, image.width // 8)):
        box = (left, 0, left + image.width // 16, image.height)
        ImageDraw.Draw(image).rectangle(box, fill=(200, 30, 60))
    return image


def in_perspective(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    """Each corner drawn in by up to 18 % of the sides."""
    width, height = image.size
    inset = [rng.uniform(0, 0.18) for _ in range(8)]
    corners = ((0, 0, 1, 1), (1, 0, -1, 1), (1, 1, -1, -1), (0, 1, 1, -1))
    source = [(width * x, height * y) for x, y, _, _ in corners]
    target = [
        (width * (x + right * inset[2 * n]), height * (y + down * inset[2 * n + 1]))
        for n, (x, y, right, down) in enumerate(corners)
    ]
    rows, values = [], []
    for (u, v), (x, y) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    data = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return image.transform(image.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BICUBIC)


def screenshot(image: Picture) -> Picture:
    page = Image.new("RGB", (720, 540), (245, 245, 245))
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 720, 50), fill=(60, 60, 70))
    for y in range(80, 520, 26):
        pen.text((500, y), "Some text of a sidebar", fill="black", font_size=14)
    scale = 420 / max(image.size)
    page.paste(image.resize([max(1, round(side * scale)) for side in image.size]), (40, 80))
    return page


def meme(image: Picture) -> Picture:
    page = Image.new("RGB", (image.width, round(image.height * 1.3)), "white")
    page.paste(image, (0, page.height - image.height))
    pen = ImageDraw.Draw(page)
    pen.text((10, 8), "WHEN THE BUILD\nIS GREEN", "black", font_size=max(8, image.height // 10))
    return page


def noisy(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 25, (*image.size[::-1], 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def _half_covered(image: Picture) -> Picture:
    image = image.copy()
    image.paste((20, 20, 20), (0, 0, image.width // 2, image.height))
    return image


def pencil(image: Picture) -> Picture:
    """A dodge blend of the picture with its blurred negative."""
    grey = image.convert("L")
    blurred = np.asarray(ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(6)), np.float64)
    lines = np.asarray(grey, np.float64) * 256 / np.maximum(256 - blurred, 1)
    return Image.fromarray(lines.clip(0, 255).astype(np.uint8)).convert("RGB")


def _photographed_screen(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
    """Perspective, a moiré of two gratings, and a glare."""
    seen = np.asarray(in_perspective(image.resize((_SIDE, _SIDE)), rng, others), np.float64)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    grating = 1 + 0.12 * np.sin(x * 1.9) + 0.12 * np.sin(y * 2.1 + x * 0.2)
    glare = 120 * np.exp(-((x - 150) ** 2 + (y - 120) ** 2) / 6000)
    return Image.fromarray((seen * grating[..., None] + glare[..., None]).clip(0, 255).astype("u1"))


def _recoloured(image: Picture) -> Picture:
    return ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(1.3)).enhance(2)


def _framed(image: Picture) -> Picture:
    return ImageOps.expand(image, image.width // 4, "black")


_GREY = plain(lambda image: image.convert("L").convert("RGB"))
_MIRRORED = plain(ImageOps.mirror)

EDITS: dict[str, Edit] = {
    "none": plain(lambda image: image),
    "JPEG 40 at half size": chain(resized(0.5), jpeg(40)),
    "JPEG 25": jpeg(25),
    "resize 0.35": resized(0.35),
    "blur 2": blurred(2),
    "colour": plain(_recoloured),
    "grey": _GREY,
    "noise": noisy,
    "aspect 1.4": resized(1.4, 1),
    "crop to 75 %": cropped(0.75),
    "crop to 50 %": cropped(0.5),
    "crop to 30 %": cropped(0.3),
    "pad": plain(_framed),
    "rotate 8°": rotated(8),
    "rotate 90°": rotated(90),
    "flip": _MIRRORED,
    "text": captioned,
    "sticker": sticker,
    "stripes": plain(striped),
    "pasted at 60 %": pasted(0.6),
    "pasted at 35 %": pasted(0.35),
    "screenshot": plain(screenshot),
    "meme": plain(meme),
    "collage": collage,
    "perspective": in_perspective,
    "crop 60 %, half size, JPEG 30": chain(cropped(0.6), resized(0.5), jpeg(30)),
    "flip, grey, half size, JPEG 40": chain(_MIRRORED, _GREY, resized(0.5), jpeg(40)),
}
"""The usual tier."""

HARD_EDITS: dict[str, Edit] = {
    "pasted at 15 %": pasted(0.15),
    "flip, crop 60 %, text, JPEG 35": chain(_MIRRORED, cropped(0.6), captioned, jpeg(35)),
    "resize 0.15": resized(0.15),
    "blur 6": blurred(6),
    "half covered": plain(_half_covered),
    "inverted": plain(ImageChops.invert),
    "posterised": plain(lambda image: ImageOps.posterize(image, 2)),
    "pencil": plain(pencil),
    "photographed screen": _photographed_screen,
    "painted over": lambda image, rng, others: repainted(image, rng),
}
"""The hard tier."""

ALL_EDITS = {**EDITS, **HARD_EDITS}
