"""The ledger: what was made here, in rows that are only ever added, each chained to the last.

A picture that has lost its metadata is found again by its file's hash, its pixels, its mark, or by
similarity. That says where it came from, not that it is unchanged. Who can write to the file can
make a new chain; a copy of the last digest, kept elsewhere, is what such a chain will not have.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from provenance.errors import CheckError, MissingError
from provenance.files import read_only_uri
from provenance.fingerprint import Fingerprint, Fingerprinter, Value, Vector
from provenance.hashes import PDQ, hash_descriptors
from provenance.images import read_picture
from provenance.label.mark import PAYLOAD
from provenance.phash import PHASH
from provenance.recipe import Recipe
from provenance.verdict import Verdict

_SCHEMA = """
CREATE TABLE entry(
    number INTEGER PRIMARY KEY AUTOINCREMENT, made TEXT NOT NULL, recipe TEXT NOT NULL,
    verdict TEXT NOT NULL, file TEXT NOT NULL, content TEXT NOT NULL, manifest TEXT, payload BLOB,
    hashes TEXT NOT NULL, phash BLOB NOT NULL, pdq BLOB NOT NULL,
    previous TEXT NOT NULL, digest TEXT NOT NULL UNIQUE);
CREATE INDEX entry_file ON entry(file);
CREATE INDEX entry_content ON entry(content);
CREATE INDEX entry_payload ON entry(payload) WHERE payload IS NOT NULL;
CREATE TRIGGER entry_stays BEFORE UPDATE ON entry
    BEGIN SELECT raise(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER entry_remains BEFORE DELETE ON entry
    BEGIN SELECT raise(ABORT, 'the ledger is only added to'); END;
PRAGMA user_version = 1;
"""
_VERSION = 1
_CHAINED = ("made", "recipe", "verdict", "file", "content", "manifest", "payload", "hashes",
            "phash", "pdq", "previous")  # fmt: skip
_START = "0" * 64
_BITS = 256
_APART = {PHASH.name: 32, PDQ: 31}  # bits that may differ in a copy: as in the policy
_DETAIL = 30  # under which pictures are too plain to be told apart: as in the policy


@dataclass(frozen=True)
class Entry:
    """One picture that was made. `made` is UTC (ISO 8601); `file` is the SHA-256 of its bytes.

    `content` is the BLAKE3 of its decoded pixels, `manifest` its Content Credentials' label,
    `payload` what its mark carries; `digest` chains the entry to all before it.
    """

    number: int
    made: str
    recipe: Mapping[str, Any]
    verdict: Mapping[str, Any]
    file: str
    content: str
    manifest: str | None
    payload: bytes | None
    digest: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "payload": self.payload.hex() if self.payload else None}


@dataclass(frozen=True)
class Recovered:
    """An entry that a picture was traced to, and how: file, pixels, mark or similarity (0..1)."""

    entry: Entry
    by: str
    similarity: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self.entry.to_json(), "recovered": self.by, "similarity": self.similarity}


def _makers() -> str:
    """What made the hashes: those by others are never compared."""
    return ", ".join(map(str, fingerprinter().specs))


def payload_of(recipe: Recipe) -> bytes:
    """What the mark of this recipe's picture carries: the same for the same recipe."""
    body = json.dumps(recipe.to_json(), sort_keys=True)
    return hashlib.sha256(body.encode()).digest()[:PAYLOAD]


class Ledger:
    """One connection to the ledger's file; any number of processes may have one.

    With `create=False` it is also read where nothing can be written. Raises CheckError where the
    file cannot be used.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        if not create and not path.is_file():
            raise MissingError(f"no ledger at {path}; it begins with the first picture made")
        self._path = path
        self._numbers: list[int] = []
        self._held: dict[str, Vector] = {name: np.empty((0, 4), np.uint64) for name in _APART}
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            uri = None if create else read_only_uri(path, "firsthand ledger verify")
            self._db = sqlite3.connect(
                uri or path, uri=uri is not None, timeout=30, isolation_level=None
            )
            self._db.row_factory = sqlite3.Row
            if uri is None:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            made = self._one("PRAGMA user_version")
            if not made and create:
                self._make_tables()
            elif made != _VERSION:
                raise CheckError(f"{path} is damaged, or of another version: no ledger's tables")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __len__(self) -> int:
        return int(self._one("SELECT count(*) FROM entry"))

    def add(
        self,
        data: bytes,
        recipe: Recipe,
        verdict: Verdict,
        *,
        manifest: str | None = None,
        payload: bytes | None = None,
    ) -> Entry:
        """Records a picture as the bytes of its file; when this returns, it is on disk."""
        (print_,) = fingerprinter().describe([read_picture(data).image])
        row: dict[str, Any] = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe": json.dumps(recipe.to_json(), ensure_ascii=False),
            "verdict": json.dumps(verdict.to_json(), ensure_ascii=False),
            "file": hashlib.sha256(data).hexdigest(),
            "content": print_.content,
            "manifest": manifest,
            "payload": payload,
            "hashes": _makers(),
            "phash": print_.values[PHASH.name].vector[0].tobytes(),
            "pdq": print_.values[PDQ].vector[0].tobytes(),
        }
        with self._errors(), self._writing():
            row["previous"] = self._last()
            row["digest"] = _digest(row)
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            added = self._db.execute(
                f"INSERT INTO entry({names}) VALUES ({marks})", tuple(row.values())
            )
        return self._entries("number = ?", added.lastrowid)[0]

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """All entries from the first, or after a number."""
        while rows := self._entries("number > ?", after, 1000):
            yield from rows
            after = rows[-1].number

    def newest(self, count: int) -> list[Entry]:
        with self._errors():
            found = self._db.execute("SELECT * FROM entry ORDER BY number DESC LIMIT ?", (count,))
            return [_as_entry(row) for row in found]

    def by_file(self, data: bytes) -> Entry | None:
        """The first entry of exactly this file."""
        return self._first("file = ?", hashlib.sha256(data).hexdigest())

    def by_content(self, content: str) -> Entry | None:
        """The first entry with exactly these pixels."""
        return self._first("content = ?", content)

    def by_payload(self, payload: bytes) -> Entry | None:
        """The first entry whose mark carries this: of pictures by one recipe, the first made."""
        return self._first("payload = ?", payload)

    def by_similarity(self, print_: Fingerprint) -> tuple[Entry, float] | None:
        """The entry nearest to the picture, mirrored or turned too, if it is near enough.

        Near enough is what the policy calls a copy: pHash within 32 of 256 bits, PDQ within 31, by
        those of the two that the fingerprint has. Every entry's hashes are compared.
        """
        if print_.detail < _DETAIL:
            return None
        self._read_hashes()
        nearest, similarity = 0, 0.0
        for name, limit in _APART.items():
            if name in print_.values and self._numbers:
                apart = _bits_apart(print_.values[name], self._held[name])
                best = int(apart.argmin())
                if apart[best] <= limit and 1 - apart[best] / _BITS > similarity:
                    nearest, similarity = self._numbers[best], float(1 - apart[best] / _BITS)
        found = self._entries("number = ?", nearest)
        return (found[0], similarity) if found else None

    def traced(
        self, print_: Fingerprint, data: bytes | None = None, payload: bytes | None = None
    ) -> Recovered | None:
        """The entry that a picture can be traced to, by the surest of the ways.

        `data` are the bytes of its file, `payload` what its mark carries, where they are known.
        """
        if data and (entry := self.by_file(data)):
            return Recovered(entry, "file")
        if entry := self.by_content(print_.content):
            return Recovered(entry, "pixels")
        if payload and (entry := self.by_payload(payload)):
            return Recovered(entry, "mark")
        if near := self.by_similarity(print_):
            return Recovered(near[0], "similarity", round(near[1], 4))
        return None

    def verify(self) -> list[str]:
        """What is wrong, beginning with the first entry whose chain is broken; nothing if sound."""
        previous, expected = _START, 1
        with self._errors():
            for row in self._db.execute("SELECT * FROM entry ORDER BY number"):
                if row["number"] != expected:
                    return [f"entry {expected} is missing"]
                if row["previous"] != previous:
                    return [f"entry {expected} does not follow the one before it"]
                if row["digest"] != _digest(dict(row)) or not _is_typed(row):
                    return [f"entry {expected} was changed after it was made"]
                previous, expected = row["digest"], expected + 1
            last = self._one("SELECT max(seq) FROM sqlite_sequence WHERE name = 'entry'") or 0
            lost = last - expected + 1
        return [f"{lost} entries at the end are missing, from {expected} on"] if lost > 0 else []

    def _read_hashes(self) -> None:
        """Those of the entries since the last time: a tenth of a second for the first 100,000."""
        with self._errors():
            rows = self._db.execute(
                "SELECT number, phash, pdq FROM entry WHERE number > ? AND hashes = ?",
                (self._numbers[-1] if self._numbers else 0, _makers()),
            ).fetchall()
        for row in rows:
            if not (_is_hash(row[1]) and _is_hash(row[2])):
                raise _damaged(row[0])
        self._numbers += [row[0] for row in rows]
        for at, name in enumerate(self._held, start=1):
            fresh = np.frombuffer(b"".join(row[at] for row in rows), np.uint64).reshape(-1, 4)
            self._held[name] = np.concatenate([self._held[name], fresh])

    @property
    def head(self) -> str:
        """The last entry's digest: kept elsewhere, it shows later that nothing before changed."""
        return self._last()

    def _last(self) -> str:
        rows = self._db.execute("SELECT digest FROM entry ORDER BY number DESC LIMIT 1").fetchall()
        return rows[0][0] if rows else _START

    def _first(self, where: str, value: Any) -> Entry | None:
        found = self._entries(where, value, 1)
        return found[0] if found else None

    def _entries(self, where: str, value: Any, limit: int = 1) -> list[Entry]:
        with self._errors():
            rows = self._db.execute(
                f"SELECT * FROM entry WHERE {where} ORDER BY number LIMIT ?", (value, limit)
            )
            return [_as_entry(row) for row in rows]

    def _one(self, sql: str) -> Any:
        return self._db.execute(sql).fetchone()[0]

    def _make_tables(self) -> None:
        with self._writing():
            if not self._one("PRAGMA user_version"):  # no other process was faster
                for statement in _statements(_SCHEMA):
                    self._db.execute(statement)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise CheckError(f"the ledger {self._path} cannot be used: {error}") from error


@cache
def fingerprinter() -> Fingerprinter:
    """What entries are compared by: pHash and PDQ."""
    return Fingerprinter([each for each in hash_descriptors() if each.spec.name in _APART])


def _bits_apart(asked: Value, held: Vector) -> Vector:
    """(N,) the least number of bits that differ between any of the asked and each of the held."""
    rows = np.ascontiguousarray(asked.vector).view(np.uint64).reshape(-1, 4)
    each = [np.bitwise_count(held ^ row).sum(axis=1, dtype=np.int64) for row in rows]
    return np.asarray(np.min(each, axis=0))


def _digest(row: Mapping[str, Any]) -> str:
    values = {name: row[name] for name in _CHAINED}
    plain = {n: v.hex() if isinstance(v, bytes) else v for n, v in values.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _as_entry(row: Any) -> Entry:
    if not isinstance(row["payload"], bytes | None):
        raise _damaged(row["number"])
    return Entry(
        row["number"], row["made"], _object(row, "recipe"), _object(row, "verdict"),
        row["file"], row["content"], row["manifest"], row["payload"], row["digest"],
    )  # fmt: skip


def _object(row: Any, name: str) -> dict[str, Any]:
    try:
        value = json.loads(row[name])
    except (TypeError, ValueError, RecursionError):
        raise _damaged(row["number"]) from None
    if not isinstance(value, dict):
        raise _damaged(row["number"])
    return value


def _is_typed(row: Any) -> bool:
    """The chain tells no bytes from their digits as text."""
    return (
        _is_hash(row["phash"]) and _is_hash(row["pdq"]) and isinstance(row["payload"], bytes | None)
    )


def _is_hash(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) * 8 == _BITS


def _damaged(number: int) -> CheckError:
    return CheckError(f"entry {number} is damaged; run: firsthand ledger verify")


def _statements(script: str) -> Sequence[str]:
    """Whole statements: a trigger has a semicolon inside."""
    found, part = [], ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found
