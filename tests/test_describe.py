"""Descriptors that a library did not begin with: from sources, from thumbnails, through kills."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.database import MIGRATIONS
from index.describe import Progress, describe
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.chance import Calibration, Tail
from provenance.errors import CheckError, MissingError, UsageError, VersionMismatch
from provenance.fingerprint import DescriptorSpec, Fingerprint, Fingerprinter, Vector
from provenance.hashes import hash_descriptors
from provenance.local.features import LocalDescriptor
from tests.conftest import KNOWN, hashes_only

Photo = Callable[[str], Image.Image]


class Mean:
    """A learned descriptor's stand-in: the colours of 4 x 4 fields."""

    def __init__(self, version: str = "1") -> None:
        self.spec = DescriptorSpec("mean-48", version, "cosine", 48)

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        rows = []
        for image in images:
            row = np.asarray(image.resize((4, 4)), np.float32).ravel() - 100
            rows.append(row / np.linalg.norm(row))
        return rows


MEAN = Mean().spec


def mean_only() -> Fingerprinter:
    return Fingerprinter([Mean()])


def both() -> Fingerprinter:
    return Fingerprinter([*hash_descriptors(), Mean()])


def asked(image: Image.Image) -> Fingerprint:
    return both().describe([image])[0]


def similarities(library: Library, image: Image.Image) -> dict[str, set[str]]:
    found = library.search(asked(image), 5)
    return {c.reference.title: set(c.similarity) for c in found}


def test_a_descriptor_is_added_from_the_sources(library: Library, photo: Photo) -> None:
    version, before = library.version, library.specs
    seen: list[tuple[int, int]] = []
    done = describe(
        library, [MEAN], mean_only, on_progress=lambda p: seen.append((p.done, p.total))
    )
    assert done == Progress(total=5, from_sources=5)
    assert (seen[0], seen[-1]) == ((0, 5), (5, 5))
    assert library.specs == (*before, MEAN)
    assert library.version != version
    assert library.verify() == []
    for name in KNOWN:
        (found,) = [c for c in library.search(asked(photo(name)), 5) if c.exact]
        assert found.reference.title == name
        assert found.similarity["mean-48"] == pytest.approx(1, abs=1e-5)


def test_its_nearest_references_get_a_second_look(library: Library, photo: Photo) -> None:
    image = photo("coffee.png").resize((90, 60))
    only = replace(asked(image), values={"mean-48": asked(image).values["mean-48"]})
    assert library.search(only, 5) == []
    describe(library, [MEAN], mean_only)
    found = library.search(only, 5)
    assert len(found) == 5
    assert "coffee.png" in {c.reference.title for c in found if c.promising}
    assert sum(c.promising for c in found) == 2


def test_it_is_the_same_as_if_it_had_been_there_from_the_start(
    library: Library, known_folder: Path, tmp_path: Path, photo: Photo
) -> None:
    describe(library, [MEAN], mean_only)
    with Library.create(tmp_path / "other", both().specs) as other:
        ingest(FolderSource(known_folder, "photos"), other, both)
        for name in ("coffee.png", "grass.png"):
            pairs = [
                {c.reference.uri: dict(c.similarity) for c in each.search(asked(photo(name)), 5)}
                for each in (library, other)
            ]
            assert pairs[0] == pairs[1]


def test_an_open_reader_sees_it_when_it_is_complete(library: Library, photo: Photo) -> None:
    with Library.open(library.folder) as reader:
        assert "mean-48" not in set.union(*similarities(reader, photo("coffee.png")).values())
        describe(library, [MEAN], mean_only)
        assert all("mean-48" in s for s in similarities(reader, photo("coffee.png")).values())
        library.drop("mean-48")
        assert "mean-48" not in set.union(*similarities(reader, photo("coffee.png")).values())


def test_only_the_new_store_is_written(library: Library) -> None:
    stores = library.folder / "stores"
    before = {file.name: file.stat().st_mtime_ns for file in stores.iterdir()}
    describe(library, [MEAN], mean_only)
    after = {file.name: file.stat().st_mtime_ns for file in stores.iterdir()}
    assert after.keys() - before.keys() == {"mean-48-1.faiss"}
    assert before.items() <= after.items()


@pytest.mark.parametrize("harm", ["gone", "other pixels", "unreadable"])
def test_without_a_source_nothing_changes_for_searches(
    library: Library, known_folder: Path, photo: Photo, harm: str
) -> None:
    lost = known_folder / "coffee.png"
    if harm == "gone":
        lost.unlink()
    elif harm == "other pixels":
        photo("grass.png").save(lost)
    else:
        lost.write_bytes(b"broken")
    before, specs = similarities(library, photo("coffee.png")), library.specs
    with pytest.raises(MissingError, match=r"of 1 of 5 pictures .*coffee\.png.*--from-thumbnails"):
        describe(library, [MEAN], mean_only)
    assert library.specs == specs
    assert similarities(library, photo("coffee.png")) == before
    assert library.verify() == []
    assert library.describe()["being added"] == ["mean-48 version 1: 1 pictures left"]
    done = describe(library, [MEAN], mean_only, from_thumbnails=True)
    assert done == Progress(total=1, from_thumbnails=1)
    assert "being added" not in library.describe()
    assert library.specs == (*specs, MEAN)
    assert library.verify() == []
    (found,) = [c for c in library.search(asked(photo("coffee.png")), 5) if c.exact]
    assert 0.99 < found.similarity["mean-48"] < 1


