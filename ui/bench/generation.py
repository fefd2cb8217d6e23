"""Pictures/s, painted and checked, beside plain diffusers with the same model, steps and size."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from gen import devices
from gen.devices import Engine
from gen.loading import load_pipeline
from gen.models import ModelSpec, resolve
from gen.pipeline import DiffusersPainter, load
from gen.studio import Studio
from index.ingest import ingest
from index.sources import FolderSource
from provenance.label.labeller import Labeller
from provenance.recipe import Recipe
from ui.bench.architectures import ARCHITECTURES, write
from ui.demo import GALLERY
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library, make_signer, style

AT_ONCE = 4  # by plain diffusers
_ROUNDS = 5
_PROMPTS = ("a fox in the snow", "a house in a meadow at night", "a boat at sea", "a red car")


def measure(model: str, pictures: int) -> None:
    """The starter, a model of the user's, or an architecture with random weights.

    The rounds take turns, so that what else the machine does is shared by all; plain diffusers
    paints as its pipelines do when they are called with a list of prompts.
    """
    with tempfile.TemporaryDirectory() as place:
        side = None
        if model in ARCHITECTURES:
            tiny = devices.found(None).kind == "cpu"
            side = 128 if tiny else 1024
            write(model, Path(place) / model, tiny=tiny)
            model = str(Path(place) / model)
        with _studios(Path(place)) as studio:
            _compare(resolve(model), studio, pictures, side)


def _compare(
    spec: ModelSpec,
    studio: Callable[[DiffusersPainter], Studio],
    pictures: int,
    side: int | None,
) -> None:
    ours, fours = load(spec), load(spec, engine=Engine(batch=AT_ONCE))
    first = ours.complete(Recipe(_PROMPTS[0], seed=0, width=side, height=side))
    recipes = [
        first.with_changes(prompt=_PROMPTS[n % len(_PROMPTS)], seed=n) for n in range(pictures)
    ]
    ways: dict[str, Callable[[], object]] = {
        f"plain diffusers, {AT_ONCE} at once": plain(spec, ours, recipes),
        f"painted, {ours.batch} at once": lambda: _painted(ours, recipes),
        f"painted, checked and signed, {ours.batch} at once": lambda: _made(studio(ours), recipes),
        f"painted, checked and signed, {AT_ONCE} at once": lambda: _made(studio(fours), recipes),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    work: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(_ROUNDS + 1):
        for way, run in ways.items():
            started, worked = time.perf_counter(), time.process_time()
            run()
            if round_:  # the first one warms up
                times[way].append(time.perf_counter() - started)
                work[way].append(time.process_time() - worked)
    print(f"{spec.name}, {first.width}x{first.height}, {first.steps} steps; {ours.plan}")
    print(f"medians of {_ROUNDS} rounds of {pictures} pictures, in turns")
    bare = next(iter(times.values()))
    for way, taken in times.items():
        ratios = sorted(mine / plain for mine, plain in zip(taken, bare, strict=True))
        print(
            f"{way}: {pictures / median(taken):.2f} pictures/s, {median(ratios):.3f} x the time "
            f"of plain diffusers ({ratios[0]:.3f} to {ratios[-1]:.3f}), "
            f"{median(work[way]) / median(next(iter(work.values()))):.3f} x its CPU time"
        )


def plain(
    spec: ModelSpec, painter: DiffusersPainter, recipes: list[Recipe]
) -> Callable[[], list[Image.Image]]:
    """As a script with diffusers does it: no more than load, move, call."""
    import torch

    dtype = devices.dtype_for(painter.plan.device, Engine())
    pipeline = load_pipeline(spec, dtype).to(painter.plan.device.place)
    pipeline.vae.use_slicing = False

    def paint() -> list[Image.Image]:
        images: list[Image.Image] = []
        for start in range(0, len(recipes), AT_ONCE):
            some = recipes[start : start + AT_ONCE]
            seeds = [torch.Generator("cpu").manual_seed(each.seed or 0) for each in some]
            asked: dict[str, Any] = {
                "num_inference_steps": some[0].steps, "guidance_scale": some[0].guidance,
                "width": some[0].width, "height": some[0].height, "generator": seeds,
            }  # fmt: skip
            if "unet" in pipeline.components:
                asked["negative_prompt"] = [each.negative for each in some]
            images += pipeline([each.prompt for each in some], **asked).images
        return images

    return paint


def _painted(painter: DiffusersPainter, recipes: list[Recipe]) -> None:
    for start in range(0, len(recipes), painter.batch):
        painter.paint_each(recipes[start : start + painter.batch], lambda done, steps: None)


def _made(studio: Studio, recipes: list[Recipe]) -> None:
    made = list(studio.make(recipes))
    assert len(made) == len(recipes)


@contextmanager
def _studios(place: Path) -> Iterator[Callable[[DiffusersPainter], Studio]]:
    """With the demo gallery as library, everything on; what must be reviewed is dropped."""
    settings = load_settings(home=place / "home")
    with make_library(settings) as library:
        ingest(FolderSource(GALLERY), library, factory(settings))
        checker, signer = make_checker(settings, library), make_signer(settings)

        def studio(painter: DiffusersPainter) -> Studio:
            label = Labeller(style(settings), signer, painter.begun)
            return Studio(painter, checker, (), lambda *_: "nowhere", label)

        yield studio
