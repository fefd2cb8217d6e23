"""The library's honesty: the catalog is the truth, caches are rebuilt, nothing is crowded out."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index.catalog import NewReference
from index.library import Library
from provenance.errors import CheckError, MissingError, UsageError, VersionMismatch
from provenance.fingerprint import DescriptorSpec, Fingerprint, Fingerprinter, Value
from provenance.hashes import hash_descriptors
from provenance.local.features import SPEC as LOCAL
from provenance.local.features import LocalDescriptor, kept
from provenance.recipe import Recipe
from tests.conftest import hashes_only

Photo = Callable[[str], Image.Image]


def fingerprint(image: Image.Image) -> Fingerprint:
    return hashes_only().describe([image])[0]


def new(uri: str, print_: Fingerprint, recipe: Recipe | None = None) -> NewReference:
    return NewReference(uri, "test", uri, "CC0-1.0", "1", recipe, print_, None)


def names(library: Library, image: Image.Image, limit: int = 3) -> set[str]:
    found = library.search(fingerprint(image), limit)
    return {candidate.reference.title for candidate in found if candidate.exact}


def test_a_known_picture_is_found_exactly(library: Library, photo: Photo) -> None:
    assert names(library, photo("coffee.png")) == {"coffee.png"}
    assert names(library, photo("grass.png")) == set()


def test_every_candidate_has_every_similarity(library: Library, photo: Photo) -> None:
    candidates = library.search(fingerprint(photo("coffee.png").resize((300, 200))), 1)
    wanted = {spec.name for spec in library.specs}
    assert candidates
    assert all(candidate.similarity.keys() == wanted for candidate in candidates)


def test_many_duplicates_do_not_crowd_out_others(library: Library, photo: Photo) -> None:
    same = fingerprint(photo("coffee.png"))
    library.add([new(f"copy/{n}", same) for n in range(200)])
    found = {c.reference.title for c in library.search(same, 3)}
    assert {"chelsea.png", "rocket.jpg"} & found
    assert len(library) == 205
    assert library.describe()["pictures"] == 5


def test_removal_takes_effect_at_once_and_for_good(library: Library, photo: Photo) -> None:
    image = photo("coffee.png")
    assert names(library, image) == {"coffee.png"}
    uri = next(c.reference.uri for c in library.search(fingerprint(image), 1) if c.exact)
    before = library.version
    assert library.remove(uri=uri) == 1
    assert library.version != before
    assert names(library, image) == set()
    library.close()
    with Library.open(library.folder) as again:
        assert names(again, image) == set()
        assert len(again) == 4


def test_removing_one_of_two_references_keeps_the_picture(library: Library, photo: Photo) -> None:
    same = fingerprint(photo("coffee.png"))
    library.add([new("second", same)])
    assert library.remove(source="test") == 1
    assert names(library, photo("coffee.png")) == {"coffee.png"}


def test_a_reader_sees_what_a_writer_commits(library: Library, photo: Photo) -> None:
    with Library.open(library.folder) as reader:
        assert names(reader, photo("grass.png")) == set()
        library.add([new("grass", fingerprint(photo("grass.png")))])
        assert names(reader, photo("grass.png")) == {"grass"}


def test_a_reader_outlives_the_writers_builds(library: Library, photo: Photo) -> None:
    """Builds delete the files that a reader has loaded; that is no reason to stop."""
    library.close()
    with Library.open(library.folder) as reader, Library.open(library.folder) as writer:
        assert names(reader, photo("coffee.png")) == {"coffee.png"}
        for name in ("grass.png", "ihc.png", "retina.jpg"):
            writer.add([new(name, fingerprint(photo(name)))])
            writer.build()
        assert not (library.folder / "stores" / "pdq-256-1.faiss").exists()
        assert names(reader, photo("retina.jpg")) == {"retina.jpg"}


def test_references_added_after_the_build_are_searched(library: Library, photo: Photo) -> None:
    library.build()
    library.add([new("grass", fingerprint(photo("grass.png")))])
    library.close()
    with Library.open(library.folder) as again:
        assert names(again, photo("grass.png")) == {"grass"}
        assert names(again, photo("coffee.png")) == {"coffee.png"}


@pytest.mark.parametrize("harm", ["truncate", "flip", "delete", "swap"])
def test_a_damaged_cache_is_not_used(library: Library, photo: Photo, harm: str) -> None:
    library.close()
    files = sorted((library.folder / "stores").glob("*.faiss"))
    assert len(files) == 4
    for file in files:
        body = bytearray(file.read_bytes())
        if harm == "truncate":
            file.write_bytes(body[: len(body) // 2])
        elif harm == "flip":
            body[len(body) // 2] ^= 0xFF
            file.write_bytes(body)
        elif harm == "delete":
            file.unlink()
        else:
            shutil.copy(files[0], file) if file != files[0] else file.write_bytes(b"")
    with Library.open(library.folder) as again:
        assert again.verify()
        assert names(again, photo("coffee.png")) == {"coffee.png"}
        again.build()
        assert again.verify() == []


def test_a_file_that_is_not_listed_is_deleted_and_never_read(library: Library) -> None:
    stray = library.folder / "stores" / "pdq-256-99.faiss"
    stray.write_bytes(b"not an index")
    library.build()
    assert not stray.exists()


@pytest.mark.parametrize("victim", ["catalog.sqlite", "stores"])
def test_a_file_removed_in_use_stops_the_search(
    library: Library, photo: Photo, victim: str
) -> None:
    library.close()
    with Library.open(library.folder) as opened:
        asked = fingerprint(photo("coffee.png"))
        assert opened.search(asked, 1)
        path = library.folder / victim
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(CheckError, match="removed"):
            opened.search(asked, 1)


def test_a_replaced_catalog_stops_the_search(library: Library, photo: Photo) -> None:
    copy = library.folder / "copy"
    shutil.copy(library.folder / "catalog.sqlite", copy)
    copy.replace(library.folder / "catalog.sqlite")
    with pytest.raises(CheckError, match="replaced"):
        library.search(fingerprint(photo("coffee.png")), 1)


def test_a_damaged_catalog_is_a_check_error(library: Library) -> None:
    library.close()
    path = library.folder / "catalog.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(CheckError, match="cannot be used"):
        Library.open(library.folder)
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(CheckError, match="cannot be used"):
        Library.open(library.folder)


def test_no_library_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="firsthand index add"):
        Library.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_other_descriptors_are_refused(library: Library) -> None:
    specs = [replace(spec, version="2") for spec in library.specs]
    with pytest.raises(VersionMismatch, match="version 2"):
        Library.create(library.folder, specs)


def test_comparing_across_versions_raises(library: Library, photo: Photo) -> None:
    asked = fingerprint(photo("coffee.png"))
    other = DescriptorSpec("pdq-256", "2", "hamming", 256)
    values = {"pdq-256": Value(other, asked.values["pdq-256"].vector)}
    with pytest.raises(VersionMismatch):
        library.search(replace(asked, values=values), 1)


def test_a_newer_schema_is_refused(library: Library) -> None:
    library.close()
    with sqlite3.connect(library.folder / "catalog.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(CheckError, match="newer Firsthand"):
        Library.open(library.folder)


def test_a_folder_that_faiss_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name in UTF-8"):
        Library.create(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), hashes_only().specs)


def test_one_writer_at_a_time(library: Library) -> None:
    with (
        library.writing(),
        Library.open(library.folder) as other,
        pytest.raises(UsageError, match="another process"),
    ):
        other.remove(uri="x")


def test_a_batch_is_added_whole_or_not_at_all(library: Library, photo: Photo) -> None:
    good = new("good", fingerprint(photo("grass.png")))
    print_ = fingerprint(photo("ihc.png"))
    unknown = DescriptorSpec("unknown", "1", "hamming", 64)
    values = {**print_.values, "unknown": Value(unknown, np.zeros(8, np.uint8))}
    with pytest.raises(VersionMismatch):
        library.add([good, new("bad", replace(print_, values=values))])
    assert library.reference("good") is None
    assert len(library) == 5


FOX = Recipe("a fox", "", "m", "0123456789", 1, 20, 4.0, "DPM++ 2M", None, 64, 64)


def test_recipes_are_found_that_may_be_the_same(library: Library, photo: Photo) -> None:
    grass = fingerprint(photo("grass.png"))
    wolf = FOX.with_changes(prompt="a wolf")
    seedless = FOX.with_changes(seed=None)
    others = [FOX.with_changes(seed=n) for n in range(2, 100)]
    listed = [*others, seedless, FOX.with_changes(steps=9), FOX, wolf]
    library.add([new(f"{n}", grass, recipe) for n, recipe in enumerate(listed)])
    asked = FOX.with_changes(model="other name", prompt=" a  fox <lora:x:1>,")
    found = library.find_recipe(asked)
    assert [each.recipe for each in found[:3]] == [FOX.with_changes(steps=9), FOX, seedless]
    assert library.find_recipe(FOX)[0].recipe == FOX
    assert wolf not in [each.recipe for each in found]
    assert len(found) < len(listed) - 1
    assert library.find_recipe(Recipe("a bear")) == []
    assert library.find_recipe(FOX.with_changes(prompt="", seed=2**64 - 1)) == []


def test_recipes_of_an_older_library_are_found(library: Library, photo: Photo) -> None:
    library.add([new("fox", fingerprint(photo("grass.png")), FOX)])
    library.close()
    with sqlite3.connect(library.folder / "catalog.sqlite") as old:
        old.execute("DROP INDEX vector_picture")
        old.execute("DROP INDEX reference_prompt")
        old.execute("ALTER TABLE reference DROP COLUMN prompt_key")
        old.execute("ALTER TABLE reference DROP COLUMN seed_key")
        old.execute("PRAGMA user_version = 3")
    old.close()
    with Library.open(library.folder) as again:
        assert [r.uri for r in again.find_recipe(Recipe("a fox"))] == ["fox"]


def test_recipe_lookups_are_answered_from_indexes(library: Library) -> None:
    """However many references share a prompt: no lookup reads or sorts them all."""
    asked: list[str] = []
    database = library._catalog._db
    database.set_trace_callback(asked.append)
    library.find_recipe(FOX)
    database.set_trace_callback(None)
    assert len(asked) == 4
    for sql in asked:
        plan = [row["detail"] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")]
        assert plan[0].startswith("SEARCH reference USING INDEX reference_")
        assert "recipe_key" in sql or len(plan) == 1  # sorts only those of an equal key


def test_an_older_generation_serves_when_the_newest_is_damaged(
    library: Library, photo: Photo
) -> None:
    library.add([new("grass", fingerprint(photo("grass.png")))])
    library.build()
    library.close()
    for file in (library.folder / "stores").glob("*-2.faiss"):
        file.write_bytes(b"")
    with Library.open(library.folder) as again:
        assert names(again, photo("grass.png")) == {"grass"}


def test_features_come_at_once_for_those_that_have_any(tmp_path: Path, photo: Photo) -> None:
    both = Fingerprinter([*hash_descriptors(), LocalDescriptor()])
    with Library.create(tmp_path / "library", both.specs) as library:
        shown = {name: both.describe([photo(name)])[0] for name in ("coffee.png", "chelsea.png")}
        library.add([new(uri, print_) for uri, print_ in shown.items()])
        library.add([new("coffee again", shown["coffee.png"])])
        asked = [library.reference(uri) for uri in ("chelsea.png", "coffee again")]
        held = [reference for reference in asked if reference is not None]
        found = library.features_each([*held, replace(held[0], id=99)])
        assert list(found) == sorted(reference.id for reference in held)
        for reference, name in zip(held, ("chelsea.png", "coffee.png"), strict=True):
            value, size = found[reference.id]
            assert value.tobytes() == kept(shown[name].values[LOCAL.name].vector).tobytes()
            assert size == photo(name).size
        assert library.features_each([]) == {}


def test_what_a_check_asks_reads_no_table_of_values_from_end_to_end(
    library: Library, photo: Photo
) -> None:
    asked: list[str] = []
    library._catalog._db.set_trace_callback(asked.append)
    candidates = library.search(fingerprint(photo("coffee.png")), 3)
    library.features_each([candidate.reference for candidate in candidates])
    library._catalog._db.set_trace_callback(None)
    plans = [
        str(row["detail"])
        for sql in asked
        for row in library._catalog._all(f"EXPLAIN QUERY PLAN {sql}")
    ]
    assert any("SEARCH v USING PRIMARY KEY" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith(("SCAN v", "SCAN p", "SCAN r"))]


def test_nothing_is_called_new_after_a_failed_load(
    library: Library, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read in part must not be searched as if it were all."""
    library.close()
    with Library.open(library.folder) as again:

        def failing(path: Path) -> str:
            raise OSError(5, "Input/output error", str(path))

        with monkeypatch.context() as patch:
            patch.setattr("index.stores.file_sha256", failing)
            for _ in range(2):
                with pytest.raises(OSError, match="Input/output"):
                    names(again, photo("coffee.png"))
        assert names(again, photo("coffee.png")) == {"coffee.png"}


