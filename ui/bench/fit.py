"""Fits the fusion of evidence to edited copies and to unrelated pictures of a folder.

    python -m ui.bench.fit --images ../shared/data/train --run runs/fusion
    cp runs/fusion/fusion.safetensors provenance/

Copies are made of the files that the bundled descriptor was not trained on, random edits of each;
unrelated are all pictures to each other that a search puts forward, pictures that share a caption,
a logo or a frame, and pages of text. Half of the files, every second one, are used: the others are
left to measure false alarms on.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalog import NewReference
from index.library import Library
from provenance.embed.train import HELD_OUT
from provenance.fingerprint import Fingerprint, Fingerprinter, Value, similarities
from provenance.fusion import SPEC, evidence, log_odds, squashed
from provenance.images import read_picture
from provenance.local.features import SPEC as LOCAL
from provenance.local.features import kept, unpacked
from provenance.local.look import second_look
from ui.bench.random_edits import any_edit, sharing, text_page
from ui.wiring import factory

_EVERY = 2  # of the sorted files, those whose place is divisible by this are used
_COPIES = 10  # of each picture that copies are made of
_SHARED = 1500  # pairs of unrelated pictures that share something
_PAGES = 300  # pages of text
_NEIGHBOURS = 3  # of an unrelated picture, by each of three descriptors
_HIDDEN = 24, 12
_MEMBERS = 8
_STEPS, _RATE, _DECAY, _BATCH = 6000, 3e-2, 1e-2, 1024
_WARY = 4.0  # how many missed copies a false alarm weighs

Rows = NDArray[np.float32]
"""(N, SPEC.dim): evidence, a row for each pair."""


class Files(NamedTuple):
    """The files that are used: `sources` are those that copies are made of, with others from
    `around` them, none of which is among those that copies are compared with, `references`."""

    references: list[Path]
    sources: list[Path]
    around: list[Path]


def fitting_files(folder: Path) -> Files:
    files = sorted(folder.glob("*.jpg"))
    used = files[::_EVERY]
    sources = [file for at, file in enumerate(files) if at % _EVERY == at % HELD_OUT == 0]
    around = [file for file in used if file not in set(sources)][::8]
    return Files([file for file in used if file not in set(around)], sources, around)


def look(picture: Fingerprint, reference: Fingerprint) -> Rows:
    """(SPEC.dim,): the evidence of one pair, of the reference what a library keeps."""
    close = {}
    for name, value in picture.values.items():
        held = reference.values[name]
        if value.spec.metric != "features":
            first = Value(held.spec, np.atleast_2d(held.vector)[0])
            close[name] = similarities(value, [first])[0]
    found = second_look(
        unpacked(picture.values[LOCAL.name].vector),
        (picture.width, picture.height),
        unpacked(kept(reference.values[LOCAL.name].vector)),
        (reference.width, reference.height),
    )
    return evidence(close, found)


def gather(images: Path, workers: int) -> tuple[Rows, Rows]:
    """The evidence of copies and of unrelated pairs."""
    files = fitting_files(images)
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(workers, context, _start) as pool,
        tempfile.TemporaryDirectory() as folder,
        Library.create(Path(folder), factory()().specs) as library,
    ):
        found = pool.map(_plain, files.references, chunksize=16)
        prints = dict(zip(files.references, found, strict=True))
        with library.writing():
            library.add([_reference(path, print_) for path, print_ in prints.items()])
        work = [(path, number) for path in files.sources for number in range(_COPIES)]
        copies: list[Rows] = []
        unrelated: list[Rows] = []
        edited = pool.map(partial(_edited, files.around), work, chunksize=16)
        for (path, _), fingerprint in zip(work, edited, strict=True):
            copies.append(look(fingerprint, prints[path]))
            unrelated += _wrong(library, prints, fingerprint, path, 1)
        _say(f"{len(copies):,} copies")
        for path, fingerprint in prints.items():
            unrelated += _wrong(library, prints, fingerprint, path, _NEIGHBOURS)
        _say(f"{len(unrelated):,} unrelated pairs")
        unrelated += pool.map(partial(_sharing, files.around), range(_SHARED), chunksize=16)
        pages = list(pool.map(_page, range(_PAGES), chunksize=16))
        unrelated += [look(a, b) for a, b in pairwise(pages)]
    return np.stack(copies), np.stack(unrelated)


def _wrong(
    library: Library, prints: dict[Path, Fingerprint], picture: Fingerprint, own: Path, count: int
) -> Iterator[Rows]:
    """The evidence of the nearest to a picture by three descriptors, its own original left out."""
    found = [each for each in library.search(picture, 20) if each.reference.uri != str(own)]
    chosen = [each.reference.uri for each in found if each.promising][:count]
    for name in ("firsthand-256", "phash-256"):
        found.sort(key=lambda each: -each.similarity[name])
        chosen += [each.reference.uri for each in found[:count]]
    for uri in sorted(set(chosen)):
        yield look(picture, prints[Path(uri)])


def train(copies: Rows, unrelated: Rows, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The members' weights: every weight is positive, so that each is monotone in all evidence."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, softplus

    torch.manual_seed(seed)
    rows = np.concatenate([copies, unrelated])
    mean, spread = rows.mean(0), rows.std(0) + 1e-3
    inputs = torch.from_numpy((rows - mean) / spread)
    truth = torch.from_numpy(np.r_[np.ones(len(copies)), np.zeros(len(unrelated))]).float()
    sizes = (SPEC.dim, *_HIDDEN, 1)
    weights = [  # softplus of them is about the inverse root of the number of inputs
        torch.randn(_MEMBERS, b, a) * 0.5 + np.log(np.exp(1 / np.sqrt(a)) - 1)
        for a, b in pairwise(sizes)
    ]
    weights.append(torch.randn(_MEMBERS, 1, SPEC.dim) * 0.1 - 1.5)
    offsets = [torch.randn(_MEMBERS, b, 1) for b in sizes[1:]]
    learned = [each.requires_grad_() for each in (*weights, *offsets)]
    optimizer = torch.optim.AdamW(learned, _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        at = torch.randint(len(inputs), (_BATCH,))
        values = inputs[at].T.expand(_MEMBERS, -1, -1)
        inner = values
        for weight, offset in zip(weights[:2], offsets[:2], strict=True):
            inner = (softplus(weight) @ inner + offset).tanh()
        odds = softplus(weights[2]) @ inner + offsets[2] + softplus(weights[3]) @ values
        cost = 1 + (_WARY - 1) * (1 - truth[at])
        asked = truth[at].expand(_MEMBERS, -1)
        loss = binary_cross_entropy_with_logits(odds[:, 0], asked, cost)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    held = {"mean": mean, "spread": spread, "linear": softplus(weights[3]).detach().numpy()}
    for number, (weight, offset) in enumerate(zip(weights[:3], offsets, strict=True), 1):
        held[f"weights.{number}"] = softplus(weight).detach().numpy()
        held[f"offsets.{number}"] = offset.detach().numpy()
    return {name: np.ascontiguousarray(value, np.float32) for name, value in held.items()}


def tell(copies: Rows, unrelated: Rows, weights: dict[str, NDArray[np.float32]]) -> None:
    """Prints how many of both reach which similarity."""
    ours = np.array([squashed(float(odds)) for odds in log_odds(copies, weights)])
    others = np.array([squashed(float(odds)) for odds in log_odds(unrelated, weights)])
    for limit in np.arange(0.3, 1, 0.05):
        of = f"{(ours >= limit).mean():.1%} of copies"
        _say(f"{limit:.2f}: {of}, {(others >= limit).sum()} of {len(others):,} unrelated pairs")


def main() -> None:
    from safetensors.numpy import load_file, save_file

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("../shared/data/train"))
    parser.add_argument("--run", type=Path, required=True, help="folder of evidence and weights")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    file = args.run / "evidence.safetensors"
    if not file.exists():
        copies, unrelated = gather(args.images, args.workers)
        save_file({"copies": copies, "unrelated": unrelated}, file)
    held = load_file(file)
    weights = train(held["copies"], held["unrelated"])
    tell(held["copies"], held["unrelated"], weights)
    save_file(weights, args.run / "fusion.safetensors")
    _say(f"wrote {args.run / 'fusion.safetensors'}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _reference(path: Path, fingerprint: Fingerprint) -> NewReference:
    return NewReference(str(path), "", "", "", "", None, fingerprint, None)


def _plain(path: Path) -> Fingerprint:
    return _fingerprinter().describe([read_picture(path).image])[0]


def _edited(around: Sequence[Path], work: tuple[Path, int]) -> Fingerprint:
    """A random edit of a picture, at a random size."""
    path, number = work
    rng = random.Random(f"{path.name}/{number}")
    image = read_picture(path).image
    scale = rng.choice([1, 1, 1.5, 2])
    image = image.resize([round(side * scale) for side in image.size])
    others = [read_picture(each).image for each in rng.sample(around, 4)]
    return _fingerprinter().describe([any_edit(rng)(image, rng, others)])[0]


def _sharing(files: Sequence[Path], number: int) -> Rows:
    rng = random.Random(f"sharing/{number}")
    a, b, *others = (read_picture(each).image for each in rng.sample(files, 4))
    pair = _fingerprinter().describe(sharing(a, b, rng, others))
    return look(pair[0], pair[1])


def _page(number: int) -> Fingerprint:
    return _fingerprinter().describe([text_page(random.Random(number))])[0]


@lru_cache
def _fingerprinter() -> Fingerprinter:
    """One for each process."""
    return factory()()


def _start() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
