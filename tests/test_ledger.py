"""The ledger: only added to, chained, shared by processes, and how a picture is found in it."""

import io
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from provenance.errors import CheckError, MissingError
from provenance.fingerprint import Value
from provenance.images import read_picture
from provenance.ledger import Ledger, _bits_apart, fingerprinter, payload_of
from provenance.phash import PHASH
from provenance.recipe import Recipe
from provenance.verdict import Decision, Verdict
from tests.conftest import PHOTOS

Photo = Callable[[str], Image.Image]
SIZE = (256, 192)
RECIPE = Recipe("a fox", "", "m", "0123456789", 1, 20, 4.0, "Euler", None, 64, 64)
VERDICT = Verdict(Decision.CLEAR, (), (), "default-5", "v1", 5)
UNKNOWN = Image.effect_noise(SIZE, 80).convert("RGB")


def png(image: Image.Image, **options: str) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


@pytest.fixture
def photo() -> Photo:
    return lambda name: Image.open(PHOTOS / name).convert("RGB").resize(SIZE)


@pytest.fixture
def ledger(tmp_path: Path, photo: Photo) -> Iterator[Ledger]:
    """Three pictures."""
    with Ledger(tmp_path / "home" / "ledger.sqlite") as made:
        for seed, name in enumerate(("coffee.png", "chelsea.png", "rocket.jpg")):
            recipe = RECIPE.with_changes(seed=seed)
            made.add(png(photo(name)), recipe, VERDICT, manifest=f"urn:c2pa:{seed}",
                     payload=payload_of(recipe))  # fmt: skip
        yield made


def rewritten(ledger: Ledger, sql: str) -> None:
    """What someone does who has the file and knows SQLite."""
    with sqlite3.connect(ledger._path) as database:
        database.execute("DROP TRIGGER IF EXISTS entry_stays")
        database.execute("DROP TRIGGER IF EXISTS entry_remains")
        database.execute(sql)
    database.close()


def test_what_is_recorded(ledger: Ledger) -> None:
    first, *_, last = ledger.entries()
    assert (first.number, last.number, len(ledger)) == (1, 3, 3)
    assert Recipe.from_json(first.recipe) == RECIPE.with_changes(seed=0)
    assert first.verdict["decision"] == "clear"
    assert first.manifest == "urn:c2pa:0"
    assert first.made.endswith("+00:00")
    assert ledger.newest(1) == [last]
    assert ledger.head == last.digest
    assert list(ledger.entries(after=2)) == [last]


def test_a_sound_ledger_has_no_problems(ledger: Ledger) -> None:
    assert ledger.verify() == []


@pytest.mark.parametrize("sql", ["UPDATE entry SET recipe = '{}'", "DELETE FROM entry"])
def test_entries_stay_as_they_are(ledger: Ledger, sql: str) -> None:
    with (
        sqlite3.connect(ledger._path) as database,
        pytest.raises(sqlite3.IntegrityError, match="only added to"),
    ):
        database.execute(sql)
    database.close()


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE entry SET recipe = '{}' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE entry SET verdict = replace(verdict, 'clear', 'block')", "entry 1 was changed"),
        ("UPDATE entry SET phash = zeroblob(32) WHERE number = 3", "entry 3 was changed"),
        ("UPDATE entry SET phash = lower(hex(phash)) WHERE number = 1", "entry 1 was changed"),
        ("UPDATE entry SET payload = lower(hex(payload)) WHERE number = 2", "entry 2 was changed"),
        ("UPDATE entry SET digest = upper(digest) WHERE number = 2", "entry 2 was changed"),
        ("DELETE FROM entry WHERE number = 1", "entry 1 is missing"),
        ("DELETE FROM entry WHERE number > 1", "2 entries at the end are missing, from 2 on"),
        ("UPDATE entry SET number = 9 - number", "entry 1 is missing"),
        ("UPDATE entry SET previous = digest WHERE number = 2", "entry 2 does not follow"),
    ],
)
def test_the_first_broken_entry_is_named(ledger: Ledger, sql: str, problem: str) -> None:
    rewritten(ledger, sql)
    (told,) = ledger.verify()
    assert told.startswith(problem)


def test_a_file_is_found_by_its_hash(ledger: Ledger, photo: Photo) -> None:
    assert found(ledger, png(photo("chelsea.png"))) == (2, "file", None)


def test_pixels_are_found_without_their_metadata(ledger: Ledger, photo: Photo) -> None:
    again = io.BytesIO()
    photo("chelsea.png").save(again, "WEBP", lossless=True)
    assert found(ledger, again.getvalue()) == (2, "pixels", None)


def test_a_mark_points_to_its_entry(ledger: Ledger, photo: Photo) -> None:
    payload = payload_of(RECIPE.with_changes(seed=2))
    assert found(ledger, png(photo("grass.png")), payload) == (3, "mark", None)
    assert found(ledger, png(photo("grass.png")), b"\0" * 6) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: image.resize((150, 100)),
        ImageOps.mirror,
        lambda image: image.rotate(90, expand=True),
        lambda image: image.point(lambda value: value * 0.8),
    ],
    ids=["smaller", "mirrored", "turned", "darker"],
)
def test_a_changed_copy_is_found_by_similarity(
    ledger: Ledger, photo: Photo, edit: Callable[[Image.Image], Image.Image]
) -> None:
    told = found(ledger, png(edit(photo("coffee.png"))))
    assert told
    assert told[:2] == (1, "similarity")
    assert told[2] is not None
    assert 0.87 < told[2] <= 1


