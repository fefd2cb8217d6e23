"""What the check finds of edited copies, and how often it is wrong, beside plain hash matching."""

import multiprocessing
import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import ImageOps

from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource, image_files
from provenance.chance import interval
from provenance.check import Checker
from provenance.errors import UsageError
from provenance.fingerprint import Fingerprint, Fingerprinter, Value
from provenance.images import read_picture
from provenance.verdict import REVIEW_SCORE, Decision
from ui import calibration
from ui.bench.edits import ALL_EDITS, EDITS, HARD_EDITS
from ui.bench.other_edits import OTHER_EDITS
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library

_QUERY_SIDE = 512  # pixels: the longest side of a picture before it is edited
_PAGES = 200  # unrelated pictures to paste on; they are not counted as unrelated
_TOP = 5  # references that a descriptor alone may name for a picture

_THRESHOLDS = {
    "phash-64": ("pHash-64 ≤ 10", 1 - 10 / 64),
    "phash-256": ("pHash-256 ≤ 64", 1 - 64 / 256),
    "pdq-256": ("PDQ ≤ 31", 1 - 31 / 256),
}
"""What can be installed elsewhere: from which similarity on it calls a reference a match."""
TIERS = {"usual tier": EDITS, "hard tier": HARD_EDITS, "edits of other kinds": OTHER_EDITS}
_OURS, _LEARNED = "Firsthand", "firsthand-256"
_METHODS = (_OURS, _LEARNED, *_THRESHOLDS)


@dataclass(frozen=True)
class Plan:
    """What to measure on: pictures that are indexed, and the others."""

    known: Sequence[Path]
    pages: Sequence[Path]
    strangers: Sequence[Path]
    distractors: Sequence[Path]
    every: int  # of the known pictures that is edited
    side: int  # pixels: the longest side of a reference
    more: int  # references made of the distractors


def plan(
    known: Path,
    unrelated: Path | None,
    every: int,
    strangers: int,
    side: int,
    more: int,
    distract: Path | None,
) -> Plan:
    """Without a folder of unrelated pictures every fifth known one is left out to be one."""
    files = image_files(known)
    others = image_files(unrelated) if unrelated else files[::5]
    files = [file for file in files if file not in set(others)]
    random.Random(0).shuffle(others)
    if not unrelated:
        return Plan(files, others, others, (), every, side, 0)
    rest = image_files(distract) if distract else others[_PAGES + strangers :]
    random.Random(0).shuffle(rest)
    if more and not rest:
        raise UsageError(f"no unrelated pictures are left to make {more} distractors of")
    pages, asked = others[:_PAGES], others[_PAGES : _PAGES + strangers]
    return Plan(files, pages, asked, rest, every, side, more)


@dataclass
class _Row:
    """The outcomes of one edit."""

    asked: int = 0
    found: int = 0  # not clear, because of the right reference
    blocked: int = 0
    first: Counter[str] = field(default_factory=Counter)  # by method: the right one comes first
    alone: Counter[str] = field(default_factory=Counter)  # by hash: the right one is a match
    said: Counter[str] = field(default_factory=Counter)  # of those found: words for the edit

    def add(self, other: "_Row") -> None:
        self.asked += other.asked
        self.found += other.found
        self.blocked += other.blocked
        self.first += other.first
        self.alone += other.alone
        self.said += other.said


@dataclass(frozen=True)
class Judged:
    """What was said of one picture: the verdict, what was done to the right reference, and by
    method (URI, score) of the best."""

    uri: str
    decision: Decision
    edits: Sequence[str]
    scores: Mapping[str, Sequence[tuple[str, float]]]