def test_a_damaged_value_stops_every_search(library: Library, photo: Photo) -> None:
    library.close()
    for file in (library.folder / "stores").glob("*.faiss"):
        file.unlink()
    with sqlite3.connect(library.folder / "catalog.sqlite") as db:
        db.execute("UPDATE vector SET value = x'00' WHERE picture_id = 2")
    db.close()
    with Library.open(library.folder) as again:
        for _ in range(3):
            with pytest.raises(CheckError, match="damaged value"):
                names(again, photo("coffee.png"))
        assert any("damaged value" in problem for problem in again.verify())


def test_a_store_that_was_built_before_a_removal_serves(
    library: Library, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.build()
    found = library.search(fingerprint(photo("coffee.png")), 1)
    library.remove(uri=next(each.reference.uri for each in found if each.exact))
    library.close()
    with Library.open(library.folder) as again:
        built: list[int] = []
        whole = again._catalog.vectors

        def counted(spec: DescriptorSpec, after: int, upto: int) -> Iterator[Any]:
            built.append(after)
            return whole(spec, after, upto)

        monkeypatch.setattr(again._catalog, "vectors", counted)
        assert names(again, photo("coffee.png")) == set()
        assert names(again, photo("chelsea.png")) == {"chelsea.png"}
        assert 0 not in built
        assert {len(store) for store in again._stores._stores.values()} == {4}


def test_a_reference_that_is_added_again_keeps_its_picture(library: Library, photo: Photo) -> None:
    same = fingerprint(photo("coffee.png"))
    library.add([new("twice", same)])
    (before,) = [c for c in library.search(same, 3) if c.reference.uri == "twice"]
    removals = library._catalog.removals
    library.add([replace(new("twice", same), title="another title")])
    found = library.reference("twice")
    assert found
    assert (found.id, found.title) == (before.reference.id, "another title")
    assert library._catalog.removals == removals


def test_a_library_on_a_read_only_place_is_searched_and_left_as_it_is(
    library: Library, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.close()
    there = set(library.folder.rglob("*"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with Library.open(library.folder) as fixed:
        assert names(fixed, photo("coffee.png")) == {"coffee.png"}
        assert set(library.folder.rglob("*")) == there
        with pytest.raises(CheckError, match="readonly"):
            fixed.add([])
        catalog = library.folder / "catalog.sqlite"
        catalog.write_bytes(catalog.read_bytes() + bytes(4096))
        with pytest.raises(CheckError, match="replaced while it was in use"):
            names(fixed, photo("coffee.png"))


def test_a_read_only_library_with_changes_beside_it_is_refused(
    library: Library, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.keep(fingerprint(photo("coffee.png")))  # and not closed: the change is in the WAL
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CheckError, match="sqlite-wal"):
        Library.open(library.folder)


def test_what_is_no_recipe_any_more_hides_no_reference(library: Library, photo: Photo) -> None:
    asked = photo("coffee.png")
    with sqlite3.connect(library.folder / "catalog.sqlite") as db:
        db.execute('UPDATE reference SET recipe = \'{"prompt": "a", "guidance": Infinity}\'')
    db.close()
    assert names(library, asked) == {"coffee.png"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("vector WHERE picture_id = 1", "is damaged: it has 4 values of"),
        ("reference WHERE picture_id = 1", "pictures without a reference"),
    ],
)
def test_a_row_that_is_missing_is_no_clear(
    library: Library, photo: Photo, rows: str, message: str
) -> None:
    """What the catalog has lost would not be found, and the search would not know."""
    shown = next(library.sample(5, 0))[0]
    (first,) = (r for r, _ in library.sample(5, 0) if r.id == 1)
    asked = fingerprint(photo(first.title).resize((300, 200)))
    assert shown
    library.close()
    with sqlite3.connect(library.folder / "catalog.sqlite") as db:
        db.execute(f"DELETE FROM {rows}")
    with Library.open(library.folder) as again:
        with pytest.raises(CheckError, match=message):
            again.search(asked, 5)
        assert again.verify()


def test_a_value_that_goes_while_the_library_is_in_use_is_missed(
    library: Library, photo: Photo
) -> None:
    asked = fingerprint(photo("coffee.png").resize((300, 200)))
    assert library.search(asked, 5)
    with sqlite3.connect(library.folder / "catalog.sqlite") as db:
        db.execute("DELETE FROM vector WHERE descriptor_id = 1")
    with pytest.raises(CheckError, match="5 pictures without a value of"):
        library.search(asked, 5)


def test_an_emptied_catalog_is_no_new_library(library: Library) -> None:
    library.build()
    library.close()
    (library.folder / "catalog.sqlite").write_bytes(b"")
    for open_it in (Library.open, lambda folder: Library.create(folder, hashes_only().specs)):
        with pytest.raises(CheckError, match="is empty: damaged"):
            open_it(library.folder)
    assert list((library.folder / "stores").glob("*.faiss"))


def test_descriptors_do_not_change_under_one_who_adds(tmp_path: Path, photo: Photo) -> None:
    specs = hashes_only().specs
    with Library.create(tmp_path / "l", specs) as first, first.writing():
        with pytest.raises(UsageError, match="another process is changing"):
            Library.create(tmp_path / "l", specs[:1])
        first.add([new("coffee", fingerprint(photo("coffee.png")))])
        assert first.specs == specs
    few = fingerprint(photo("grass.png"))
    few = replace(few, values=dict(list(few.values.items())[:1]))
    with Library.open(tmp_path / "l") as again, pytest.raises(VersionMismatch):
        again.add([new("grass", few)])


def test_what_else_is_in_the_folder_of_the_stores_stays(library: Library, photo: Photo) -> None:
    (library.folder / "stores" / "lost+found").mkdir(parents=True)
    library.build()
    assert (library.folder / "stores" / "lost+found").is_dir()
    shutil.rmtree(library.folder / "stores")
    library.add([new("grass", fingerprint(photo("grass.png")))])
    library.build()
    assert list((library.folder / "stores").glob("*.faiss"))
