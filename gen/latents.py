"""Latents on their way: what a step predicts they will become, and a small picture of that."""

from typing import Any

from PIL import Image

_PREVIEW = 256  # pixels of a preview's shorter side, at least, where the picture has them


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
    own = vae.dtype
    # SDXL's overflows in half precision: its pipeline decodes so too
    upcast = own == torch.float16 and vae.config.get("force_upcast")
    if upcast:
        vae.to(torch.float32)
    try:
        with torch.no_grad():
            picture = vae.decode(_unscaled(vae, latents).to(vae.dtype), return_dict=False)[0]
    finally:
        if upcast:
            vae.to(own)
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
