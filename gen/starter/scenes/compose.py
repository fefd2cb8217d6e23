"""Which scenes there are: what stands where, and what is kept out of training."""

import hashlib
import itertools
import random
from collections.abc import Sequence
from functools import cache

from gen.starter.scenes.objects import FLY, OBJECTS, SWIM, THINGS
from gen.starter.scenes.scene import RELATIONS, SIZES, Placed, Scene
from gen.starter.scenes.settings import SETTINGS

_ROW = (0.16, 0.5, 0.84)  # where three stand

# Sizes of single objects, each as often as it stands here. In training unusual ones come more often
# than they are asked for: an object of another size is another thing to learn, and whole scenes
# alone show big and huge ones.
_ASKED = ("",) * 6 + ("tiny", "small", "big", "huge")
_TAUGHT = ("",) * 2 + ("tiny",) * 3 + ("small",) + ("big",) * 3 + ("huge",) * 4


def held_out(name: str, setting: str) -> bool:
    """Whether this object is never drawn in this setting, so that it can be asked for as new."""
    return _one_in_twenty(f"{name} / {setting}")


def held_out_together(first: str, second: str) -> bool:
    """Whether these two objects are never in one scene; the order is of no matter."""
    return _one_in_twenty(" + ".join(sorted((first, second))))


@cache
def _one_in_twenty(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] < 13  # of 256


def random_scene(rng: random.Random) -> Scene:
    """One object (30 %), two (60 %), or a count or three different ones."""
    dice = rng.random()
    count = 1 if dice < 0.3 else 2 if dice < 0.9 else 3
    first = rng.choice(OBJECTS)
    if count == 3 and rng.random() < 0.6:
        names = [first] * rng.choice((2, 3))
    else:
        names = [first]
        while len(names) < count:
            other = rng.choice(OBJECTS)
            if other not in names and not any(held_out_together(other, name) for name in names):
                names.append(other)
    places = [s for s in SETTINGS if not any(held_out(name, s) for name in names)]
    return _scene(rng, names, rng.choice(places), _TAUGHT)


def asked_scene(rng: random.Random, count: int) -> Scene:
    """A scene that training never shows: one object in a setting held out for it, or two objects
    held out together (in a setting that each of them was trained in)."""
    if count == 1:
        name, setting = rng.choice(
            [p for p in itertools.product(OBJECTS, SETTINGS) if held_out(*p)]
        )
        return _scene(rng, [name], setting, _ASKED)
    names = list(rng.choice(_pairs()))
    rng.shuffle(names)
    places = [s for s in SETTINGS if not any(held_out(name, s) for name in names)]
    return _scene(rng, names, rng.choice(places), _ASKED)


@cache
def _pairs() -> tuple[tuple[str, str], ...]:
    return tuple(p for p in itertools.combinations(OBJECTS, 2) if held_out_together(*p))


def _scene(rng: random.Random, names: list[str], setting: str, sizes: Sequence[str]) -> Scene:
    light = rng.choice(SETTINGS[setting].lights)
    size = place = relation = ""
    if len(names) == 1:
        placed, size, place = _single(rng, names[0], setting, sizes)
        objects = [placed]
    elif len(names) == 2 and names[0] != names[1]:
        relation = rng.choice(RELATIONS)
        objects = _pair(rng, names, relation, setting)
    else:
        relation = "and" if len(set(names)) > 1 else ""
        objects = _several(names, setting)
    return Scene(setting, light, tuple(objects), rng.getrandbits(32), relation, size, place)


def _single(
    rng: random.Random, name: str, setting: str, sizes: Sequence[str]
) -> tuple[Placed, str, str]:
    word = rng.choice(sizes)
    size = SIZES[word]
    place = ""
    low, high = size / 2, 1 - size / 2
    x = rng.choice((0.47, 0.53))
    if size < 0.58 and rng.random() < 0.4:
        place = rng.choice(("left", "middle", "right"))
        share = rng.choice((0.02, 0.08))
        x = {"left": low + share, "middle": x, "right": high - share}[place]
    return Placed(name, x, _foot(name, setting, size), size), word, place


def _pair(rng: random.Random, names: list[str], relation: str, setting: str) -> list[Placed]:
    """The first named comes first. On top and in front: `draw` moves the first to the second."""
    if relation == "on top of":
        x, low = rng.choice((0.44, 0.56)), SETTINGS[setting].ground
        lower, upper = SIZES[""], SIZES["small"]
        return [Placed(names[0], x, low - lower, upper), Placed(names[1], x, low, lower)]
    if relation == "in front of":
        x, low = rng.choice((0.44, 0.56)), min(SETTINGS[setting].ground, 14 / 16)
        side = rng.choice((-1, 1))
        front = Placed(names[0], x + side * 0.18, low + 1 / 16, SIZES[""])
        return [front, Placed(names[1], x - side * 0.06, low, SIZES[""])]
    xs = [0.25, 0.75]
    if relation == "right of" or (relation != "left of" and rng.random() < 0.5):
        xs.reverse()
    return [
        Placed(name, x, _foot(name, setting, SIZES[""]), SIZES[""])
        for name, x in zip(names, xs, strict=True)
    ]


def _several(names: list[str], setting: str) -> list[Placed]:
    """Two or three in a row."""
    spots, word = (_ROW, "small") if len(names) == 3 else ((0.25, 0.75), "")
    size = SIZES[word]
    return [
        Placed(name, spot, _foot(name, setting, size), size)
        for name, spot in zip(names, spots, strict=True)
    ]


def _foot(name: str, setting: str, size: float) -> float:
    """The height of an object's foot, by its way: on the ground, in the water or in the air."""
    way, kind = THINGS[name].way, SETTINGS[setting]
    if setting == "space":
        return 0.5 + size / 2
    if way == FLY:
        return max(size, 10 / 16)
    low = kind.water if way == SWIM and kind.water else kind.ground
    return max(low, size)
