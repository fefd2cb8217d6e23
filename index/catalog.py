"""The catalog: references, their fingerprints and thumbnails in one SQLite file, the only truth.

Knows nothing of FAISS: vectors leave here as rows, in the order in which they were added.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance.errors import CheckError, MissingError, VersionMismatch
from provenance.fingerprint import DescriptorSpec, Fingerprint, Value, Vector
from provenance.match import Reference
from provenance.recipe import Recipe

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
)


@dataclass(frozen=True)
class NewReference:
    """A reference about to be added; `stamp` tells when its source has changed."""

    uri: str
    source: str
    title: str
    license: str
    stamp: str
    recipe: Recipe | None
    fingerprint: Fingerprint
    thumbnail: bytes | None


@dataclass(frozen=True)
class Generation:
    """One FAISS file: what it was built from and what it must hash to."""

    descriptor: str
    file: str
    sha256: str
    upto_picture: int
    removals: int


class Catalog:
    """One connection to the SQLite file. Raises CheckError when the file is damaged."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise MissingError(f"no library at {path.parent}; make one with: firsthand index add")
        self._path = path
        with _as_check_error(path):
            self._db = sqlite3.connect(path, check_same_thread=False, timeout=30)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
        self._inode = path.stat().st_ino

    def close(self) -> None:
        self._db.close()

    def require_present(self) -> None:
        """Raises CheckError when the file is no longer the one that was opened."""
        try:
            same = self._path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise CheckError(f"{self._path} was removed or replaced while it was in use")

    @property
    def version(self) -> str:
        """Identity and change count: differs after every change of the references."""
        return f"{self._meta('identity')}-{self._meta('changes')}"

    @property
    def removals(self) -> int:
        return int(self._meta("removals"))

    def specs(self) -> tuple[DescriptorSpec, ...]:
        rows = self._all("SELECT name, version, metric, dim FROM descriptor ORDER BY id")
        return tuple(DescriptorSpec(*row) for row in rows)

    def counts(self) -> dict[str, int]:
        """References, distinct pictures, and bytes of thumbnails."""
        return {
            "references": self.reference_count(),
            "pictures": self._one("SELECT count(*) FROM picture"),
            "thumbnails": self._one("SELECT count(*) FROM thumbnail"),
            "recipes": self._one("SELECT count(*) FROM reference WHERE recipe_key IS NOT NULL"),
        }

    def sources(self) -> dict[str, int]:
        rows = self._all("SELECT source, count(*) FROM reference GROUP BY source ORDER BY source")
        return dict(rows)

    def reference_count(self) -> int:
        return int(self._one("SELECT count(*) FROM reference"))

    def declare(self, specs: Sequence[DescriptorSpec]) -> None:
        """Fixes the library's descriptors, or checks that they are these."""
        held = self.specs()
        if held and held != tuple(specs):
            raise VersionMismatch(
                f"the library holds {', '.join(map(str, held))}; this program makes "
                f"{', '.join(map(str, specs))}: index the sources into a new library"
            )
        if not held:
            with self._transaction():
                self._db.executemany(
                    "INSERT INTO descriptor(name, version, metric, dim) VALUES (?, ?, ?, ?)",
                    [(s.name, s.version, s.metric, s.dim) for s in specs],
                )

    def stamps(self, uris: Sequence[str]) -> dict[str, str]:
        """The stamps of those of the URIs that are references."""
        rows = self._all(
            "SELECT uri, stamp FROM reference WHERE uri IN (SELECT value FROM json_each(?))",
            json.dumps(uris),
        )
        return dict(rows)

    def add(self, batch: Sequence[NewReference]) -> None:
        """Adds or replaces references, all of the batch or none of it."""
        with self._transaction():
            numbers = dict(self._db.execute("SELECT name, id FROM descriptor").fetchall())
            for new in batch:
                self._delete_references("uri = ?", new.uri)
                self._insert(new, numbers)
            self._count("changes")

    def remove(self, where: str, value: str) -> int:
        """Removes the references whose `uri` or `source` is this; says how many."""
        with self._transaction():
            removed = self._delete_references(f"{where} = ?", value)
            if removed:
                self._count("changes")
        return removed

    def vectors(
        self, spec: DescriptorSpec, after: int, upto: int
    ) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Picture ids (N,) and vectors of one descriptor, for after < id <= upto, in batches.

        Rows (N, bytes or dim), or a list of packed features.
        """
        while after < upto:
            rows = self._all(
                "SELECT picture_id, value FROM vector JOIN descriptor d ON d.id = descriptor_id "
                "WHERE d.name = ? AND picture_id > ? AND picture_id <= ? "
                "ORDER BY picture_id LIMIT ?",
                spec.name,
                after,
                upto,
                _ROWS_AT_ONCE,
            )
            if rows:
                ids = np.array([row[0] for row in rows], np.int64)
                values = [np.frombuffer(row[1], _number(spec)) for row in rows]
                yield ids, values if spec.metric == "features" else np.stack(values)
            after = rows[-1][0] if len(rows) == _ROWS_AT_ONCE else upto

    def calibration(self) -> str | None:
        rows = self._all("SELECT value FROM meta WHERE key = 'calibration'")
        return str(rows[0][0]) if rows else None

    def keep_calibration(self, calibration: str) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('calibration', ?)", (calibration,)
            )

    def pictures(self) -> list[int]:
        return [row[0] for row in self._all("SELECT id FROM picture ORDER BY id")]

    def fingerprint(self, picture: int) -> Fingerprint | None:
        """A picture's fingerprint as it is kept, if the picture is still there."""
        rows = self._all(
            "SELECT content, p.width, p.height, p.detail, name, version, metric, dim, value "
            "FROM picture p JOIN vector ON picture_id = p.id "
            "JOIN descriptor d ON d.id = descriptor_id WHERE p.id = ?",
            picture,
        )
        if not rows:
            return None
        values = {row["name"]: _value(row) for row in rows}
        content, width, height, detail = rows[0][:4]
        return Fingerprint(content, width, height, detail, values)

    def last_picture(self) -> int:
        return int(self._one("SELECT coalesce(max(id), 0) FROM picture"))

    def values(self, pictures: Sequence[int]) -> dict[int, dict[str, Value]]:
        """Every descriptor's value, but for features, of those pictures that are still there."""
        found: dict[int, dict[str, Value]] = {}
        for row in self._all(
            "SELECT picture_id, name, version, metric, dim, value FROM vector "
            "JOIN descriptor d ON d.id = descriptor_id "
            "WHERE metric != 'features' AND picture_id IN (SELECT value FROM json_each(?))",
            json.dumps(pictures),
        ):
            found.setdefault(row["picture_id"], {})[row["name"]] = _value(row)
        return found

    def shown_by(self, pictures: Sequence[int], limit: int) -> dict[int, list[Reference]]:
        """The oldest `limit` references of each picture."""
        found: dict[int, list[Reference]] = {}
        for row in self._all(
            "SELECT * FROM reference WHERE picture_id IN (SELECT value FROM json_each(?)) "
            "ORDER BY id",
            json.dumps(pictures),
        ):
            references = found.setdefault(row["picture_id"], [])
            if len(references) < limit:
                references.append(_as_reference(row))
        return found

    def picture_of(self, content: str) -> int | None:
        rows = self._all("SELECT id FROM picture WHERE content = ?", content)
        return int(rows[0][0]) if rows else None

    def references(self, where: str, value: Any, limit: int) -> list[Reference]:
        """References by `recipe_key` or `uri`, oldest first."""
        rows = self._all(
            f"SELECT id, uri, source, title, license, recipe FROM reference "
            f"WHERE {where} = ? ORDER BY id LIMIT ?",
            value,
            limit,
        )
        return [_as_reference(row) for row in rows]

    def features(self, reference_id: int) -> tuple[Vector, tuple[int, int]] | None:
        """A reference's packed features and its width and height."""
        rows = self._all(
            "SELECT value, width, height FROM reference JOIN picture p ON p.id = picture_id "
            "JOIN vector USING (picture_id) JOIN descriptor d ON d.id = descriptor_id "
            "WHERE metric = 'features' AND reference.id = ?",
            reference_id,
        )
        return (np.frombuffer(rows[0][0], np.uint8), (rows[0][1], rows[0][2])) if rows else None

    def thumbnail(self, reference_id: int) -> bytes | None:
        rows = self._all(
            "SELECT webp FROM thumbnail JOIN reference USING (picture_id) WHERE reference.id = ?",
            reference_id,
        )
        return bytes(rows[0][0]) if rows else None

    def generations(self, descriptor: str) -> list[Generation]:
        """Newest first."""
        rows = self._all(
            "SELECT descriptor, file, sha256, upto_picture, removals FROM generation "
            "WHERE descriptor = ? ORDER BY id DESC",
            descriptor,
        )
        return [Generation(*row) for row in rows]

    def record_generation(self, new: Generation, keep: int = 2) -> list[str]:
        """Lists a finished file; returns the files that are no longer listed."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO generation(descriptor, file, sha256, upto_picture, removals) "
                "VALUES (?, ?, ?, ?, ?)",
                (new.descriptor, new.file, new.sha256, new.upto_picture, new.removals),
            )
            old = [g.file for g in self.generations(new.descriptor)[keep:]]
            self._db.executemany("DELETE FROM generation WHERE file = ?", [(f,) for f in old])
        return old

    def forget_generation(self, file: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM generation WHERE file = ?", (file,))

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        found = [str(row[0]) for row in self._all("PRAGMA integrity_check")]
        broken = len(self._all("PRAGMA foreign_key_check"))
        return [line for line in found if line != "ok"] + (
            [f"{broken} rows point at rows that are not there"] if broken else []
        )

    def _migrate(self) -> None:
        done = self._one("PRAGMA user_version")
        if done > len(MIGRATIONS):
            raise CheckError(f"{self._path} was made by a newer Firsthand (schema {done})")
        for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
            with self._transaction():
                for statement in filter(None, map(str.strip, _without_comments(script).split(";"))):
                    self._db.execute(statement)
                if number == 1:
                    meta = {"identity": uuid.uuid4().hex[:8], "changes": 0, "removals": 0}
                    self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                self._db.execute(f"PRAGMA user_version = {number}")

    def _insert(self, new: NewReference, numbers: Mapping[str, int]) -> None:
        print_ = new.fingerprint
        picture = self.picture_of(print_.content)
        if picture is None:
            size = (print_.content, print_.width, print_.height, print_.detail)
            picture = self._db.execute(
                "INSERT INTO picture(content, width, height, detail) VALUES (?, ?, ?, ?)", size
            ).lastrowid
            self._db.executemany(
                "INSERT INTO vector VALUES (?, ?, ?)",
                [(numbers[n], picture, v.vector.tobytes()) for n, v in print_.values.items()],
            )
        if new.thumbnail:
            row = (picture, new.thumbnail)
            self._db.execute("INSERT OR IGNORE INTO thumbnail VALUES (?, ?)", row)
        recipe = json.dumps(new.recipe.to_json(), ensure_ascii=False) if new.recipe else None
        key = new.recipe.key if new.recipe else None
        self._db.execute(
            "INSERT INTO reference(uri, picture_id, source, title, license, stamp, recipe, "
            "recipe_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (new.uri, picture, new.source, new.title, new.license, new.stamp, recipe, key),
        )

    def _delete_references(self, where: str, value: str) -> int:
        removed = self._db.execute(f"DELETE FROM reference WHERE {where}", (value,)).rowcount
        if removed:
            orphans = self._db.execute(
                "DELETE FROM picture WHERE id NOT IN (SELECT picture_id FROM reference)"
            ).rowcount
            if orphans:
                self._count("removals")
        return removed

    def _count(self, key: str) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = ?", (key,))

    def _meta(self, key: str) -> Any:
        return self._one("SELECT value FROM meta WHERE key = ?", key)

    def _one(self, sql: str, *values: Any) -> Any:
        return self._all(sql, *values)[0][0]

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


_ROWS_AT_ONCE = 4096  # bounds what is in memory while an index is built


def _number(spec: DescriptorSpec) -> type[np.generic]:
    return np.float32 if spec.metric == "cosine" else np.uint8


def _value(row: sqlite3.Row) -> Value:
    spec = DescriptorSpec(row["name"], row["version"], row["metric"], row["dim"])
    return Value(spec, np.frombuffer(row["value"], _number(spec)))


def _as_reference(row: sqlite3.Row) -> Reference:
    recipe = Recipe.from_json(json.loads(row["recipe"])) if row["recipe"] else None
    return Reference(row["id"], row["uri"], row["source"], row["title"], row["license"], recipe)


def _without_comments(script: str) -> str:
    return "\n".join(line for line in script.split("\n") if not line.strip().startswith("--"))


@contextmanager
def _as_check_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CheckError(f"the library's catalog {path} cannot be used: {error}") from error
