"""The records: what a scene shows and where."""

from dataclasses import dataclass
from typing import NamedTuple

SIZE = 256  # pixels a side of a picture

# Of a single object's longer side, as shares of the picture's side; "" is never said.
SIZES = {
    "tiny": (0.22, 0.26),
    "small": (0.31, 0.36),
    "": (0.44, 0.56),
    "big": (0.64, 0.7),
    "huge": (0.8, 0.88),
}
PLACES = ("left", "middle", "right")

# What the picture keeps for the first and the second of two objects.
RELATIONS = ("and", "next to", "left of", "right of", "on top of", "in front of")


class Placed(NamedTuple):
    """One object; `x` (its middle), `y` (its foot) and `size` are shares of the picture's side."""

    name: str
    x: float
    y: float
    size: float
    flipped: bool


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

    @property
    def names(self) -> tuple[str, ...]:
        """Each object's name once."""
        return tuple(dict.fromkeys(placed.name for placed in self.objects))
