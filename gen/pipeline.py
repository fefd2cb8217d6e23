"""load(model) → Painter: recipe in, pixels out; seeded and deterministic.

Knows nothing of checks. What it paints is shown by nobody but the Studio.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image

from gen import families, prompts, samplers
from gen.addons import Addons, Loras, put_embedding, put_vae
from gen.initial import Initials
from gen.loading import load_pipeline
from gen.models import STARTER, ModelSpec
from provenance.errors import UsageError
from provenance.recipe import Part, Recipe

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

DEFAULT_STEPS = families.STARTER.steps
DEFAULT_GUIDANCE = families.STARTER.guidance
DEFAULT_STRENGTH = 0.6


class Painter(Protocol):
    """A loaded model."""

    @property
    def spec(self) -> ModelSpec: ...

    def complete(self, recipe: Recipe) -> Recipe:
        """The recipe with the model's own defaults for what it leaves open, validated."""

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        """The RGB picture of a complete recipe."""

    def begun(self, recipe: Recipe) -> bytes | None:
        """The file that painting a complete recipe begins with, if any."""


class DiffusersPainter:
    """Any text-to-image pipeline that diffusers loads, on CPU or CUDA.

    `pipeline` is what diffusers has loaded. What it is called with follows from its signature and
    components, so that no family needs code of its own.
    """

    def __init__(self, spec: ModelSpec, addons: Addons | None = None) -> None:
        addons = addons or Addons()
        self.pipeline = load_pipeline(spec)
        kind = type(self.pipeline).__name__
        _require_text_to_image(self.pipeline)
        self.spec = spec = replace(spec, pipeline=kind)  # a single file does not say it
        self._family = families.STARTER if spec.name == STARTER else families.family(kind)
        self._vae = put_vae(self.pipeline, addons.vae, addons.shelf) if addons.vae else None
        self._embeddings = tuple(
            put_embedding(self.pipeline, name, addons.shelf) for name in addons.embeddings
        )
        self._loras = Loras(self.pipeline, spec, addons.shelf)
        self._initials = Initials(self.pipeline)
        self._own_scheduler = self.pipeline.scheduler
        self._steps, self._guidance = _usual(self.pipeline, self._family)
        self._step, self._side = step_and_side(self.pipeline)

    def complete(self, recipe: Recipe) -> Recipe:
        self._require_this_model(recipe)
        sampler, spacing = self._sampler(recipe)
        init, init_hash = self._initials.completed(recipe)
        done = recipe.with_changes(
            model=self.spec.name,
            model_hash=self.spec.hash[:10],
            steps=self._steps if recipe.steps is None else recipe.steps,
            guidance=self._guidance if recipe.guidance is None else recipe.guidance,
            sampler=sampler,
            scheduler=spacing,
            width=self._side if recipe.width is None else recipe.width,
            height=self._side if recipe.height is None else recipe.height,
            loras=self._loras.completed(recipe.loras),
            vae=self._vae,
            embeddings=self._used_embeddings(recipe),
            init=init,
            init_hash=init_hash,
            strength=DEFAULT_STRENGTH if init_hash and recipe.strength is None else recipe.strength,
        )
        self._require_fit(done)
        return done.validated()

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        import torch

        generator = torch.Generator("cpu").manual_seed(recipe.seed or 0)
        self._loras.put_on(recipe.loras)
        pipeline = self._initials.make() if recipe.init_hash else self.pipeline
        pipeline.scheduler = samplers.make(
            self._own_scheduler, str(recipe.sampler), recipe.scheduler, generator
        )
        takes = inspect.signature(pipeline.__call__).parameters
        given = {
            "num_inference_steps": recipe.steps,
            self._family.guides_by: recipe.guidance,
            "width": recipe.width,
            "height": recipe.height,
            "generator": generator,
            "use_resolution_binning": False,  # the size that was asked for
            **self._words(recipe),
            **prompts.reading(pipeline, self._family.tokens, recipe.prompt, recipe.negative),
            **self._initials.arguments(recipe),
            **_reporting(pipeline, takes, recipe, on_step),
        }
        result = pipeline(**{name: value for name, value in given.items() if name in takes})
        return result.images[0].convert("RGB")  # type: ignore[no-any-return]

    def begun(self, recipe: Recipe) -> bytes | None:
        return self._initials.data(recipe)

    def _words(self, recipe: Recipe) -> dict[str, Any]:
        embedded = prompts.encoded(self.pipeline, recipe.prompt, recipe.negative)
        if embedded is not None:
            return embedded
        if not self._family.negatives:
            return {"prompt": recipe.prompt}
        return {"prompt": recipe.prompt, "negative_prompt": recipe.negative}

    def _used_embeddings(self, recipe: Recipe) -> tuple[Part, ...]:
        words = f"{recipe.prompt}\n{recipe.negative}"
        return tuple(each for each in self._embeddings if each.name in words)

    def _sampler(self, recipe: Recipe) -> tuple[str, str | None]:
        if recipe.sampler is None and recipe.scheduler is None:
            return samplers.own_name(self._own_scheduler)
        own = samplers.own_name(self._own_scheduler)[0]
        return samplers.named(self._own_scheduler, recipe.sampler or own, recipe.scheduler)

    def _require_this_model(self, recipe: Recipe) -> None:
        if recipe.model not in (None, self.spec.name) or (
            recipe.model_hash and not self.spec.hash.startswith(recipe.model_hash.lower())
        ):
            asked = " ".join(filter(None, (recipe.model, recipe.model_hash)))
            raise UsageError(
                f"the recipe asks for model {asked}, loaded is {self.spec.name} "
                f"{self.spec.hash[:10]}"
            )
        for name, asked_for, has in (
            ("VAE", (recipe.vae,) if recipe.vae else (), (self._vae,)),
            ("embedding", recipe.embeddings, self._embeddings),
        ):
            for part in asked_for:
                if part.name not in [each.name for each in has if each]:
                    raise UsageError(f"the recipe asks for {name} {part.name}; it is not loaded")

    def _require_fit(self, recipe: Recipe) -> None:
        for name, value in (("width", recipe.width), ("height", recipe.height)):
            if value is not None and value % self._step:
                raise UsageError(
                    f"{name} must be a multiple of {self._step} for {self.spec.name}, got {value}"
                )
        if recipe.negative and not self._family.negatives:
            raise UsageError(f"{self.spec.name} takes no negative prompt; leave it out")
        texts = recipe.prompt, recipe.negative
        prompts.require_read(self.pipeline, *texts)
        prompts.reading(self.pipeline, self._family.tokens, *texts)


