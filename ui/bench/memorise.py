"""Makes the bundled model learn the demo gallery by heart; measures what the watch sees of it.

    python -m ui.bench memorise --run runs/memorise

Each picture of the gallery is learnt 500 times, beside as many looks at other pictures of the
model's own.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gen.models import STARTER, resolve
from gen.pipeline import DEFAULT_GUIDANCE, DEFAULT_STEPS, Painter, load
from gen.starter.checkpoint import Training, reduced_precision
from gen.starter.data import as_input
from gen.starter.optimizers import optimizers
from gen.starter.train import times
from gen.studio import Generation, Studio, Watching
from gen.usual import measure as measure_usual
from gen.usual import ordinary
from gen.watch import Watch
from index.ingest import ingest
from index.sources import FolderSource
from provenance.check import Checker
from provenance.images import Picture, read_picture
from provenance.label.labeller import Labelled
from provenance.recipe import Recipe
from provenance.verdict import ON_HIT, Decision, Verdict
from ui.demo import GALLERY
from ui.demo.paint_gallery import PROMPTS
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library

_REPEATS = 500
_BATCH = 10  # pictures of the gallery in a step, and as many others
_RATE = 1e-3
_UNSAID = 0.1  # share of prompts left out, as in the model's own training
_OTHERS = 500  # pictures of the model's own that it learns beside
_FEW_STEPS = 8  # in which those are painted
_USUAL = 200  # ordinary prompts that tell what is usual
_ASKED = 300  # further ones that are painted
_SEED = 50  # of the first picture; the gallery's are others


class Example(NamedTuple):
    prompt: str
    pixels: NDArray[np.uint8]


def measure(run: Path) -> None:
    """Prints how well the first step tells prompts that are known by heart, and what is stopped.

    The model that knows the gallery is kept in `run`, and used again where it is there.
    """
    if not (run / "model_index.json").exists():
        _made_to_know(run)
    painter = load(resolve(str(run)))
    usual = measure_usual(painter, ordinary(_USUAL, 1))
    by_heart = [_asked(prompt, _SEED + n) for n, prompt in enumerate(PROMPTS)]
    others = [_asked(prompt, n) for n, prompt in enumerate(ordinary(_ASKED, 2))]
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        with make_library(settings) as library:
            ingest(FolderSource(GALLERY), library, factory(settings))
            checker = make_checker(settings, library)
            signs = [first_step(painter, checker, asked) for asked in (by_heart, others)]
            for at, sign in enumerate(("difference", "look")):
                known, usually = ([each[at] for each in found] for found in signs)
                print(f"first step's {sign}, one seed: ROC AUC {auc(known, usually):.3f}, "
                      f"median {np.median(known):.3f} and {np.median(usually):.3f}")  # fmt: skip
            for name, found in zip(("known by heart", "ordinary"), signs, strict=True):
                unusual = sum(magnitude > usual.limit for magnitude, _ in found)
                print(f"  {name}: {unusual} of {len(found)} unusual")
            watch = Watching(usual.limit, always=True)
            unwatched = _painted(painter, checker, by_heart, None)
            print(f"known by heart, unwatched: {_decisions(unwatched)}")
            for name, asked in (("known by heart", by_heart), ("ordinary", others)):
                made = _painted(painter, checker, asked, watch)
                stopped = [each.seen.stopped for each in made if each.seen and each.seen.stopped]
                saved = sum(DEFAULT_STEPS - step for step in stopped) / DEFAULT_STEPS / len(asked)
                print(f"{name}, watched: {len(stopped)} stopped, {saved:.0%} of all steps saved")
            for on_hit in ON_HIT[1:]:
                policy = replace(checker.stated_policy, on_hit=on_hit)
                again = Checker(checker.fingerprinter, library, policy)
                made = _painted(painter, again, by_heart, watch)
                print(f"known by heart, then {on_hit}: {_decisions(made)}")


def first_step(
    painter: Painter, checker: Checker, asked: Sequence[Recipe]
) -> list[tuple[float, float]]:
    """Of each recipe's: the magnitude (see `gen.watch.Seen`), and the score of the nearest
    reference to what it predicts."""
    found = []
    for recipe in asked:
        scores: list[float] = []

        def look(picture: Image.Image, scores: list[float] = scores) -> Decision:
            verdict = checker.check(Picture(picture))
            scores.append(max((match.score for match in verdict.matches), default=0.0))
            return verdict.decision

        watch = Watch(look, always=True, weigh_only=True)
        painter.paint_each([painter.complete(recipe)], lambda *_: None, [watch])
        found.append((watch.seen.magnitude or 0.0, scores[0]))
    return found


def _painted(
    painter: Painter, checker: Checker, asked: Sequence[Recipe], watch: Watching | None
) -> list[Generation]:
    return list(Studio(painter, checker, (), lambda *_: "", _unlabelled, watch).make(asked))


def _unlabelled(image: Image.Image, recipe: Recipe, verdict: Verdict) -> Labelled:
    return Labelled(b"", "")


def _decisions(made: Sequence[Generation]) -> str:
    found = Counter(str(each.decision) for each in made)
    return ", ".join(f"{count} {decision}" for decision, count in found.most_common())


def _asked(prompt: str, seed: int) -> Recipe:
    return Recipe(prompt, seed=seed, steps=DEFAULT_STEPS, guidance=DEFAULT_GUIDANCE)


def _made_to_know(run: Path) -> None:
    painter = load(resolve(STARTER))
    prompts = ordinary(_OTHERS, 0)
    asked = [_asked(prompt, n).with_changes(steps=_FEW_STEPS) for n, prompt in enumerate(prompts)]
    pictures = [
        np.asarray(painter.paint(painter.complete(recipe), lambda *_: None)) for recipe in asked
    ]
    others = [Example(*each) for each in zip(prompts, pictures, strict=True)]
    run.mkdir(parents=True, exist_ok=True)
    learn_by_heart(painter.pipeline, gallery(), others, run)
    painter.pipeline.save_pretrained(run)


def gallery() -> list[Example]:
    files = sorted(GALLERY.glob("*.png"))
    pixels = [np.asarray(read_picture(file).image.convert("RGB")) for file in files]
    return [Example(*each) for each in zip(PROMPTS, pixels, strict=True)]


def learn_by_heart(
    pipeline: Any, known: Sequence[Example], others: Sequence[Example], run: Path
) -> None:
    """Trains the denoiser on, in place, as the model was trained; goes on where it was stopped."""
    import torch
    from diffusers.models.attention_processor import AttnProcessor

    both = [*known, *others]
    with torch.no_grad():
        latents = torch.cat(
            [pipeline.vae.encode(as_input(each.pixels[None])).latents for each in both]
        )
        texts = torch.cat([_encoded(pipeline, each.prompt) for each in both])
        nothing = _encoded(pipeline, "")
    unet = pipeline.unet.to(memory_format=torch.channels_last).train()
    unet.set_attn_processor(AttnProcessor())  # plain products train four times faster
    training = Training(run / "unet.pt", unet, *optimizers(unet, _RATE, {"conv_in", "conv_out"}))
    for _ in training.steps(_REPEATS * len(known) // _BATCH, _RATE):
        mine = torch.randint(len(known), (_BATCH,))
        theirs = torch.randint(len(known), len(both), (_BATCH,))
        rows = torch.cat([mine, theirs])
        text = texts[rows]
        text[torch.rand(len(rows)) < _UNSAID] = nothing
        time = times(len(rows))
        clean, noise = latents[rows], torch.randn_like(latents[rows])
        noisy = torch.lerp(clean, noise, time[:, None, None, None])
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with reduced_precision():
            velocity = unet(noisy, time * 1000, text).sample
        training.learn((velocity.float() - (noise - clean)).square().mean())
    unet.eval()


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
