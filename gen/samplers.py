"""Samplers by the names people know → diffusers' schedulers, for each kind of model. A table.

What a model comes with decides which samplers it takes: one for noise or velocity along a noise
schedule, one for the flow from picture to noise, or one of the first kind under flow sigmas.
"""

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from provenance.errors import UsageError

NOISE, FLOW, SIGMAS = "noise", "flow", "sigmas"


@dataclass(frozen=True)
class Sampler:
    """One sampler: its scheduler for models that predict noise, and for flow models.

    `under` says whether the one for noise takes models under flow sigmas too; `first_order` that
    the first order of DPM-Solver++ does so in its place, which on a straight path is Euler's.
    """

    name: str
    noise: str | None
    flow: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    under: bool = False
    first_order: bool = False
    spaced: bool = False  # takes Karras and Exponential
    uniform: bool = False  # takes SGM Uniform

    @property
    def spacings(self) -> tuple[str, ...]:
        return tuple(how for how in SPACINGS if (self.uniform if how == UNIFORM else self.spaced))

    def scheduler(self, kind: str) -> str | None:
        if kind == SIGMAS:
            return _MULTI if self.first_order else self.noise if self.under else None
        return self.noise if kind == NOISE else self.flow

    def settings(self, kind: str) -> dict[str, Any]:
        first = kind == SIGMAS and self.first_order
        return {**_PP, "solver_order": 1} if first else dict(self.options)


_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_PP = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
_FLOW_EULER = "FlowMatchEulerDiscreteScheduler"

SAMPLERS = (
    Sampler("Euler", "EulerDiscreteScheduler", _FLOW_EULER,
            first_order=True, spaced=True, uniform=True),
    Sampler("Euler a", "EulerAncestralDiscreteScheduler", uniform=True),
    Sampler("Heun", "HeunDiscreteScheduler", spaced=True, uniform=True),
    Sampler("LMS", "LMSDiscreteScheduler", spaced=True, uniform=True),
    Sampler("DPM2", "KDPM2DiscreteScheduler", spaced=True, uniform=True),
    Sampler("DPM2 a", "KDPM2AncestralDiscreteScheduler", spaced=True, uniform=True),
    Sampler("DPM++ 2M", _MULTI, _MULTI, _PP, under=True, spaced=True, uniform=True),
    Sampler("DPM++ 2M SDE", _MULTI, _MULTI, _SDE, under=True, spaced=True, uniform=True),
    Sampler("DPM++ 3M", _MULTI, _MULTI, {**_PP, "solver_order": 3},
            under=True, spaced=True, uniform=True),
    Sampler("DPM++ SDE", _SINGLE, _SINGLE, _SDE, under=True, spaced=True),
    Sampler("DPM++ 2S", _SINGLE, _SINGLE, _PP, under=True, spaced=True),
    Sampler("UniPC", "UniPCMultistepScheduler", "UniPCMultistepScheduler",
            under=True, spaced=True, uniform=True),
    Sampler("DEIS", "DEISMultistepScheduler", "DEISMultistepScheduler",
            {"algorithm_type": "deis"}, under=True, spaced=True, uniform=True),
    Sampler("DDIM", "DDIMScheduler", uniform=True),
    Sampler("DDPM", "DDPMScheduler"),
    Sampler("PLMS", "PNDMScheduler", options={"skip_prk_steps": True}),
    Sampler("LCM", "LCMScheduler", "FlowMatchLCMScheduler"),
    Sampler("TCD", "TCDScheduler"),
)  # fmt: skip
_BEGIN = [each for each in SAMPLERS if str(each.flow).startswith("FlowMatch")]
UNIFORM = "SGM Uniform"
SPACINGS: dict[str, tuple[str, Any]] = {
    "Karras": ("use_karras_sigmas", True),
    "Exponential": ("use_exponential_sigmas", True),
    UNIFORM: ("timestep_spacing", "trailing"),
}
_ALSO = {
    "eulerancestral": "Euler a", "keulera": "Euler a", "keuler": "Euler",
    "flowmatcheuler": "Euler", "eulerflowmatch": "Euler", "floweuler": "Euler",
    "dpmpp2m": "DPM++ 2M", "dpmpp2msde": "DPM++ 2M SDE", "dpmppsde": "DPM++ SDE",
    "dpmpp2s": "DPM++ 2S", "dpmpp3m": "DPM++ 3M", "pndm": "PLMS", "unipcbh2": "UniPC",
}  # fmt: skip


def kind_of(scheduler: Any) -> str:
    """What the model of this scheduler predicts, and how its pipeline asks for it."""
    if type(scheduler).__name__.startswith("FlowMatch"):
        return FLOW
    return SIGMAS if scheduler.config.get("use_flow_sigmas") else NOISE


def names(kind: str) -> list[str]:
    """The samplers that a model of this kind takes; those with a spacing are named with it too."""
    taken = [each for each in SAMPLERS if each.scheduler(kind)]
    plain = [each.name for each in taken]
    if kind != NOISE:
        return plain
    return plain + [f"{each.name} {how}" for each in taken for how in each.spacings]


