"""How long labelling and signing a picture of 1024 x 1024 take, beside encoding it."""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

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
    """All that is done to a picture but to encode it, which is timed apart and then left out."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    image = Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    size = f"{_SIDE} x {_SIDE}"
    print(f"labelling and signing {size}, without encoding: CPU time, medians of {_ROUNDS} runs")
    with tempfile.TemporaryDirectory() as place:
        signer = Signer(local_credential(Path(place)))
    for form in MIME:
        for profile in ("eu", "cn"):
            style = Style(PROFILES[profile], form)
            texts, _ = texts_of(style, _RECIPE, _VERDICT, datetime.now(UTC), "0" * 64, {}, None)
            label = Labeller(style, signer)
            data = encoded(image, form, style.quality, texts)
            encoding = _median(partial(encoded, image, form, style.quality, texts))
            with patch("provenance.label.labeller.encoded", return_value=data):
                extra = _median(partial(label, image, _RECIPE, _VERDICT))
            print(f"{form}, {profile}: {extra * 1000:.1f} ms, {extra / encoding:.2f} x encoding")


def _median(work: Callable[[], object]) -> float:
    """Seconds of CPU time, which is what one core takes; after one run to warm up."""
    taken = []
    for _ in range(_ROUNDS + 1):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return median(taken[1:])
