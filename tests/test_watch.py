"""Watching the denoising loop: what a step predicts, what is decoded of it, what two alarms do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gen import samplers
from gen.latents import decoded, predicted
from gen.models import resolve
from gen.pipeline import load
from gen.tap import Step
from gen.watch import Stopped, Watch, look_steps
from tests import tiny_pipelines
from tests.test_samplers import CASES, model_scheduler, perfect

FAMILIES = tiny_pipelines.FAMILIES
PROMPT = "a fox in the snow"


def never(_: int, __: Image.Image) -> bool:
    return False


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    room = tmp_path_factory.mktemp("models")

    def pipeline(family: str) -> Any:
        place = room / family
        spec = resolve(str(place if place.exists() else tiny_pipelines.write(family, place)))
        return load(spec).pipeline  # type: ignore[attr-defined]

    return pipeline


def paint(pipeline: Any, watch: Watch | None, steps: int = 10, count: int = 1) -> Any:
    import torch

    generators = [torch.Generator().manual_seed(n) for n in range(count)]
    given = {
        "prompt": [PROMPT] * count, "num_inference_steps": steps, "width": 64, "height": 64,
        "generator": generators, "guidance_scale": 4.0,
    }  # fmt: skip
    if "PixArt" in type(pipeline).__name__:
        given["use_resolution_binning"] = False
    if watch is None:
        return pipeline(**given).images
    with watch.over(pipeline, (64, 64)):
        return pipeline(**given).images


@pytest.mark.parametrize(("predicts", "name"), CASES)
def test_a_step_of_a_perfect_model_predicts_its_picture(predicts: str, name: str) -> None:
    import torch

    own = model_scheduler(predicts)
    generator = torch.Generator().manual_seed(1)
    scheduler = samplers.make(own, *samplers.named(own, name, None), generator)
    target = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)
    scheduler.set_timesteps(10)
    latents = torch.randn(target.shape, generator=generator)
    latents = latents * getattr(scheduler, "init_noise_sigma", 1.0)
    for at in scheduler.timesteps:
        scale = getattr(scheduler, "scale_model_input", lambda each, _: each)
        guess = perfect(predicts, scheduler, target, scale(latents, at), at)
        clean = predicted(scheduler, guess, at, latents)
        latents = scheduler.step(guess, at, latents, return_dict=False)[0]
        assert float((clean - target).abs().mean()) < 0.1, f"at {float(at):.0f}"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_watch_sees_every_family_and_changes_no_pixel(
    pipelines: Callable[[str], Any], family: str
) -> None:
    pipeline, taken = pipelines(family), []

    def look(number: int, picture: Image.Image) -> bool:
        taken.append((number, picture.size))
        return False

    watch = Watch(2, look, always=True)
    plain = paint(pipeline, None, count=2)
    watched = paint(pipeline, watch, count=2)
    assert all(np.array_equal(one, two) for one, two in zip(plain, watched, strict=True))
    assert taken == [(0, (64, 64)), (1, (64, 64))] * 2
    assert [seen.looks for seen in watch.seen] == [[4, 6], [4, 6]]
    assert all((seen.magnitude is None) == (family == "flux") for seen in watch.seen)
    assert not any(seen.hit or seen.stopped for seen in watch.seen)


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_the_last_prediction_is_the_picture(pipelines: Callable[[str], Any], family: str) -> None:
    """What is decoded of it is what the pipeline makes of its last latents."""
    pipeline, last = pipelines(family), []
    step = pipeline.scheduler.step

    def kept(output: Any, at: Any, sample: Any, *args: Any, **more: Any) -> Any:
        last.append(predicted(pipeline.scheduler, output, at, sample))
        return step(output, at, sample, *args, **more)

    pipeline.scheduler.step = kept
    (made,) = paint(pipeline, None, steps=6)
    (shown,) = decoded(pipeline, last[-1], (64, 64))
    assert np.abs(np.asarray(made, float) - np.asarray(shown, float)).mean() < 3


def test_two_close_looks_stop_the_rest_of_the_steps(pipelines: Callable[[str], Any]) -> None:
    watch = Watch(1, lambda number, picture: True, always=True)
    with pytest.raises(Stopped):
        paint(pipelines("sd3"), watch)
    (seen,) = watch.seen
    assert (seen.close, seen.stopped, seen.hit) == ([4, 6], 6, True)


def test_an_unusual_prompt_and_one_close_look_stop_it_earlier(
    pipelines: Callable[[str], Any],
) -> None:
    watch = Watch(1, lambda number, picture: True, limit=0.0)
    with pytest.raises(Stopped):
        paint(pipelines("sd3"), watch)
    assert (watch.seen[0].close, watch.seen[0].stopped) == ([4], 4)


def test_a_batch_goes_on_for_those_that_are_no_hit(pipelines: Callable[[str], Any]) -> None:
    watch = Watch(2, lambda number, picture: number == 0, always=True)
    assert len(paint(pipelines("sd15"), watch, count=2)) == 2
    assert [seen.hit for seen in watch.seen] == [True, False]


def test_usual_prompts_are_not_looked_at(pipelines: Callable[[str], Any]) -> None:
    watch = Watch(1, never, limit=1e9)
    paint(pipelines("sd15"), watch)
    assert (watch.seen[0].looks, watch.seen[0].unusual) == ([], False)
    assert watch.seen[0].magnitude > 0


def test_the_pipeline_is_left_as_it_was(pipelines: Callable[[str], Any]) -> None:
    pipeline = pipelines("sd15")
    step = pipeline.scheduler.step
    with pytest.raises(Stopped):
        paint(pipeline, Watch(1, lambda number, picture: True, always=True))
    assert pipeline.scheduler.step == step
    assert not pipeline.unet._forward_hooks


@pytest.mark.parametrize(("steps", "looks"), [(1, {1}), (2, {1}), (4, {1, 2}), (25, {10, 15})])
def test_looks_come_early_however_few_the_steps(steps: int, looks: set[int]) -> None:
    assert look_steps(steps) == looks


def test_the_difference_of_one_pass_and_of_two_is_the_same() -> None:
    import torch

    one, other = torch.ones(3, 4, 2, 2), torch.zeros(3, 4, 2, 2)
    other[1] = 3
    at_once, in_turn, alone = (
        Step(1, 10, None, None, one, made).difference()
        for made in ([torch.cat([one, other])], [one, other], [one])
    )
    assert alone is None
    assert torch.equal(at_once, in_turn)
    assert torch.equal(at_once, other - one)


def test_to_weigh_takes_one_step(pipelines: Callable[[str], Any]) -> None:
    watch = Watch(1, weigh_only=True)
    with pytest.raises(Stopped):
        paint(pipelines("sd3"), watch)
    assert watch.seen[0].stopped == 1
    assert watch.seen[0].magnitude > 0
