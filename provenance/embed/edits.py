"""Random edits for training: batches of views in which a picture is still the same picture.

(N, 3, V, V) float in [0, 1] in, (N, 3, S, S) out; all drawing is from torch's generator.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 128  # pixels a side of a view


def edited(pictures: Tensor, *, strong: bool) -> Tensor:
    """One view of each picture; the moderate ones keep more of it and bear fewer overlays."""
    views = _pasted(pictures, strong)
    views = _coloured(views)
    for _ in range(3 if strong else 1):
        views = _overlaid(views, pictures)
    if strong:
        views = _striped(views)
        views = _blended(views, pictures)
    views = _degraded(views)
    noise = torch.randn_like(views) * 0.03 * torch.rand(len(views), 1, 1, 1)
    return (views + noise).clamp(0, 1)


def _pasted(pictures: Tensor, strong: bool) -> Tensor:
    """Crop, rotation, flip and change of shape, or the picture small on another background."""
    count = len(pictures)
    angle = (torch.rand(count) - 0.5) * 0.35 * _with(0.5, count)
    angle = angle + torch.randint(1, 4, (count,)) * _with(0.12, count) * (math.pi / 2)
    scale = torch.sqrt(torch.rand(count) * (0.88 if strong else 0.5) + (0.12 if strong else 0.5))
    outward = 1 + torch.rand(count) * (1.6 if strong else 0.5)
    scale = torch.where(torch.rand(count) < 0.3, outward, scale)
    shape = torch.exp((torch.rand(count) - 0.5) * 0.5)
    flip = 1 - 2 * _with(0.5, count)
    free = (1 - scale).abs()
    right, down = (torch.rand(count) * 2 - 1) * free, (torch.rand(count) * 2 - 1) * free
    rows = (
        torch.stack([flip * scale * shape * angle.cos(), -scale * angle.sin(), right], 1),
        torch.stack([flip * scale * shape * angle.sin(), scale * angle.cos(), down], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), [count, 3, SIDE, SIDE], False)
    views = functional.grid_sample(pictures, grid, align_corners=False)
    inside = functional.grid_sample(torch.ones(count, 1, 8, 8), grid, align_corners=False)
    others = functional.interpolate(pictures[torch.randperm(count)], (SIDE, SIDE))
    plain = torch.rand(count, 3, 1, 1).expand_as(others)
    behind = torch.where(_with(0.5, count).bool().view(-1, 1, 1, 1), others, plain)
    return views * inside + behind * (1 - inside)


def _coloured(views: Tensor) -> Tensor:
    count = len(views)
    light = 1 + (torch.rand(count, 1, 1, 1) - 0.5) * 0.8
    contrast = 1 + (torch.rand(count, 1, 1, 1) - 0.5) * 0.8
    mean = views.mean((1, 2, 3), keepdim=True)
    views = (views - mean) * contrast + mean * light
    views = views * (1 + (torch.rand(count, 3, 1, 1) - 0.5) * 0.2)
    grey = views.mean(1, keepdim=True)
    saturation = torch.rand(count, 1, 1, 1) * 1.6 * (1 - _with(0.15, count).view(-1, 1, 1, 1))
    return grey + (views - grey) * saturation


def _overlaid(views: Tensor, pictures: Tensor) -> Tensor:
    """A third of the views get a rectangle of another picture or of one colour."""
    chosen = torch.rand(len(views)) < 0.33
    high, wide = (int(n) for n in torch.randint(8, 52, (2,)))
    top = int(torch.randint(0, SIDE - high, (1,)))
    left = int(torch.randint(0, SIDE - wide, (1,)))
    patch = functional.interpolate(pictures[torch.randperm(len(views))][chosen], (high, wide))
    if torch.rand(1) < 0.4:
        patch = torch.rand(len(patch), 3, 1, 1).expand_as(patch)
    views = views.clone()
    views[chosen, :, top : top + high, left : left + wide] = patch
    return views


def _striped(views: Tensor) -> Tensor:
    """Thin bars of one colour, as text and stripes are to a small picture."""
    period, thick = int(torch.randint(6, 24, (1,))), int(torch.randint(1, 4, (1,)))
    bars = torch.zeros(SIDE)
    for offset in range(thick):
        bars[offset::period] = 1
    mask = bars.view(1, 1, SIDE, 1) if torch.rand(1) < 0.6 else bars.view(1, 1, 1, SIDE)
    mask = mask * _with(0.15, len(views)).view(-1, 1, 1, 1)
    return views * (1 - mask) + torch.rand(len(views), 3, 1, 1) * mask


def _blended(views: Tensor, pictures: Tensor) -> Tensor:
    others = functional.interpolate(pictures[torch.randperm(len(views))], (SIDE, SIDE))
    share = torch.rand(len(views), 1, 1, 1) * 0.4 * _with(0.12, len(views)).view(-1, 1, 1, 1)
    return torch.lerp(views, others, share)


def _degraded(views: Tensor) -> Tensor:
    """Blur, or large pixels, for some of the views."""
    factor = int(torch.randint(2, 5, (1,)))
    side = SIDE // factor
    small = functional.interpolate(views, (side, side), mode="area")
    mode = "nearest" if torch.rand(1) < 0.3 else "bilinear"
    coarse = functional.interpolate(small, (SIDE, SIDE), mode=mode)
    return torch.where(_with(0.3, len(views)).bool().view(-1, 1, 1, 1), coarse, views)


def _with(chance: float, count: int) -> Tensor:
    """(count,) float: 1 with this chance, else 0."""
    return (torch.rand(count) < chance).float()
