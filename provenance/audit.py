"""Files → findings: fingerprinted in parallel, judged together, resumable.

A finding is one line of the audit's JSON, as a dict: what the reports, the terminal and the journal
of a stopped audit all read.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from provenance.check import Asked, Checker
from provenance.errors import UsageError
from provenance.files import lock
from provenance.groups import Grouping, Link
from provenance.inspect import payload
from provenance.ledger import Ledger
from provenance.scan import PLAIN, FingerprinterFactory, Reading, Scanned, scan, stamp_of
from provenance.verdict import NO_VERDICT, Verdict

Finding = dict[str, Any]


def audit(
    paths: Sequence[Path],
    checker: Checker,
    factory: FingerprinterFactory,
    *,
    workers: int = 1,
    journal: "Journal | None" = None,
    grouping: Grouping | None = None,
    ledger: Ledger | None = None,
    reading: Reading = PLAIN,
) -> Iterator[Finding]:
    """A finding for each path, in order. Raises CheckError when the check itself cannot run.

    `factory` makes the fingerprinter of each worker process, with the checker's descriptors.
    With `grouping` a finding has what `grouped` needs; with `ledger` the labels say what was made
    here, by its pixels, its mark (where `reading` looks for marks) or by similarity.
    """
    known = journal.findings(paths) if journal is not None else {}
    todo = [path for path in paths if path not in known]
    scanned_files = scan(todo, factory, workers=workers, reading=reading)
    fresh = _judged(scanned_files, checker, ledger)
    for path in paths:
        if finding := known.get(path):
            if grouping and finding["content"]:
                links = {to: Link.from_json(link) for to, link in finding["links"].items()}
                grouping.add_known(finding["content"], links)
        else:
            scanned, finding = next(fresh)
            if grouping:
                finding |= _linked(scanned, grouping)
            if journal is not None:
                journal.add(path, finding, scanned.stamp)
        yield finding


def grouped(findings: Sequence[Finding], grouping: Grouping | None) -> list[Finding]:
    """The findings of a whole audit with `group` and `near`, which say what is close to what.

    `group` is the picture's group and how the picture is close to the first of it, `near` are the
    pictures nearest to it. Both are None where nothing was looked for.
    """
    plain = [{k: v for k, v in each.items() if k not in _FOR_GROUPS} for each in findings]
    if grouping is None:
        return [{**finding, "group": None, "near": None} for finding in plain]
    told = grouping.told([(each["path"], each["content"]) for each in findings])
    return [{**finding, **more} for finding, more in zip(plain, told, strict=True)]


_FOR_GROUPS = ("content", "links")


def _linked(scanned: Scanned, grouping: Grouping) -> Finding:
    if scanned.fingerprint is None:
        return {"content": None, "links": {}}
    links = grouping.add(scanned.fingerprint)
    return {
        "content": scanned.fingerprint.content,
        "links": {to: link.to_json() for to, link in links.items()},
    }


class Journal:
    """The findings so far of one audit, so that a killed audit goes on where it stopped.

    A finding counts while its file has the same size and modification time, and the journal while
    policy and library version (`basis`) are the same. What follows a damaged line is found anew.
    Raises UsageError while another audit has it.
    """

    def __init__(self, file: Path, basis: str) -> None:
        self._found: dict[str, tuple[str, Finding]] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        self._out = file.open("ab+")
        try:
            lock(self._out, "another audit of these paths is running; try later")
        except UsageError:
            self._out.close()
            raise
        self._out.seek(0)
        header, *lines = self._out.read().splitlines(keepends=True) or [b""]
        if header == json.dumps(basis).encode() + b"\n":
            self._out.truncate(len(header) + self._read(lines))
        else:
            self._out.truncate(0)
            self._write(basis)

    def _read(self, lines: Sequence[bytes]) -> int:
        """Takes whole lines; returns the bytes up to the first that a kill has damaged."""
        whole = 0
        for line in lines:
            try:
                path, stamp, finding = json.loads(line)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self._found[path] = stamp, finding
            whole += len(line)
        return whole

    def __len__(self) -> int:
        return len(self._found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def finding(self, path: Path) -> Finding | None:
        stamp, finding = self._found.get(str(path), ("", None))
        if finding is None or finding["error"]:  # what kept it from being read may be gone
            return None
        return finding if stamp == stamp_of(path) else None

    def findings(self, paths: Sequence[Path]) -> dict[Path, Finding]:
        """The findings that count, of these paths."""
        return {path: found for path in paths if (found := self.finding(path))}

    def add(self, path: Path, finding: Finding, stamp: str) -> None:
        """`stamp` is the file's from before it was read."""
        self._write([str(path), stamp, finding])

    def _write(self, line: Any) -> None:
        self._out.write(json.dumps(line).encode() + b"\n")
        self._out.flush()


_AT_ONCE = 32  # pictures that are judged by one search, at most
_PATIENCE = 0.2  # seconds that the first of them waits for the others, about


def _judged(
    files: Iterable[Scanned], checker: Checker, ledger: Ledger | None
) -> Iterator[tuple[Scanned, Finding]]:
    for batch in _batches(files):
        readable = [(each, each.fingerprint) for each in batch if each.fingerprint is not None]
        verdicts = checker.judge_each(
            [Asked(print_, each.frames, each.recipe, each.parents) for each, print_ in readable]
        )
        found = {id(each): verdict for (each, _), verdict in zip(readable, verdicts, strict=True)}
        yield from ((each, _finding(each, found.get(id(each)), ledger)) for each in batch)


def _batches(files: Iterable[Scanned]) -> Iterator[list[Scanned]]:
    batch: list[Scanned] = []
    began = time.monotonic()
    for each in files:
        batch.append(each)
        if len(batch) == _AT_ONCE or time.monotonic() > began + _PATIENCE:
            yield batch
            batch, began = [], time.monotonic()
    yield batch


def _finding(scanned: Scanned, verdict: Verdict | None, ledger: Ledger | None) -> Finding:
    entry = None
    if ledger and scanned.fingerprint:
        mark = payload(scanned.labels.get("marks", ()))
        entry = ledger.traced(scanned.fingerprint, payload=mark)
    return {
        "path": str(scanned.path),
        **(verdict.to_json() if verdict else NO_VERDICT),
        "error": scanned.error,
        "recipe": scanned.recipe.to_json() if scanned.recipe else None,
        "labels": scanned.labels | ({"ledger": entry.to_json()} if entry else {}),
    }
