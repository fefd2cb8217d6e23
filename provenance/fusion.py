"""Fusion: everything that was seen of a picture and a reference → one number, how likely a copy.

Score-level fusion (Kittler et al., 1998) by a small monotone network (Sill, 1998): more of any
evidence never makes a copy less likely, and what was not seen speaks for nothing. Fitted to edited
copies and to unrelated pictures by `python -m ui.bench.fit`. Knows nothing of thresholds.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance.errors import MissingError
from provenance.fingerprint import DescriptorSpec
from provenance.local.look import Alignment

WEIGHTS = Path(__file__).with_name("fusion.safetensors")
DESCRIPTORS = ("firsthand-256", "pdq-256", "phash-256", "dhash-256", "phash-64")
"""Those whose similarities are evidence; any other version of one is another version of fusion."""
SPEC = DescriptorSpec("fusion", "1", "cosine", len(DESCRIPTORS) + 14)
_FAR = 4.0  # pixels: the error where nothing is aligned, the most that RANSAC puts up with


def evidence(similarity: Mapping[str, float], found: Alignment | None) -> NDArray[np.float32]:
    """(SPEC.dim,): the similarities and what the second look found, all the more, the likelier."""
    close = [similarity.get(name, 0.0) for name in DESCRIPTORS]
    if found is None:
        seen = [0.0] * (SPEC.dim - len(close) - 1) + [-_FAR]
    else:
        cells, *shares, pixels = found.agreement
        error = shares.pop(6)
        seen = [np.log1p(cells), np.sqrt(shares[1]), *shares, *pixels, -error]
    return np.array([*close, *seen], np.float32)


def fused(similarity: Mapping[str, float], found: Alignment | None) -> float:
    """0..1: the log-odds of a copy, from the least that the network can say to the most."""
    layers = _network()
    values = (evidence(similarity, found) - layers["mean"]) / layers["spread"]
    for number in (1, 2):
        values = np.tanh(layers[f"weights.{number}"] @ values + layers[f"offsets.{number}"])
    last = layers["weights.3"]  # of values in -1..1
    return float((last @ values + last.sum()) / (2 * last.sum()))


@lru_cache
def _network() -> dict[str, NDArray[np.float32]]:
    """Weights, none of them negative, and offsets of three layers; mean and spread of evidence."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise MissingError(
            f"the weights of fusion {WEIGHTS} cannot be loaded ({error}); install Firsthand again"
        ) from None
