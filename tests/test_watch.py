"""Watching the denoising loop: what a step predicts, what is decoded of it, what two alarms do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from gen import samplers
from gen.latents import decoded, predicted
from gen.models import resolve
from gen.pipeline import DEFAULT_GUIDANCE, Painter, load
from gen.studio import Generation, Preview, Studio, Watching
from gen.tap import Step
from gen.usual import keep, kept, measure
from gen.watch import Stopped, Watch, look_steps, watching
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.label.credentials import read_credentials
from provenance.recipe import Recipe
from provenance.verdict import Decision, load_policy
from tests import tiny_pipelines
from tests.conftest import labeller, root, with_second_look
from tests.test_samplers import CASES, model_scheduler, perfect

FAMILIES = tiny_pipelines.FAMILIES
PROMPT = "a fox in the snow"


def close(_: Image.Image) -> Decision:
    return Decision.BLOCK


def near_then_close() -> Callable[[Image.Image], Decision]:
    said = iter([Decision.REVIEW, Decision.BLOCK, Decision.BLOCK])
    return lambda _: next(said)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    room = tmp_path_factory.mktemp("models")

    def pipeline(family: str) -> Any:
        place = room / family
        spec = resolve(str(place if place.exists() else tiny_pipelines.write(family, place)))
        return load(spec).pipeline

    return pipeline


def paint(pipeline: Any, watches: Sequence[Watch] = (), steps: int = 10, count: int = 1) -> Any:
    import torch

    generators = [torch.Generator().manual_seed(n) for n in range(count)]
    given = {
        "prompt": [PROMPT] * count, "num_inference_steps": steps, "width": 64, "height": 64,
        "generator": generators, "guidance_scale": 4.0,
    }  # fmt: skip
    if "PixArt" in type(pipeline).__name__:
        given["use_resolution_binning"] = False
    with watching(pipeline, (64, 64), watches):
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
def test_every_family_is_watched_and_no_pixel_changes(
    pipelines: Callable[[str], Any], family: str
) -> None:
    pipeline, taken = pipelines(family), []

    def look(picture: Image.Image) -> Decision:
        taken.append(picture.size)
        return Decision.CLEAR

    watches = [Watch(look, always=True) for _ in range(2)]
    plain = paint(pipeline, count=2)
    watched = paint(pipeline, watches, count=2)
    assert all(np.array_equal(one, two) for one, two in zip(plain, watched, strict=True))
    assert taken == [(64, 64)] * 6
    assert [watch.seen.looks for watch in watches] == [[1, 4, 6], [1, 4, 6]]
    assert all((watch.seen.magnitude is None) == (family == "flux") for watch in watches)
    assert not any(watch.seen.hit or watch.seen.stopped for watch in watches)


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_the_last_prediction_is_the_picture(pipelines: Callable[[str], Any], family: str) -> None:
    """What is decoded of it is what the pipeline makes of its last latents."""
    pipeline, last = pipelines(family), []
    step = pipeline.scheduler.step

    def kept(output: Any, at: Any, sample: Any, *args: Any, **more: Any) -> Any:
        last.append(predicted(pipeline.scheduler, output, at, sample))
        return step(output, at, sample, *args, **more)

    pipeline.scheduler.step = kept
    (painted,) = paint(pipeline, steps=6)
    (shown,) = decoded(pipeline, last[-1], (64, 64))
    assert np.abs(np.asarray(painted, float) - np.asarray(shown, float)).mean() < 3


def test_two_close_looks_stop_the_rest_of_the_steps(pipelines: Callable[[str], Any]) -> None:
    watch = Watch(close, always=True)
    with pytest.raises(Stopped):
        paint(pipelines("sd3"), [watch])
    assert (watch.seen.close, watch.seen.stopped, watch.seen.hit) == ([1, 4], 4, True)


def test_a_near_look_is_an_alarm_and_stops_nothing_by_itself(
    pipelines: Callable[[str], Any],
) -> None:
    watch = Watch(near_then_close(), always=True)
    with pytest.raises(Stopped):
        paint(pipelines("sd3"), [watch])
    assert (watch.seen.near, watch.seen.close, watch.seen.stopped) == ([1], [4], 4)
    watch = Watch(lambda _: Decision.REVIEW, always=True, limit=0.0)
    paint(pipelines("sd3"), [watch])
    assert (watch.seen.near, watch.seen.stopped) == ([1, 4, 6], None)


def test_an_unusual_prompt_and_one_close_look_stop_it_earlier(
    pipelines: Callable[[str], Any],
) -> None:
    watch = Watch(close, limit=0.0)
    with pytest.raises(Stopped):
        paint(pipelines("sd3"), [watch])
    assert (watch.seen.close, watch.seen.stopped) == ([1], 1)


def test_a_batch_goes_on_for_those_that_are_no_hit(pipelines: Callable[[str], Any]) -> None:
    watches = [Watch(close, always=True), Watch(always=True)]
    assert len(paint(pipelines("sd15"), watches, count=2)) == 2
    assert [watch.seen.stopped for watch in watches] == [4, None]


def test_usual_prompts_are_not_looked_at(pipelines: Callable[[str], Any]) -> None:
    watch = Watch(close, limit=1e9)
    paint(pipelines("sd15"), [watch])
    assert (watch.seen.looks, watch.seen.unusual) == ([], False)
    assert watch.seen.magnitude
    assert watch.seen.magnitude > 0


def test_the_pipeline_is_left_as_it_was(pipelines: Callable[[str], Any]) -> None:
    pipeline = pipelines("sd15")
    step = pipeline.scheduler.step
    with pytest.raises(Stopped):
        paint(pipeline, [Watch(close, always=True)])
    assert pipeline.scheduler.step == step
    assert not pipeline.unet._forward_hooks


@pytest.mark.parametrize(("steps", "looks"), [(1, {1}), (2, {1}), (4, {1, 2}), (25, {1, 10, 15})])
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
    pipeline, watch, taken = pipelines("sd3"), Watch(weigh_only=True), []
    hook = pipeline.transformer.register_forward_hook(lambda *_: taken.append(1))
    with pytest.raises(Stopped):
        paint(pipeline, [watch])
    hook.remove()
    assert taken == [1]
    assert watch.seen.magnitude
    assert watch.seen.magnitude > 0


@pytest.fixture(scope="module")
def known(starter: Painter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    """A checker that knows the picture of RECIPE."""
    room = tmp_path_factory.mktemp("known")
    starter.paint(starter.complete(RECIPE), lambda *_: None).save(room / "fox.png")
    with Library.create(room / "library", with_second_look().specs) as library:
        ingest(FolderSource(room, "gallery"), library, with_second_look)
        yield Checker(with_second_look(), library, load_policy())


RECIPE = Recipe("a fox in the forest", seed=1, steps=10)
OTHER = Recipe("a sailboat at sea at sunset", seed=2, steps=10)


def made(checker: Checker, starter: Painter, *recipes: Recipe, **options: Any) -> list[Generation]:
    how = Watching(**{"always": True, **options})
    studio = Studio(starter, checker, (), lambda *_: "held", labeller(), how)
    return list(studio.make(recipes))


def test_what_is_becoming_a_known_picture_is_stopped(known: Checker, starter: Painter) -> None:
    alone, other = made(known, starter, RECIPE), made(known, starter, OTHER)
    together = made(known, starter, RECIPE, OTHER)
    for stopped in (alone[0], together[0]):
        assert (stopped.decision, stopped.picture) == (Decision.BLOCK, None)
        assert stopped.seen
        assert stopped.seen.stopped == 4
        assert stopped.reasons[0].startswith("stopped at step 4 of 10")
        assert stopped.verdict
        assert stopped.verdict.matches[0].reference.title == "fox.png"
        watch = stopped.to_json()["watch"]
        assert (watch["near"], watch["close"]) == ([1], [4])
    for passed in (other[0], together[1]):
        assert passed.picture
        assert passed.seen
        assert passed.seen.close == []


def test_previews_are_labelled_and_of_what_is_clear(known: Checker, starter: Painter) -> None:
    studio = Studio(
        starter, known, (), lambda *_: "held", labeller(), Watching(), labeller()
    )  # fmt: skip
    told = list(studio.live([OTHER, RECIPE]))
    previews = [each for each in told if isinstance(each, Preview)]
    assert [(each.recipe.seed, each.step) for each in previews] == [(2, 1), (2, 4), (2, 6)]
    assert told[:3] == previews, "before the picture"
    for each in previews:
        credentials = read_credentials(each.picture.data, "PNG", root())
        assert credentials
        assert credentials.outcome == "trusted"
    (unseen,) = studio.make([OTHER])
    assert unseen.seen
    assert unseen.seen.looks == [], "looks are not taken where nobody asks for previews"


def test_an_unusual_prompt_is_stopped_after_one_look(known: Checker, starter: Painter) -> None:
    (stopped,) = made(known, starter, RECIPE, always=False, limit=0.0)
    assert stopped.seen
    assert stopped.seen.stopped == 4
    (passed,) = made(known, starter, RECIPE, always=False, limit=1e9)
    assert passed.seen
    assert passed.seen.looks == []
    assert passed.decision is Decision.BLOCK, "the check does not depend on the watch"


def test_the_policy_says_what_follows_a_stop(known: Checker, starter: Painter) -> None:
    for on_hit, seed in (("reseed", 2), ("mitigate", 1)):
        policy = replace(known.policy, on_hit=on_hit)
        checker = Checker(known.fingerprinter, known.index, policy)
        (again,) = made(checker, starter, RECIPE)
        assert [each.stopped for each in again.attempts] == [True], on_hit
        assert again.recipe.seed == seed
        if on_hit == "mitigate":
            assert again.recipe.guidance == (1 + DEFAULT_GUIDANCE) / 2
            assert again.recipe.negative == "fox.png"


class WithoutNegatives:
    """The starter, as if it were of a family that takes no negative prompt."""

    def __init__(self, starter: Painter) -> None:
        self._starter = starter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._starter, name)

    def complete(self, recipe: Recipe) -> Recipe:
        if recipe.negative:
            raise UsageError("no negative prompt")
        return self._starter.complete(recipe)


def test_a_model_without_negative_prompts_is_guided_less(known: Checker, starter: Painter) -> None:
    policy = replace(known.policy, on_hit="mitigate")
    checker = Checker(known.fingerprinter, known.index, policy)
    (again,) = made(checker, cast(Painter, WithoutNegatives(starter)), RECIPE)
    assert [each.stopped for each in again.attempts] == [True]
    assert (again.recipe.guidance, again.recipe.negative) == ((1 + DEFAULT_GUIDANCE) / 2, "")


class Lost(WithoutNegatives):
    def paint_each(self, recipes: Sequence[Recipe], *_: Any) -> list[None]:
        return [None for _ in recipes]


def test_a_picture_that_is_lost_is_an_error_and_never_clear(
    known: Checker, starter: Painter
) -> None:
    with pytest.raises(CheckError, match="there is no picture"):
        made(known, cast(Painter, Lost(starter)), RECIPE)


def test_what_is_usual_is_measured_kept_and_found_again(starter: Painter, tmp_path: Path) -> None:
    prompts = [
        f"a {size} {thing}"
        for size in ("tiny", "huge")
        for thing in ("fox", "cat", "car", "house", "tree") * 5
    ]
    usual = measure(starter, prompts)
    assert usual.prompts == 50
    assert 0 < usual.median < usual.limit
    assert kept(starter.spec, tmp_path) != usual
    keep(usual, tmp_path)
    assert kept(starter.spec, tmp_path) == usual
    assert kept(replace(starter.spec, hash="00" * 32), tmp_path) is None


def test_too_few_prompts_tell_nothing(starter: Painter) -> None:
    with pytest.raises(UsageError, match="50 prompts or more, got 1"):
        measure(starter, ["a fox"])


def test_a_model_without_guidance_cannot_be_calibrated(
    tmp_path: Path,
) -> None:
    painter = load(resolve(str(tiny_pipelines.write("flux", tmp_path / "flux"))))
    with pytest.raises(UsageError, match="without guidance"):
        measure(painter, ["a fox"] * 50)
