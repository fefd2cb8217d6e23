"""Trains the starter model, stage by stage; every stage goes on where it was stopped.

    python -m gen.starter.train scenes --sprites ../shared/data/sprites --run RUN
    python -m gen.starter.train flow --run RUN --steps 3500
    python -m gen.starter.train decoder --run RUN --steps 4000
    python -m gen.starter.train export --run RUN --out gen/starter/model
    python -m gen.starter.train sheet

`flow` and `decoder` need only `scenes`, and may run at the same time.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.schedulers import DPMSolverMultistepScheduler
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from gen.starter import scenes
from gen.starter.autoencoder import PatchAutoencoder

LATENT_SIDE = scenes.SIZE // 8
MAX_TOKENS = 32
TEXT_WIDTH = 192
_SPECIAL = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<pad>"}


def new_tokenizer(captions: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: known words are one token, any other text still has tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = list(_SPECIAL.values())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=640, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in special[:2]],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **_SPECIAL
    )


def new_text_encoder(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet(latent_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(64, 128, 224),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=32,
        norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Second-order DPM-Solver++ over the straight path that `train_flow` learns."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0
    )


# Stage: scenes


def render_scenes(run: Path, sprites: Path, count: int, seed: int, workers: int) -> None:
    """Writes scenes.npy (count, SIZE, SIZE, 3) uint8 and captions.txt, a line each."""
    run.mkdir(parents=True, exist_ok=True)
    partial_file = run / "scenes.part.npy"
    shape = (count, scenes.SIZE, scenes.SIZE, 3)
    pixels = np.lib.format.open_memmap(partial_file, mode="w+", dtype=np.uint8, shape=shape)
    captions: list[str] = []
    work = partial(_render_one, load(sprites), seed)
    with ProcessPoolExecutor(workers) as pool:
        for index, (pixel, text) in enumerate(pool.map(work, range(count), chunksize=64)):
            pixels[index] = pixel
            captions.append(text)
            if index % 2000 == 0:
                _log(run, f"scenes {index}/{count}")
    pixels.flush()
    (run / "captions.txt").write_text("\n".join(captions), "utf-8")
    partial_file.replace(run / "scenes.npy")


def load(sprites: Path) -> scenes.Sprites:
    return scenes.load_sprites(sprites)


def _render_one(sprites: scenes.Sprites, seed: int, index: int) -> tuple[NDArray[np.uint8], str]:
    rng = random.Random(f"{seed}/{index}")
    scene = scenes.random_scene(rng)
    return np.asarray(scenes.draw(scene, sprites)), scenes.caption(scene, rng)


# Stage: decoder (and the encoder, which is computed rather than trained)


def fitted_autoencoder(run: Path) -> PatchAutoencoder:
    """The run's autoencoder as trained so far, else one with its encoder just fitted."""
    folder = run / "vae"
    if folder.is_dir():
        kept: PatchAutoencoder = PatchAutoencoder.from_pretrained(folder)
        kept.register_to_config(_name_or_path="")  # or this machine's path would be exported
        return kept
    torch.manual_seed(0)
    autoencoder: PatchAutoencoder = PatchAutoencoder()
    pixels = _batch(np.load(run / "scenes.npy", mmap_mode="r"), range(2000))
    patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5)
    autoencoder.fit_encoder(patches.reshape(-1, 3, 8, 8))
    autoencoder.save_pretrained(folder)
    return autoencoder


def train_decoder(run: Path, steps: int, batch: int = 16, rate: float = 1e-3) -> None:
    """Learns what the linear decoder misses: L1 on pixels and on their differences."""
    autoencoder = fitted_autoencoder(run).to(memory_format=torch.channels_last)
    pixels = np.load(run / "scenes.npy", mmap_mode="r")
    autoencoder.encoder.requires_grad_(False)
    learned = [p for p in autoencoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, rate, betas=(0.9, 0.98))
    state = _Checkpoint(run / "decoder.pt", autoencoder, optimizer)
    for step in state.steps(run, steps, rate):
        picture = _batch(pixels, np.random.default_rng(step).integers(0, len(pixels), batch))
        with torch.no_grad():
            latents = autoencoder.encode(picture)
            latents += torch.randn_like(latents) * 0.05 * torch.rand(len(latents), 1, 1, 1)
        with _reduced_precision():
            decoded = autoencoder.decode(latents, return_dict=False)[0]
        error = decoded.float() - picture
        across, down = error.diff(dim=3), error.diff(dim=2)
        loss = error.abs().mean() + across.abs().mean() + down.abs().mean()
        state.learn(loss, learned, {"psnr": float(10 * torch.log10(4 / error.square().mean()))})
    autoencoder.save_pretrained(run / "vae")


