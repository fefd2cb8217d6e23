"""load(model) → Painter: recipe in, pixels out; seeded and deterministic.

Knows nothing of checks. What it paints is shown by nobody but the Studio.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from gen.models import ModelSpec
from provenance.errors import UsageError
from provenance.recipe import Recipe

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

SAMPLERS = {"DPM++ 2M": "DPMSolverMultistepScheduler", "UniPC": "UniPCMultistepScheduler"}
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 4.0
DEFAULT_SAMPLER = "DPM++ 2M"

_LIBRARIES = ("diffusers", "transformers")


class Painter(Protocol):
    """A loaded model."""

    @property
    def spec(self) -> ModelSpec: ...

    def complete(self, recipe: Recipe) -> Recipe:
        """The recipe with the model's own defaults for what it leaves open, validated."""

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        """The RGB picture of a complete recipe."""


class DiffusersPainter:
    """Any Stable-Diffusion-style text-to-image pipeline that diffusers loads, on CPU or CUDA.

    `pipeline` is what diffusers has loaded.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.pipeline = _load_pipeline(spec)
        self._step = int(self.pipeline.vae_scale_factor)
        side = int(self.pipeline.unet.config.sample_size) * self._step
        self._default_size = (side, side)
        self._schedulers = {DEFAULT_SAMPLER: self.pipeline.scheduler}

    def complete(self, recipe: Recipe) -> Recipe:
        width, height = self._default_size
        if recipe.loras:
            raise UsageError("LoRAs are not supported by this model yet; leave them out")
        if recipe.model not in (None, self.spec.name) or (
            recipe.model_hash and not self.spec.hash.startswith(recipe.model_hash.lower())
        ):
            asked = " ".join(filter(None, (recipe.model, recipe.model_hash)))
            raise UsageError(
                f"the recipe asks for model {asked}, loaded is {self.spec.name} "
                f"{self.spec.hash[:10]}"
            )
        sampler = recipe.sampler or DEFAULT_SAMPLER
        if sampler not in SAMPLERS:
            raise UsageError(f"unknown sampler {sampler!r}; known are {', '.join(SAMPLERS)}")
        for name, value in (("width", recipe.width), ("height", recipe.height)):
            if value and value % self._step:
                raise UsageError(
                    f"{name} must be a multiple of {self._step} for {self.spec.name}, got {value}"
                )
        return recipe.with_changes(
            model=self.spec.name,
            model_hash=self.spec.hash[:10],
            steps=DEFAULT_STEPS if recipe.steps is None else recipe.steps,
            guidance=DEFAULT_GUIDANCE if recipe.guidance is None else recipe.guidance,
            sampler=sampler,
            width=width if recipe.width is None else recipe.width,
            height=height if recipe.height is None else recipe.height,
        ).validated()

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        import torch

        steps = recipe.steps or DEFAULT_STEPS

        def step_ended(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
            on_step(min(step + 1, steps), steps)
            return kept

        self.pipeline.scheduler = self._scheduler(recipe.sampler or DEFAULT_SAMPLER)
        result = self.pipeline(
            prompt=recipe.prompt,
            negative_prompt=recipe.negative,
            num_inference_steps=steps,
            guidance_scale=recipe.guidance,
            width=recipe.width,
            height=recipe.height,
            generator=torch.Generator("cpu").manual_seed(recipe.seed or 0),
            callback_on_step_end=step_ended,
        )
        return result.images[0].convert("RGB")  # type: ignore[no-any-return]

    def _scheduler(self, sampler: str) -> Any:
        """The sampler over the model's own noise schedule, with no state from the last picture."""
        import diffusers

        kind = getattr(diffusers, SAMPLERS[sampler])
        return kind.from_config(self._schedulers[DEFAULT_SAMPLER].config)


def load(spec: ModelSpec) -> Painter:
    """Loads the model's weights; raises UsageError when its folder asks for other code."""
    return DiffusersPainter(spec)


def _load_pipeline(spec: ModelSpec) -> Any:
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    _refuse_other_code(spec.folder)
    for library in (logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    cuda = torch.cuda.is_available()
    pipeline = DiffusionPipeline.from_pretrained(
        spec.folder,
        **_own_components(spec.folder),
        dtype=torch.float16 if cuda else torch.float32,
        use_safetensors=True,
        local_files_only=True,
        safety_checker=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if cuda else "cpu")


def _own_components(folder: Path) -> dict[str, Any]:
    """The starter's autoencoder, which diffusers does not know by name."""
    config = folder / "vae" / "config.json"
    if not config.is_file():
        return {}
    if json.loads(config.read_text("utf-8")).get("_class_name") != "PatchAutoencoder":
        return {}
    from gen.starter.autoencoder import PatchAutoencoder

    return {"vae": PatchAutoencoder.from_pretrained(folder / "vae", use_safetensors=True)}


def _refuse_other_code(folder: Path) -> None:
    """A model index may name any Python module; only the two libraries' own are loaded."""
    listing = json.loads((folder / "model_index.json").read_text("utf-8"))
    for name, value in listing.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        library = value[0]
        ours = name == "vae" and value[1] == "PatchAutoencoder"
        if library is not None and library not in _LIBRARIES and not ours:
            raise UsageError(
                f"{folder} wants its {name} from {library!r}; "
                f"only {' and '.join(_LIBRARIES)} are loaded"
            )
