"""The catalog's SQLite file: its tables, their migrations, transactions."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from provenance.errors import CheckError, MissingError, VersionMismatch
from provenance.files import read_only_uri
from provenance.recipe import Recipe
from provenance.recipe_match import lookup_keys

MIGRATIONS = (
    """
    CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE descriptor(
        id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, version TEXT NOT NULL,
        metric TEXT NOT NULL, dim INTEGER NOT NULL);
    -- One row for each distinct picture, however many references show it. AUTOINCREMENT: an id is
    -- never used again, so that an index built before a removal cannot point at another picture.
    CREATE TABLE picture(
        id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT UNIQUE NOT NULL,
        width INTEGER NOT NULL, height INTEGER NOT NULL, detail REAL NOT NULL);
    CREATE TABLE vector(
        descriptor_id INTEGER NOT NULL REFERENCES descriptor(id),
        picture_id INTEGER NOT NULL REFERENCES picture(id) ON DELETE CASCADE,
        value BLOB NOT NULL, PRIMARY KEY(descriptor_id, picture_id)) WITHOUT ROWID;
    CREATE TABLE thumbnail(
        picture_id INTEGER PRIMARY KEY REFERENCES picture(id) ON DELETE CASCADE,
        webp BLOB NOT NULL);
    CREATE TABLE reference(
        id INTEGER PRIMARY KEY AUTOINCREMENT, uri TEXT UNIQUE NOT NULL,
        picture_id INTEGER NOT NULL REFERENCES picture(id),
        source TEXT NOT NULL, title TEXT NOT NULL, license TEXT NOT NULL,
        stamp TEXT NOT NULL, recipe TEXT, recipe_key TEXT);
    CREATE INDEX reference_picture ON reference(picture_id);
    CREATE INDEX reference_recipe ON reference(recipe_key) WHERE recipe_key IS NOT NULL;
    -- FAISS files that were built from this catalog; a file that is not listed is never opened.
    CREATE TABLE generation(
        id INTEGER PRIMARY KEY AUTOINCREMENT, descriptor TEXT NOT NULL, file TEXT UNIQUE NOT NULL,
        sha256 TEXT NOT NULL, upto_picture INTEGER NOT NULL, removals INTEGER NOT NULL);
    """,
    """
    -- 0 while a descriptor's values are being added: until then no search knows of it.
    ALTER TABLE descriptor ADD COLUMN complete INTEGER NOT NULL DEFAULT 1;
    """,
    """
    -- Content hashes are BLAKE3 from here on; what is held by SHA-256 would never be found again.
    """,
    """
    -- Under which a recipe is looked up that may be the same or near: recipe_match.lookup_keys.
    ALTER TABLE reference ADD COLUMN prompt_key INTEGER;
    ALTER TABLE reference ADD COLUMN seed_key INTEGER;
    UPDATE reference SET prompt_key = key_of_prompt(recipe), seed_key = key_of_seed(recipe)
        WHERE recipe IS NOT NULL;
    CREATE INDEX reference_prompt ON reference(prompt_key, seed_key)
        WHERE prompt_key IS NOT NULL;
    """,
    """
    -- Without it every removed picture would have all values looked through.
    CREATE INDEX vector_picture ON vector(picture_id);
    """,
)
_BLAKE3 = 3


class Database:
    """One connection to the SQLite file. Raises CheckError when the file is damaged."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise MissingError(f"no library at {path.parent}; make one with: firsthand index add")
        self._path = path
        with _as_check_error(path):
            uri = read_only_uri(path, "firsthand index info")
            self._fixed = uri is not None
            self._db = sqlite3.connect(
                uri or path, uri=self._fixed, check_same_thread=False, timeout=30
            )
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA foreign_keys = ON")
            if not self._fixed:
                self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if not self._one("PRAGMA user_version"):
                self._require_new(create)
            for part, name in enumerate(("key_of_prompt", "key_of_seed")):
                self._db.create_function(name, 1, partial(_lookup_key, part), deterministic=True)
            self._migrate()
        self._opened = self._signature()

    def close(self) -> None:
        self._db.close()

    def require_present(self) -> None:
        """Raises CheckError when the file is no longer the one that was opened."""
        try:
            same = self._signature() == self._opened
        except OSError:
            same = False
        if not same:
            raise CheckError(f"{self._path} was removed or replaced while it was in use")

    def _signature(self) -> tuple[int, ...]:
        """What tells the file from another; on a read-only place, from a changed one as well."""
        held = self._path.stat()
        return (held.st_ino, held.st_size, held.st_mtime_ns) if self._fixed else (held.st_ino,)

    @property
    def version(self) -> str:
        """Identity and change count: differs after every change that a verdict can rest on."""
        sql = "SELECT i.value || '-' || c.value FROM meta i, meta c WHERE i.key = 'identity' "
        return str(self._one(sql + "AND c.key = 'changes'"))

    @property
    def removals(self) -> int:
        return int(self._meta("removals"))

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        found = [str(row[0]) for row in self._all("PRAGMA integrity_check")]
        broken = len(self._all("PRAGMA foreign_key_check"))
        return [line for line in found if line != "ok"] + (
            [f"{broken} rows point at rows that are not there"] if broken else []
        )

    def _require_new(self, create: bool) -> None:
        """Raises CheckError where a file without tables is not one that is being made."""
        if not create or any((self._path.parent / "stores").glob("*.faiss")):
            raise CheckError(
                f"{self._path} is empty: damaged, or being made at this moment; put back a copy of "
                f"it, or remove {self._path.parent} and index anew"
            )

    def _migrate(self) -> None:
        done = self._one("PRAGMA user_version")
        if done > len(MIGRATIONS):
            raise CheckError(f"{self._path} was made by a newer Firsthand (schema {done})")
        for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
            with self._transaction():
                if self._one("PRAGMA user_version") >= number:  # another process was faster
                    continue
                if number == _BLAKE3 and self._one("SELECT count(*) FROM picture"):
                    raise VersionMismatch(
                        f"{self._path} was made by an earlier Firsthand, which hashed pixels in "
                        "another way: index the sources into a new library"
                    )
                for statement in filter(None, map(str.strip, _without_comments(script).split(";"))):
                    self._db.execute(statement)
                if number == 1:
                    meta = {"identity": uuid.uuid4().hex[:8], "changes": 0, "removals": 0}
                    self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                self._db.execute(f"PRAGMA user_version = {number}")

    def _count(self, key: str) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = ?", (key,))

    def _meta(self, key: str) -> Any:
        return self._one("SELECT value FROM meta WHERE key = ?", key)

    def _one(self, sql: str, *values: Any) -> Any:
        rows = self._all(sql, *values)
        if not rows:
            raise CheckError(f"the library's catalog {self._path} is damaged: a row is missing")
        return rows[0][0]

    def _all(self, sql: str, *values: Any) -> list[Any]:
        with _as_check_error(self._path):
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _as_check_error(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()


def _lookup_key(part: int, recipe: str) -> int | None:
    return _lookup_keys(recipe)[part]


@lru_cache(maxsize=1)
def _lookup_keys(recipe: str) -> tuple[int | None, int | None]:
    values = json.loads(recipe)
    return lookup_keys(Recipe(values["prompt"], seed=values.get("seed")))


def _without_comments(script: str) -> str:
    return "\n".join(line for line in script.split("\n") if not line.strip().startswith("--"))


@contextmanager
def _as_check_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CheckError(f"the library's catalog {path} cannot be used: {error}") from error
