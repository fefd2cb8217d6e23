"""Samplers by their names: each one runs, and finds the picture that a perfect model knows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen import samplers
from gen.models import resolve
from gen.pipeline import Painter, load
from provenance.errors import UsageError
from provenance.recipe import Recipe
from tests import tiny_pipelines

KINDS = {"epsilon": samplers.NOISE, "v_prediction": samplers.NOISE, "flow": samplers.FLOW,
         "clean": samplers.SIGMAS, "flow under sigmas": samplers.SIGMAS}  # fmt: skip


@pytest.fixture(scope="module")
def painters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Painter]:
    room = tmp_path_factory.mktemp("models")
    return {
        family: load(resolve(str(tiny_pipelines.write(family, room / family))))
        for family in ("sd15", "sd3", "flux", "pixart")
    }


def model_scheduler(predicts: str) -> Any:
    import diffusers as d

    if predicts == "flow":
        return d.FlowMatchEulerDiscreteScheduler(shift=3.0)
    if KINDS[predicts] == samplers.SIGMAS:
        prediction = "sample" if predicts == "clean" else "flow_prediction"
        return d.DPMSolverMultistepScheduler(prediction_type=prediction, use_flow_sigmas=True)
    return d.PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type=predicts, skip_prk_steps=True, steps_offset=1,
    )  # fmt: skip


def perfect(predicts: str, scheduler: Any, target: Any, noisy: Any, at: Any) -> Any:
    """What a model that knows `target` predicts for `noisy` (as handed to a model) at time `at`."""
    if predicts == "clean":
        return target
    if predicts.startswith("flow"):
        sigma = float(at) / 1000
        return (noisy - target) / max(sigma, 1e-4)
    kept = scheduler.alphas_cumprod[int(at)]
    noise = (noisy - kept.sqrt() * target) / (1 - kept).sqrt()
    return noise if predicts == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * target


CASES = [(predicts, name) for predicts, kind in KINDS.items() for name in samplers.names(kind)]


@pytest.mark.parametrize(("predicts", "name"), CASES)
def test_a_perfect_model_is_followed_to_its_picture(predicts: str, name: str) -> None:
    import torch

    own = model_scheduler(predicts)
    generator = torch.Generator().manual_seed(1)
    sampler, spacing = samplers.named(own, name, None)
    scheduler = samplers.make(own, sampler, spacing, generator)
    target = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)
    scheduler.set_timesteps(20)
    latents = torch.randn(target.shape, generator=generator)
    latents = latents * getattr(scheduler, "init_noise_sigma", 1.0)
    for at in scheduler.timesteps:
        scale = getattr(scheduler, "scale_model_input", lambda each, _: each)
        guess = perfect(predicts, scheduler, target, scale(latents, at), at)
        latents = scheduler.step(guess, at, latents, return_dict=False)[0]
    assert float((latents - target).abs().mean()) < 0.12


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux", "pixart", "starter"])
def test_every_sampler_paints_the_same_twice(
    painters: dict[str, Painter], starter: Painter, family: str
) -> None:
    painter = {**painters, "starter": starter}[family]
    kind = samplers.kind_of(painter.pipeline.scheduler)  # type: ignore[attr-defined]
    seen = []
    known = samplers.names(kind)
    plain = [name for name in known if not name.endswith(tuple(samplers.SPACINGS))]
    for name in known if family == "sd15" else plain:
        recipe = painter.complete(
            Recipe("a fox", seed=1, steps=3, width=32, height=32, sampler=name)
        )
        first, again = (np.asarray(painter.paint(recipe, lambda *_: None)) for _ in range(2))
        assert (first == again).all(), name
        assert first.std() > 1, name
        seen.append(first.tobytes())
    assert len(set(seen)) > len(seen) // 2


@pytest.mark.parametrize(
    ("sampler", "spacing", "known"),
    [
        ("DPM++ 2M Karras", None, ("DPM++ 2M", "Karras")),
        ("DPM++ 2M", "karras", ("DPM++ 2M", "Karras")),
        ("dpmpp_2m", "Automatic", ("DPM++ 2M", None)),
        ("k_euler_a", None, ("Euler a", None)),
        ("euler ancestral", None, ("Euler a", None)),
        ("PNDM", None, ("PLMS", None)),
        ("Euler", "SGM Uniform", ("Euler", "SGM Uniform")),
        ("DDIM sgm uniform", None, ("DDIM", "SGM Uniform")),
    ],
)
def test_names_are_read_as_people_write_them(
    sampler: str, spacing: str | None, known: tuple[str, str | None]
) -> None:
    assert samplers.named(model_scheduler("epsilon"), sampler, spacing) == known


@pytest.mark.parametrize(
    ("predicts", "sampler", "message"),
    [
        (
            "epsilon",
            "Magic",
            "unknown sampler 'Magic'; known to a model that predicts noise are Euler.*Karras",
        ),
        (
            "flow",
            "Euler a",
            "'Euler a' does not fit; known to a model that predicts flow are Euler, DPM",
        ),
        ("clean", "Euler a", "predicts clean latents or flow under flow sigmas are Euler, DPM"),
        ("flow", "DPM++ 2M Karras", "'Karras' does not go with sampler 'DPM"),
        (
            "epsilon",
            "DDIM Karras",
            "'Karras' does not go with sampler 'DDIM'; .* after it: Euler, Heun",
        ),
    ],
)
def test_what_does_not_fit_lists_what_does(predicts: str, sampler: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        samplers.named(model_scheduler(predicts), sampler, None)


def test_sgm_uniform_ends_a_step_before_the_first_timestep() -> None:
    own = model_scheduler("epsilon")
    times = []
    for spacing in (None, samplers.UNIFORM):
        scheduler = samplers.make(own, "Euler", spacing, None)
        scheduler.set_timesteps(4)
        times.append([round(float(each)) for each in scheduler.timesteps])
    assert times == [[999, 666, 333, 0], [999, 749, 499, 249]]


SPACED = [
    name for name in samplers.names(samplers.NOISE) if name.endswith(tuple(samplers.SPACINGS))
]


@pytest.mark.parametrize("name", SPACED)
def test_every_spacing_that_is_named_changes_the_noise_levels(name: str) -> None:
    own = model_scheduler("epsilon")
    sampler, spacing = samplers.named(own, name, None)
    levels = []
    for how in (spacing, None):
        scheduler = samplers.make(own, sampler, how, None)
        scheduler.set_timesteps(6)
        levels.append([float(each) for each in scheduler.timesteps])
    assert levels[0] != levels[1]


@pytest.mark.parametrize("name", samplers.names(samplers.FLOW))
@pytest.mark.parametrize("shifting", [True, False])
def test_flow_samplers_take_what_pipelines_hand_over(name: str, shifting: bool) -> None:
    """FLUX hands over `mu`, whether the scheduler shifts by it or not; Qwen-Image sigmas too."""
    import diffusers as d
    from diffusers.pipelines.flux.pipeline_flux import retrieve_timesteps

    own = d.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=shifting)
    levels = []
    for mu in (0.5, 1.15):
        made = samplers.make(own, *samplers.named(own, name, None), None)
        times, steps = retrieve_timesteps(made, device="cpu", sigmas=np.linspace(1, 0.1, 10), mu=mu)
        assert steps == len(times)
        levels.append(made.sigmas.numpy())
    assert (levels[0] == levels[1]).all() != shifting


def test_the_flow_match_name_is_known() -> None:
    assert samplers.named(model_scheduler("flow"), "Flow-match Euler", None) == ("Euler", None)


def test_a_model_starts_with_its_own_sampler(painters: dict[str, Painter], tmp_path: Path) -> None:
    own = {name: each.complete(Recipe("x", seed=1)).sampler for name, each in painters.items()}
    assert own == {"sd15": "PLMS", "sd3": "Euler", "flux": "Euler", "pixart": "DPM++ 2M"}
