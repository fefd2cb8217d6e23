"""Many files → their fingerprints, in parallel: what indexing and auditing have in common.

Knows nothing of libraries or verdicts. A file that cannot be read is a result, not an error.
"""

import io
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from provenance.errors import CheckError, DecodeError
from provenance.fingerprint import Fingerprint, Fingerprinter
from provenance.images import Picture, read_file, read_picture
from provenance.inspect import MAX_LABELS, Said, heard, labels, marks
from provenance.recipe import Recipe

FingerprinterFactory = Callable[[], Fingerprinter]

THUMBNAIL_SIDE = 384  # pixels
_CHUNK = 32  # files handed to a process at a time, at most
_SHARES = 8  # chunks for each process, at least
_AHEAD = 4  # chunks for each process that are in work or done: bounds what waits in memory
_HELD = 24 * 2**20  # bytes
_INLINE = 48  # files for which starting processes would take longer than the work


@dataclass(frozen=True)
class Reading:
    """What is wanted of each file beside its fingerprint.

    `anchors` are certificates (PEM) by which Content Credentials in the files are trusted. With
    `marks` pixels are searched for marks; this home's by `mark_key`, where it has one.
    """

    thumbnails: bool = False
    anchors: str = ""
    marks: bool = False
    mark_key: bytes | None = None


PLAIN = Reading()


@dataclass(frozen=True)
class Scanned:
    """What one file holds: a fingerprint, or the error that says why there is none.

    `stamp` tells later whether the file has changed since before it was read. `recipe`, `parents`
    (URIs) and `labels` are what it says of itself.
    """

    path: Path
    stamp: str
    fingerprint: Fingerprint | None = None
    error: str | None = None
    frames: int = 1
    recipe: Recipe | None = None
    parents: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None


def scan(
    paths: Sequence[Path],
    factory: FingerprinterFactory,
    *,
    workers: int,
    reading: Reading = PLAIN,
) -> Iterator[Scanned]:
    """The files' results in the order of `paths`. `factory` makes each process's fingerprinter.

    Raises CheckError when a process dies, as it does when memory runs out.
    """
    if workers < 2 or len(paths) <= _INLINE:
        _hold_memory()
        fingerprinter = factory()
        for path in paths:
            yield _scan_one(path, fingerprinter, reading)
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (factory, reading))
    waiting: deque[Future[list[Scanned]]] = deque()
    try:
        step = max(1, min(_CHUNK, len(paths) // (workers * _SHARES)))
        for at in range(0, len(paths), step):
            with _uninterrupted():  # the first one starts the processes
                waiting.append(pool.submit(_work, paths[at : at + step]))
            if len(waiting) == _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise CheckError("a worker process died, perhaps out of memory; try --workers 1") from None
    except BaseException:  # nobody waits for what is in work
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def thumbnail(image: Image.Image) -> bytes:
    """The picture as WebP with its longest side at most THUMBNAIL_SIDE pixels."""
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return out.getvalue()


def stamp_of(path: Path) -> str:
    """Size and modification time."""
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size}-{status.st_mtime_ns}"


def _scan_one(path: Path, fingerprinter: Fingerprinter, reading: Reading) -> Scanned:
    stamp = stamp_of(path)
    try:
        picture, said = _read(path, reading.anchors)
    except DecodeError as error:
        return Scanned(path, stamp, error=str(error))
    told = labels(said)
    if reading.marks and (found := marks(picture.image, reading.mark_key, parts=False)):
        told["marks"] = found
    return Scanned(
        path,
        stamp,
        fingerprint=fingerprinter.describe([picture.image])[0],
        frames=picture.frames,
        recipe=said.recipe,
        parents=tuple(parent["uri"] for parent in said.parents[:MAX_LABELS]),
        labels=told,
        thumbnail=thumbnail(picture.image) if reading.thumbnails else None,
    )


def _read(path: Path, anchors: str) -> tuple[Picture, Said]:
    """Alone, so that the file's bytes are free before the fingerprint needs memory."""
    data = read_file(path)
    picture = read_picture(data)
    return picture, heard(data, picture, anchors)


# One process's state: its fingerprinter, made when the process starts, and what else it needs.
_process: dict[str, tuple[Fingerprinter, Reading]] = {}


def _start(factory: FingerprinterFactory, reading: Reading) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, which a fingerprinter may load
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _hold_memory()
    _process["state"] = factory(), reading


def _end_with_parent() -> None:
    """A pool's processes do not see that who began them was killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are begun in here leave Ctrl-C to the one that began them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(paths: Sequence[Path]) -> list[Scanned]:
    return [_scan_one(path, *_process["state"]) for path in paths]


def _hold_memory() -> None:
    """Makes glibc keep what is freed after one picture for the next, in place of the system's.

    It begins to, up to twice a block's size, when it has seen that block freed (mallopt(3),
    M_MMAP_THRESHOLD); to get the memory of every picture anew takes half as long as decoding it.
    """
    np.empty(_HELD, np.uint8)
