"""Scores a model by what a judge sees in pictures of prompts that it was never trained on.

    python -m gen.starter.judge --run runs/judge
    python -m gen.starter.evaluate --judge runs/judge --out gen/starter

Half of the prompts name one object in a setting that is held out for it, half two objects that are
held out together; each is asked in English and in Chinese. Writes `sheet.jpg`, of the first 32.
"""

import argparse
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gen.models import STARTER, resolve
from gen.pipeline import Painter, load
from gen.starter import scenes
from gen.starter.autoencoder import PatchAutoencoder
from gen.starter.data import as_input, drawn
from gen.starter.judge import SIDE, Judge, Seen, accuracy, judged
from gen.starter.judge import load as load_judge
from provenance.recipe import Recipe

_SHEET = 32
_FRESH_SEED = 3  # of the scenes that the autoencoder is measured on
_FRESH = 200


class Asked(NamedTuple):
    """A prompt: what it asks for and in which language."""

    scene: scenes.Scene
    language: str
    prompt: str


def prompts(count: int) -> list[Asked]:
    """`count` prompts of held-out scenes: one and two objects, English and Chinese, in turn."""
    asked = []
    for number in range(count):
        scene = scenes.asked_scene(random.Random(f"asked/{number // 2}"), 1 + number // 2 % 2)
        language = scenes.LANGUAGES[number % 2]
        asked.append(Asked(scene, language, scenes.plain_caption(scene, language)))
    return asked


def painted(
    painter: Painter, asked: Sequence[Asked], steps: int | None = None
) -> Iterator[Image.Image]:
    for seed, each in enumerate(asked):
        recipe = painter.complete(Recipe(each.prompt, seed=seed, steps=steps))
        yield painter.paint(recipe, lambda *_: None)


def table(asked: Sequence[Asked], seen: Sequence[Seen]) -> str:
    """Markdown: by language and number of objects, the shares of prompts that were followed."""
    lines = [
        "| language | objects | prompts | every object | setting | light |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for language in scenes.LANGUAGES:
        for count in (1, 2):
            rows = [
                (
                    set(a.scene.names) <= s.objects,
                    a.scene.setting == s.setting,
                    a.scene.light == s.light,
                )
                for a, s in zip(asked, seen, strict=True)
                if a.language == language and len(a.scene.names) == count
            ]
            shares = " | ".join(f"{share:.1%}" for share in np.mean(rows, axis=0))
            lines.append(f"| {language} | {count} | {len(rows)} | {shares} |")
    return "\n".join(lines)


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Between Gaussians fitted to rows of features (Heusel et al., 2017)."""
    first, second = np.cov(a.T), np.cov(b.T)
    roots = np.linalg.eigvals(first @ second).real.clip(0)
    apart = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    return apart + float(np.trace(first) + np.trace(second) - 2 * np.sqrt(roots).sum())


@torch.no_grad()
def features(judge: Judge, pictures: Sequence[Image.Image]) -> NDArray[np.float64]:
    small = [np.asarray(each.resize((SIDE, SIDE), Image.Resampling.BOX)) for each in pictures]
    return judge.features(as_input(np.stack(small))).double().numpy()


@torch.no_grad()
def psnr(model: PatchAutoencoder, sprites: scenes.Sprites) -> float:
    """Decibels, on scenes that the autoencoder was not trained on."""
    fresh = np.stack([drawn(sprites, _FRESH_SEED, at).pixels for at in range(_FRESH)])
    truth = as_input(fresh)
    back = model.decode(model.encode(truth).latents, return_dict=False)[0].clamp(-1, 1)
    return float(10 * torch.log10(4 / (back - truth).square().mean()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=STARTER)
    parser.add_argument("--judge", type=Path, default=Path("runs/judge"))
    parser.add_argument("--sprites", type=Path, default=Path("../shared/data/sprites"))
    parser.add_argument("--count", type=int, default=500, help="prompts")
    parser.add_argument("--steps", type=int, help="of each picture [default: the model's own]")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge, kept = load_judge(args.judge), scenes.load_sprites(args.sprites)
    started = time.perf_counter()
    spec = resolve(args.model)
    painter = load(spec)
    print(f"loading: {time.perf_counter() - started:.1f} s")
    asked = prompts(args.count)
    started = time.perf_counter()
    pictures = list(painted(painter, asked, args.steps))
    print(f"painting: {(time.perf_counter() - started) / len(asked):.2f} s a picture")
    write_sheet(pictures[:_SHEET], args.out / "sheet.jpg")
    seen = [
        s for at in range(0, len(pictures), 100) for s in judged(judge, pictures[at : at + 100])
    ]
    print(table(asked, seen))
    real = [scenes.draw(each.scene, kept) for each in asked]
    distance = frechet(features(judge, pictures), features(judge, real))
    half = len(real) // 2
    among = frechet(features(judge, real[:half]), features(judge, real[half:]))
    print(f"Fréchet distance by the judge's features: {distance:.2f}; of drawn halves: {among:.2f}")
    model = PatchAutoencoder.from_pretrained(spec.folder / "vae").float()
    print(f"autoencoder: {psnr(model, kept):.2f} dB")
    print(f"the judge on drawn scenes: {accuracy(judge, args.sprites)}")
    for number, each in enumerate(asked[:_SHEET], 1):
        print(f"{number:2} {each.prompt}")


def write_sheet(pictures: Sequence[Image.Image], file: Path) -> None:
    page = Image.new("RGB", (8 * scenes.SIZE, math.ceil(len(pictures) / 8) * scenes.SIZE))
    for number, picture in enumerate(pictures):
        page.paste(picture, (number % 8 * scenes.SIZE, number // 8 * scenes.SIZE))
    page.save(file, quality=88)


if __name__ == "__main__":
    main()
