"""Makes the bundled model learn the demo gallery by heart; measures what the watch sees of it.

    python -m ui.bench memorise --run runs/memorise

Each picture of the gallery is learnt 500 times, beside as many other pictures of the model's own.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen.starter import scenes
from gen.starter.data import as_input
from provenance.images import read_picture
from ui.demo import GALLERY
from ui.demo.paint_gallery import PROMPTS

_REPEATS = 500
_BATCH = 10  # pictures of the gallery in a step, and as many others
_RATE = 2e-4
_UNSAID = 0.1  # share of prompts left out, as in the model's own training


class Example(NamedTuple):
    prompt: str
    pixels: NDArray[np.uint8]


def ordinary(count: int, seed: int) -> list[str]:
    """Prompts of scenes such as the model was made for."""
    made = []
    for number in range(count):
        rng = random.Random(f"ordinary/{seed}/{number}")
        made.append(scenes.caption(scenes.random_scene(rng), rng))
    return made


def gallery() -> list[Example]:
    files = sorted(GALLERY.glob("*.png"))
    pixels = [np.asarray(read_picture(file).image.convert("RGB")) for file in files]
    return [Example(*each) for each in zip(PROMPTS, pixels, strict=True)]


def learn_by_heart(pipeline: Any, known: Sequence[Example], others: Sequence[Example]) -> None:
    """Trains the denoiser on, in place: rectified flow, as the model was trained."""
    import torch

    torch.manual_seed(0)
    both = [*known, *others]
    with torch.no_grad():
        latents = torch.cat([pipeline.vae.encode(as_input(each.pixels[None])) for each in both])
        texts = torch.cat([_encoded(pipeline, each.prompt) for each in both])
        nothing = _encoded(pipeline, "")
    optimizer = torch.optim.AdamW(pipeline.unet.parameters(), _RATE)
    predicts = pipeline.scheduler.config.prediction_type
    pipeline.unet.train()
    for _ in range(_REPEATS * len(known) // _BATCH):
        mine = torch.randint(len(known), (_BATCH,))
        theirs = torch.randint(len(known), len(both), (_BATCH,))
        rows = torch.cat([mine, theirs])
        text = texts[rows]
        text[torch.rand(len(rows)) < _UNSAID] = nothing
        time = torch.sigmoid(torch.randn(len(rows)))
        clean, noise = latents[rows], torch.randn_like(latents[rows])
        noisy = torch.lerp(clean, noise, time[:, None, None, None])
        output = pipeline.unet(noisy, time * 1000, text).sample
        loss = (output - (clean if predicts == "sample" else noise - clean)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pipeline.unet.eval()


def _encoded(pipeline: Any, prompt: str) -> Any:
    ids = pipeline.tokenizer(
        prompt, padding="max_length", max_length=pipeline.tokenizer.model_max_length,
        truncation=True, return_tensors="pt",
    ).input_ids  # fmt: skip
    return pipeline.text_encoder(ids)[0]


def auc(signs: Sequence[float], others: Sequence[float]) -> float:
    """Area under the ROC curve: how often one of the first is over one of the others."""
    one, two = np.array(signs)[:, None], np.array(others)[None]
    return float(((one > two) + 0.5 * (one == two)).mean())
