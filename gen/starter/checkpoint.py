"""A training that can be stopped at any moment: its state on disk, its steps, its log."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_DECAY = 0.7  # share of the steps over which the rate falls to nothing
_SAVED = 250  # steps between two states on disk
_LOGGED = 50
_AVERAGE = 0.999


class Training:
    """Weights, their running average, the optimizers and the step, kept in `file`.

    Each step draws from its own seed, so that a run that was stopped and goes on is the run that
    was not. `average` is in the order of the module's parameters.
    """

    def __init__(self, file: Path, module: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
        self.file, self.module, self.optimizers = file, module, optimizers
        self.learned = [p for p in module.parameters() if p.requires_grad]
        self.step = 0
        self._loss: dict[str, float] = {}
        self.average = [p.detach().clone() for p in module.parameters()]
        if file.exists():
            saved = torch.load(file, weights_only=True)
            module.load_state_dict(saved["module"])
            for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            self.average = [p.to(q) for p, q in zip(saved["average"], self.average, strict=True)]
            self.step = saved["step"]

    def steps(self, count: int, rate: float) -> Iterator[int]:
        """Step numbers from where the run stopped up to `count`."""
        started, first = time.time(), self.step
        while self.step < count:
            warm = min(1.0, (self.step + 1) / 200)
            left = min(1.0, (count - self.step) / (_DECAY * count))
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate * warm * left
            torch.manual_seed(self.step)
            yield self.step
            self.step += 1
            if self.step % _LOGGED == 0:
                pace = (self.step - first) / (time.time() - started)
                figures = " ".join(f"{name} {value:.4f}" for name, value in self._loss.items())
                log(
                    self.file.parent, f"{self.file.stem} {self.step}/{count} {figures} {pace:.2f}/s"
                )
            if self.step % _SAVED == 0 or self.step == count:
                self._save()

    def learn(self, loss: Tensor, **figures: float) -> None:
        """One step down the gradient of `loss`; running means of it and of `figures` are logged."""
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learned, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for name, value in {"loss": loss.item(), **figures}.items():
            known = self._loss.get(name, value)
            self._loss[name] = known + 0.02 * (value - known)
        decay = min(_AVERAGE, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            weights = [p.detach() for p in self.module.parameters()]
            torch._foreach_lerp_(self.average, weights, 1 - decay)

    def _save(self) -> None:
        part = self.file.with_suffix(".part")
        state = {
            "module": self.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
            "step": self.step,
        }
        torch.save(state, part)
        part.replace(self.file)


@torch.no_grad()
def load_average(file: Path, module: nn.Module) -> None:
    """Sets the module to the running average of its training."""
    average = torch.load(file, weights_only=True, map_location="cpu")["average"]
    for parameter, value in zip(module.parameters(), average, strict=True):
        parameter.copy_(value)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compiled(module: nn.Module) -> Any:
    """The module, compiled where that pays: on a CPU it takes minutes and trains no faster."""
    return torch.compile(module) if device().type == "cuda" else module


def reduced_precision() -> torch.autocast:
    """bfloat16 for what it suffices for, where the processor computes it."""
    where = device().type
    supported = where == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(where, torch.bfloat16, enabled=supported)


def log(folder: Path, line: str) -> None:
    """To standard error and to the run's log.txt."""
    print(line, file=sys.stderr, flush=True)
    with (folder / "log.txt").open("a") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {line}\n")
