"""The starter's autoencoder: principal components of patches in, a small network out.

The encoder is one convolution whose kernels are the principal components of the patches of its
training scenes, so latents exist before anything is trained; the decoder learns to undo what the
dropped components cost. Plugs into `StableDiffusionPipeline` as its `vae`.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor, nn

PATCH = 16  # pixels a side that one place of new latents stands for
_LAST = 4  # pixels a side that the decoder's last layer draws at each of its places


@dataclass
class Encoded(BaseOutput):  # type: ignore[misc]
    """Latents as they are, where other autoencoders give a distribution."""

    latents: Tensor


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.second(torch.relu(self.first(torch.relu(x))))
        return x + update


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures (N, 3, ph, pw) in [-1, 1] to latents (N, latent_channels, h, w) and back, p pixels
    a patch."""

    use_slicing = False

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 32,
        patch: int = PATCH,
        widths: tuple[int, ...] = (256, 128, 64),  # of the decoder: at a patch, half, … 4 pixels
        depth: int = 2,  # residual blocks at each of them
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1, 1),  # its length tells pipelines: 16x
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, latent_channels, patch, stride=patch)
        self.linear = nn.ConvTranspose2d(latent_channels, 3, patch, stride=patch)
        layers: list[nn.Module] = [nn.Conv2d(latent_channels, widths[0], 3, padding=1)]
        for wide, narrow in pairwise(widths):
            layers += (_Residual(wide) for _ in range(depth))
            layers += [nn.Conv2d(wide, 4 * narrow, 1), nn.PixelShuffle(2)]
        layers += (_Residual(widths[-1]) for _ in range(depth))
        last = nn.Conv2d(widths[-1], 3 * _LAST**2, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.refine = nn.Sequential(*layers, last, nn.PixelShuffle(_LAST))

    def encode(self, picture: Tensor) -> Encoded:
        """Latents of about unit variance."""
        return Encoded(latents=self.encoder(picture))

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """The picture; values may leave [-1, 1] slightly. `generator` is part of the call."""
        parts = z.chunk(len(z)) if self.use_slicing else (z,)
        sample = torch.cat([self.linear(part) + self.refine(part) for part in parts])
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def enable_slicing(self) -> None:
        """From here on pictures are decoded one by one, as diffusers' autoencoders can."""
        self.use_slicing = True

    @torch.no_grad()
    def fit_encoder(self, pictures: Tensor) -> float:
        """Sets encoder and linear decoder to the principal components of the pictures' patches.

        Each component is scaled by its standard deviation to the power 0.7, not 1: what varies
        most keeps the most signal under noise. Returns the share of the variance that they hold.
        """
        side = self.config.patch
        patches = pictures.unfold(2, side, side).unfold(3, side, side)
        patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, side, side)
        colour = patches.mean((0, 2, 3)).double()
        flat = (patches - colour.float()[:, None, None]).flatten(1)
        variance, vectors = torch.linalg.eigh((flat.T @ flat).double() / len(flat))
        count = self.config.latent_channels
        basis = vectors.flip(1)[:, :count].T  # (latents, 3 * patch ** 2)
        deviation = variance.flip(0)[:count].sqrt()
        scale = deviation**0.7
        scale *= (deviation / scale).square().mean().sqrt()
        kernels = (basis / scale[:, None]).view_as(self.encoder.weight)
        self.encoder.weight.copy_(kernels)
        self.encoder.bias = nn.Parameter(-(kernels.sum((2, 3)) @ colour).float())
        self.linear.weight.copy_((basis * scale[:, None]).view_as(self.linear.weight))
        self.linear.bias = nn.Parameter(colour.float())
        return float(variance.flip(0)[:count].sum() / variance.sum())
