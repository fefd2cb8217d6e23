"""The bundled descriptor's network: pixels in, unit vectors out. Knows nothing of libraries."""

import torch
from torch import Tensor, nn
from torch.nn import functional

DIM = 256
SIDE = 160  # pixels a side of the picture that the network sees


class _Block(nn.Module):
    """A ConvNeXt block (Liu et al., 2022) with a 5x5 kernel and a threefold expansion."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.expand = nn.Conv2d(channels, 3 * channels, 1)
        self.reduce = nn.Conv2d(3 * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.reduce(functional.gelu(self.expand(self.norm(self.depthwise(x)))))
        return x + self.scale * update


class CopyNet(nn.Module):
    """(N, 3, S, S) in [0, 1] → (N, DIM) unit rows."""

    def __init__(
        self, channels: tuple[int, ...] = (64, 128, 256), depths: tuple[int, ...] = (2, 3, 3)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 4, stride=4)]
        for level, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            layers += [_Block(width) for _ in range(depth)]
            if level + 1 < len(channels):
                layers += [nn.GroupNorm(1, width), nn.Conv2d(width, channels[level + 1], 2, 2)]
        self.trunk = nn.Sequential(*layers)
        self.norm = nn.BatchNorm1d(2 * channels[-1])
        self.head = nn.Linear(2 * channels[-1], DIM)

    def forward(self, pictures: Tensor) -> Tensor:
        scaled = ((pictures - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
        maps = self.trunk(scaled)
        generalized = maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)  # GeM, p = 3
        pooled = torch.cat([generalized, maps.mean((2, 3))], 1)
        return functional.normalize(self.head(self.norm(pooled)), dim=1)
