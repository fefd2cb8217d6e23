"""Jobs → runs that survive a kill: one outcome a job, one whole file a clear picture."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from gen import names
from gen.families import preset
from gen.jobs import Job
from gen.pipeline import Painter
from gen.studio import Generation, Preview, Studio
from provenance.errors import CheckError, FirsthandError, UsageError
from provenance.files import PARTS, lock, write_whole
from provenance.inspect import inspect
from provenance.recipe import Recipe
from provenance.verdict import NO_VERDICT

JOURNAL = "journal.jsonl"
CHUNK = 64  # jobs that are handed to a studio at a time, which paints some of them at once
IN_A_ROW = 3  # errors that show that something is wrong with more than one job

Outcome = dict[str, Any]
"""One line of the batch's JSON: the generation's, with `job` and `file`."""
Made = tuple[Job, Generation | Exception]
"""A job with its generation, or with what went wrong."""


class Hands(Protocol):
    """What paints and checks: the studio of this process, or workers elsewhere."""

    def complete(self, jobs: Sequence[Job]) -> list[Recipe | FirsthandError]:
        """Each job's recipe as it will be painted, or why it cannot be."""

    def make(
        self, jobs: Sequence[Job], retries: int, taken: set[Recipe] | None = None
    ) -> Iterator[Made]:
        """Each job as it is made, in any order; raises CheckError where no check can run.

        `taken` are recipes, of other jobs too, that no retry may use; others are added.
        """


@dataclass(frozen=True)
class Task:
    """A job of this batch. `key` is its place, its complete `recipe` and what it is checked by;
    `problem`, why it has no recipe.

    Another model is another recipe, and so another task, and so is another library or policy.
    """

    job: Job
    key: str
    recipe: Recipe | None = None
    problem: FirsthandError | None = None


