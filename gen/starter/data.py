"""Drawn scenes as training data: shards on disk of latents, captions and, of the first, pixels."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen.starter import scenes
from gen.starter.autoencoder import PatchAutoencoder
from gen.starter.checkpoint import log

SHARD = 1000  # scenes
_WITH_PIXELS = 8  # shards whose pixels are kept: what the decoder learns from
_FITTED = 1500  # scenes that the encoder is fitted to

Pixels = NDArray[np.uint8]


class Drawn(NamedTuple):
    """A scene, its pixels (SIZE, SIZE, 3), its captions by language, where objects are.

    `parts` are the box of each object and the captions of a close-up of it.
    """

    scene: scenes.Scene
    pixels: Pixels
    captions: dict[str, str]
    covered: NDArray[np.uint8]
    parts: list[Any]


def drawn(sprites: scenes.Sprites, seed: int, index: int) -> Drawn:
    """Scene number `index` of all those of `seed`."""
    rng = random.Random(f"{seed}/{index}")
    scene = scenes.random_scene(rng)
    captions = _said(scene, rng, scenes.caption)
    boxes = enumerate(scenes.boxes(scene, sprites))
    parts = [(box, _said(scene.only(number), rng, scenes.close_up)) for number, box in boxes]
    covered = scenes.covered(scene, sprites)
    return Drawn(scene, np.asarray(scenes.draw(scene, sprites)), captions, covered, parts)


def _said(
    scene: scenes.Scene,
    rng: random.Random,
    words: Callable[[scenes.Scene, random.Random, str], str],
) -> dict[str, str]:
    return {each: words(scene, rng, each) for each in scenes.LANGUAGES}


def render(run: Path, sprites_folder: Path, count: int, workers: int) -> None:
    """Draws `count` scenes in shards; those that are there stay."""
    run.mkdir(parents=True, exist_ok=True)
    work = partial(_drawn_from, sprites_folder)
    with ProcessPoolExecutor(workers) as pool:
        for number in range(count // SHARD):
            if _shard(run, number).exists():
                continue
            rows = range(number * SHARD, (number + 1) * SHARD)
            made = list(pool.map(work, rows, chunksize=20))
            _write(run, number, made)
            log(run, f"scenes {(number + 1) * SHARD}/{count}")


def _drawn_from(sprites_folder: Path, index: int) -> Drawn:
    return drawn(scenes.load_sprites(sprites_folder), 0, index)


def _write(run: Path, number: int, made: list[Drawn]) -> None:
    pixels = np.stack([each.pixels for each in made])
    latents = _encoded(autoencoder(run, pixels), pixels)
    held: dict[str, Any] = {"latents": latents, "covered": np.stack([m.covered for m in made])}
    if number < _WITH_PIXELS:
        held["pixels"] = pixels
    told = [{**each.captions, "parts": each.parts} for each in made]
    captions = [json.dumps(each, ensure_ascii=False) for each in told]
    (run / f"captions-{number:04}.jsonl").write_text("\n".join(captions), "utf-8")
    part = run / "part.npz"
    np.savez(part, **held)
    part.replace(_shard(run, number))


@torch.no_grad()
def _encoded(model: PatchAutoencoder, pixels: Pixels) -> NDArray[np.float16]:
    parts = [model.encode(as_input(each)).latents.half() for each in np.array_split(pixels, 10)]
    latents: NDArray[np.float16] = torch.cat(parts).numpy()
    return latents


def _shard(run: Path, number: int) -> Path:
    return run / f"scenes-{number:04}.npz"


def autoencoder(run: Path, pixels: Pixels | None = None) -> PatchAutoencoder:
    """The run's autoencoder as trained so far; its encoder is fitted to the first `pixels`."""
    folder = run / "vae"
    if not folder.is_dir() and pixels is not None:
        torch.manual_seed(0)
        fresh: PatchAutoencoder = PatchAutoencoder()
        share = fresh.fit_encoder(as_input(pixels[:_FITTED]))
        log(run, f"encoder: {share:.2%} of the variance")
        fresh.save_pretrained(folder)
    kept: PatchAutoencoder = PatchAutoencoder.from_pretrained(folder)
    kept.register_to_config(_name_or_path="")  # or this machine's path would be exported
    return kept


def as_input(pixels: Pixels) -> Tensor:
    """(N, H, W, 3) bytes → (N, 3, H, W) in [-1, 1]."""
    scaled = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


def pixels_of(run: Path) -> list[Pixels]:
    """Of each shard that has them: (SHARD, SIZE, SIZE, 3)."""
    return [held["pixels"] for held in _shards(run) if "pixels" in held]


class Part(NamedTuple):
    """One object of a scene: the scene's number, the object's box in places, its captions."""

    scene: int
    box: tuple[int, int, int, int]
    captions: dict[str, str]


class Learned(NamedTuple):
    """All scenes of a run: latents (N, channels, h, w) float16; the shares of each place that
    objects cover (N, 1, h, w), 0 to 255; captions; each object."""

    latents: Tensor
    covered: Tensor
    captions: list[dict[str, str]]
    parts: list[Part]


def latents_of(run: Path) -> Learned:
    held = [(each["latents"], each["covered"][:, None]) for each in _shards(run)]
    latents, covered = (torch.from_numpy(np.concatenate(part)) for part in zip(*held, strict=True))
    captions: list[dict[str, str]] = []
    parts: list[Part] = []
    for number in range(len(latents) // SHARD):
        for line in (run / f"captions-{number:04}.jsonl").read_text("utf-8").split("\n"):
            told = json.loads(line)
            parts += (Part(len(captions), *part) for part in told.pop("parts"))
            captions.append(told)
    return Learned(latents, covered, captions, parts)


def _shards(run: Path) -> Iterator[Mapping[str, Any]]:
    number = 0
    while _shard(run, number).exists():
        with np.load(_shard(run, number)) as held:
            yield held
        number += 1
