"""The judge: which objects, which setting and which light a picture shows.

A small residual network, trained on scenes that the painter never sees, to score what is painted.

    python -m gen.starter.judge --sprites ../shared/data/sprites --run runs/judge --steps 8000
"""

import argparse
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gen.starter import scenes
from gen.starter.checkpoint import Training, compiled, device, log, reduced_precision
from gen.starter.data import Pixels, as_input

SIDE = 128  # pixels: pictures are judged at half size
_SEED = 1  # of its scenes; the painter's is another
_TEST_SEED = 2
_SHARD = 1000
_TESTED = 1000  # scenes of its own test
_LIKELY = 0.5  # the probability from which on an object counts as there
_OBJECTS = {name: at for at, name in enumerate(scenes.OBJECTS)}
_SETTINGS = {name: at for at, name in enumerate(scenes.SETTINGS)}
_LIGHTS = {name: at for at, name in enumerate(scenes.LIGHTS)}


class Seen(NamedTuple):
    """What the judge says of one picture."""

    objects: frozenset[str]
    setting: str
    light: str


class _Block(nn.Module):
    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(wide, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.short: nn.Module = nn.Identity()
        if stride > 1 or wide != out:
            self.short = nn.Conv2d(wide, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.relu(self.body(x) + self.short(x))
        return out


class Judge(nn.Module):
    """(N, 3, SIDE, SIDE) in [-1, 1] → logits of objects, settings and lights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 48, 6, 4, 1), nn.ReLU(),
            _Block(48, 64, 1), _Block(64, 112, 2), _Block(112, 112, 1),
            _Block(112, 224, 2), _Block(224, 224, 1), _Block(224, 224, 1),
        )  # fmt: skip
        self.objects = nn.Conv2d(224, len(_OBJECTS), 1)
        self.scene = nn.Linear(224, len(_SETTINGS) + len(_LIGHTS))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        places = self.body(picture)
        objects = self.objects(places).flatten(2).logsumexp(2) - 4  # about the log of the places
        setting, light = self.scene(places.mean((2, 3))).split((len(_SETTINGS), len(_LIGHTS)), 1)
        return objects, setting, light

    def features(self, picture: Tensor) -> Tensor:
        """(N, 224): what Fréchet distances are computed from."""
        pooled: Tensor = self.body(picture).mean((2, 3))
        return pooled


@torch.no_grad()
def judged(judge: Judge, pictures: Sequence[Image.Image]) -> list[Seen]:
    """What the judge sees in pictures of any size."""
    small = np.stack(
        [np.asarray(each.resize((SIDE, SIDE), Image.Resampling.BOX)) for each in pictures]
    )
    objects, setting, light = judge.eval()(as_input(small))
    return [
        Seen(
            frozenset(name for name, at in _OBJECTS.items() if there[at] >= _LIKELY),
            list(_SETTINGS)[int(where)],
            list(_LIGHTS)[int(lit)],
        )
        for there, where, lit in zip(
            objects.sigmoid(), setting.argmax(1), light.argmax(1), strict=True
        )
    ]


def scene_of(seed: int, index: int) -> scenes.Scene:
    return scenes.random_scene(random.Random(f"judge/{seed}/{index}"))


def _drawn(sprites_folder: Path, seed: int, index: int) -> Pixels:
    picture = scenes.draw(scene_of(seed, index), scenes.load_sprites(sprites_folder))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def _shards(run: Path, sprites: Path, count: int, workers: int) -> Iterator[Pixels]:
    """The judge's scenes (_SHARD, SIDE, SIDE, 3), drawn where they are not there yet."""
    work = partial(_drawn, sprites, _SEED)
    with ProcessPoolExecutor(workers) as pool:
        for number in range(count // _SHARD):
            file = run / f"pixels-{number:04}.npy"
            if not file.exists():
                rows = range(number * _SHARD, (number + 1) * _SHARD)
                part = run / "part.npy"
                np.save(part, np.stack(list(pool.map(work, rows, chunksize=20))))
                part.replace(file)
                log(run, f"scenes {(number + 1) * _SHARD}/{count}")
            yield np.load(file, mmap_mode="r")


def train(run: Path, sprites: Path, count: int, steps: int, workers: int) -> Judge:
    """Learns from `count` scenes, moved by a few pixels each time."""
    run.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(run, sprites, count, workers))
    truth = [
        _truth([scene_of(_SEED, at * _SHARD + row) for row in range(_SHARD)])
        for at in range(len(shards))
    ]
    torch.manual_seed(0)
    judge = Judge().to(device())
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    training = Training(run / "judge.pt", judge, optimizer)
    fast = compiled(judge)
    for step in training.steps(steps, 2e-3):
        rng = np.random.default_rng(step)
        at, rows = rng.integers(len(shards)), rng.integers(_SHARD, size=64)
        picture = torch.roll(as_input(shards[at][rows]), tuple(rng.integers(-6, 7, 2)), (2, 3))
        picture = picture * rng.uniform(0.85, 1.15) + torch.randn_like(picture) * rng.uniform(
            0, 0.1
        )
        there, where, lit = (each[rows].to(device()) for each in truth[at])
        with reduced_precision():
            objects, setting, light = fast(picture.to(device()))
        loss = 50 * binary_cross_entropy_with_logits(objects.float(), there)
        loss = loss + cross_entropy(setting.float(), where) + cross_entropy(light.float(), lit)
        training.learn(loss)
    return load(run)


def load(run: Path) -> Judge:
    judge = Judge()
    judge.load_state_dict(
        torch.load(run / "judge.pt", weights_only=True, map_location="cpu")["module"]
    )
    return judge.eval()


class Accuracy(NamedTuple):
    """Shares of drawn scenes of which the judge sees each object, nothing else, setting, light."""

    objects: float
    only: float
    setting: float
    light: float


def accuracy(judge: Judge, sprites: Path) -> Accuracy:
    """On scenes that neither the judge nor the painter was trained on."""
    kept = scenes.load_sprites(sprites)
    rows = []
    for start in range(0, _TESTED, 100):
        asked = [scene_of(_TEST_SEED, at) for at in range(start, start + 100)]
        seen = judged(judge, [scenes.draw(scene, kept) for scene in asked])
        rows += [_right(*pair) for pair in zip(asked, seen, strict=True)]
    return Accuracy(*(float(share) for share in np.mean(rows, axis=0)))


def _right(scene: scenes.Scene, seen: Seen) -> tuple[bool, bool, bool, bool]:
    there = frozenset(scene.names)
    right = scene.setting == seen.setting, scene.light == seen.light
    return there <= seen.objects, seen.objects <= there, *right


def _truth(drawn: Sequence[scenes.Scene]) -> tuple[Tensor, Tensor, Tensor]:
    there = torch.zeros(len(drawn), len(_OBJECTS))
    for row, scene in enumerate(drawn):
        there[row, [_OBJECTS[name] for name in scene.names]] = 1
    setting = torch.tensor([_SETTINGS[scene.setting] for scene in drawn])
    return there, setting, torch.tensor([_LIGHTS[scene.light] for scene in drawn])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/judge"))
    parser.add_argument("--sprites", type=Path, default=Path("../shared/data/sprites"))
    parser.add_argument("--count", type=int, default=40_000, help="scenes to draw")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge = train(args.run, args.sprites, args.count, args.steps, args.threads)
    log(args.run, str(accuracy(judge, args.sprites)))


if __name__ == "__main__":
    main()
