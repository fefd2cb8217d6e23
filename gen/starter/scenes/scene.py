"""The records: what a scene shows and where."""

from dataclasses import dataclass
from typing import NamedTuple

SIZE = 256  # pixels a side of a picture

# Objects stand on a grid of so many pixels, and their longer side is a multiple of it: the model
# sees patches of this size, so that an object looks the same to it wherever it stands.
GRID = 16

# An object's longer side, as a share of the picture's side; "" is never said. Few sizes, because
# each object has to be learnt anew at each of them.
SIZES = {"tiny": 4 / 16, "small": 5 / 16, "": 7 / 16, "big": 10 / 16, "huge": 14 / 16}

# What the picture keeps for the first and the second of two objects.
RELATIONS = ("and", "next to", "left of", "right of", "on top of", "in front of")


class Placed(NamedTuple):
    """One object; `x` (its middle), `y` (its foot) and `size` are shares of the picture's side."""

    name: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """What a scene shows; `seed` decides everything that the caption leaves open.

    `relation` is "" for one object and for a count (the same object two or three times), "and"
    for three different ones, else one of RELATIONS. `place` is "" or a promise kept by `x`.
    """

    setting: str
    light: str
    objects: tuple[Placed, ...]
    seed: int
    relation: str = ""
    size: str = ""
    place: str = ""

    def only(self, number: int) -> "Scene":
        """The same without its other objects."""
        size = self.size if len(self.objects) == 1 else ""
        return Scene(self.setting, self.light, (self.objects[number],), self.seed, size=size)

    @property
    def names(self) -> tuple[str, ...]:
        """Each object's name once."""
        return tuple(dict.fromkeys(placed.name for placed in self.objects))
