"""Job files → runs that survive a kill: one outcome a job, one whole file a clear picture."""

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen.expand import expanded, matrix
from gen.studio import Generation, Studio
from provenance.errors import UsageError
from provenance.files import write_whole
from provenance.recipe import Recipe

JOURNAL = "journal.jsonl"
MAX_JOBS_BYTES = 256 * 2**20

Outcome = dict[str, Any]
"""One line of the batch's JSON: the generation's, with `job` and `file`."""


@dataclass(frozen=True)
class Job:
    """One line of a job file; `number` counts from 1 in the order of the file."""

    number: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """Identifies the job in the journal: its place and its recipe."""
        body = json.dumps(self.recipe.to_json(), sort_keys=True)
        return f"{self.number}-{hashlib.sha256(body.encode()).hexdigest()[:16]}"


def read_jobs(path: Path, wildcards: Path | None = None) -> list[Job]:
    """The jobs of a .txt (a prompt a line), .csv or .jsonl file (recipe fields).

    Empty lines and, in .txt, lines that begin with # are skipped. A job without a seed gets one
    that follows from its line, so that running the file again means the same pictures. A prompt
    that is a matrix becomes several jobs; wildcards and choices are made by the job's seed.
    """
    readers = {".txt": _txt, ".csv": _csv, ".jsonl": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"job files are {', '.join(readers)}; got {path.name}")
    try:
        if path.stat().st_size > MAX_JOBS_BYTES:
            raise UsageError(f"{path} is larger than {MAX_JOBS_BYTES:,} bytes; split it")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from None
    jobs: list[Job] = []
    for line, values in reader(text):
        try:
            recipe = Recipe.from_json(values).validated()
            for prompt in matrix(recipe.prompt):
                each = _seeded(len(jobs) + 1, recipe.with_changes(prompt=prompt))
                jobs.append(Job(each.number, expanded(each.recipe, wildcards).validated()))
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
    if not jobs:
        raise UsageError(f"{path} holds no job")
    return jobs


def run(jobs: Sequence[Job], studio: Studio, out: Path, *, retries: int = 0) -> Iterator[Outcome]:
    """The outcomes of the jobs that have none yet in this folder, each as it is made.

    A clear picture's file is whole on disk before its outcome is recorded; a kill in between means
    that the same picture is painted once more. Raises UsageError before painting when a recipe
    does not fit the model or another run has the folder.
    """
    recipes = {job.key: _completed(job, studio) for job in jobs}
    with _only_run(out), _Journal(out / JOURNAL) as journal:
        for part in out.glob(".*.part"):
            part.unlink()
        for job in jobs:
            if job.key not in journal.outcomes:
                (made,) = studio.make([recipes[job.key]], retries=retries)
                yield journal.add(job, _saved(job, made, out))


def outcomes(jobs: Sequence[Job], out: Path) -> list[Outcome]:
    """What is recorded in the folder for these jobs, in their order."""
    with _Journal(out / JOURNAL) as journal:
        return [journal.outcomes[job.key] for job in jobs if job.key in journal.outcomes]


def _txt(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, {"prompt": line.strip()}


def _csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for row in rows:
            if None in row:
                raise UsageError(f"line {rows.line_num}: more cells than columns")
            yield rows.line_num, {k.strip(): v.strip() for k, v in row.items() if k and v}
    except csv.Error as error:
        raise UsageError(f"line {rows.line_num}: not CSV: {error}") from None


def _jsonl(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"line {number}: not JSON: {error}") from None
            if not isinstance(values, dict):
                raise UsageError(f"line {number}: a job is an object, got {line[:40]}")
            yield number, values


def _seeded(number: int, recipe: Recipe) -> Job:
    if recipe.seed is None:
        digest = hashlib.sha256(f"{number}\n{recipe.prompt}".encode()).digest()
        recipe = recipe.with_changes(seed=int.from_bytes(digest[:4]))
    return Job(number, recipe)


def _completed(job: Job, studio: Studio) -> Recipe:
    try:
        return studio.painter.complete(job.recipe)
    except UsageError as error:
        raise UsageError(f"job {job.number}: {error}") from None


def _saved(job: Job, made: Generation, out: Path) -> Outcome:
    file = None
    if made.picture:
        file = out / f"{job.number:05}-{made.recipe.seed}{made.picture.suffix}"
        write_whole(file, made.picture.data)
    path = str(file) if file else None
    return {"job": job.number, **made.to_json(), "path": path, "file": path}


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another batch is writing to {out}; give another --out") from None
        yield


class _Journal:
    """The outcomes of a folder, one JSON line each: [key, outcome]."""

    def __init__(self, path: Path) -> None:
        self.outcomes: dict[str, Outcome] = {}
        whole = 0
        data = path.read_bytes() if path.exists() else b""
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):  # cut short by a kill
                break
            key, outcome = json.loads(line)
            self.outcomes[key] = outcome
            whole += len(line)
        self._file = path.open("ab")
        self._file.truncate(whole)

    def __enter__(self) -> "_Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, job: Job, outcome: Outcome) -> Outcome:
        self._file.write(json.dumps([job.key, outcome], ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.outcomes[job.key] = outcome
        return outcome
