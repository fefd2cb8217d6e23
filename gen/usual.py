"""Usual: how much difference a prompt usually makes to a model's first prediction.

Measured once for each model, on ordinary prompts, a step each; what only one ordinary prompt of a
hundred exceeds is unusual. Of the first step alone, so that it holds for any number of steps.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gen.models import ModelSpec
from gen.pipeline import Painter
from gen.starter import scenes
from gen.watch import Watch
from provenance.errors import UsageError
from provenance.files import write_whole
from provenance.recipe import Recipe

FILE = "usual.json"
LEAST_PROMPTS = 50
_UNUSUAL = 0.01  # share of ordinary prompts that are called unusual


@dataclass(frozen=True)
class Usual:
    """Magnitudes (see `gen.watch.Seen`) of a model's ordinary prompts: median and upper 1 %."""

    model: str
    model_hash: str
    prompts: int
    median: float
    limit: float


def measure(
    painter: Painter, prompts: Sequence[str], on_prompt: Callable[[int], None] = lambda done: None
) -> Usual:
    """Takes the first step of each prompt at the model's own size and sampler.

    Raises UsageError for too few prompts, and for a model that is not guided.
    """
    if len(prompts) < LEAST_PROMPTS:
        raise UsageError(f"to calibrate takes {LEAST_PROMPTS} prompts or more, got {len(prompts)}")
    known: list[float] = []
    for seed, prompt in enumerate(prompts):
        watch = Watch(weigh_only=True)
        painter.paint_each([painter.complete(Recipe(prompt, seed=seed))], lambda *_: None, [watch])
        if watch.seen.magnitude is None:
            raise UsageError(
                f"{painter.spec.name} is painted with in one pass, without guidance: what "
                "difference a prompt makes cannot be seen; early looks can: --watch always"
            )
        known.append(watch.seen.magnitude)
        on_prompt(seed + 1)
    spec, limit = painter.spec, float(np.quantile(known, 1 - _UNUSUAL))
    return Usual(spec.name, spec.hash, len(known), float(np.median(known)), limit)


def ordinary(count: int, seed: int = 0) -> list[str]:
    """Prompts such as people write, of everyday things in places: other ones for each seed."""
    made = []
    for number in range(count):
        rng = random.Random(f"ordinary/{seed}/{number}")
        made.append(scenes.caption(scenes.random_scene(rng), rng))
    return made


def keep(usual: Usual, home: Path) -> Path:
    """Writes it where `kept` looks for it."""
    path = _place(usual.model_hash, home)
    write_whole(path, json.dumps(asdict(usual), indent=1).encode())
    return path


def kept(spec: ModelSpec, home: Path) -> Usual | None:
    """What was measured of this model here or, if its folder holds that, by those who made it."""
    for path in (_place(spec.hash, home), spec.folder / FILE):
        try:
            found = Usual(**json.loads(path.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"{path} is no calibration ({error}); remove it: firsthand models calibrate"
            ) from None
        if found.model_hash == spec.hash:
            return found
    return None


def _place(model_hash: str, home: Path) -> Path:
    return home / "usual" / f"{model_hash[:16]}.json"
