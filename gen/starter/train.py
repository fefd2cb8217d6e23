"""Trains the starter model, stage by stage; every stage goes on where it was stopped.

    python -m gen.starter.train scenes --sprites ../shared/data/sprites --run runs/starter
    python -m gen.starter.train flow --run runs/starter --steps 12000
    python -m gen.starter.train decoder --run runs/starter --steps 3000
    python -m gen.starter.train export --run runs/starter --model gen/starter/model

`flow` and `decoder` need only `scenes`. More steps than a run has had go on from its end. A new run
goes on from the weights of a model folder, the bundled one's unless another is named, where it is
begun with

    python -m gen.starter.train begin --run runs/further --model gen/starter/model
"""

import argparse
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gen.starter import scenes
from gen.starter.checkpoint import Training, compiled, device, load_average, log, reduced_precision
from gen.starter.data import (
    Learned,
    Part,
    as_input,
    autoencoder,
    latents_of,
    pixels_of,
    render,
)
from gen.starter.networks import Flow, new_scheduler, new_tokenizer, tokens
from gen.starter.optimizers import optimizers

_SAMPLED = 2000  # steps between two sample sheets
_SAMPLES = 16
_BEGUN = "begun"  # folder of the model that a run goes on from
_OBJECTS = 2.0  # how much more the error counts where an object is
_WINDOW = 8  # places a side of a part of a scene
_WHOLE, _PARTS = 0.5, 0.5  # whole scenes and parts in a step, for each whole scene of a batch
_LOOKS = 4  # noisy windows of one part: reading its caption costs as much as a window
_LAST = 0.4  # share of the steps, the last ones, that see whole scenes alone
_NOISIER = 0.9  # mean of the logit of times: what stands where is decided at 0.75 to 0.95
_POLISHED = 0.18  # share of the steps, the last ones, that see less noise: a mean of 0
_UNSAID = 0.1  # share of captions left out, for classifier-free guidance


def begin(run: Path, model: Path) -> None:
    """Has a new run go on from a model's weights: its latents and its tokens are the model's."""
    run.mkdir(parents=True, exist_ok=True)
    if (run / "vae").exists():
        raise SystemExit(f"{run} is begun already; name a folder for a new run with --run")
    shutil.copytree(model, run / _BEGUN)
    for part in ("tokenizer", "vae"):
        shutil.copytree(model / part, run / part)


def train_decoder(run: Path, steps: int, batch: int = 8, rate: float = 6e-4) -> None:
    """Learns what the linear decoder misses: L1 on pixels and on their differences."""
    shards = pixels_of(run)
    model = autoencoder(run).to(device(), memory_format=torch.channels_last)
    model.encoder.requires_grad_(False)
    learned = [p for p in model.parameters() if p.requires_grad]
    training = Training(run / "decoder.pt", model, torch.optim.AdamW(learned, rate, (0.9, 0.98)))
    for step in training.steps(steps, rate):
        rng = np.random.default_rng(step)
        shard = shards[rng.integers(len(shards))]
        picture = as_input(shard[rng.integers(len(shard), size=batch)]).to(device())
        with torch.no_grad():
            latents = model.encode(picture).latents
            amount = 0.1 * torch.rand(len(latents), 1, 1, 1, device=device())
            latents += torch.randn_like(latents) * amount
        with reduced_precision():
            decoded = model.decode(latents, return_dict=False)[0]
        error = decoded.float() - picture
        loss = error.abs().mean() + error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()
        training.learn(loss, psnr=float(_psnr(error.detach())))
    load_average(run / "decoder.pt", model)
    model.cpu().save_pretrained(run / "vae")


def _psnr(error: Tensor) -> Tensor:
    """Decibels, of differences between pictures in [-1, 1]."""
    return 10 * torch.log10(4 / error.square().mean())


class _Batch(NamedTuple):
    """Latents (N, channels, h, w), how much of each place objects cover (N, 1, h, w), and tokens
    (M, MAX_TOKENS): each row of them is that of N / M rows of latents, in order."""

    clean: Tensor
    covered: Tensor
    text: Tensor


