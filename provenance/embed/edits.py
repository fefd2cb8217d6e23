"""Random edits for training: batches of views in which a picture is still the same picture.

(N, 3, V, V) float in [0, 1] in, (N, 3, S, S) out; all drawing is from torch's generator.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 112  # pixels a side of a view


def edited(pictures: Tensor, *, strong: bool) -> Tensor:
    """One view of each picture; the moderate ones keep more of it and bear fewer overlays."""
    views = _pasted(pictures, strong)
    views = _coloured(views)
    for _ in range(3 if strong else 1):
        views = _overlaid(views, pictures)
    if strong:
        views = _filtered(views)
        views = _written(views)
        views = _striped(views)
        views = _blended(views, pictures)
    views = _degraded(views)
    noise = torch.randn_like(views) * 0.03 * torch.rand(len(views), 1, 1, 1)
    return (views + noise).clamp(0, 1)


def _pasted(pictures: Tensor, strong: bool) -> Tensor:
    """Crop, turn, flip, perspective and change of shape, or the picture small on another one."""
    count = len(pictures)
    angle = (torch.rand(count) - 0.5) * 0.5 * _with(0.4, count)
    angle = angle + torch.randint(1, 4, (count,)) * _with(0.2, count) * (math.pi / 2)
    scale = torch.sqrt(torch.rand(count) * (0.8 if strong else 0.5) + (0.2 if strong else 0.5))
    outward = 1 + torch.rand(count) * (1.0 if strong else 0.3)
    scale = torch.where(torch.rand(count) < 0.35, outward, scale)
    shape = torch.exp((torch.rand(count) - 0.5) * 0.5)
    flip = 1 - 2 * _with(0.5, count)
    free = (1 - scale).abs()
    right, down = (torch.rand(count) * 2 - 1) * free, (torch.rand(count) * 2 - 1) * free
    tilt = (torch.rand(2, count) - 0.5) * 0.5 * _with(0.3, count)
    rows = (
        torch.stack([flip * scale * shape * angle.cos(), -scale * angle.sin(), right], 1),
        torch.stack([flip * scale * shape * angle.sin(), scale * angle.cos(), down], 1),
        torch.stack([tilt[0], tilt[1], torch.ones(count)], 1),
    )
    grid = _projected(torch.stack(rows, 1))
    views = functional.grid_sample(pictures, grid, align_corners=False)
    inside = functional.grid_sample(torch.ones(count, 1, 64, 64), grid, align_corners=False)
    others = functional.interpolate(pictures[torch.randperm(count)], (SIDE, SIDE))
    plain = torch.rand(count, 3, 1, 1).expand_as(others)
    behind = torch.where(_with(0.5, count).bool().view(-1, 1, 1, 1), others, plain)
    return views * inside + behind * (1 - inside)


def _projected(transforms: Tensor) -> Tensor:
    """The sampling grid (N, S, S, 2) of homographies (N, 3, 3) of view to picture, -1 to 1."""
    line = (torch.arange(SIDE) * 2 + 1) / SIDE - 1
    down, right = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([right, down, torch.ones(SIDE, SIDE)], -1).view(1, -1, 3)
    moved = places @ transforms.transpose(1, 2)
    grid = moved[..., :2] / moved[..., 2:].clamp(min=0.2)
    return grid.view(-1, SIDE, SIDE, 2)


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
    high, wide = (int(n) for n in torch.randint(8, 48, (2,)))
    top = int(torch.randint(0, SIDE - high, (1,)))
    left = int(torch.randint(0, SIDE - wide, (1,)))
    others = pictures[torch.randperm(len(views))[: int(chosen.sum())]]
    patch = functional.interpolate(others, (high, wide))
    if torch.rand(1) < 0.4:
        patch = torch.rand(len(patch), 3, 1, 1).expand_as(patch)
    views = views.clone()
    views[chosen, :, top : top + high, left : left + wide] = patch
    return views


def _filtered(views: Tensor) -> Tensor:
    """What filters of picture editors do: negatives, few levels, drawn edges."""
    kind = torch.rand(len(views))
    views = views.clone()
    views[kind < 0.03] = 1 - views[kind < 0.03]
    few = (kind > 0.03) & (kind < 0.07)
    views[few] = (views[few] * 4).floor() / 3
    drawn = (kind > 0.07) & (kind < 0.12)
    grey = views[drawn].mean(1, keepdim=True)
    around = functional.avg_pool2d(grey, 9, 1, 4, count_include_pad=False)
    views[drawn] = (grey / around.clamp(min=0.05)).clamp(0, 1).expand(-1, 3, -1, -1)
    return views


def _written(views: Tensor) -> Tensor:
    """Lines of signs in one colour, as a caption is to a small picture."""
    chosen = torch.rand(len(views)) < 0.2
    high, wide = int(torch.randint(8, 24, (1,))), int(torch.randint(48, SIDE, (1,)))
    top = int(torch.randint(0, SIDE - high, (1,)))
    left = int(torch.randint(0, SIDE - wide + 1, (1,)))
    signs = (torch.rand(1, 1, max(2, high // 3), wide // 3) < 0.5).float()
    signs = functional.interpolate(signs, (high, wide))
    views = views.clone()
    under = views[chosen, :, top : top + high, left : left + wide]
    ink = torch.rand(len(under), 3, 1, 1)
    views[chosen, :, top : top + high, left : left + wide] = under * (1 - signs) + ink * signs
    return views


def _striped(views: Tensor) -> Tensor:
    """Bars of one colour, up to half of the picture."""
    period = int(torch.randint(6, 33, (1,)))
    thick = int(torch.randint(1, max(2, period * 5 // 9), (1,)))
    bars = torch.zeros(SIDE)
    for offset in range(thick):
        bars[offset::period] = 1
    mask = bars.view(1, 1, SIDE, 1) if torch.rand(1) < 0.5 else bars.view(1, 1, 1, SIDE)
    mask = mask * _with(0.12, len(views)).view(-1, 1, 1, 1)
    return views * (1 - mask) + torch.rand(len(views), 3, 1, 1) * mask


def _blended(views: Tensor, pictures: Tensor) -> Tensor:
    """Some of the views with another picture shining through."""
    chosen = torch.rand(len(views)) < 0.12
    others = pictures[torch.randperm(len(views))[: int(chosen.sum())]]
    others = functional.interpolate(others, (SIDE, SIDE))
    views = views.clone()
    views[chosen] = torch.lerp(views[chosen], others, torch.rand(len(others), 1, 1, 1) * 0.4)
    return views


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
