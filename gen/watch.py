"""Watch: what can be seen inside the denoising loop of a picture that the model repeats by heart.

Two signs. How far the model's prediction with the prompt is from that without it at the first step
(Wen et al., ICLR 2024), which costs nothing under classifier-free guidance. And early looks: the
picture that a step predicts, decoded small and compared with the library. Two alarms are a hit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

LOOKS = (0.4, 0.6)  # shares of the steps after which the predicted picture is looked at
HIT = 2  # alarms
_PREVIEW = 256  # pixels of a preview's shorter side, at least, where the picture has them

Look = Callable[[int, Image.Image], bool]
"""Called with a picture's number and what it is going to be like; whether it is too close."""


@dataclass
class Seen:
    """What was seen of one picture while it was painted.

    `magnitude` is the root mean square of the difference that the prompt makes to the first
    prediction; None without guidance. `looks` are the steps after which an early look was taken,
    `close` those after which it was too close. `stopped` is the step at which painting ended.
    """

    magnitude: float | None = None
    unusual: bool = False
    looks: list[int] = field(default_factory=list)
    close: list[int] = field(default_factory=list)
    stopped: int | None = None

    @property
    def hit(self) -> bool:
        return self.unusual + len(self.close) >= HIT


class Stopped(Exception):
    """Every picture of the batch is a hit: the rest of the steps is not taken."""


class Watch:
    """Watches one batch while it is painted.

    `limit` is the magnitude from which on a prompt is unusual for this model; None where that is
    not known. Early looks are taken of pictures with an unusual prompt, or of all with `always`.
    """

    def __init__(
        self, pictures: int, look: Look, limit: float | None = None, *, always: bool = False
    ) -> None:
        self.seen = [Seen() for _ in range(pictures)]
        self._look, self._limit, self._always = look, limit, always

    @contextmanager
    def over(self, pipeline: Any, size: tuple[int, int]) -> Iterator[None]:
        """While this lasts, the pipeline's steps are watched; `size` is width and height.

        Raises Stopped out of the pipeline. Its scheduler must be the one that it will paint with.
        """
        predictions: list[Any] = []
        scheduler, denoiser = pipeline.scheduler, denoiser_of(pipeline)
        step, number = scheduler.step, 0

        def watched(output: Any, timestep: Any, sample: Any, *args: Any, **more: Any) -> Any:
            nonlocal number
            number += 1
            if number == 1:
                self._weigh(predictions, len(sample))
            if number in look_steps(len(scheduler.timesteps)):
                clean = predicted(scheduler, output, timestep, sample)
                self._take(number, lambda rows: decoded(pipeline, clean[rows], size))
            predictions.clear()
            if all(seen.hit for seen in self.seen):
                for seen in self.seen:
                    seen.stopped = number
                raise Stopped
            return step(output, timestep, sample, *args, **more)

        def predicts(_: Any, __: Any, made: Any) -> None:
            if number == 0:
                predictions.append(made[0].detach())

        hook = denoiser.register_forward_hook(predicts)
        scheduler.step = watched
        try:
            yield
        finally:
            hook.remove()
            scheduler.step = step

    def _weigh(self, predictions: Sequence[Any], pictures: int) -> None:
        for seen, magnitude in zip(self.seen, magnitudes(predictions, pictures), strict=False):
            seen.magnitude = magnitude
            seen.unusual = self._limit is not None and magnitude > self._limit

    def _take(self, step: int, pictures: Callable[[list[int]], list[Image.Image]]) -> None:
        rows = [row for row, seen in enumerate(self.seen) if self._always or seen.unusual]
        if not rows:
            return
        for row, picture in zip(rows, pictures(rows), strict=True):
            self.seen[row].looks.append(step)
            if self._look(row, picture):
                self.seen[row].close.append(step)


def look_steps(steps: int) -> set[int]:
    """The steps (from 1) after which early looks are due."""
    return {max(1, int(share * steps)) for share in LOOKS}


