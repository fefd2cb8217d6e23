"""Which descriptors a library holds, and the values of those that are being added."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from index.database import Database
from provenance.errors import CheckError, VersionMismatch
from provenance.fingerprint import DescriptorSpec, Value


@dataclass(frozen=True)
class Lacking:
    """A picture without a value of a descriptor that is being added."""

    id: int
    content: str
    uris: tuple[str, ...]


class Descriptors(Database):
    """The descriptors of which every picture has a value, and others until each has one."""

    def specs(self, *, complete: bool = True) -> tuple[DescriptorSpec, ...]:
        """The descriptors of which every picture has a value; or those that are being added."""
        return tuple(self._numbers(complete=complete))

    def declare(self, specs: Sequence[DescriptorSpec]) -> None:
        """Fixes the descriptors of a library without references, or checks that they are these."""
        with self._transaction():
            if self._one("SELECT count(*) FROM reference"):
                require_same(self.specs(), specs)
            elif set(self.specs()) != set(specs):
                for table in ("vector", "generation", "descriptor"):
                    self._db.execute(f"DELETE FROM {table}")
                self._declare(specs, complete=True)
                self._count("changes")

    def require_values(self) -> None:
        """Raises CheckError unless every picture has a value of each complete descriptor.

        Where one is missing, a search would find too little without saying so.
        """
        lacking = self._all(
            "SELECT name, coalesce(held, 0), pictures FROM descriptor "
            "JOIN (SELECT count(*) AS pictures FROM picture) LEFT JOIN "
            "(SELECT descriptor_id, count(*) AS held FROM vector GROUP BY descriptor_id) "
            "ON descriptor_id = id WHERE complete AND coalesce(held, 0) != pictures"
        )
        if lacking:
            name, held, pictures = lacking[0]
            raise CheckError(
                f"{self._path} is damaged: it has {held:,} values of {name} for {pictures:,} "
                "pictures; put back a copy of it, or index anew"
            )

    def begin(self, specs: Sequence[DescriptorSpec]) -> None:
        """Makes these, and no others, the descriptors that are being added."""
        with self._transaction():
            for old in set(self.specs(complete=False)) - set(specs):
                self._drop(old.name)
            self._declare([s for s in specs if s not in self.specs(complete=False)], complete=False)

    def lacking(self) -> list[Lacking]:
        """The pictures that lack a value of what is being added."""
        rows = self._all(
            "SELECT p.id, p.content, json_group_array(r.uri) FROM picture p "
            "JOIN reference r ON r.picture_id = p.id WHERE EXISTS "
            "(SELECT 1 FROM descriptor d WHERE NOT complete AND NOT EXISTS (SELECT 1 FROM vector "
            "WHERE descriptor_id = d.id AND picture_id = p.id)) GROUP BY p.id ORDER BY p.id"
        )
        return [Lacking(row[0], row[1], tuple(json.loads(row[2]))) for row in rows]

    def add_values(self, batch: Sequence[tuple[int, Mapping[str, Value]]]) -> None:
        """Values, by picture, of the descriptors that are being added: all of the batch or none."""
        with self._transaction():
            numbers = self._numbers(complete=False)
            self._db.executemany(
                "INSERT OR REPLACE INTO vector VALUES (?, ?, ?)",
                [
                    (numbers[value.spec], picture, value.vector.tobytes())
                    for picture, values in batch
                    for value in values.values()
                    if value.spec in numbers
                ],
            )

    def finish(self) -> None:
        """Lets searches use what was added; raises CheckError while a picture lacks a value."""
        with self._transaction():
            if lacking := self.lacking():
                raise CheckError(f"{len(lacking)} pictures have no value of what is being added")
            self._db.execute("UPDATE descriptor SET complete = 1")
            self._count("changes")

    def drop(self, name: str) -> None:
        """Forgets a descriptor and all of its values."""
        with self._transaction():
            self._drop(name)
            self._count("changes")

    def _declare(self, specs: Sequence[DescriptorSpec], *, complete: bool) -> None:
        self._db.executemany(
            "INSERT INTO descriptor(name, version, metric, dim, complete) VALUES (?, ?, ?, ?, ?)",
            [(s.name, s.version, s.metric, s.dim, complete) for s in specs],
        )

    def _drop(self, name: str) -> None:
        which = "(SELECT id FROM descriptor WHERE name = ?)"
        self._db.execute(f"DELETE FROM vector WHERE descriptor_id = {which}", (name,))
        self._db.execute("DELETE FROM generation WHERE descriptor = ?", (name,))
        self._db.execute("DELETE FROM descriptor WHERE name = ?", (name,))

    def _numbers(self, *, complete: bool) -> dict[DescriptorSpec, int]:
        rows = self._all(
            "SELECT id, name, version, metric, dim FROM descriptor WHERE complete = ? ORDER BY id",
            complete,
        )
        return {DescriptorSpec(*row[1:]): row[0] for row in rows}


def require_comparable(held: Sequence[DescriptorSpec], made: Sequence[DescriptorSpec]) -> None:
    """Raises VersionMismatch where one name stands for two descriptors."""
    theirs = {spec.name: spec for spec in held}
    for spec in made:
        if theirs.get(spec.name, spec) != spec:
            raise VersionMismatch(
                f"the library holds {theirs[spec.name]}, this program makes {spec}; to describe "
                f"its pictures anew: firsthand index describe --drop {spec.name}"
            )


def require_same(held: Sequence[DescriptorSpec], made: Sequence[DescriptorSpec]) -> None:
    """Raises VersionMismatch, with what to do, where a library holds other descriptors."""
    require_comparable(held, made)
    if lacking := [spec.name for spec in made if spec not in held]:
        raise VersionMismatch(
            f"the library lacks {', '.join(lacking)}, which the settings name; to add "
            f"{'it' if len(lacking) == 1 else 'them'}: firsthand index describe"
        )
    for spec in held:
        if spec not in made:
            raise VersionMismatch(
                f"the library holds {spec}, which the settings do not name: name it in their "
                f"`descriptors`, or forget it with: firsthand index describe --drop {spec.name}"
            )