def _batch(pixels: NDArray[np.uint8], rows: Any) -> Tensor:
    chosen = torch.from_numpy(np.asarray(pixels[np.sort(np.asarray(rows))]))
    scaled = chosen.permute(0, 3, 1, 2).float() / 127.5 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


# Stage: flow


def cached_latents(run: Path) -> Tensor:
    """(N, channels, 16, 16) float16: every scene encoded once."""
    file = run / "latents.npy"
    if not file.exists():
        autoencoder = fitted_autoencoder(run)
        pixels = np.load(run / "scenes.npy", mmap_mode="r")
        with torch.no_grad():
            parts = [
                autoencoder.encode(_batch(pixels, range(at, min(at + 256, len(pixels))))).half()
                for at in range(0, len(pixels), 256)
            ]
        with (run / "latents.part").open("wb") as out:
            np.save(out, torch.cat(parts).numpy())
        (run / "latents.part").replace(file)
    return torch.from_numpy(np.load(file))


class Flow(nn.Module):
    """The networks that are trained together, in one module: one checkpoint, one average."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, latent_channels: int) -> None:
        super().__init__()
        self.text_encoder = new_text_encoder(tokenizer)
        self.unet = new_unet(latent_channels).to(memory_format=torch.channels_last)

    def forward(self, noisy: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        text = self.text_encoder(tokens)[0]
        velocity: Tensor = self.unet(noisy, time * 1000, text).sample
        return velocity


def train_flow(run: Path, steps: int, batch: int = 64, rate: float = 6e-4) -> None:
    """Rectified flow (Liu et al., 2022), timesteps logit-normal (Esser et al., 2024)."""
    latents = cached_latents(run)
    captions = (run / "captions.txt").read_text("utf-8").split("\n")
    tokenizer = new_tokenizer(captions[:20_000])
    tokenizer.save_pretrained(run / "tokenizer")
    tokens = _tokens(tokenizer, captions)
    nothing = _tokens(tokenizer, [""])[0]
    torch.manual_seed(0)
    flow = Flow(tokenizer, latents.shape[1])
    flow.unet.set_attn_processor(AttnProcessor())  # plain products train faster on a CPU
    learned = list(flow.parameters())
    optimizer = torch.optim.AdamW(learned, rate, betas=(0.9, 0.98), weight_decay=0.01)
    state = _Checkpoint(run / "flow.pt", flow, optimizer)
    for _step in state.steps(run, steps, rate):
        rows = torch.randint(0, len(latents), (batch,))
        clean, text = latents[rows].float(), tokens[rows].clone()
        text[torch.rand(batch) < 0.1] = nothing  # for classifier-free guidance
        time = torch.sigmoid(torch.randn(batch))
        noise = torch.randn_like(clean)
        noisy = torch.lerp(clean, noise, time[:, None, None, None])
        with _reduced_precision():
            velocity = flow(noisy.contiguous(memory_format=torch.channels_last), time, text)
        state.learn((velocity.float() - (noise - clean)).square().mean(), learned, {})


def _tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Tensor:
    encoded = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


def _reduced_precision() -> torch.autocast:
    """bfloat16 for what it suffices for, where the processor computes it."""
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=supported)


class _Checkpoint:
    """A training state on disk: weights, their running average, the optimizer, the step."""

    def __init__(self, file: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.file, self.module, self.optimizer = file, module, optimizer
        self.step = 0
        self.loss = 0.0
        self.average = [p.detach().clone() for p in module.parameters()]
        if file.exists():
            saved = torch.load(file, weights_only=True)
            module.load_state_dict(saved["module"])
            optimizer.load_state_dict(saved["optimizer"])
            self.average, self.step = saved["average"], saved["step"]

    def steps(self, run: Path, count: int, rate: float) -> Iterator[int]:
        """Step numbers from where the run stopped; each step draws from its own seed."""
        started, first = time.time(), self.step
        while self.step < count:
            warm = min(1.0, (self.step + 1) / 100)
            left = min(1.0, (count - self.step) / (0.35 * count))
            for group in self.optimizer.param_groups:
                group["lr"] = rate * warm * left + 1e-5
            torch.manual_seed(self.step)
            yield self.step
            self.step += 1
            if self.step % 50 == 0:
                pace = (self.step - first) / (time.time() - started)
                _log(run, f"{self.file.stem} {self.step}/{count} {self.note} {pace:.2f} steps/s")
            if self.step % 250 == 0 or self.step == count:
                self.save()

    def learn(self, loss: Tensor, learned: list[nn.Parameter], extra: dict[str, float]) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.loss += (loss.item() - self.loss) * (0.02 if self.loss else 1)
        self.note = " ".join([f"loss {self.loss:.4f}", *(f"{k} {v:.2f}" for k, v in extra.items())])
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            weights = [p.detach() for p in self.module.parameters()]
            torch._foreach_lerp_(self.average, weights, 1 - decay)

    def save(self) -> None:
        part = self.file.with_suffix(".part")
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        torch.save(state, part)
        part.replace(self.file)


def _log(run: Path, line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    with (run / "log.txt").open("a") as log:
        log.write(f"{time.strftime('%H:%M:%S')} {line}\n")


# Stages: export, sheet


def export(run: Path, out: Path) -> None:
    """Writes the averaged weights as a pipeline folder that diffusers loads, in half precision."""
    from diffusers import StableDiffusionPipeline

    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "tokenizer")
    autoencoder = fitted_autoencoder(run)
    flow = Flow(tokenizer, autoencoder.config.latent_channels)
    average = torch.load(run / "flow.pt", weights_only=True)["average"]
    with torch.no_grad():
        for parameter, value in zip(flow.parameters(), average, strict=True):
            parameter.copy_(value)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=flow.text_encoder.half(),
        tokenizer=tokenizer,
        unet=flow.unet.half(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out, safe_serialization=True)


def sheet(model: Path, sprites: Path, out: Path) -> None:
    """Paints 32 captions, drawn and not chosen, and prints the autoencoder's PSNR on new scenes."""
    from gen.models import resolve
    from gen.pipeline import load
    from provenance.recipe import Recipe

    painter = load(resolve(str(model)))
    page = Image.new("RGB", (8 * scenes.SIZE, 4 * scenes.SIZE))
    for number in range(32):
        rng = random.Random(f"sheet/{number}")
        text = scenes.caption(scenes.random_scene(rng), rng)
        picture = painter.paint(painter.complete(Recipe(text, seed=number)), lambda *_: None)
        page.paste(picture, (number % 8 * scenes.SIZE, number // 8 * scenes.SIZE))
        print(f"{number + 1:2} {text}")
    page.save(out / "sheet.png")
    autoencoder = PatchAutoencoder.from_pretrained(model / "vae").float()
    drawn = scenes.load_sprites(sprites)
    fresh = np.stack([_render_one(drawn, 1_000_000, index)[0] for index in range(200)])
    truth = _batch(fresh, range(len(fresh)))
    with torch.no_grad():
        back = autoencoder.decode(autoencoder.encode(truth), return_dict=False)[0].clamp(-1, 1)
    print(f"autoencoder: {10 * torch.log10(4 / (back - truth).square().mean()):.2f} dB PSNR")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["scenes", "flow", "decoder", "export", "sheet"])
    parser.add_argument(
        "--run", type=Path, default=Path("runs/starter"), help="folder of the run's files"
    )
    parser.add_argument("--sprites", type=Path, default=Path("../shared/data/sprites"))
    parser.add_argument("--count", type=int, default=60_000, help="scenes to render")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    stages: dict[str, Callable[[], None]] = {
        "scenes": lambda: render_scenes(
            args.run, args.sprites, args.count, args.seed, args.threads
        ),
        "flow": lambda: train_flow(args.run, args.steps),
        "decoder": lambda: train_decoder(args.run, args.steps),
        "export": lambda: export(args.run, args.out),
        "sheet": lambda: sheet(args.out, args.sprites, args.out.parent),
    }
    stages[args.stage]()


if __name__ == "__main__":
    main()
