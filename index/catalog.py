"""The catalog: references, their fingerprints and thumbnails in the database, the only truth.

Knows nothing of FAISS: vectors leave here as rows, in the order in which they were added.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.descriptors import Descriptors, require_same
from provenance.errors import CheckError, UsageError
from provenance.fingerprint import DescriptorSpec, Fingerprint, Value, Vector
from provenance.match import Reference
from provenance.recipe import Recipe
from provenance.recipe_match import lookup_keys


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


class Told(NamedTuple):
    """What a source says of a picture beside its bytes; `stamp` tells when those have changed."""

    stamp: str
    title: str
    license: str


@dataclass(frozen=True)
class Generation:
    """One FAISS file: what it was built from and what it must hash to."""

    descriptor: str
    file: str
    sha256: str
    upto_picture: int
    removals: int


class Catalog(Descriptors):
    """The references and what is known of their pictures."""

    def counts(self) -> dict[str, int]:
        """How many references, distinct pictures, thumbnails and recipes there are."""
        return {
            "references": self.reference_count(),
            "pictures": self._one("SELECT count(*) FROM picture"),
            "thumbnails": self._one("SELECT count(*) FROM thumbnail"),
            "recipes": self._one("SELECT count(*) FROM reference WHERE recipe IS NOT NULL"),
        }

    def sources(self) -> dict[str, int]:
        rows = self._all("SELECT source, count(*) FROM reference GROUP BY source ORDER BY source")
        return dict(rows)

    def reference_count(self) -> int:
        return int(self._one("SELECT count(*) FROM reference"))

    def told(self, uris: Sequence[str]) -> dict[str, Told]:
        """What sources told of those of the URIs that are references."""
        rows = self._all(
            "SELECT uri, stamp, title, license FROM reference "
            "WHERE uri IN (SELECT value FROM json_each(?))",
            json.dumps(uris),
        )
        return {row[0]: Told(*row[1:]) for row in rows}

    def tell(self, told: Mapping[str, Told]) -> None:
        """Changes title and license of references, all or none; verdicts do not rest on them."""
        with self._transaction():
            self._db.executemany(
                "UPDATE reference SET title = ?, license = ? WHERE uri = ?",
                [(now.title, now.license, uri) for uri, now in told.items()],
            )

    def add(self, batch: Sequence[NewReference]) -> None:
        """Adds or replaces references, all of the batch or none of it."""
        with self._transaction():
            numbers = self._numbers(complete=True)
            for new in batch:
                made = {value.spec for value in new.fingerprint.values.values()}
                require_same(tuple(numbers), tuple(made))
                self._put(new, numbers)
            self._count("changes")

    def remove(self, where: str, value: str) -> int:
        """Removes the references whose `uri` or `source` is this; says how many."""
        with self._transaction():
            shown = self._all(f"SELECT DISTINCT picture_id FROM reference WHERE {where} = ?", value)
            sql = f"DELETE FROM reference WHERE {where} = ?"
            removed: int = self._db.execute(sql, (value,)).rowcount
            if removed:
                self._delete_orphans([row[0] for row in shown])
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
                yield ids, values if spec.metric == "features" else _stacked(values, spec)
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
            "JOIN descriptor d ON d.id = descriptor_id WHERE complete AND p.id = ?",
            picture,
        )
        if not rows:
            return None
        values = {row["name"]: _value(row) for row in rows}
        content, width, height, detail = rows[0][:4]
        return Fingerprint(content, width, height, detail, values)

    def there(self, pictures: Sequence[int]) -> list[int]:
        """Those of the pictures that are still there."""
        sql = "SELECT id FROM picture WHERE id IN (SELECT value FROM json_each(?))"
        return [row[0] for row in self._all(sql, json.dumps(pictures))]

    def problems(self) -> list[str]:
        """What is wrong with the file, or with its rows, in words."""
        unseen = self._one(
            "SELECT count(*) FROM picture p WHERE NOT EXISTS "
            "(SELECT 1 FROM reference WHERE picture_id = p.id)"
        )
        recipes = self._all("SELECT recipe FROM reference WHERE recipe IS NOT NULL")
        unread = sum(_recipe(row[0]) is None for row in recipes)
        return [
            *super().problems(),
            *[f"{unseen} pictures that no reference shows"] * bool(unseen),
            *[f"{unread} recipes that cannot be read"] * bool(unread),
        ]

    def last_picture(self) -> int:
        return int(self._one("SELECT coalesce(max(id), 0) FROM picture"))

    def values(
        self, pictures: Sequence[int], descriptors: Sequence[str]
    ) -> dict[str, dict[int, Value]]:
        """By descriptor, but for features, the values of those pictures that are still there."""
        found: dict[str, dict[int, Value]] = {}
        for row in self._all(
            "SELECT picture_id, name, version, metric, dim, value FROM vector "
            "JOIN descriptor d ON d.id = descriptor_id WHERE complete AND metric != 'features' "
            "AND name IN (SELECT value FROM json_each(?)) "
            "AND picture_id IN (SELECT value FROM json_each(?))",
            json.dumps(descriptors),
            json.dumps(pictures),
        ):
            found.setdefault(row["name"], {})[row["picture_id"]] = _value(row)
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
        return self.pictures_of([content]).get(content)

    def pictures_of(self, contents: Sequence[str]) -> dict[str, int]:
        """The pictures of those of the content hashes that are known."""
        rows = self._all(
            "SELECT content, id FROM picture WHERE content IN (SELECT value FROM json_each(?))",
            json.dumps(contents),
        )
        return dict(rows)

    def reference(self, uri: str) -> Reference | None:
        rows = self._all(
            "SELECT id, uri, source, title, license, recipe FROM reference WHERE uri = ?", uri
        )
        return _as_reference(rows[0]) if rows else None

    def by_recipe(self, recipe: Recipe, limit: int) -> list[Reference]:
        """References whose recipe may be the same or near, the likeliest first.

        The equal ones, then those of the same prompt: of its seed, without a seed, of any.
        """
        prompt, seed = lookup_keys(recipe)
        found: dict[int, Reference] = {}
        for where, values in (
            ("recipe_key = ?", (recipe.key,)),
            ("prompt_key = ? AND seed_key = ?", (prompt, seed)),
            ("prompt_key = ? AND seed_key IS NULL", (prompt,)),
            ("prompt_key = ?", (prompt,)),
        ):
            if None not in values and len(found) < limit:
                rows = self._all(
                    "SELECT id, uri, source, title, license, recipe FROM reference "
                    f"WHERE {where} ORDER BY seed_key, id LIMIT ?",
                    *values,
                    limit,
                )
                for row in rows[: limit - len(found)]:
                    found.setdefault(row["id"], _as_reference(row))
        return list(found.values())

    def features(self, references: Sequence[int]) -> dict[int, tuple[Vector, tuple[int, int]]]:
        """By reference, the packed features, and the width and height, of those that have any."""
        rows = self._all(
            "SELECT r.id, value, width, height FROM reference r "  # CROSS: in this order
            "CROSS JOIN picture p ON p.id = r.picture_id CROSS JOIN descriptor d "
            "CROSS JOIN vector v ON v.descriptor_id = d.id AND v.picture_id = p.id "
            "WHERE complete AND metric = 'features' "
            "AND r.id IN (SELECT value FROM json_each(?))",
            json.dumps(references),
        )
        return {row[0]: (np.frombuffer(row[1], np.uint8), (row[2], row[3])) for row in rows}

    def thumbnail(self, reference_id: int) -> bytes | None:
        rows = self._all(
            "SELECT webp FROM thumbnail JOIN reference USING (picture_id) WHERE reference.id = ?",
            reference_id,
        )
        return bytes(rows[0][0]) if rows else None

    def thumbnails(self, pictures: Sequence[int]) -> dict[int, bytes]:
        rows = self._all(
            "SELECT picture_id, webp FROM thumbnail "
            "WHERE picture_id IN (SELECT value FROM json_each(?))",
            json.dumps(pictures),
        )
        return dict(rows)

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

    def _put(self, new: NewReference, numbers: Mapping[DescriptorSpec, int]) -> None:
        """Inserts a reference, or changes the one of its URI."""
        before = self._all("SELECT picture_id FROM reference WHERE uri = ?", new.uri)
        print_ = new.fingerprint
        picture = self.picture_of(print_.content)
        if picture is None:
            size = (print_.content, print_.width, print_.height, print_.detail)
            picture = self._db.execute(
                "INSERT INTO picture(content, width, height, detail) VALUES (?, ?, ?, ?)", size
            ).lastrowid
            self._db.executemany(
                "INSERT INTO vector VALUES (?, ?, ?)",
                [(numbers[v.spec], picture, v.vector.tobytes()) for v in print_.values.values()],
            )
        if new.thumbnail:
            row = (picture, new.thumbnail)
            self._db.execute("INSERT OR IGNORE INTO thumbnail VALUES (?, ?)", row)
        recipe = json.dumps(new.recipe.to_json(), ensure_ascii=False) if new.recipe else None
        key = new.recipe.key if new.recipe else None
        self._db.execute(
            "INSERT INTO reference(uri, picture_id, source, title, license, stamp, recipe, "
            "recipe_key, prompt_key, seed_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT(uri) DO UPDATE SET picture_id = excluded.picture_id, "
            "source = excluded.source, title = excluded.title, license = excluded.license, "
            "stamp = excluded.stamp, recipe = excluded.recipe, recipe_key = excluded.recipe_key, "
            "prompt_key = excluded.prompt_key, seed_key = excluded.seed_key",
            (new.uri, picture, new.source, new.title, new.license, new.stamp, recipe, key,
             *lookup_keys(new.recipe)),
        )  # fmt: skip
        self._delete_orphans([row[0] for row in before])

    def _delete_orphans(self, pictures: Sequence[int]) -> None:
        """Those of the pictures that no reference shows any more."""
        orphans = self._db.execute(
            "DELETE FROM picture WHERE id IN (SELECT value FROM json_each(?)) AND NOT EXISTS "
            "(SELECT 1 FROM reference WHERE picture_id = picture.id)",
            (json.dumps(pictures),),
        ).rowcount
        if orphans:
            self._count("removals")


_ROWS_AT_ONCE = 4096  # bounds what is in memory while an index is built


def _stacked(values: Sequence[Vector], spec: DescriptorSpec) -> Vector:
    try:
        return np.stack(values)
    except ValueError:
        raise CheckError(f"the library holds a damaged value of {spec.name}") from None


def _number(spec: DescriptorSpec) -> type[np.generic]:
    return np.float32 if spec.metric == "cosine" else np.uint8


_spec = lru_cache(DescriptorSpec)


def _value(row: Any) -> Value:
    spec = _spec(row["name"], row["version"], row["metric"], row["dim"])
    return Value(spec, np.frombuffer(row["value"], _number(spec)))


def _recipe(text: str) -> Recipe | None:
    """None for what is none any more to this version; `problems` tells of it."""
    with suppress(UsageError, ValueError):
        return Recipe.from_json(json.loads(text))
    return None


def _as_reference(row: Any) -> Reference:
    recipe = _recipe(row["recipe"]) if row["recipe"] else None
    return Reference(row["id"], row["uri"], row["source"], row["title"], row["license"], recipe)
