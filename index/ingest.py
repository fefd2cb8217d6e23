"""Source → library: decode, fingerprint, store, in batches that are each committed whole."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from index.catalog import NewReference, Told
from index.library import Library
from index.sources import Item, Source
from provenance.scan import FingerprinterFactory, Reading, Scanned, scan

T = TypeVar("T")

BATCH = 64  # references a commit


@dataclass
class Tally:
    """What became of a source's items."""

    added: int = 0
    already_there: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # (uri, why)

    @property
    def done(self) -> int:
        return self.added + self.already_there + len(self.unreadable)


def ingest(
    source: Source,
    library: Library,
    factory: FingerprinterFactory,
    *,
    workers: int = 1,
    thumbnails: bool = True,
    on_progress: Callable[[Tally, int], None] = lambda tally, total: None,
) -> Tally:
    """Adds what the library lacks and replaces what has changed; calls back with (tally, total).

    Where only title or license have changed, the picture is not read again. Stop it at any moment
    and run it again: what was committed is "already there".
    """
    tally = Tally()
    items = list(source.items())
    with library.writing():
        todo = list(_missing(items, library))
        tally.already_there = len(items) - len(todo)
        on_progress(tally, len(items))
        files = [item.path for item in todo]
        results = scan(files, factory, workers=workers, reading=Reading(thumbnails))
        for batch in batched(zip(todo, results, strict=True), BATCH):
            library.add([n for item, got in batch if (n := _reference(source, item, got))])
            tally.unreadable += [(i.uri, got.error) for i, got in batch if got.error]
            tally.added += sum(got.error is None for _, got in batch)
            on_progress(tally, len(items))
    library.build()
    return tally


def _missing(items: list[Item], library: Library) -> Iterator[Item]:
    """Those to read; of the others the library takes over what is told of them now."""
    for batch in batched(items, 1000):
        stamps = {item.uri: item.stamp for item in batch}
        held = library.told(list(stamps))
        same = {uri for uri, told in held.items() if told.stamp == stamps[uri]}
        now = {item.uri: _now(item, held[item.uri]) for item in batch if item.uri in same}
        if changed := {uri: told for uri, told in now.items() if told != held[uri]}:
            library.tell(changed)
        yield from (item for item in batch if item.uri not in same)


def _now(item: Item, held: Told) -> Told:
    """What is told of the item, now or before; a file's name alone tells nothing."""
    title = held.title if item.title == item.path.name else item.title
    return Told(item.stamp, title, item.license or held.license)


def _reference(source: Source, item: Item, got: Scanned) -> NewReference | None:
    if got.fingerprint is None:
        return None
    return NewReference(
        uri=item.uri,
        source=source.name,
        title=item.title,
        license=item.license,
        stamp=item.stamp,
        recipe=got.recipe,
        fingerprint=got.fingerprint,
        thumbnail=got.thumbnail,
    )


def batched(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """The things in their order, `size` at a time."""
    left = iter(things)
    while batch := list(islice(left, size)):
        yield batch