def test_a_source_that_is_back_is_preferred_to_its_thumbnail(
    library: Library, known_folder: Path
) -> None:
    body = (known_folder / "coffee.png").read_bytes()
    (known_folder / "coffee.png").unlink()
    with pytest.raises(MissingError):
        describe(library, [MEAN], mean_only)
    (known_folder / "coffee.png").write_bytes(body)
    done = describe(library, [MEAN], mean_only, from_thumbnails=True)
    assert done == Progress(total=1, from_sources=1)


def test_any_of_a_pictures_sources_will_do(library: Library, known_folder: Path) -> None:
    copy = known_folder.parent / "copies" / "a cup #1.png"
    copy.parent.mkdir()
    copy.write_bytes((known_folder / "coffee.png").read_bytes())
    ingest(FolderSource(copy.parent), library, hashes_only)
    (known_folder / "coffee.png").write_bytes(b"broken")
    assert describe(library, [MEAN], mean_only) == Progress(total=5, from_sources=5)


def test_a_picture_without_source_and_thumbnail_is_told(tmp_path: Path, known_folder: Path) -> None:
    with Library.create(tmp_path / "bare", hashes_only().specs) as library:
        ingest(FolderSource(known_folder), library, hashes_only, thumbnails=False)
        for name in KNOWN[1:]:
            (known_folder / name).unlink()
        with pytest.raises(MissingError, match=r"4 of 5 .*no thumbnail is kept.* and 1 more"):
            describe(library, [MEAN], mean_only, from_thumbnails=True)
        assert MEAN not in library.specs


def test_a_folder_says_where_the_file_of_another_uri_is(tmp_path: Path, known_folder: Path) -> None:
    (known_folder / "manifest.json").write_text('[{"file": "coffee.png", "uri": "https://x.y/1"}]')
    with Library.create(tmp_path / "new", hashes_only().specs) as library:
        source = FolderSource(known_folder)
        ingest(source, library, hashes_only)
        with pytest.raises(MissingError, match=r"of 1 of 5 pictures.*https://x\.y/1"):
            describe(library, [MEAN], mean_only)
        files = {item.uri: item.path for item in source.items()}
        assert describe(library, [MEAN], mean_only, files=files).from_sources == 1


def test_local_features_are_kept_as_at_first(
    tmp_path: Path, known_folder: Path, library: Library
) -> None:
    local = LocalDescriptor()
    describe(library, [local.spec], lambda: Fingerprinter([local]))
    full = Fingerprinter([*hash_descriptors(), local])
    with Library.create(tmp_path / "other", full.specs) as other:
        ingest(FolderSource(known_folder), other, lambda: full)
        for name in KNOWN:
            uri = (known_folder / name).as_uri()
            mine, theirs = library.reference(uri), other.reference(uri)
            assert mine is not None
            assert theirs is not None
            a, b = library.features(mine), other.features(theirs)
            assert a is not None
            assert b is not None
            assert (a[0].tobytes(), a[1]) == (b[0].tobytes(), b[1])


def test_workers_do_the_same(tmp_path: Path, photo: Photo) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(60):
        photo("coffee.png").rotate(6 * n).resize((60, 40)).save(folder / f"{n:02}.png")
    found = []
    for workers in (1, 2):
        with Library.create(tmp_path / f"lib{workers}", hashes_only().specs) as library:
            ingest(FolderSource(folder), library, hashes_only)
            describe(library, [MEAN], mean_only, workers=workers)
            rows = library.search(asked(photo("coffee.png")), 60)
            found.append([(c.reference.uri, dict(c.similarity)) for c in rows])
    assert found[0] == found[1]
    assert len(found[0]) == 60


SCRIPT = """
import os, signal, sys
from pathlib import Path
from index import describe as module
from index.catalog import Catalog
from index.library import Library
from tests.test_describe import MEAN, mean_only

module.BATCH = 2
moment = sys.argv[2]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "second batch":
    add, calls = Library.add_values, []
    def counted(self, batch):
        calls.append(1)
        if len(calls) == 2:
            die()
        add(self, batch)
    Library.add_values = counted
elif moment == "in transaction":
    Catalog._count = die
elif moment == "before the end":
    Library.finish = die
else:
    Library.build = die
module.describe(Library.open(Path(sys.argv[1])), [MEAN], mean_only)
"""


@pytest.mark.parametrize(
    ("moment", "left"),
    [("second batch", 3), ("before the end", 0), ("in transaction", 0), ("before the files", None)],
)
def test_a_kill_leaves_a_library_that_goes_on(
    library: Library, photo: Photo, moment: str, left: int | None
) -> None:
    library.close()
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", SCRIPT, str(library.folder), moment]
    killed = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -signal.SIGKILL
    with Library.open(library.folder) as opened:
        assert (MEAN in opened.specs) == (left is None)
        assert opened.verify() == []
        known = set.union(*similarities(opened, photo("coffee.png")).values())
        assert ("mean-48" in known) == (left is None)
        if left is not None:
            assert describe(opened, [MEAN], mean_only).total == left
        assert MEAN in opened.specs
        assert opened.verify() == []