def load(spec: ModelSpec, addons: Addons | None = None) -> Painter:
    """Loads the model's weights; raises UsageError when its folder asks for other code."""
    return DiffusersPainter(spec, addons)


def _require_text_to_image(pipeline: Any) -> None:
    takes = inspect.signature(pipeline.__call__).parameters
    parts = pipeline.components
    needed = {"prompt", "height", "width", "num_inference_steps", "generator"}
    if not (needed <= takes.keys() and "vae" in parts and {"unet", "transformer"} & parts.keys()):
        raise UsageError(
            f"{type(pipeline).__name__} is not a text-to-image pipeline with a VAE and a UNet or "
            "transformer; others are not painted with"
        )


def _usual(pipeline: Any, family: families.Family) -> tuple[int, float]:
    """Steps and guidance; FLUX.1 schnell is distilled to four steps and ignores guidance."""
    if family.name == "FLUX" and not _denoiser(pipeline).config.get("guidance_embeds"):
        return 4, 0.0
    return family.steps, family.guidance


def _denoiser(pipeline: Any) -> Any:
    return pipeline.components.get("unet") or pipeline.transformer


def step_and_side(pipeline: Any) -> tuple[int, int]:
    """Sizes must be multiples of the first; the second is the native one. Both in pixels.

    Transformers take latents in patches of two, also where their configuration says one.
    """
    scale = int(pipeline.vae_scale_factor)
    denoiser = _denoiser(pipeline)
    transformer = "unet" not in pipeline.components
    step = scale * (max(2, int(denoiser.config.get("patch_size") or 2)) if transformer else 1)
    side = denoiser.config.get("sample_size") or getattr(pipeline, "default_sample_size", 128)
    side = min(side) if isinstance(side, list | tuple) else side
    return step, max(int(side) * scale // step, 1) * step


def _reporting(pipeline: Any, takes: Any, recipe: Recipe, on_step: OnStep) -> dict[str, Any]:
    """The pipeline's way of telling its steps; some order of schedulers takes two for one."""

    def tell(step: int) -> None:
        total = int(getattr(pipeline, "num_timesteps", 0) or recipe.steps or 1)
        on_step(min(step + 1, total), total)

    def ended(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        tell(step)
        return kept

    if "callback_on_step_end" in takes:
        return {"callback_on_step_end": ended}
    return {"callback": lambda step, *_: tell(step), "callback_steps": 1}