def test_an_unrelated_picture_is_not_found(ledger: Ledger, photo: Photo) -> None:
    assert found(ledger, png(photo("grass.png"))) is None


def test_plain_pictures_are_all_alike_and_so_found_only_exactly(ledger: Ledger) -> None:
    ledger.add(png(Image.new("RGB", (64, 64), "teal")), RECIPE, VERDICT)
    assert found(ledger, png(Image.new("RGB", (64, 64), "black"))) is None
    assert found(ledger, png(Image.new("RGB", (64, 64), "teal"))) == (4, "file", None)


def found(
    ledger: Ledger, data: bytes, payload: bytes | None = None
) -> tuple[int, str, float | None] | None:
    (print_,) = fingerprinter().describe([read_picture(data).image])
    told = ledger.traced(print_, data, payload)
    return (told.entry.number, told.by, told.similarity) if told else None


def test_hashes_of_another_version_are_not_compared(ledger: Ledger, photo: Photo) -> None:
    rewritten(ledger, "UPDATE entry SET hashes = 'phash-256 version 1'")
    assert found(ledger, png(photo("coffee.png").resize((150, 100)))) is None


def test_entries_added_meanwhile_are_compared_too(ledger: Ledger, photo: Photo) -> None:
    smaller = png(photo("grass.png").resize((150, 120)))
    assert found(ledger, smaller) is None
    with Ledger(ledger._path) as other:
        other.add(png(photo("grass.png")), RECIPE, VERDICT)
    told = found(ledger, smaller)
    assert told
    assert told[:2] == (4, "similarity")


def _add_ten(file: Path) -> None:
    with Ledger(file) as ledger:
        for seed in range(10):
            ledger.add(png(Image.new("RGB", (16, 16))), RECIPE.with_changes(seed=seed), VERDICT)


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    file = tmp_path / "home" / "ledger.sqlite"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_add_ten, [file] * 3, chunksize=1)
    with Ledger(file) as ledger:
        assert len(ledger) == 30
        assert ledger.verify() == []


def test_a_kill_leaves_a_sound_ledger(tmp_path: Path) -> None:
    """Every entry that was reported is there, and none is broken."""
    file = tmp_path / "ledger.sqlite"
    code = (
        "import sys; from pathlib import Path; from tests.test_ledger import *\n"
        "with Ledger(Path(sys.argv[1])) as ledger:\n"
        "    while True:\n"
        "        entry = ledger.add(png(Image.new('RGB', (16, 16))), RECIPE, VERDICT)\n"
        "        print(entry.number, flush=True)\n"
    )
    for reported in (2, 5):
        running = subprocess.Popen([sys.executable, "-c", code, file], stdout=subprocess.PIPE)
        assert running.stdout
        numbers = [int(running.stdout.readline()) for _ in range(reported)]
        running.kill()
        running.communicate()
        with Ledger(file) as ledger:
            assert len(ledger) >= numbers[-1]
            assert ledger.verify() == []


def test_a_ledger_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no ledger at"):
        Ledger(tmp_path / "ledger.sqlite", create=False)
    (tmp_path / "ledger.sqlite").touch()
    with pytest.raises(CheckError, match="no ledger's tables"):
        Ledger(tmp_path / "ledger.sqlite", create=False)
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(CheckError, match="cannot be used"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_ledger_on_a_read_only_place_is_read_and_left_as_it_is(
    ledger: Ledger, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CheckError, match="sqlite-wal"):
        Ledger(ledger._path, create=False)
    ledger.__exit__()
    there = set(ledger._path.parent.iterdir())
    with Ledger(ledger._path, create=False) as fixed:
        assert (fixed.verify(), len(fixed)) == ([], 3)
        assert found(fixed, png(photo("chelsea.png"))) == (2, "file", None)
        with pytest.raises(CheckError, match="readonly"):
            fixed.add(png(photo("grass.png")), RECIPE, VERDICT)
        assert set(ledger._path.parent.iterdir()) == there


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("recipe = 'oops'", lambda ledger: ledger.newest(3)),
        ("recipe = x'00ff'", lambda ledger: ledger.newest(3)),
        ("verdict = '[]'", lambda ledger: list(ledger.entries())),
        ("phash = 'oops'", lambda ledger: found(ledger, png(UNKNOWN))),
        ("pdq = x'00'", lambda ledger: found(ledger, png(UNKNOWN))),
    ],
)
def test_a_damaged_entry_is_named(
    ledger: Ledger, change: str, read: Callable[[Ledger], object]
) -> None:
    rewritten(ledger, f"UPDATE entry SET {change} WHERE number = 2")
    with pytest.raises(CheckError, match="entry 2 is damaged; run: firsthand ledger verify"):
        read(ledger)
    assert "entry 2 was changed" in ledger.verify()[0]


def test_bits_are_counted_as_they_are() -> None:
    """The scan against the plain way, bit by bit."""
    rng = np.random.default_rng(1)
    asked, held = rng.integers(0, 256, (8, 32), np.uint8), rng.integers(0, 256, (50, 32), np.uint8)
    plain = np.unpackbits(asked[:, None] ^ held[None], axis=2).sum(axis=2).min(axis=0)
    assert _bits_apart(Value(PHASH, asked), held.view(np.uint64)).tolist() == plain.tolist()