class _Drawer:
    """Draws batches of whole scenes, and of parts of scenes: windows around one object."""

    def __init__(self, learned: Learned, tokenizer: PreTrainedTokenizerFast) -> None:
        self._all = learned
        self._parts = [part for part in learned.parts if max(_extent(part)) <= _WINDOW]
        self._side = learned.latents.shape[-1]
        self._texts = _texts(tokenizer, learned.captions)
        self._part_texts = _texts(tokenizer, [part.captions for part in self._parts])
        self._nothing = tokens(tokenizer, [""])[0]

    def whole(self, count: int) -> _Batch:
        rows = torch.randint(len(self._all.latents), (count,))
        text = self._said(self._texts, rows)
        return _Batch(self._all.latents[rows].float(), self._all.covered[rows] / 255, text)

    def parts(self, count: int) -> _Batch:
        """Places, and what is said of them, are those of the scene; what is around it is not seen.

        Most of what there is to learn is in the objects, and a window costs a quarter of a scene
        (after Patch Diffusion, Wang et al., 2023).
        """
        picks = torch.randint(len(self._parts), (count,))
        repeated = picks.repeat_interleave(_LOOKS)
        shifts = torch.rand(len(repeated), 2)
        latents, covered = [], []
        for pick, shift in zip(repeated.tolist(), shifts.tolist(), strict=True):
            part = self._parts[pick]
            left, top, right, foot = part.box
            x = _start(left, right, self._side, shift[0])
            y = _start(top, foot, self._side, shift[1])
            window = np.s_[part.scene, :, y : y + _WINDOW, x : x + _WINDOW]
            latents.append(self._all.latents[window])
            covered.append(self._all.covered[window])
        text = self._said(self._part_texts, picks)
        return _Batch(torch.stack(latents).float(), torch.stack(covered) / 255, text)

    def _said(self, texts: Tensor, rows: Tensor) -> Tensor:
        text = texts[torch.randint(len(texts), rows.shape), rows]
        text[torch.rand(len(rows)) < _UNSAID] = self._nothing
        return text


def _texts(tokenizer: PreTrainedTokenizerFast, captions: list[dict[str, str]]) -> Tensor:
    """(languages, N, MAX_TOKENS)"""
    each = [[caption[language] for caption in captions] for language in scenes.LANGUAGES]
    return torch.stack([tokens(tokenizer, said) for said in each])


def _extent(part: Part) -> tuple[int, int]:
    left, top, right, foot = part.box
    return right - left, foot - top


def _start(first: int, last: int, side: int, share: float) -> int:
    """Where a window begins that holds places first..last of a side."""
    lowest, highest = max(0, last - _WINDOW), min(first, side - _WINDOW)
    return lowest + int(share * (highest - lowest + 1))


def train_flow(run: Path, steps: int, batch: int = 64, rate: float = 2e-3) -> None:
    """Rectified flow (Liu et al., 2022), timesteps logit-normal (Esser et al., 2024).

    A step sees `batch` whole scenes, or some of them and parts of others for about the same cost.
    """
    learned = latents_of(run)
    tokenizer = _tokenizer(run, learned.captions)
    drawer = _Drawer(learned, tokenizer)
    torch.manual_seed(0)
    flow = Flow(tokenizer, learned.latents.shape[1]).to(device())
    if (run / _BEGUN).is_dir():
        flow.take(run / _BEGUN)
    ends = {"unet.conv_in", "unet.conv_out"}
    training = Training(run / "flow.pt", flow, *optimizers(flow, rate, ends))
    parameters = sum(p.numel() for p in flow.parameters())
    log(run, f"{len(learned.latents):,} scenes, {parameters:,} parameters")
    fast = compiled(flow)
    for step in training.steps(steps, rate):
        if step < (1 - _LAST) * steps:
            batches = {
                "whole": drawer.whole(math.ceil(_WHOLE * batch)),
                "parts": drawer.parts(math.ceil(_PARTS * batch)),
            }
        else:
            batches = {"whole": drawer.whole(batch)}
        noisier = _NOISIER if step < (1 - _POLISHED) * steps else 0.0
        losses = {name: _flow_loss(fast, each, noisier) for name, each in batches.items()}
        places = {name: each.covered.numel() for name, each in batches.items()}
        total = sum(places.values())
        loss = torch.stack([losses[name] * places[name] / total for name in batches]).sum()
        training.learn(loss, **{name: float(each.detach()) for name, each in losses.items()})
        if step and step % _SAMPLED == 0:
            sample(run)


