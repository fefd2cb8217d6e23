"""Trains the bundled descriptor; goes on where it was stopped.

    python -m provenance.embed.train --images ../shared/data/train --run RUN --steps 700

SSCD's recipe (Pizzi et al., CVPR 2022) at a small size: InfoNCE between a moderate and a strong
view of each picture plus the KoLeo entropy term. Every tenth file is held out (see HELD_OUT).
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from provenance.embed.edits import edited
from provenance.embed.net import CopyNet

HELD_OUT = 10  # of the sorted files, each with an index divisible by this is never trained on
STORED_SIDE = 192  # pixels a side of the pictures in memory
BATCH = 96
RATE = 2e-3
TEMPERATURE = 0.06
KOLEO = 0.5  # weight of the entropy term


def training_files(folder: Path) -> list[Path]:
    return [f for i, f in enumerate(sorted(folder.glob("*.jpg"))) if i % HELD_OUT]


def held_out_files(folder: Path) -> list[Path]:
    return [f for i, f in enumerate(sorted(folder.glob("*.jpg"))) if i % HELD_OUT == 0]


def load_pictures(files: list[Path]) -> Tensor:
    """(N, 3, STORED_SIDE, STORED_SIDE) uint8."""
    size = (STORED_SIDE, STORED_SIDE)
    rows = [np.asarray(Image.open(file).convert("RGB").resize(size)) for file in files]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


def loss_of(views: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE and KoLeo of (2 B, DIM) unit rows in which row i and row i + B are one picture."""
    count = len(views)
    cosines = views @ views.T
    positive = torch.arange(count).roll(count // 2)
    logits = (cosines / TEMPERATURE).fill_diagonal_(-1e9)
    others = cosines.detach().clone().fill_diagonal_(-2)
    others[torch.arange(count), positive] = -2
    nearest = cosines[torch.arange(count), others.argmax(1)]
    distance = (2 - 2 * nearest).clamp(min=1e-6).sqrt()
    return functional.cross_entropy(logits, positive), -distance.log().mean()


def train(images: Path, run: Path, steps: int) -> None:
    """Trains to `steps` in all and writes RUN/weights.safetensors (half precision)."""
    run.mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(training_files(images))
    torch.manual_seed(0)
    net = CopyNet()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
    first = _resume(run, net, optimizer)
    started, average = time.time(), 0.0
    for step in range(first, steps):
        torch.manual_seed(step)
        cosine = 0.5 + 0.5 * float(np.cos(np.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 60) * cosine + 1e-5
        batch = pictures[torch.randint(0, len(pictures), (BATCH,))].float() / 255
        with torch.no_grad():
            views = torch.cat([edited(batch, strong=False), edited(batch, strong=True)])
        contrast, koleo = loss_of(net(views))
        (contrast + KOLEO * koleo).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        average += (contrast.item() - average) * (0.05 if step > first else 1)
        if (step + 1) % 20 == 0:
            pace = 2 * BATCH * (step + 1 - first) / (time.time() - started)
            _log(run, f"step {step + 1}/{steps} loss {average:.3f} {pace:.1f} views/s")
        if (step + 1) % 100 == 0 or step + 1 == steps:
            _save(run, net, optimizer, step + 1)
    state = net.state_dict().items()
    save_file(
        {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state},
        run / "weights.safetensors",
    )


def _resume(run: Path, net: CopyNet, optimizer: torch.optim.Optimizer) -> int:
    file = run / "checkpoint.pt"
    if not file.exists():
        return 0
    saved = torch.load(file, weights_only=True)
    net.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _save(run: Path, net: CopyNet, optimizer: torch.optim.Optimizer, step: int) -> None:
    part = run / "checkpoint.part"
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, part)
    part.replace(run / "checkpoint.pt")


def _log(run: Path, line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    with (run / "log.txt").open("a") as log:
        log.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("../shared/data/train"))
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints and log")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.images, args.run, args.steps)


if __name__ == "__main__":
    main()
