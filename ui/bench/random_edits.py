"""Random edits, and unrelated pictures that share something, to fit the fusion to.

The same kinds of edits as in `ui.bench.edits` at random strengths, alone and up to four in a row.
"""

import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from ui.bench.edits import (
    Edit,
    Picture,
    blurred,
    captioned,
    chain,
    collage,
    cropped,
    in_perspective,
    jpeg,
    meme,
    noisy,
    pasted,
    pencil,
    plain,
    resized,
    rotated,
    screenshot,
    sticker,
    striped,
)

Maker = Callable[[random.Random], Edit]


def _light(rng: random.Random) -> Edit:
    light, contrast, colour = (rng.uniform(0.4, 1.7) for _ in range(3))
    return plain(
        lambda image: ImageEnhance.Color(
            ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(light)).enhance(contrast)
        ).enhance(colour)
    )


def _covered(rng: random.Random) -> Edit:
    """Rectangles of one colour over some of the picture."""
    count, most = rng.randint(1, 5), rng.uniform(0.15, 0.5)

    def edit(image: Picture, rng: random.Random, others: Sequence[Picture]) -> Picture:
        image = image.copy()
        for _ in range(count):
            wide, high = (round(side * rng.uniform(0.1, most)) for side in image.size)
            left, top = rng.randint(0, image.width - wide), rng.randint(0, image.height - high)
            image.paste(_any_colour(rng), (left, top, left + wide, top + high))
        return image

    return edit


def _shining_through(rng: random.Random) -> Edit:
    share = rng.uniform(0.1, 0.45)
    return lambda image, rng, others: Image.blend(
        image, ImageOps.fit(rng.choice(others), image.size), share
    )


def _framed(rng: random.Random) -> Edit:
    share, colour = rng.uniform(0.05, 0.35), _any_colour(rng)
    return plain(
        lambda image: ImageOps.expand(image, max(1, round(image.width * share)), fill=colour)
    )


def _filtered(rng: random.Random) -> Edit:
    bits, size = rng.randint(1, 3), rng.choice([3, 5, 7])
    return rng.choice(
        [
            plain(pencil),
            plain(ImageChops.invert),
            plain(lambda image: ImageOps.posterize(image, bits)),
            plain(lambda image: image.filter(ImageFilter.MedianFilter(size))),
            plain(lambda image: image.filter(ImageFilter.SHARPEN)),
            plain(lambda image: image.quantize(2 ** (bits + 1)).convert("RGB")),
        ]
    )


def _any_colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


_WHERE: list[Maker] = [
    lambda rng: cropped(rng.uniform(0.15, 0.9)),
    lambda rng: cropped(rng.uniform(0.15, 0.9)),
    lambda rng: pasted(rng.uniform(0.1, 0.7)),
    lambda rng: rotated(rng.uniform(-35, 35)),
    lambda rng: rotated(rng.choice([90, 180, 270])),
    lambda rng: plain(ImageOps.mirror),
    lambda rng: resized(rng.uniform(0.6, 1.6), 1),
    _framed,
    lambda rng: in_perspective,
    lambda rng: in_perspective,
    lambda rng: plain(screenshot),
    lambda rng: plain(meme),
    lambda rng: collage,
]
_WHAT: list[Maker] = [
    _light,
    _light,
    lambda rng: plain(lambda image: image.convert("L").convert("RGB")),
    lambda rng: blurred(rng.uniform(0.5, 5)),
    lambda rng: noisy,
    lambda rng: jpeg(rng.randint(10, 60)),
    lambda rng: resized(rng.uniform(0.2, 0.8)),
    lambda rng: captioned,
    lambda rng: sticker,
    lambda rng: plain(striped),
    _covered,
    _shining_through,
    _filtered,
]


def any_edit(rng: random.Random) -> Edit:
    """One edit or up to four in a row: first where the picture is, then what it looks like."""
    count = rng.choices([1, 2, 3, 4], [45, 30, 15, 10])[0]
    where = sum(rng.random() < 0.5 for _ in range(count))
    makers = rng.sample(_WHERE, min(where, 2)) + rng.sample(_WHAT, count - min(where, 2))
    return chain(*(make(rng) for make in makers))


def sharing(a: Picture, b: Picture, rng: random.Random, others: Sequence[Picture]) -> list[Picture]:
    """Two unrelated pictures that share a caption, a logo or a border around them."""
    kind = rng.randrange(4)
    if kind == 0:
        words, share = _words(rng, rng.randint(1, 5)), rng.uniform(0.04, 0.12)
        edit = plain(lambda image: _written(image, words, share))
    elif kind == 1:
        patch = ImageOps.fit(rng.choice(others), (80, 60))
        size, place = rng.uniform(0.1, 0.25), (rng.random(), rng.random())
        edit = plain(lambda image: _stamped(image, patch, size, place))
    elif kind == 2:
        edit = plain(meme)
    else:
        page, share = rng.choice(others), rng.uniform(0.9, 0.97)
        edit = plain(lambda image: _bordered(image, page, share))
    return [edit(each, rng, others) for each in (a, b)]


def _bordered(image: Picture, page: Picture, share: float) -> Picture:
    """In the middle of a page, of which the picture leaves little to be seen."""
    page = ImageOps.fit(page, image.size)
    size = round(image.width * share), round(image.height * share)
    page.paste(image.resize(size), ((page.width - size[0]) // 2, (page.height - size[1]) // 2))
    return page


def _stamped(image: Picture, patch: Picture, size: float, place: tuple[float, float]) -> Picture:
    image = image.copy()
    patch = patch.resize(
        (max(8, round(image.width * size)), max(6, round(image.width * size * 0.75)))
    )
    free = image.width - patch.width, max(0, image.height - patch.height)
    image.paste(patch, (round(free[0] * place[0]), round(free[1] * place[1])))
    return image


def _written(image: Picture, words: str, share: float) -> Picture:
    image = image.copy()
    ImageDraw.Draw(image).text(
        (image.width * 0.05, image.height * 0.1), words, "white",
        font_size=max(8, round(image.height * share)), stroke_width=1, stroke_fill="black",
    )  # fmt: skip
    return image


def text_page(rng: random.Random) -> Picture:
    """A page of words of one font, or a drawing of lines on white."""
    page = Image.new("RGB", (rng.choice([400, 512]), rng.choice([400, 512])), "white")
    pen = ImageDraw.Draw(page)
    size = rng.randint(11, 30)
    if rng.random() < 0.25:
        for _ in range(rng.randint(3, 30)):
            ends = [rng.randrange(page.width) for _ in range(4)]
            pen.line(ends, "black", rng.randint(1, 4))
        return page
    for top in range(12, page.height - size, round(size * 1.5)):
        pen.text((14, top), _words(rng, page.width // (size * 3)), "black", font_size=size)
    return page


def _words(rng: random.Random, count: int) -> str:
    syllables = ["ta", "ron", "mi", "ples", "ver", "o", "kin", "sal", "de", "bru", "ing", "the"]
    return " ".join(
        "".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(max(1, count))
    )
