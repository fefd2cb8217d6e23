"""How long labelling and signing a picture of 1024 x 1024 take, beside encoding it."""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from provenance.label.authority import local_credential
from provenance.label.encode import MIME, encoded
from provenance.label.labeller import Labeller
from provenance.label.profiles import PROFILES, Style
from provenance.label.signing import Signer
from provenance.label.texts import texts_of
from provenance.recipe import Recipe
from provenance.verdict import Decision, Verdict

_SIDE, _ROUNDS = 1024, 9
_RECIPE = Recipe("a fox in the snow at night, detailed " * 10, "blurry", "starter", "0123456789",
                 1, 20, 4.0, "DPM++ 2M", "Karras", _SIDE, _SIDE)  # fmt: skip
_VERDICT = Verdict(Decision.CLEAR, (), (), "default", "v1", 1000)


def measure() -> None:
    """Medians; encoding is the same picture with the same texts, not labelled and not signed."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    image = Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    print(f"labelling and signing {_SIDE} x {_SIDE}, encoding excluded, medians of {_ROUNDS} runs")
    with tempfile.TemporaryDirectory() as place:
        signer = Signer(local_credential(Path(place)))
    for form in MIME:
        for profile in ("eu", "cn"):
            style = Style(PROFILES[profile], form)
            texts, _ = texts_of(style, _RECIPE, _VERDICT, datetime.now(UTC), "0" * 64, {}, None)
            label = Labeller(style, signer)
            encoding, whole = _medians(
                lambda form=form, style=style, texts=texts: encoded(  # type: ignore[misc]
                    image, form, style.quality, texts
                ),
                lambda label=label: label(image, _RECIPE, _VERDICT),  # type: ignore[misc]
            )
            extra = whole - encoding
            print(f"{form}, {profile}: {extra * 1000:.1f} ms, {extra / encoding:.2f} x encoding")


def _medians(*works: Callable[[], object]) -> list[float]:
    """Seconds of each, taken in turn, after one round to warm up."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(_ROUNDS + 1):
        for work, taken in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return [median(taken[1:]) for taken in times]