def measure(what: Plan) -> None:
    """Prints Markdown tables: each edit, each method's recall@1 and µAP, false alarms."""
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place) / "home")
        context = multiprocessing.get_context("spawn")
        with (
            make_library(settings) as library,
            ProcessPoolExecutor(settings.workers, context, _start) as pool,
        ):
            references = Path(place) / "references"
            uris = _write_references(what, references, pool)
            ingest(FolderSource(references), library, factory(settings), workers=settings.workers)
            checker = make_checker(settings, library)
            _calibrate(library, checker, what.pages)
            print(
                f"\n{len(library):,} references of {what.side} px, policy {checker.policy.name}\n"
            )
            asked = list(zip(what.known, uris, strict=True))[:: what.every]
            _report(asked, what.strangers, partial(_judged, pool, checker, what.pages))


def _write_references(what: Plan, folder: Path, pool: ProcessPoolExecutor) -> list[str]:
    """The known pictures and the distractors as PNG files; returns the URIs of the known."""
    folder.mkdir()
    parts = [(what.distractors[at % len(what.distractors)], at) for at in range(what.more)]
    work = [(path, None) for path in what.known] + parts
    targets = [folder / f"{number:06}.png" for number in range(len(work))]
    make = partial(_write_reference, what.side, len(what.distractors))
    list(pool.map(make, work, targets, chunksize=16))
    return [target.resolve().as_uri() for target in targets[: len(what.known)]]


def _write_reference(side: int, wholes: int, work: tuple[Path, int | None], target: Path) -> None:
    """A picture, or the part of one that its number stands for, at most `side` pixels long."""
    path, number = work
    image = read_picture(path).image
    if number is not None and number >= wholes:
        rng = random.Random(number)
        wide, high = (round(n * rng.uniform(0.4, 0.7)) for n in image.size)
        left, top = rng.randint(0, image.width - wide), rng.randint(0, image.height - high)
        image = image.crop((left, top, left + wide, top + high))
        image = ImageOps.contain(image, (side, side))
    image.thumbnail((side, side))
    image.save(target)


def _calibrate(library: Library, checker: Checker, pages: Sequence[Path]) -> None:
    try:
        made = factory(load_settings())
        outcome = calibration.run(library, checker, made, pages, count=1000, workers=1)
    except UsageError as error:
        print(f"not calibrated: {error}")
        return
    print("\n".join(calibration.line(row) for row in outcome.rows()))


def _judged(
    pool: ProcessPoolExecutor, checker: Checker, pages: Sequence[Path], edit: str | None,
    asked: Sequence[tuple[Path, str]],
) -> Iterator[Judged]:  # fmt: skip
    work = partial(_edited_fingerprint, edit, pages)
    prints = pool.map(work, [path for path, _ in asked], chunksize=8)
    for (_, uri), fingerprint in zip(asked, prints, strict=True):
        verdict = checker.judge(fingerprint)
        scores = {_OURS: [(match.reference.uri, match.score) for match in verdict.matches]}
        found = checker.index.search(_upright(fingerprint), _TOP)
        for name in _METHODS[1:]:
            best = sorted(found, key=lambda each: -each.similarity[name])[:_TOP]
            scores[name] = [(each.reference.uri, each.similarity[name]) for each in best]
        said = [match.edits for match in verdict.matches if match.reference.uri == uri]
        yield Judged(uri, verdict.decision, said[0] if said else (), scores)


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
    asked: Sequence[tuple[Path, str]],
    strangers: Sequence[Path],
    run: Callable[..., Iterator[Judged]],
) -> None:
    header = ["edit", "n", "found", "blocked", "first", "descriptor first"]
    header += [name for name, _ in _THRESHOLDS.values()] + ["said of those found"]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    tiers: dict[str, tuple[_Row, list[Judged]]] = {}
    for tier, edits in TIERS.items():
        total, outcomes = _Row(), []
        for name in edits:
            judged = list(run(name, asked))
            row = _row(judged)
            _print_row(name, row)
            total.add(row)
            outcomes += judged
        _print_row(f"**{tier}**", total)
        tiers[tier] = total, outcomes
    started = time.perf_counter()
    unrelated = list(run(None, [(path, "") for path in strangers]))
    took = time.perf_counter() - started
    _print_methods(tiers, unrelated)
    _print_false_alarms(unrelated)
    print(f"- {took / max(1, len(unrelated)) * 1000:.0f} ms a picture, decoding included")