def magnitudes(predictions: Sequence[Any], pictures: int) -> list[float]:
    """Of each picture, from the denoiser's outputs of one step; none without guidance.

    Guided pipelines ask for both predictions at once, (2N, …), or one after the other, (N, …).
    """
    import torch

    if sum(map(len, predictions)) != 2 * pictures:
        return []
    one, other = torch.cat([*predictions]).float().chunk(2)
    return [float(each) for each in (one - other).flatten(1).square().mean(1).sqrt()]


def denoiser_of(pipeline: Any) -> Any:
    return pipeline.components.get("unet") or pipeline.transformer


def predicted(scheduler: Any, output: Any, timestep: Any, sample: Any) -> Any:
    """The clean latents that a guided prediction means, shaped as `sample`.

    `sample` is alpha * clean + sigma * noise; what alpha and sigma are, and what `output` is of
    them, is the scheduler's to say.
    """
    config = scheduler.config
    if hasattr(scheduler, "sigmas") and hasattr(scheduler, "_init_step_index"):
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        sigma = _noise_level(scheduler).to(sample.device)
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
            alpha, sigma = scheduler._sigma_to_alpha_sigma_t(sigma)
        elif "FlowMatch" in type(scheduler).__name__:
            alpha = 1 - sigma
        else:  # clean + sigma * noise, as in Karras et al., 2022
            alpha = (1 + sigma**2) ** -0.5
            sample, sigma = sample * alpha, sigma * alpha
    else:
        known = scheduler.alphas_cumprod[int(timestep)].to(sample.device)
        alpha, sigma = known.sqrt(), (1 - known).sqrt()
    kind = config.get("prediction_type", "flow_prediction")
    sample, output = sample.float(), output.float()
    if kind == "sample":
        return output
    if kind == "epsilon":
        return (sample - sigma * output) / alpha
    if kind == "v_prediction":
        return alpha * sample - sigma * output
    return sample - sigma * output


def _noise_level(scheduler: Any) -> Any:
    """Of the sample at hand; every other step of a DPM2 scheduler lies between two of its own."""
    step = scheduler.step_index
    if getattr(scheduler, "state_in_first_order", True) or not hasattr(
        scheduler, "sigmas_interpol"
    ):
        return scheduler.sigmas[step]
    ancestral = "Ancestral" in type(scheduler).__name__
    return scheduler.sigmas_interpol[step - 1 if ancestral else step]


def decoded(pipeline: Any, latents: Any, size: tuple[int, int]) -> list[Image.Image]:
    """Latents as pictures no larger than an early look needs, which is cheap."""
    import torch
    from torch.nn import functional

    vae = pipeline.vae
    if latents.ndim == 3:  # packed by a transformer's pipeline
        width, height = size
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    flat = latents.flatten(2, -3) if latents.ndim == 5 else latents
    smaller = _PREVIEW / min(size)
    if smaller < 1:
        flat = functional.interpolate(flat, scale_factor=smaller, mode="area")
    latents = flat.view(*latents.shape[:-2], *flat.shape[-2:])
    with torch.no_grad():
        picture = vae.decode(_unscaled(vae, latents).to(vae.dtype), return_dict=False)[0]
    picture = picture[:, :, 0] if picture.ndim == 5 else picture
    made = pipeline.image_processor.postprocess(picture, output_type="pil")
    return [each.convert("RGB") for each in made]


def _unscaled(vae: Any, latents: Any) -> Any:
    import torch

    config = vae.config
    scale = config.get("scaling_factor") or 1.0
    if config.get("latents_mean") and config.get("latents_std"):
        shape = (1, -1, *[1] * (latents.ndim - 2))
        mean, deviation = (
            torch.tensor(config[name]).view(shape).to(latents)
            for name in ("latents_mean", "latents_std")
        )
        return latents * deviation / scale + mean
    return latents / scale + (config.get("shift_factor") or 0.0)
