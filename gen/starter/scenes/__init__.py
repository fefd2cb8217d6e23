"""Draws captioned scenes from sprites: the starter model's training data.

Knows nothing of models: a random generator goes in, a picture and its caption come out.
"""

from gen.starter.scenes.captions import (
    LANGUAGES,
    NUMBERS,
    SIZE_WORDS,
    caption,
    close_up,
    plain_caption,
)
from gen.starter.scenes.compose import asked_scene, held_out, held_out_together, random_scene
from gen.starter.scenes.drawing import Body, Sprites, boxes, covered, draw, layout, load_sprites
from gen.starter.scenes.objects import OBJECTS, THINGS, Thing
from gen.starter.scenes.scene import GRID, RELATIONS, SIZE, SIZES, Placed, Scene
from gen.starter.scenes.settings import LIGHTS, SETTINGS, Light, Setting

__all__ = [
    "GRID",
    "LANGUAGES",
    "LIGHTS",
    "NUMBERS",
    "OBJECTS",
    "RELATIONS",
    "SETTINGS",
    "SIZE",
    "SIZES",
    "SIZE_WORDS",
    "THINGS",
    "Body",
    "Light",
    "Placed",
    "Scene",
    "Setting",
    "Sprites",
    "Thing",
    "asked_scene",
    "boxes",
    "caption",
    "close_up",
    "covered",
    "draw",
    "held_out",
    "held_out_together",
    "layout",
    "load_sprites",
    "plain_caption",
    "random_scene",
]