def _row(judged: Sequence[Judged]) -> _Row:
    row = _Row(asked=len(judged))
    for each in judged:
        right = dict(each.scores[_OURS]).get(each.uri, 0.0)
        if each.decision > Decision.CLEAR and right >= REVIEW_SCORE:
            row.found += 1
            row.said.update("rotated" if "rotated" in word else word for word in each.edits)
        row.blocked += each.decision is Decision.BLOCK and right >= REVIEW_SCORE
        for name, scores in each.scores.items():
            row.first[name] += bool(scores) and max(scores, key=lambda pair: pair[1])[0] == each.uri
        for name, (_, least) in _THRESHOLDS.items():
            row.alone[name] += dict(each.scores[name]).get(each.uri, 0.0) >= least
    return row


def _print_row(name: str, row: _Row) -> None:
    counts = [row.found, row.blocked, row.first[_OURS], row.first[_LEARNED]]
    counts += [row.alone[alone] for alone in _THRESHOLDS]
    shares = " | ".join(f"{count / row.asked:.1%}" for count in counts)
    words = (f"{n / max(1, row.found):.0%} {word}" for word, n in row.said.most_common(4))
    print(f"| {name} | {row.asked} | {shares} | {', '.join(words)} |", flush=True)


def _print_methods(
    tiers: Mapping[str, tuple[_Row, list[Judged]]], unrelated: Sequence[Judged]
) -> None:
    header = ["alone", *(f"{tier}, {figure}" for tier in tiers for figure in ("recall@1", "µAP"))]
    print(f"\n| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for name in _METHODS:
        cells = []
        for row, judged in tiers.values():
            cells += [
                f"{row.first[name] / row.asked:.1%}",
                f"{_precision(name, judged, unrelated):.3f}",
            ]
        print(f"| {name} | {' | '.join(cells)} |")


def _precision(name: str, judged: Sequence[Judged], unrelated: Sequence[Judged]) -> float:
    """Micro-average precision as ISC 2021 has it: all pairs pooled, ties counted against us."""
    pairs = [
        (score, uri == each.uri)
        for each in (*judged, *unrelated)
        for uri, score in each.scores[name]
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1]))
    hits = np.array([hit for _, hit in pairs], np.float64)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / len(judged))


def _print_false_alarms(unrelated: Sequence[Judged]) -> None:
    counts = {
        "review or block": sum(each.decision > Decision.CLEAR for each in unrelated),
        "block": sum(each.decision is Decision.BLOCK for each in unrelated),
    }
    for name, (title, least) in _THRESHOLDS.items():
        counts[title] = sum(any(s >= least for _, s in each.scores[name]) for each in unrelated)
    print()
    for title, wrong in counts.items():
        low, high = interval(wrong, len(unrelated))
        print(f"- unrelated, {title}: {wrong} of {len(unrelated)} ({low:.2%} to {high:.2%})")


def _edited_fingerprint(edit: str | None, pages: Sequence[Path], file: Path) -> Fingerprint:
    image = read_picture(file).image
    if edit is not None:
        image.thumbnail((_QUERY_SIDE, _QUERY_SIDE))
        rng = random.Random(zlib.crc32(f"{edit}/{file.name}".encode()))
        others = [read_picture(path).image for path in rng.sample(pages, min(4, len(pages)))]
        image = (ALL_EDITS | OTHER_EDITS)[edit](image, rng, others)
    return _fingerprinter().describe([image])[0]


@lru_cache
def _fingerprinter() -> Fingerprinter:
    """One for each process."""
    return factory(load_settings())()


def _start() -> None:
    import torch

    torch.set_num_threads(1)