class Here:
    """The studio of this process."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def complete(self, jobs: Sequence[Job]) -> list[Recipe | FirsthandError]:
        return [completed(job, self._studio.painter) for job in jobs]

    def make(
        self, jobs: Sequence[Job], retries: int, taken: set[Recipe] | None = None
    ) -> Iterator[Made]:
        for start in range(0, len(jobs), CHUNK):
            yield from make_each(self._studio, jobs[start : start + CHUNK], retries, taken)


def plan(jobs: Sequence[Job], hands: Hands, *, basis: str = "", go_on: bool = False) -> list[Task]:
    """The jobs with their keys. One that does not fit the model is an error, unless `go_on`.

    `basis` says by which library and policy they are checked, and how they are labelled.
    """
    recipes = hands.complete(jobs)
    wrong = [(j, r) for j, r in zip(jobs, recipes, strict=True) if isinstance(r, Exception)]
    if wrong and not go_on:
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise type(wrong[0][1])(f"job {wrong[0][0].number}: {wrong[0][1]}{more}")
    return [_task(job, recipe, basis) for job, recipe in zip(jobs, recipes, strict=True)]


def run(
    tasks: Sequence[Task],
    hands: Hands,
    journal: "Journal",
    *,
    name: str = names.TEMPLATE,
    retries: int = 0,
    max_errors: int | None = None,
) -> Iterator[Outcome]:
    """The outcomes of the tasks that have none yet, or only an error, each as it is made.

    A clear picture's file is whole on disk before its outcome is recorded; a kill in between means
    that the same picture is painted once more. Ends before its time after `max_errors` errors;
    without it, after three in a row. Raises CheckError when no check can run.
    """
    names.check_template(name)
    date = time.strftime("%Y-%m-%d")
    left = [task for task in tasks if not journal.settled(task)]
    keys = {task.job.number: task.key for task in left}
    errors = in_a_row = 0
    taken = {task.recipe for task in tasks if task.recipe} if retries else set()
    for job, made in _all_made(left, hands, retries, taken):
        key = keys[job.number]
        with writing(journal.folder):
            if isinstance(made, Exception):
                outcome = _failed(job, made)
                errors, in_a_row = errors + 1, in_a_row + 1
            else:
                outcome = _saved(job, made, journal, key, name, date)
                in_a_row = 0
            told = journal.add(key, outcome)
        yield told
        if errors == max_errors or (max_errors is None and in_a_row == IN_A_ROW):
            return


def completed(job: Job, painter: Painter) -> Recipe | FirsthandError:
    try:
        return painter.complete(sized(job.recipe, job.size, painter))
    except FirsthandError as error:
        return error


def sized(recipe: Recipe, size: str | None, painter: Painter) -> Recipe:
    """With the pixels of the preset that `size` names, if it does."""
    if size is None:
        return recipe
    side = painter.complete(recipe).width or 0
    width, height = preset(painter.spec.pipeline, size, side)
    return recipe.with_changes(width=width, height=height)


def make_each(
    studio: Studio, jobs: Sequence[Job], retries: int, taken: set[Recipe] | None = None
) -> Iterator[Made]:
    """The jobs as one piece of work; when it fails, the next one alone and then the others again.

    A studio that paints several at once does not say which of them it failed at.
    """
    left = dict(enumerate(jobs))
    if not left:
        return
    try:
        recipes = [sized(job.recipe, job.size, studio.painter) for job in jobs]
        for each in studio.each(recipes, retries=retries, taken=taken):
            if not isinstance(each, Preview):
                place, made = each
                yield left.pop(place), made
    except CheckError:
        raise
    except Exception as error:  # of any library below; the outcome says which
        if len(left) == 1:
            (job,) = left.values()
            yield job, error
            return
        first, *others = left.values()
        yield from make_each(studio, [first], retries, taken)
        yield from make_each(studio, others, retries, taken)


def _all_made(
    tasks: Sequence[Task], hands: Hands, retries: int, taken: set[Recipe]
) -> Iterator[Made]:
    yield from ((task.job, task.problem) for task in tasks if task.problem)
    yield from hands.make([task.job for task in tasks if not task.problem], retries, taken)


def _task(job: Job, recipe: Recipe | FirsthandError, basis: str) -> Task:
    problem = recipe if isinstance(recipe, FirsthandError) else None
    complete = None if isinstance(recipe, FirsthandError) else recipe
    body = json.dumps((complete or job.recipe).to_json(), sort_keys=True)
    return Task(job, f"{job.number}-{_digest(body)}-{_digest(basis)}", complete, problem)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _picture(key: str) -> str:
    """The part of a key that says which picture it is, whatever it is checked by."""
    return key.rpartition("-")[0]


def _saved(
    job: Job, made: Generation, journal: "Journal", key: str, template: str, date: str
) -> Outcome:
    file = None
    if made.picture:
        stem = names.name(template, job.number, made.recipe, date)
        suffix = made.picture.suffix
        path = names.free(
            journal.folder, stem, suffix, lambda p: journal.taken(p, key, made.recipe)
        )
        write_whole(path, made.picture.data)
        file = path.name
    return {"job": job.number, **made.to_json(), "file": file}


def _failed(job: Job, error: Exception) -> Outcome:
    text = str(error) if isinstance(error, FirsthandError) else f"{type(error).__name__}: {error}"
    recipe = job.recipe
    return {
        "job": job.number, **NO_VERDICT, "error": text or repr(error), "labels": {},
        "refused": None, "references": [], "held": None, "recipe": recipe.to_json(),
        "seed": recipe.seed, "attempts": [], "file": None,
    }  # fmt: skip


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system refuses, in words: a full disk, a folder that is a file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror or error}") from None


class Journal:
    """The outcomes of a folder, one JSON line each: [key, outcome]; the last one of a key counts.

    Only one run has it at a time. Raises UsageError when another has, or when it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._outcomes: dict[str, Outcome] = {}
        self._files: dict[str, str] = {}  # lower-case name → whose, as `_picture` says it
        self._pictures: dict[str, str] = {}  # the other way round
        self._keys: dict[str, str] = {}  # the last key of each picture

    def __enter__(self) -> Self:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        try:
            lock(self._lock, f"another batch is writing to {self.folder}; give another --out")
            self._read(self.folder / JOURNAL)
        except BaseException:
            self._lock.close()
            raise
        for part in self.folder.glob(PARTS):
            part.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()
        self._lock.close()

    def add(self, key: str, outcome: Outcome) -> Outcome:
        """Records it, on disk when this returns.

        The file of an earlier basis is taken away where this outcome has another one or none.
        """
        before = self._pictures.get(_picture(key))
        if before and not outcome["error"] and outcome["file"] != before:
            (self.folder / before).unlink(missing_ok=True)
        self._file.write(json.dumps([key, outcome], ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._keep(key, outcome)
        return self._told(outcome)

    def read_again(self) -> None:
        """After an interruption at any moment: what is on disk is what counts."""
        self._file.close()
        self._outcomes.clear()
        self._files.clear()
        self._pictures.clear()
        self._keys.clear()
        self._read(self.folder / JOURNAL)

    def outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        """What is recorded for these tasks, in their order."""
        found = (self._recorded(task) for task in tasks)
        return [self._told(outcome) for outcome in found if outcome]

    def settled(self, task: Task) -> bool:
        """Whether there is an outcome that is no error."""
        outcome = self._recorded(task)
        return outcome is not None and not outcome["error"]

    def _recorded(self, task: Task) -> Outcome | None:
        """The outcome; a clear one whose picture is gone counts for nothing."""
        outcome = self._outcomes.get(task.key)
        if outcome and outcome["file"] and not (self.folder / outcome["file"]).is_file():
            return None
        return outcome

    def outdated(self, tasks: Sequence[Task]) -> int:
        """How many have a picture that was checked or labelled in another way."""
        held = ((task.key, _picture(task.key)) for task in tasks if not self.settled(task))
        return sum(it in self._pictures and self._keys[it] != key for key, it in held)

    def strays(self, tasks: Sequence[Task]) -> int:
        """How many pictures are of jobs that are no longer among these."""
        return len(self._pictures.keys() - {_picture(task.key) for task in tasks})

    def taken(self, path: Path, key: str, recipe: Recipe) -> bool:
        """Whether the file is another task's, or not of this batch. What a kill left is neither."""
        picture = _picture(key)
        if self._files.get(path.name.casefold(), picture) != picture:
            return True
        return path.exists() and not _holds(path, recipe)

    def _read(self, path: Path) -> None:
        whole = 0
        data = path.read_bytes() if path.exists() else b""
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):  # cut short by a kill
                break
            try:
                if line.strip():
                    key, outcome = json.loads(line)
                    self._keep(str(key), dict(outcome))
            except (ValueError, TypeError, KeyError):
                raise UsageError(
                    f"{path}, line {number} is damaged; give another --out, or take the line out"
                ) from None
            whole += len(line)
        self._file = path.open("ab")
        self._file.truncate(whole)

    def _keep(self, key: str, outcome: Outcome) -> None:
        if outcome["file"] is not None and Path(outcome["file"]).name != outcome["file"]:
            raise ValueError("a file of this folder is named by its name alone")
        self._outcomes[key] = outcome
        if outcome["error"]:
            return
        picture = _picture(key)
        if (before := self._keys.get(picture, key)) != key:
            self._outcomes.pop(before, None)  # of another library or policy: it holds no more
        self._keys[picture] = key
        if outcome["file"]:
            self._files[str(outcome["file"]).casefold()] = picture
            self._pictures[picture] = str(outcome["file"])
        else:
            self._pictures.pop(picture, None)

    def _told(self, outcome: Outcome) -> Outcome:
        path = str(self.folder / outcome["file"]) if outcome["file"] else None
        return {**outcome, "path": path, "file": path}


def _holds(path: Path, recipe: Recipe) -> bool:
    """Whether the picture says that it was made by this recipe."""
    return bool(inspect(path)["recipe"] == recipe.to_json())
