"""The starter's autoencoder: principal components of 8x8 patches in, a small network out.

The encoder is one convolution whose kernels are the principal components of the patches of its
training scenes, so latents exist before anything is trained; the decoder learns to undo what the
dropped components cost. Plugs into `StableDiffusionPipeline` as its `vae`.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


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
    """Pictures (N, 3, 8h, 8w) in [-1, 1] to latents (N, latent_channels, h, w) and back."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 12,
        width: int = 112,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),  # its length tells the pipeline: 8x
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, latent_channels, 8, stride=8)
        self.linear = nn.ConvTranspose2d(latent_channels, 3, 8, stride=8)
        half = width // 2
        last = nn.Conv2d(half, 48, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.refine = nn.Sequential(
            nn.Conv2d(latent_channels, width, 3, padding=1),
            *(_Residual(width) for _ in range(3)),
            nn.Conv2d(width, 4 * half, 1),
            nn.PixelShuffle(2),
            *(_Residual(half) for _ in range(3)),
            last,
            nn.PixelShuffle(4),
        )

    def encode(self, picture: Tensor) -> Tensor:
        """Latents of about unit variance."""
        latents: Tensor = self.encoder(picture)
        return latents

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """The picture; values may leave [-1, 1] slightly. `generator` is part of the call."""
        sample = self.linear(z) + self.refine(z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    @torch.no_grad()
    def fit_encoder(self, patches: Tensor) -> None:
        """Sets encoder and linear decoder to the principal components of (N, 3, 8, 8) patches.

        Each component is scaled by its standard deviation to the power 0.7, not 1: what varies
        most keeps the most signal under noise.
        """
        colour = patches.mean((0, 2, 3)).double()
        flat = (patches - colour.float()[:, None, None]).flatten(1).double()
        variance, vectors = torch.linalg.eigh(torch.cov(flat.T))
        count = self.config.latent_channels
        basis = vectors.flip(1)[:, :count].T  # (latents, 192)
        deviation = variance.flip(0)[:count].sqrt()
        scale = deviation**0.7
        scale *= (deviation / scale).square().mean().sqrt()
        kernels = (basis / scale[:, None]).view_as(self.encoder.weight)
        self.encoder.weight.copy_(kernels)
        self.encoder.bias = nn.Parameter(-(kernels.sum((2, 3)) @ colour).float())
        self.linear.weight.copy_((basis * scale[:, None]).view_as(self.linear.weight))
        self.linear.bias = nn.Parameter(colour.float())
