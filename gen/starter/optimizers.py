"""How the flow learns: Muon for its matrices and convolutions, AdamW for all else."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class ConvolutionMuon(torch.optim.Muon):
    """Muon (Jordan et al., 2024) that takes convolutions too, as matrices of flattened kernels.

    A matrix is a view of its weight, so that a step on the one is a step on the other. Rates are
    those of AdamW (Liu et al., 2025: updates have the same root mean square).
    """

    def __init__(self, weights: list[nn.Parameter], rate: float) -> None:
        self._pairs = [(weight, nn.Parameter(_flat(weight.detach()))) for weight in weights]
        if any(weight.data_ptr() != matrix.data_ptr() for weight, matrix in self._pairs):
            raise ValueError("convolutions must be in channels_last memory, as matrices are views")
        matrices = [matrix for _, matrix in self._pairs]
        super().__init__(matrices, rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        for weight, matrix in self._pairs:
            matrix.grad = _flat(weight.grad) if weight.grad is not None else None
        return super().step(closure)  # type: ignore[no-untyped-call]

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for weight, _ in self._pairs:
            weight.grad = None


def _flat(weight: Tensor) -> Tensor:
    """(out, in) as it is; a convolution (out, in, h, w) as (out, h * w * in)."""
    return weight if weight.dim() == 2 else weight.permute(0, 2, 3, 1).flatten(1)


def optimizers(module: nn.Module, rate: float, first_and_last: set[str]) -> list[Any]:
    """Muon for weights of two and four dimensions; AdamW for the others, for embeddings, and for
    the modules that are named in `first_and_last`."""
    inner: list[nn.Parameter] = []
    outer: list[nn.Parameter] = []
    for name, part in module.named_modules():
        for parameter in part.parameters(recurse=False):
            matrix = parameter.dim() in (2, 4) and not isinstance(part, nn.Embedding)
            (inner if matrix and name not in first_and_last else outer).append(parameter)
    adam = torch.optim.AdamW(outer, rate, (0.9, 0.98), weight_decay=0.01)
    return [adam, ConvolutionMuon(inner, rate)]
