"""load(model) → Painter: recipe in, pixels out; seeded and deterministic.

Knows nothing of checks. What it paints is shown by nobody but the Studio.
"""

import copy
import inspect
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from threading import Lock
from typing import Any, Protocol

from PIL import Image

from gen import devices, exact, families, prompts, samplers, speed
from gen.addons import Addons, Loras, put_embedding, put_vae
from gen.devices import Device, Engine
from gen.encodings import Encodings, one_at_a_time, reads_alone
from gen.initial import Initials
from gen.loading import denoiser, load_pipeline, place, sizes
from gen.models import STARTER, ModelSpec
from gen.watch import Stopped, Watch, watching
from provenance.errors import UsageError
from provenance.recipe import Part, Recipe

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps in all) for pictures that are painted at once, by any thread."""

_Work = tuple[Recipe, Watch | None]

DEFAULT_STEPS = families.STARTER.steps
DEFAULT_GUIDANCE = families.STARTER.guidance
DEFAULT_STRENGTH = 0.6


class Painter(Protocol):
    """A loaded model."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def batch(self) -> int:
        """How many pictures of one shape are painted at once, at most."""

    @property
    def samplers(self) -> list[str]:
        """The names of those that the model takes."""

    def complete(self, recipe: Recipe) -> Recipe:
        """The recipe with the model's own defaults for what it leaves open, validated."""

    def shape(self, recipe: Recipe) -> Hashable:
        """The same for complete recipes that can be painted at once."""

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        """The RGB picture of a complete recipe."""

    def begun(self, recipe: Recipe) -> bytes | None:
        """The file that painting a complete recipe begins with, if any."""

    def paint_each(
        self, recipes: Sequence[Recipe], on_step: OnStep, watches: Sequence[Watch] = ()
    ) -> list[Image.Image | None]:
        """The pictures of complete recipes of one shape; what `paint` makes of each.

        With a watch for each, None for those that it stopped.
        """


