"""`index calibrate`: asks the library about unrelated pictures; a table and a plot of it."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.library import Library
from provenance.chance import LEAST_PICTURES, Measured, Similarities, calibrate, interval
from provenance.check import Checker
from provenance.fingerprint import Fingerprint
from provenance.fusion import SPEC as FUSION
from provenance.scan import FingerprinterFactory, scan
from provenance.verdict import BLOCK_SCORE, REVIEW_SCORE, Policy, score

_SEED = 2026  # of the sample of the library


@dataclass(frozen=True)
class Asked:
    """One picture that the library was asked about, and the references that came near."""

    name: str
    references: Sequence[str]
    similarities: Sequence[Similarities]


@dataclass(frozen=True)
class Outcome:
    """What a calibration measured, under the policy as it decides from then on."""

    measured: Measured
    asked: Sequence[Asked]
    policy: Policy

    def rows(self) -> list[dict[str, Any]]:
        """A line for each threshold: where it is, how many unrelated pictures reach it."""
        return [
            self._row(name, level)
            for name in self.policy.thresholds
            if name in self.measured.nearest
            for level in ("review", "block")
        ]

    def _row(self, name: str, level: str) -> dict[str, Any]:
        nearest = self.measured.nearest[name]
        limit = getattr(self.policy.thresholds[name], level)
        reached = int((nearest >= limit).sum())
        low, high = interval(reached, len(nearest))
        expected = self.policy.tails[name].chance(limit)
        return {
            "descriptor": name, "level": level, "from": limit, "reached": reached,
            "of": len(nearest), "low": low, "high": high, "expected": expected,
        }  # fmt: skip

    def related(self) -> list[tuple[str, str]]:
        """The (picture, reference) that were set aside."""
        pairs = self.measured.related
        return [(self.asked[at].name, self.asked[at].references[number]) for at, number in pairs]


def run(
    library: Library,
    checker: Checker,
    factory: FingerprinterFactory,
    files: Sequence[Path],
    *,
    count: int,
    workers: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Asks about all of `files`; if they are few, about `count` pictures of the library too.

    A library's own pictures are less than a measure: they are of the same places, people, prompts.
    A reference is not compared with its own pixels. Libraries hold copies of their own pictures:
    what the policy, as it is stated, would hold of them is set aside as related. Of `files`, which
    are said to be unrelated, only what it would block is. Pictures with too little detail, and
    files that cannot be read, are passed over. Raises UsageError where too few are left.
    """
    count = 0 if len(files) >= LEAST_PICTURES else min(count, len(library))
    total = count + len(files)
    asked: list[Asked] = []
    related: list[tuple[int, int]] = []
    pictures = _pictures(library, factory, files, count, workers)
    for done, (name, fingerprint, least) in enumerate(pictures):
        on_progress(done, total)
        if fingerprint and fingerprint.detail >= checker.policy.min_detail:
            found = [each for each in checker.candidates(fingerprint) if not each.exact]
            uris = [each.reference.uri for each in found]
            related += [
                (len(asked), number)
                for number, each in enumerate(found)
                if score(each, checker.stated_policy) >= least
            ]
            asked.append(Asked(name, uris, [each.similarity for each in found]))
    similarities = [each.similarities for each in asked]
    specs = [spec for spec in library.specs if spec.metric != "features"]
    if FUSION.name in checker.stated_policy.thresholds:
        specs.insert(0, FUSION)  # computed only where the policy decides by it
    measured = calibrate(similarities, related, specs, library.version, len(library))
    library.keep_calibration(measured.calibration)
    return Outcome(measured, asked, checker.policy)


def _pictures(
    library: Library, factory: FingerprinterFactory, files: Sequence[Path], count: int, workers: int
) -> Iterator[tuple[str, Fingerprint | None, float]]:
    """Names, fingerprints, and the score from which on a candidate is set aside."""
    for reference, fingerprint in library.sample(count, _SEED):
        yield reference.uri, fingerprint, REVIEW_SCORE
    for found in scan(files, factory, workers=workers):
        yield str(found.path), found.fingerprint, BLOCK_SCORE


def plot(outcome: Outcome) -> bytes:
    """PNG: how similar the nearest unrelated references are, the tail, and the thresholds."""
    from matplotlib.figure import Figure

    names = [name for name in outcome.policy.thresholds if name in outcome.measured.nearest]
    figure = Figure(figsize=(4.6 * len(names), 5.4), layout="constrained")
    axes = figure.subplots(2, len(names), sharex="col", squeeze=False, height_ratios=(1, 2))
    for (top, below), name in zip(axes.T, names, strict=True):
        nearest = np.sort(outcome.measured.nearest[name])
        top.hist(nearest, bins=60, color="#90a4ae")
        top.set(title=name, yticks=[])
        _draw_tail(below, nearest, outcome.policy, name)
    axes[0, 0].set_ylabel("pictures")
    axes[1, 0].set_ylabel("share of pictures whose nearest\nunrelated reference is this similar")
    axes[1, -1].legend(loc="lower left", fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, dpi=110, metadata={"Software": None})
    return out.getvalue()


def _draw_tail(axis: Any, nearest: Any, policy: Policy, name: str) -> None:
    limit, tail = policy.thresholds[name], policy.tails[name]
    left = 1 - np.arange(len(nearest)) / len(nearest)
    line = np.linspace(nearest[len(nearest) // 2], 1, 200, endpoint=False)
    axis.step(nearest, left, where="pre", color="#37474f", label="measured")
    axis.plot(line, [tail.chance(x) for x in line], "--", color="#1e88e5", label="tail")
    for level, value, colour in (
        ("review", limit.review, "#fb8c00"),
        ("block", limit.block, "#e53935"),
    ):
        axis.axvline(value, color=colour, label=f"{level} from {value:.3f}")
        axis.plot([value], [tail.chance(value)], "o", color=colour)
    axis.set(yscale="log", ylim=(1e-7, 1.5), xlabel="similarity")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left", fontsize=8)


def plot_uri(outcome: Outcome) -> str:
    """The plot as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(plot(outcome)).decode()}"


def line(row: Mapping[str, Any]) -> str:
    """One threshold in words."""
    return (
        f"{row['descriptor']:12} {row['level']:6} from {row['from']:.4f}: {row['reached']} of "
        f"{row['of']:,} unrelated pictures ({row['low']:.2%} to {row['high']:.2%}), "
        f"chance {row['expected']:.1g}"
    )
