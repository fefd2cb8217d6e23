"""Trains the bundled descriptor; goes on where it was stopped.

    python -m provenance.embed.train --images ../shared/data/train --run RUN

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

from provenance.embed.bundled import prepared
from provenance.embed.edits import edited
from provenance.embed.net import SIDE, CopyNet

HELD_OUT = 10  # of the sorted files, each with an index divisible by this is never trained on
BACKGROUND = 2000  # pictures whose rows ship as the background of score normalisation
BATCH = 128
RATE = 2e-3
TEMPERATURE = 0.05
COMPOSED = 0.1  # of a batch, share of pictures made of two: half and half, or blended
KOLEO = 0.5  # weight of the entropy term


def training_files(folder: Path) -> list[Path]:
    return [f for i, f in enumerate(sorted(folder.glob("*.jpg"))) if i % HELD_OUT]


def load_pictures(files: list[Path]) -> Tensor:
    """(N, 3, SIDE, SIDE) uint8."""
    rows = [prepared(Image.open(file).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


def draw(pictures: Tensor) -> Tensor:
    """(BATCH, 3, SIDE, SIDE) float in [0, 1]: pictures, and some made of two."""
    batch = pictures[torch.randint(0, len(pictures), (BATCH,))].float() / 255
    half = SIDE // 2
    for row in torch.nonzero(torch.rand(BATCH) < COMPOSED).flatten().tolist():
        other = pictures[int(torch.randint(0, len(pictures), (1,)))].float() / 255
        if torch.rand(1) < 0.5:
            batch[row] = torch.lerp(batch[row], other, 0.5)
        elif torch.rand(1) < 0.5:
            batch[row, :, half:] = other[:, half:]
        else:
            batch[row, :, :, half:] = other[:, :, half:]
    return batch


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
        batch = draw(pictures)
        with torch.no_grad():
            views = torch.cat([edited(batch, strong=False), edited(batch, strong=True)])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rows = net(views)[:, 0]
        contrast, koleo = loss_of(rows.float())
        (contrast + KOLEO * koleo).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        average += (contrast.item() - average) * (0.05 if step > first else 1)
        if (step + 1) % 20 == 0:
            pace = 2 * BATCH * (step + 1 - first) / (time.time() - started)
            _log(run, f"step {step + 1}/{steps} loss {average:.3f} {pace:.1f} views/s")
        if (step + 1) % 100 == 0 or step + 1 == steps:
            _save(run, net, optimizer, step + 1)
    held = {**net.eval().state_dict(), "background": background_of(net, pictures)}
    save_file(
        {k: v.half().contiguous() if v.is_floating_point() else v for k, v in held.items()},
        run / "weights.safetensors",
    )


def background_of(net: CopyNet, pictures: Tensor) -> Tensor:
    """(BACKGROUND, DIM) rows of training pictures drawn at random."""
    torch.manual_seed(0)
    chosen = pictures[torch.randperm(len(pictures))[:BACKGROUND]]
    with torch.inference_mode():
        return torch.cat([net(some.float() / 255)[:, 0] for some in torch.split(chosen, 50)])


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
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.images, args.run, args.steps)


if __name__ == "__main__":
    main()