class DiffusersPainter:
    """Any text-to-image pipeline that diffusers loads, on the device that `plan` tells of.

    `pipeline` is what diffusers has loaded. What it is called with follows from its signature and
    components, so that no family needs code of its own.
    """

    def __init__(
        self, spec: ModelSpec, addons: Addons | None, engine: Engine, device: Device
    ) -> None:
        addons = addons or Addons()
        self._dtype = dtype = devices.dtype_for(device, engine)
        self.pipeline = load_pipeline(spec, dtype)
        kind = type(self.pipeline).__name__
        _require_text_to_image(self.pipeline)
        self.spec = spec = replace(spec, pipeline=kind)  # a single file does not say it
        self._family = families.STARTER if spec.name == STARTER else families.family(kind)
        self._vae = put_vae(self.pipeline, addons.vae, addons.shelf) if addons.vae else None
        self._embeddings = tuple(
            put_embedding(self.pipeline, name, addons.shelf) for name in addons.embeddings
        )
        one_at_a_time(self.pipeline)
        self._loras = Loras(self.pipeline, spec, addons.shelf)
        self._initials = Initials(self.pipeline)
        self._encodings = Encodings()
        self._caching: float | None = None
        self._turn = Lock()  # LoRAs and caching are put on the one pipeline
        self._reads_alone = reads_alone(self.pipeline)
        self._own_scheduler = self.pipeline.scheduler
        usual, self._guidance = _usual(self.pipeline, self._family)
        self._steps = families.steps(self._family, usual, engine.preset)
        self._cache = self._family.cache if engine.preset == "fast" else None
        self._step, self._side = step_and_side(self.pipeline)
        if engine.weights:
            speed.keep_small(denoiser(self.pipeline), engine.weights, dtype)
        self._precision = ", ".join(
            filter(None, (engine.weights and f"{engine.weights} weights", dtype))
        )
        self.plan = devices.plan(device, dtype, sizes(self.pipeline), engine)
        self._placed()
        speed.quicken(denoiser(self.pipeline), engine)

    @property
    def batch(self) -> int:
        return self.plan.batch

    @property
    def samplers(self) -> list[str]:
        return samplers.names(samplers.kind_of(self._own_scheduler))

    def complete(self, recipe: Recipe) -> Recipe:
        self._require_this_model(recipe)
        loras = self._loras.completed(recipe.loras)
        few = families.few_steps(lora.name for lora in loras if lora.weight)
        sampler, spacing = self._sampler(recipe, few)
        init, init_hash = self._initials.completed(recipe)
        done = recipe.with_changes(
            model=self.spec.name,
            model_hash=self.spec.hash[:10],
            steps=_either(recipe.steps, few and few.steps, self._steps),
            guidance=_either(recipe.guidance, few and self._few_guidance(few), self._guidance),
            sampler=sampler,
            scheduler=spacing,
            width=self._side if recipe.width is None else recipe.width,
            height=self._side if recipe.height is None else recipe.height,
            loras=loras,
            vae=self._vae,
            embeddings=self._used_embeddings(recipe),
            init=init,
            init_hash=init_hash,
            strength=DEFAULT_STRENGTH if init_hash and recipe.strength is None else recipe.strength,
            cache=self._cache if recipe.cache is None and not init_hash else recipe.cache,
            precision=None if self._precision == "float32" else self._precision,
        )
        self._require_fit(done)
        return done.validated()

    def shape(self, recipe: Recipe) -> Hashable:
        texts = recipe.prompt, recipe.negative
        together = recipe.with_changes(prompt="", negative="", seed=0, embeddings=())
        read = prompts.reading(self.pipeline, self._family.tokens, *texts)
        length = prompts.length(self.pipeline, *texts)
        return together, length, *read.values(), *(() if self._reads_alone else texts)

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        (image,) = self.paint_each([recipe], on_step)
        assert image is not None  # nothing was watched
        return image

    def paint_each(
        self, recipes: Sequence[Recipe], on_step: OnStep, watches: Sequence[Watch] = ()
    ) -> list[Image.Image | None]:
        """Where memory runs out, fewer at once; then with more offload, if the device has any."""
        with self._turn:
            return self._painted(recipes, on_step, watches)

    def _painted(
        self, recipes: Sequence[Recipe], on_step: OnStep, watches: Sequence[Watch]
    ) -> list[Image.Image | None]:
        self._put_on(recipes[0])
        self._encodings.put_on(self.pipeline)
        images: list[Image.Image | None] = []
        work = list(zip_longest(recipes, watches))
        while len(images) < len(recipes):
            # Caching decides by the mean of all that is painted at once.
            some = work[len(images) :][: 1 if recipes[0].cache else self.batch]
            try:
                images += self._some(some, on_step)
                continue
            except (RuntimeError, MemoryError) as error:
                if not devices.out_of_memory(error):
                    raise
            self.plan = replace(self.plan, batch=min(self.batch, len(some))).relieved()
            self._placed()
        return images

    def _some(self, work: Sequence[_Work], on_step: OnStep) -> list[Image.Image | None]:
        if self.plan.one_core_each:
            return exact.spread(work, partial(self._at_once, on_step=on_step))
        return self._at_once(work, on_step)

    def _at_once(self, work: Sequence[_Work], on_step: OnStep) -> list[Image.Image | None]:
        import torch

        recipes, watches = [recipe for recipe, _ in work], [w for _, w in work if w]
        recipe = recipes[0]
        generators = [torch.Generator("cpu").manual_seed(each.seed or 0) for each in recipes]
        # A copy: the scheduler counts the steps of these pictures, others have theirs.
        pipeline = copy.copy(self._initials.make() if recipe.init_hash else self.pipeline)
        pipeline.scheduler = samplers.make(
            self._own_scheduler, str(recipe.sampler), recipe.scheduler, generators
        )
        takes = inspect.signature(pipeline.__call__).parameters
        given = {
            "num_inference_steps": recipe.steps,
            self._family.guides_by: recipe.guidance,
            "width": recipe.width,
            "height": recipe.height,
            "generator": generators,
            "use_resolution_binning": False,  # the size that was asked for
            **self._words(recipes),
            **prompts.reading(pipeline, self._family.tokens, recipe.prompt, recipe.negative),
            **self._initials.arguments(recipe, len(recipes)),
            **_reporting(pipeline, takes, recipe, on_step),
        }
        try:
            with watching(pipeline, (recipe.width or 0, recipe.height or 0), watches):
                result = pipeline(**{name: each for name, each in given.items() if name in takes})
        except BaseException as error:
            pipeline.maybe_free_model_hooks()  # as it does at its end
            if isinstance(error, Stopped):
                return [None] * len(work)
            raise
        return [
            None if watch and watch.done else image.convert("RGB")
            for image, (_, watch) in zip(result.images, work, strict=True)
        ]

    def begun(self, recipe: Recipe) -> bytes | None:
        return self._initials.data(recipe)

    def _placed(self) -> None:
        """Puts the pipeline where the plan says, from wherever it was; with more offload where its
        weights alone are too much."""
        self._encodings.take_off()
        while True:
            try:
                place(self.pipeline, self.plan)
                break
            except (RuntimeError, MemoryError) as error:
                if not devices.out_of_memory(error):
                    raise
            self.plan = replace(self.plan, batch=1).relieved()
        if self.plan.one_core_each:
            exact.one_way(denoiser(self.pipeline))
        self._encodings.put_on(self.pipeline)

    def _put_on(self, recipe: Recipe) -> None:
        changed = True  # also where one of them does not load
        try:
            changed = self._loras.put_on(recipe.loras)
        finally:
            if changed:
                self._encodings.clear()
                speed.widen_adapters(denoiser(self.pipeline), self._dtype)
                if self.plan.one_core_each:
                    exact.one_way(denoiser(self.pipeline))
        if recipe.cache != self._caching:
            speed.cache(denoiser(self.pipeline), recipe.cache)
            self._caching = recipe.cache

    def _words(self, recipes: Sequence[Recipe]) -> dict[str, Any]:
        embedded = prompts.encoded(self.pipeline, [(r.prompt, r.negative) for r in recipes])
        if embedded is not None:
            return embedded
        words = {"prompt": [recipe.prompt for recipe in recipes]}
        if self._family.negatives:
            words["negative_prompt"] = [recipe.negative for recipe in recipes]
        return words

    def _used_embeddings(self, recipe: Recipe) -> tuple[Part, ...]:
        words = f"{recipe.prompt}\n{recipe.negative}"
        return tuple(each for each in self._embeddings if each.name in words)

    def _few_guidance(self, few: families.FewSteps) -> float | None:
        """A transformer that is told its guidance keeps it; it is no classifier-free one."""
        told = denoiser(self.pipeline).config.get("guidance_embeds")
        return None if told else few.guidance

    def _sampler(self, recipe: Recipe, few: families.FewSteps | None) -> tuple[str, str | None]:
        if recipe.sampler is None and recipe.scheduler is None:
            if few and samplers.kind_of(self._own_scheduler) == samplers.NOISE:
                return samplers.named(self._own_scheduler, few.sampler, few.spacing)
            return samplers.own_name(self._own_scheduler)
        own = samplers.own_name(self._own_scheduler)[0]
        return samplers.named(
            self._own_scheduler, recipe.sampler or own, recipe.scheduler,
            begun=bool(recipe.init or recipe.init_hash),
        )  # fmt: skip

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
        steps, strength = recipe.steps or 1, recipe.strength
        if recipe.init_hash and strength is not None and int(steps * strength) < 1:
            least = math.ceil(100 / steps) / 100
            raise UsageError(
                f"strength {strength:g} of {steps} steps paints no step; give {least:g} or more"
            )
        if recipe.cache and (self._family.cache is None or recipe.init_hash):
            raise UsageError(f"{self.spec.name} takes no first-block caching here; leave it out")
        if recipe.negative and not self._family.negatives:
            raise UsageError(f"{self.spec.name} takes no negative prompt; leave it out")
        texts = recipe.prompt, recipe.negative
        prompts.require_read(self.pipeline, *texts)
        prompts.reading(self.pipeline, self._family.tokens, *texts)


def load(
    spec: ModelSpec,
    addons: Addons | None = None,
    engine: Engine = Engine(),  # noqa: B008
    device: Device | None = None,
) -> DiffusersPainter:
    """Loads the model's weights; raises UsageError when its folder asks for other code."""
    engine = devices.checked(engine)
    return DiffusersPainter(spec, addons, engine, device or devices.found(engine.device))


def _either(*values: Any) -> Any:
    """The first that is not None."""
    return next(each for each in values if each is not None)


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
    if family.name == "FLUX" and not denoiser(pipeline).config.get("guidance_embeds"):
        return 4, 0.0
    return family.steps, family.guidance


def step_and_side(pipeline: Any) -> tuple[int, int]:
    """Sizes must be multiples of the first; the second is the native one. Both in pixels.

    Transformers take latents in patches of two, also where their configuration says one.
    """
    scale = int(pipeline.vae_scale_factor)
    part = denoiser(pipeline)
    transformer = "unet" not in pipeline.components
    step = scale * (max(2, int(part.config.get("patch_size") or 2)) if transformer else 1)
    side = part.config.get("sample_size") or getattr(pipeline, "default_sample_size", 128)
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
