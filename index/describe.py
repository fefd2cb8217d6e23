"""Further descriptors for a library: its pictures are described again, from their sources.

Values are committed in batches, and searches know nothing of them until every picture has one.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from index.descriptors import Lacking
from index.ingest import BATCH, batched
from index.library import Library
from provenance.errors import MissingError
from provenance.fingerprint import DescriptorSpec
from provenance.scan import THUMBNAIL_SIDE, FingerprinterFactory, scan

_FILES_AT_ONCE = 4096  # thumbnails in the temporary folder
_NAMED = 3  # pictures that an error names


@dataclass
class Progress:
    """Of the pictures that lacked a value: how many there were, how many have one by now."""

    total: int = 0
    from_sources: int = 0
    from_thumbnails: int = 0

    @property
    def done(self) -> int:
        return self.from_sources + self.from_thumbnails


def describe(
    library: Library,
    specs: Sequence[DescriptorSpec],
    factory: FingerprinterFactory,
    *,
    files: Mapping[str, Path] | None = None,
    from_thumbnails: bool = False,
    workers: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Adds descriptors, which `factory`'s fingerprinters make, to the library.

    A source is a file:// URI's file, or what `files` has for the URI, as long as it shows the
    same pixels. `from_thumbnails` takes the kept thumbnail where no source does; without it the
    descriptors stay unfinished, and MissingError says what to do. Stop it at any moment and run
    it again: what was committed stays.
    """
    work = _Work(library, factory, workers, Progress(), on_progress)
    with library.writing():
        left = library.begin(specs)
        work.progress.total = len(left)
        on_progress(work.progress)
        left = work.from_sources(left, files or {})
        if from_thumbnails:
            left = work.from_thumbnails(left)
        if left:
            raise MissingError(_what_is_left(left, work.progress, specs, from_thumbnails))
        library.finish()
    library.build()
    return work.progress


@dataclass
class _Work:
    library: Library
    factory: FingerprinterFactory
    workers: int
    progress: Progress
    on_progress: Callable[[Progress], None]

    def from_sources(self, lacking: Sequence[Lacking], files: Mapping[str, Path]) -> list[Lacking]:
        """Returns the pictures that no source shows any more."""
        gone: list[Lacking] = []
        todo = [(picture, _sources(picture, files)) for picture in lacking]
        while todo:
            gone += [picture for picture, paths in todo if not paths]
            todo = [(picture, paths) for picture, paths in todo if paths]
            failed = {p.id for p in self._values([(p, paths[0]) for p, paths in todo])}
            todo = [(picture, paths[1:]) for picture, paths in todo if picture.id in failed]
        return gone

    def from_thumbnails(self, lacking: Sequence[Lacking]) -> list[Lacking]:
        """Returns the pictures of which no thumbnail is kept."""
        left: list[Lacking] = []
        for batch in batched(lacking, _FILES_AT_ONCE):
            kept = self.library.thumbnails([picture.id for picture in batch])
            left += [picture for picture in batch if picture.id not in kept]
            with tempfile.TemporaryDirectory() as folder:
                todo = [(p, Path(folder, f"{p.id}.webp")) for p in batch if p.id in kept]
                for picture, path in todo:
                    path.write_bytes(kept[picture.id])
                left += self._values(todo, smaller=True)
        return left

    def _values(
        self, todo: Sequence[tuple[Lacking, Path]], *, smaller: bool = False
    ) -> list[Lacking]:
        """Describes each picture from its file; returns those whose file shows another one."""
        failed: list[Lacking] = []
        found = scan([path for _, path in todo], self.factory, workers=self.workers)
        for batch in batched(zip(todo, found, strict=True), BATCH):
            good = []
            for (picture, _), got in batch:
                if got.fingerprint and (smaller or got.fingerprint.content == picture.content):
                    good.append((picture.id, got.fingerprint))
                else:
                    failed.append(picture)
            self.library.add_values(good)
            if smaller:
                self.progress.from_thumbnails += len(good)
            else:
                self.progress.from_sources += len(good)
            self.on_progress(self.progress)
        return failed


def _sources(picture: Lacking, files: Mapping[str, Path]) -> list[Path]:
    """The files that may show the picture."""
    paths = []
    for uri in picture.uris:
        parts = urlsplit(uri)
        path = files.get(uri) or (Path(unquote(parts.path)) if parts.scheme == "file" else None)
        if path and path.is_file():
            paths.append(path)
    return paths


def _what_is_left(
    left: Sequence[Lacking], done: Progress, specs: Sequence[DescriptorSpec], thumbnails: bool
) -> str:
    names = ", ".join(picture.uris[0] for picture in left[:_NAMED])
    more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
    todo = (
        "remove them (firsthand index remove) or bring the sources back"
        if thumbnails
        else "bring the sources back, or name their folders (firsthand index describe FOLDER), or "
        f"agree to thumbnails of {THUMBNAIL_SIDE} pixels in their place (--from-thumbnails)"
    )
    return (
        f"the sources of {len(left):,} of {done.total:,} pictures are gone or have changed"
        f"{', and no thumbnail is kept' if thumbnails else ''}: {names}{more}; {todo}. "
        f"Searches go on without {', '.join(spec.name for spec in specs)}; "
        "what was described stays for the next run"
    )