def _flow_loss(flow: Callable[..., Tensor], batch: _Batch, noisier: float) -> Tensor:
    """Squared error of the velocity, more of it where objects are."""
    clean, covered, text = (each.to(device()) for each in batch)
    time = times(len(clean), noisier).to(device())
    noise = torch.randn_like(clean)
    noisy = torch.lerp(clean, noise, time[:, None, None, None])
    with reduced_precision():
        velocity = flow(noisy.contiguous(memory_format=torch.channels_last), time, text)
    weight = 1 + _OBJECTS * covered
    return (weight * (velocity.float() - (noise - clean)).square()).mean() / weight.mean()


def times(count: int, noisier: float = _NOISIER) -> Tensor:
    """(count,) in 0..1, of which 1 is noise."""
    return torch.sigmoid(noisier + torch.randn(count))


def _tokenizer(run: Path, captions: list[dict[str, str]]) -> PreTrainedTokenizerFast:
    """The run's; made of its first captions, once."""
    if not (run / "tokenizer").is_dir():
        known = (text for each in captions[:20_000] for text in each.values())
        new_tokenizer(known).save_pretrained(run / "tokenizer")
    kept: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(run / "tokenizer")
    return kept


def export(run: Path, out: Path) -> None:
    """Writes the averaged weights as a pipeline folder that diffusers loads, in half precision."""
    from diffusers import StableDiffusionPipeline

    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "tokenizer")
    model = autoencoder(run)
    flow = Flow(tokenizer, model.config.latent_channels)
    load_average(run / "flow.pt", flow)
    pipeline = StableDiffusionPipeline(
        vae=model.half(),
        text_encoder=flow.text_encoder.half(),
        tokenizer=tokenizer,
        unet=flow.unet.half(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out, safe_serialization=True)


def sample(run: Path) -> None:
    """Paints what the run has learnt so far: sample-STEP.jpg, 16 prompts that it never saw."""
    from gen.models import resolve
    from gen.pipeline import load
    from gen.starter.evaluate import painted, prompts, write_sheet

    export(run, run / "model")
    pictures = list(painted(load(resolve(str(run / "model"))), prompts(_SAMPLES)))
    step = torch.load(run / "flow.pt", weights_only=True)["step"]
    write_sheet(pictures, run / f"sample-{step:06}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["begin", "scenes", "flow", "decoder", "export", "sample"])
    parser.add_argument(
        "--run", type=Path, default=Path("runs/starter"), help="folder of the run's files"
    )
    parser.add_argument("--sprites", type=Path, default=Path("../shared/data/sprites"))
    parser.add_argument("--count", type=int, default=100_000, help="scenes to draw")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--rate", type=float, default=2e-3, help="highest of `flow`; less for a run that was begun"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    stages: dict[str, Callable[[], None]] = {
        "begin": lambda: begin(args.run, args.model),
        "scenes": lambda: render(args.run, args.sprites, args.count, args.threads),
        "flow": lambda: train_flow(args.run, args.steps, rate=args.rate),
        "decoder": lambda: train_decoder(args.run, args.steps),
        "export": lambda: export(args.run, args.model),
        "sample": lambda: sample(args.run),
    }
    stages[args.stage]()


if __name__ == "__main__":
    main()