def own_name(scheduler: Any) -> tuple[str, str | None]:
    """The name and spacing of the sampler that a model comes with."""
    config, kind = scheduler.config, kind_of(scheduler)
    taken = (how for how, (key, value) in SPACINGS.items() if config.get(key) == value)
    spacing = next(taken, None)
    for each in SAMPLERS:
        same = all(config.get(key, value) == value for key, value in each.settings(kind).items())
        if each.scheduler(kind) == type(scheduler).__name__ and same:
            return each.name, spacing
    return type(scheduler).__name__.removesuffix("Scheduler"), spacing


def named(
    scheduler: Any, sampler: str, spacing: str | None, *, begun: bool = False
) -> tuple[str, str | None]:
    """The sampler's name and spacing as recipes record them; UsageError where it does not fit.

    `begun`: painting begins with a picture, to which only some add a flow model's noise.
    """
    own, kind = own_name(scheduler), kind_of(scheduler)
    words = sampler.strip()
    for how in SPACINGS:
        if words.lower().endswith(f" {how.lower()}"):
            words, spacing = words[: -len(how) - 1], how
    if spacing and spacing.lower() in ("automatic", "normal", "simple"):
        spacing = None
    if _plain(words) == _plain(own[0]) and spacing in (None, own[1]):
        return own
    found = next((each for each in SAMPLERS if _plain(each.name) == _known(words)), None)
    if found is None:
        raise UsageError(f"unknown sampler {sampler!r}; {_taken(kind)}")
    if not found.scheduler(kind):
        raise UsageError(f"sampler {sampler!r} does not fit; {_taken(kind)}")
    if begun and kind == FLOW and found not in _BEGIN:
        those = ", ".join(each.name for each in _BEGIN)
        raise UsageError(f"sampler {sampler!r} begins with no picture for a flow model; {those} do")
    if spacing is None:
        return found.name, None
    how = next((how for how in found.spacings if how.lower() == spacing.lower()), "")
    if not (how and kind == NOISE):
        raise UsageError(f"{spacing!r} does not go with sampler {found.name!r}; {_taken(kind)}")
    return found.name, how


def make(scheduler: Any, sampler: str, spacing: str | None, generator: Any) -> Any:
    """A new scheduler over the model's own noise schedule, with no state from the last picture.

    Some pipelines do not hand their generator to the scheduler, so it is bound here: otherwise
    samplers that add noise would draw it unseeded.
    """
    import diffusers

    made = _with(diffusers, scheduler, sampler, spacing)
    if "generator" in made.step.__code__.co_varnames[: made.step.__code__.co_argcount]:
        made.step = partial(made.step, generator=generator)
    return made


def _with(diffusers: Any, scheduler: Any, sampler: str, spacing: str | None) -> Any:
    own = type(scheduler)
    if (sampler, spacing) == own_name(scheduler):
        return own.from_config(scheduler.config)
    kind = kind_of(scheduler)
    chosen = next(each for each in SAMPLERS if each.name == sampler)
    options = chosen.settings(kind)
    if kind == NOISE:
        if chosen.spaced:
            options |= {key: False for key, value in SPACINGS.values() if value is True}
        if spacing:
            key, value = SPACINGS[spacing]
            options[key] = value
    name = str(chosen.scheduler(kind))
    if kind == FLOW and not name.startswith("FlowMatch"):
        shift = scheduler.config.get("shift") or scheduler.config.get("flow_shift", 1.0)
        options |= {
            "use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift,
        }  # fmt: skip
        return _for_flow(getattr(diffusers, name).from_config(scheduler.config, **options))
    if kind == FLOW and name.startswith("FlowMatch"):
        shift = scheduler.config.get("shift") or scheduler.config.get("flow_shift", 1.0)
        options["shift"] = shift
    return getattr(diffusers, name).from_config(scheduler.config, **options)


def _for_flow(made: Any) -> Any:
    """Takes what pipelines of flow models hand over: `mu`, where the scheduler shifts by it.

    Their sigmas are evenly spaced, and so are those that it makes itself.
    """
    own = made.set_timesteps

    def set_timesteps(
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
    ) -> None:
        shifting = {"mu": mu} if made.config.get("use_dynamic_shifting") else {}
        steps = len(sigmas) if num_inference_steps is None else num_inference_steps
        own(steps, device=device, **shifting)

    made.set_timesteps = set_timesteps
    return made


_TELLS = {NOISE: "noise", FLOW: "flow", SIGMAS: "clean latents or flow under flow sigmas"}


def _taken(kind: str) -> str:
    taken = [each for each in SAMPLERS if each.scheduler(kind)]
    text = f"known to a model that predicts {_TELLS[kind]} are "
    text += ", ".join(each.name for each in taken)
    if kind != NOISE:
        return text
    spaced = ", ".join(each.name for each in taken if each.spaced)
    uniform = ", ".join(each.name for each in taken if each.uniform)
    return f"{text}; with Karras or Exponential after it: {spaced}; with {UNIFORM}: {uniform}"


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]", "", name.lower())


def _known(words: str) -> str:
    return _plain(_ALSO.get(_plain(words), words))
