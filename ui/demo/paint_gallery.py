"""Paints the demo's community gallery: python -m ui.demo.paint_gallery

Twenty-four pictures by the starter model, each PNG with its recipe, and a manifest. They play the
pictures that a community already knows; run it again after the model has been trained anew.
"""

import json
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from gen.models import STARTER, resolve
from gen.pipeline import load
from provenance.label.infotext import infotext
from provenance.recipe import Recipe

FOLDER = Path(__file__).parent / "gallery"

PROMPTS = (
    "a castle in the desert at sunset",
    "a fox in the forest",
    "a sailboat at sea at sunset",
    "a penguin in the snow",
    "a rocket in space",
    "a car in the city at night",
    "a house in a meadow",
    "a palm tree on the beach",
    "an owl in the forest at night",
    "a cactus in the desert",
    "a huge panda in the snow at sunset",
    "a tent in a meadow at night",
    "a bus in the city",
    "a whale at sea",
    "an umbrella on the beach at sunset",
    "an astronaut in space",
    "a snowman in the snow at night",
    "a mushroom in the forest at sunset",
    "a cat and a dog in a meadow",
    "a robot and a car in the city at sunset",
    "a tree next to a house in the snow",
    "a tiny balloon in the desert by day",
    "a teddy bear on the beach at night",
    "a dolphin at sea by day",
)


def main() -> None:
    painter = load(resolve(STARTER))
    FOLDER.mkdir(exist_ok=True)
    rows = []
    for number, prompt in enumerate(PROMPTS, start=1):
        recipe = painter.complete(Recipe(prompt, seed=1000 + number))
        info = PngInfo()
        info.add_text("parameters", infotext(recipe))
        file = FOLDER / f"{number:02}.png"
        painter.paint(recipe, lambda done, steps: None).save(file, pnginfo=info, optimize=True)
        rows.append({"file": file.name, "title": prompt, "license": "Apache-2.0"})
        print(file.name, prompt)
    body = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    (FOLDER / "manifest.json").write_text(body, "utf-8")


if __name__ == "__main__":
    main()
