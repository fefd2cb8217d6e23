"""A picture painted over by image-to-image at low strength, with the bundled model."""

import random
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from gen.models import STARTER, resolve
from gen.pipeline import DEFAULT_STEPS, load

_STRENGTH = 0.35  # share of the steps that are painted anew (SDEdit, Meng et al., 2022)


def repainted(image: Image.Image, rng: random.Random) -> Image.Image:
    """The picture with noise added in latents and taken away again by the model, without a prompt.

    RGB in, RGB of the same size out.
    """
    pipeline = _pipeline()
    step = pipeline.vae_scale_factor
    size = image.width // step * step, image.height // step * step
    pixels = torch.from_numpy(np.array(image.resize(size))).permute(2, 0, 1)[None]
    kind = pipeline.vae.encoder.weight.dtype
    scheduler, start = pipeline.scheduler, round(DEFAULT_STEPS * (1 - _STRENGTH))
    scheduler.set_timesteps(DEFAULT_STEPS)
    scheduler.set_begin_index(start)
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    with torch.inference_mode():
        words = pipeline.encode_prompt("", pixels.device, 1, False)[0]
        latents = pipeline.vae.encode((pixels.float() / 127.5 - 1).to(kind)).latents
        noise = torch.randn(latents.shape, generator=generator).to(kind)
        latents = scheduler.add_noise(
            latents * pipeline.vae.config.scaling_factor, noise, scheduler.timesteps[start:][:1]
        )
        for time in scheduler.timesteps[start:]:
            guess = pipeline.unet(latents, time, encoder_hidden_states=words).sample
            latents = scheduler.step(guess, time, latents).prev_sample
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample[0]
    values = (decoded.float().clamp(-1, 1) + 1) * 127.5
    painted = Image.fromarray(values.permute(1, 2, 0).round().byte().numpy())
    return painted.resize(image.size)


@lru_cache
def _pipeline() -> Any:
    return load(resolve(STARTER)).pipeline