def test_what_is_added_meanwhile_is_described_too(
    library: Library, known_folder: Path, photo: Photo
) -> None:
    (known_folder / "coffee.png").rename(known_folder / "hidden")
    with pytest.raises(MissingError):
        describe(library, [MEAN], mean_only)
    (known_folder / "hidden").rename(known_folder / "coffee.png")
    photo("grass.png").save(known_folder / "grass.png")
    library.close()
    with Library.create(library.folder, hashes_only().specs) as again:
        assert ingest(FolderSource(known_folder), again, hashes_only).added == 1
        assert describe(again, [MEAN], mean_only) == Progress(total=2, from_sources=2)
        assert again.verify() == []


def test_half_of_another_version_is_not_gone_on_with(library: Library, known_folder: Path) -> None:
    (known_folder / "coffee.png").rename(known_folder / "hidden")
    with pytest.raises(MissingError):
        describe(library, [MEAN], mean_only)
    newer = Mean("2")
    with pytest.raises(MissingError, match="1 of 5"):
        describe(library, [newer.spec], lambda: Fingerprinter([newer]))
    (known_folder / "hidden").rename(known_folder / "coffee.png")
    describe(library, [newer.spec], lambda: Fingerprinter([newer]))
    assert newer.spec in library.specs
    assert MEAN not in library.specs


def test_a_library_is_not_finished_while_a_value_is_missing(library: Library) -> None:
    library.begin([MEAN])
    with pytest.raises(CheckError, match="5 pictures have no value"):
        library.finish()


def test_values_of_another_maker_are_not_added(library: Library, photo: Photo) -> None:
    (first, *_) = library.begin([MEAN])
    print_ = Fingerprinter([Mean("2")]).describe([photo("coffee.png")])[0]
    library.add_values([(first.id, print_)])
    assert len(library.begin([MEAN])) == 5


def test_another_version_is_added_only_in_the_place_of_the_old(library: Library) -> None:
    describe(library, [MEAN], mean_only)
    newer = Mean("2")
    with pytest.raises(VersionMismatch, match=r"index describe --drop mean-48"):
        describe(library, [newer.spec], lambda: Fingerprinter([newer]))
    assert MEAN in library.specs
    library.drop("mean-48")
    describe(library, [newer.spec], lambda: Fingerprinter([newer]))
    assert newer.spec in library.specs
    assert library.verify() == []
    with pytest.raises(UsageError, match="no descriptor nothing"):
        library.drop("nothing")


def test_a_calibration_of_another_version_is_not_used(library: Library) -> None:
    describe(library, [MEAN], mean_only)
    pdq = next(spec for spec in library.specs if spec.name == "pdq-256")
    tails = {spec.name: Tail(spec, 0.5, 0.2, 0.01, 0.01) for spec in (pdq, MEAN)}
    library.keep_calibration(Calibration("v", 5, 200, 0, tails))
    library.drop("mean-48")
    newer = Mean("2")
    describe(library, [newer.spec], lambda: Fingerprinter([newer]))
    assert library.calibration
    assert library.calibration.tails == {"pdq-256": tails["pdq-256"]}


def test_adding_references_asks_for_the_same_descriptors(library: Library) -> None:
    with pytest.raises(VersionMismatch, match=r"lacks mean-48.*index describe$"):
        Library.create(library.folder, both().specs)
    describe(library, [MEAN], mean_only)
    with pytest.raises(VersionMismatch, match=r"holds mean-48.*not name.*--drop mean-48"):
        Library.create(library.folder, hashes_only().specs)
    shuffled = tuple(reversed(both().specs))
    Library.create(library.folder, shuffled).close()


def test_an_empty_library_takes_the_descriptors_of_the_day(tmp_path: Path) -> None:
    with Library.create(tmp_path / "new", hashes_only().specs) as library:
        library.build()
    with Library.create(tmp_path / "new", both().specs) as library:
        assert set(library.specs) == set(both().specs)
        assert library.verify() == []


def test_a_library_of_schema_1_is_refused(library: Library) -> None:
    """Its content hashes were SHA-256."""
    path = library.folder / "catalog.sqlite"
    library.close()
    old = path.with_name("old.sqlite")
    with sqlite3.connect(old, isolation_level=None) as db:
        db.executescript(MIGRATIONS[0])
        db.execute("ATTACH ? AS new", (str(path),))
        for table in ("meta", "picture", "vector", "thumbnail", "reference", "generation"):
            columns = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
        db.execute(
            "INSERT INTO descriptor SELECT id, name, version, metric, dim FROM new.descriptor"
        )
        db.execute("PRAGMA main.user_version = 1")
    db.close()
    for file in library.folder.glob("catalog.sqlite*"):
        file.unlink()
    old.rename(path)
    with pytest.raises(VersionMismatch, match="into a new library"):
        Library.open(library.folder)
