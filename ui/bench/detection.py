"""What the check finds of edited copies, and how often it is wrong, beside plain hash matching."""

import multiprocessing
import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from index.ingest import ingest
from index.sources import FolderSource, image_files
from provenance.chance import interval
from provenance.check import Checker
from provenance.fingerprint import Fingerprint, Fingerprinter, Value
from provenance.images import read_picture
from provenance.match import Candidate
from provenance.verdict import Decision
from ui.bench.edits import ALL_EDITS, EDITS, HARD_EDITS
from ui.demo import GALLERY
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library

_QUERY_SIDE = 512  # pixels: the longest side of a picture before it is edited
_BACKGROUNDS = 200  # unrelated pictures to paste on; they are not counted as unrelated

_ALONE: dict[str, Callable[[Candidate], float]] = {
    "pHash-64 ≤ 10": lambda found: found.similarity["phash-64"] - (1 - 10 / 64),
    "pHash-256 ≤ 64": lambda found: found.similarity["phash-256"] - (1 - 64 / 256),
    "PDQ ≤ 31": lambda found: found.similarity["pdq-256"] - (1 - 31 / 256),
}
"""What can be installed elsewhere: at 0 and above it calls the candidate a match."""


@dataclass
class _Row:
    """The outcomes of one edit."""

    asked: int = 0
    found: int = 0  # not clear, because of the right reference
    blocked: int = 0
    first: int = 0  # the right reference has the highest score
    descriptor: int = 0  # the right reference is nearest by the learned descriptor
    alone: Counter[str] = field(default_factory=Counter)


def measure(known: Path | None, unrelated: Path | None, every: int, strangers: int) -> None:
    """Prints a Markdown table: a line for each edit, µAP, and false alarms with their interval.

    Pictures are edited from 512 px; references keep their own size.
    """
    files = image_files(known or GALLERY)
    others = image_files(unrelated) if unrelated else files[::5]
    if not unrelated:
        files = [file for file in files if file not in set(others)]
    others = random.Random(0).sample(others, min(len(others), strangers + _BACKGROUNDS))
    pages, others = (others[:_BACKGROUNDS], others[_BACKGROUNDS:]) if unrelated else ([], others)
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        with make_library(settings) as library:
            for path in [known or GALLERY] if unrelated else files:
                ingest(FolderSource(path), library, factory(), workers=settings.workers)
            checker = make_checker(settings, library)
            print(f"{len(library)} references, policy {checker.policy.name}\n")
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(settings.workers, context, _start) as pool:
                run = partial(_judged, pool, checker, pages or others)
                scored = _report(files[::every], others, run)
    _print_precision(scored, len(files[::every]) * len(ALL_EDITS))


Judged = tuple[str, Decision, list[tuple[str, float]], list[Candidate]]
"""Path, decision, (uri, score) of the matches, candidates."""


def _judged(
    pool: ProcessPoolExecutor, checker: Checker, pages: Sequence[Path], edit: str | None,
    files: Sequence[Path],
) -> Iterator[Judged]:  # fmt: skip
    work = partial(_edited_fingerprint, edit, pages)
    for file, fingerprint in zip(files, pool.map(work, files, chunksize=8), strict=True):
        verdict = checker.judge(fingerprint)
        matches = [(match.reference.uri, match.score) for match in verdict.matches]
        candidates = checker.index.search(_upright(fingerprint), 1)
        yield file.resolve().as_uri(), verdict.decision, matches, candidates


def _upright(fingerprint: Fingerprint) -> Fingerprint:
    """The fingerprint with each hash of the picture as it is, as other programs have it."""
    values = {
        name: Value(value.spec, np.atleast_2d(value.vector)[0])
        if value.spec.metric == "hamming"
        else value
        for name, value in fingerprint.values.items()
    }
    return replace(fingerprint, values=values)


