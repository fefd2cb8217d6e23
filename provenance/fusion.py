"""Fusion: everything that was seen of a picture and a reference → one number, how likely a copy.

Score-level fusion (Kittler et al., 1998) by small monotone networks (Sill, 1998), whose mean
counts: more of any evidence never makes a copy less likely, and what was not seen says nothing.
Fitted to edited copies and to unrelated pictures by `python -m ui.bench.fit`. Knows nothing of
thresholds.
"""

import math
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
SPEC = DescriptorSpec("fusion", "3", "cosine", len(DESCRIPTORS) + 15)
_WIDTH = 8.0  # log-odds at which the squashed are 3/4

Members = Mapping[str, NDArray[np.float32]]
"""Weights, none of them negative, and offsets of three layers, a network for each first index;
`linear` weights; `mean` and `spread` of the evidence."""

_FEW = 5  # cells: fewer agree by chance, and so perfectly
_DOUBT = 8  # inexact cells that are supposed of each, so that a few exact ones prove little


def evidence(similarity: Mapping[str, float], found: Alignment | None) -> NDArray[np.float32]:
    """(SPEC.dim,): the similarities and what the second look found, all the more, the likelier."""
    close = [similarity.get(name, 0.0) for name in DESCRIPTORS]
    if found is None or found.agreement.cells < _FEW:
        return np.array([*close, *[0.0] * (SPEC.dim - len(close))], np.float32)
    seen = found.agreement
    counts = np.log1p([seen.cells, seen.exact_cells])
    likeness = [max(0.0, 5 * cosine - 4) for cosine in (seen.likeness, seen.best_likeness)]
    shares = [seen.share, np.sqrt(seen.overlap), seen.explained, seen.matched]
    shares += [seen.support, seen.within]
    exact = seen.exact_cells / (seen.cells + _DOUBT)  # copies are exact, second photographs are not
    agreed = [*counts, *shares, *likeness, *seen.pixels, exact, exact * likeness[1]]
    return np.array([*close, *agreed], np.float32)


def fused(similarity: Mapping[str, float], found: Alignment | None) -> float:
    """0..1: how likely a copy is; 0.5 where it is as likely as not among the pairs fitted to."""
    return squashed(float(log_odds(evidence(similarity, found)[None], _members())[0]))


def log_odds(rows: NDArray[np.float32], members: Members) -> NDArray[np.float32]:
    """(N,): the mean over the members, (N, SPEC.dim) in; each is a linear sum and a network."""
    values = ((rows - members["mean"]) / members["spread"]).T[None]
    inner = values
    for number in (1, 2):
        inner = np.tanh(members[f"weights.{number}"] @ inner + members[f"offsets.{number}"])
    odds = members["weights.3"] @ inner + members["offsets.3"] + members["linear"] @ values
    mean: NDArray[np.float32] = odds[:, 0].mean(0)
    return mean


def squashed(odds: float) -> float:
    """Log-odds → 0..1, of which 0.5 are even odds."""
    return 0.5 + math.atan(odds / _WIDTH) / math.pi


@lru_cache
def _members() -> Members:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise MissingError(
            f"the weights of fusion {WEIGHTS} cannot be loaded ({error}); install Firsthand again"
        ) from None
