"""The bundled descriptor's network: pixels in, unit vectors out. Knows nothing of libraries."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

DIM = 256
SIDE = 192  # pixels a side of the picture that the network sees

Window = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture."""

WHOLE: Window = (0.0, 0.0, 1.0, 1.0)


class _Block(nn.Module):
    """A basic residual block (He et al., 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.past = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        update = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.past(x) + self.second_norm(self.second(update)))


class CopyNet(nn.Module):
    """(N, 3, S, S) in [0, 1] → (N, W, DIM) unit rows, one for each of W windows.

    All norms are over batches, none over places, so that a window's features are those of the
    picture's part, and one pass over the picture describes every window (after R-MAC, Tolias et
    al., 2016).
    """

    def __init__(self, channels: tuple[int, ...] = (48, 96, 192, 256), wide: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels[0], 4, stride=4, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        ]
        for level, (before, after) in enumerate(
            zip(channels[:1] + channels, channels, strict=False)
        ):
            layers.append(_Block(before, after, 2 if level in (1, 2) else 1))
        layers += [nn.Conv2d(channels[-1], wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.norm = nn.BatchNorm1d(wide)
        self.head = nn.Linear(wide, DIM)

    def forward(self, pictures: Tensor, windows: Sequence[Window] = (WHOLE,)) -> Tensor:
        scaled = ((pictures - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
        maps = self.trunk(scaled).float().clamp(min=1e-6).pow(3)
        side = maps.shape[-1]
        pooled = []
        for window in windows:
            left, top, right, bottom = (round(edge * side) for edge in window)
            pooled.append(maps[:, :, top:bottom, left:right].mean((2, 3)).pow(1 / 3))  # GeM, p = 3
        rows = self.norm(torch.stack(pooled, 1).flatten(0, 1))
        rows = functional.normalize(self.head(rows), dim=1)
        return rows.view(len(pictures), len(windows), DIM)