def _report(
    files: Sequence[Path], others: Sequence[Path], run: Callable[..., Iterator[Judged]]
) -> list[tuple[float, bool]]:
    """Prints the table; returns every (score, whether it is right) of all matches."""
    scored: list[tuple[float, bool]] = []
    header = ["edit", "n", "found", "blocked", "first", "descriptor first", *_ALONE]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for tier in (EDITS, HARD_EDITS):
        total = _Row()
        for name in tier:
            row = _Row()
            for outcome in run(name, files):
                _count(row, outcome, scored)
            _print_row(name, row)
            _add(total, row)
        _print_row("**usual tier**" if tier is EDITS else "**hard tier**", total)
    started = time.perf_counter()
    outcomes = list(run(None, others))
    took = time.perf_counter() - started
    for _, _, matches, _ in outcomes:
        scored += [(score, False) for _, score in matches]
    for name, least in (("review or block", Decision.REVIEW), ("block", Decision.BLOCK)):
        wrong = sum(decision >= least for _, decision, _, _ in outcomes)
        low, high = interval(wrong, len(outcomes))
        print(f"\nunrelated, {name}: {wrong} of {len(outcomes)} ({low:.2%} to {high:.2%})", end="")
    for name, matches_alone in _ALONE.items():
        wrong = sum(any(matches_alone(c) >= 0 for c in found) for *_, found in outcomes)
        print(f"\nunrelated, {name}: {wrong} of {len(outcomes)}", end="")
    print(f"\n{took / max(1, len(outcomes)) * 1000:.0f} ms a picture, decoding included")
    return scored


def _count(row: _Row, outcome: Judged, scored: list[tuple[float, bool]]) -> None:
    uri, decision, matches, candidates = outcome
    scores = dict(matches)
    right = scores.get(uri, 0.0)
    row.asked += 1
    row.found += decision > Decision.CLEAR and right >= 0.5
    row.blocked += decision is Decision.BLOCK
    row.first += bool(right) and right == max(scores.values())
    nearest = max(candidates, key=lambda found: found.similarity["firsthand-256"])
    row.descriptor += nearest.reference.uri == uri
    for name, matches_alone in _ALONE.items():
        row.alone[name] += any(
            found.reference.uri == uri and matches_alone(found) >= 0 for found in candidates
        )
    scored += [(score, found == uri) for found, score in matches]


def _add(total: _Row, row: _Row) -> None:
    for name in ("asked", "found", "blocked", "first", "descriptor"):
        setattr(total, name, getattr(total, name) + getattr(row, name))
    total.alone += row.alone


def _print_row(name: str, row: _Row) -> None:
    counts = [row.found, row.blocked, row.first, row.descriptor]
    counts += [row.alone[alone] for alone in _ALONE]
    shares = " | ".join(f"{count / row.asked:.1%}" for count in counts)
    print(f"| {name} | {row.asked} | {shares} |", flush=True)


def _print_precision(scored: list[tuple[float, bool]], right: int) -> None:
    """Micro-average precision as ISC 2021 has it: all pairs pooled, ties counted against us."""
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    hits = np.array([hit for _, hit in scored], np.float64)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    print(f"µAP over both tiers and the unrelated: {(precision * hits).sum() / right:.4f}")


def _edited_fingerprint(edit: str | None, pages: Sequence[Path], file: Path) -> Fingerprint:
    image = read_picture(file).image
    if edit is not None:
        image.thumbnail((_QUERY_SIDE, _QUERY_SIDE))
        rng = random.Random(zlib.crc32(f"{edit}/{file.name}".encode()))
        others = [read_picture(path).image for path in rng.sample(pages, 4)]
        image = ALL_EDITS[edit](image, rng, others)
    return _fingerprinter().describe([image])[0]


@lru_cache
def _fingerprinter() -> Fingerprinter:
    """One for each process."""
    return factory()()


def _start() -> None:
    import torch

    torch.set_num_threads(1)
