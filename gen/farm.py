"""Several GPUs or machines through Ray: each worker has a studio of its own.

Workers send back the labelled files of clear pictures only; a picture for review is held where the
worker's studio holds it, and no other pixels leave the worker. A worker that dies costs what it had
in hand: that is done again, a job at a time, and a job on which workers die time and again is an
error. Knows nothing of folders and journals.
"""

import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from gen.batch import Made, completed, make_each
from gen.jobs import Job
from gen.studio import Studio
from provenance.errors import CheckError, FirsthandError, MissingError, UsageError
from provenance.recipe import Recipe

_MARKS = re.compile(r"\x1b\[[0-9;]*m|\^+")  # colours and what points into lines
CHUNK = 16  # jobs that a worker has in hand
MAX_DEATHS = 3  # of workers, over one job
LOCAL = "local"

Chunk = tuple[tuple[Job, ...], int]
"""Jobs, and how many workers have died over them."""
_NOTHING: Chunk = ((), 0)


class Farm:
    """Workers on a Ray cluster: `address` is HOST:PORT, `auto`, or `local` for this machine alone.

    `studio` builds a worker's studio and must be picklable. There is a worker for each GPU or,
    where there is none, for each machine, unless `workers` says how many.
    """

    def __init__(
        self, address: str, studio: Callable[[], Studio], workers: int | None = None
    ) -> None:
        self._ray = ray = _connected(address)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        kind = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(Worker)
        count = workers or gpus or len([node for node in ray.nodes() if node["Alive"]])
        self._new: Callable[[], Any] = partial(kind.remote, studio)
        self._workers = [self._new() for _ in range(count)]

    def __enter__(self) -> "Farm":
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def complete(self, jobs: Sequence[Job]) -> list[Recipe | FirsthandError]:
        """By the first worker that is there, so that no model is loaded here."""
        for _ in range(MAX_DEATHS):
            present = {worker.there.remote(): worker for worker in self._workers}
            (first,), _ = self._ray.wait(list(present), num_returns=1)
            worker = present[first]
            try:
                found = self._ray.get(worker.complete.remote(list(jobs)))
                return or_raised(found)  # type: ignore[no-any-return]
            except self._ray.exceptions.RayActorError as error:
                death = _short(error)
                self._workers[self._workers.index(worker)] = self._new()
        raise CheckError(f"no worker lives long enough to load the model: {death}")

    def make(
        self, jobs: Sequence[Job], retries: int, taken: set[Recipe] | None = None
    ) -> Iterator[Made]:
        held = self._ray.put(taken)
        waiting: deque[Chunk] = deque(
            (tuple(jobs[start : start + CHUNK]), 0) for start in range(0, len(jobs), CHUNK)
        )
        idle: list[Any] = []
        running = {worker.there.remote(): (worker, _NOTHING) for worker in self._workers}
        while waiting or any(chunk for _, (chunk, _) in running.values()):
            while waiting and idle:
                worker, given = idle.pop(), waiting.popleft()
                running[worker.make.remote(given[0], retries, held)] = worker, given
            if not running:
                raise CheckError("no worker is left")
            (done,), _ = self._ray.wait(list(running), num_returns=1)
            worker, (chunk, deaths) = running.pop(done)
            try:
                answer = self._ray.get(done)
            except self._ray.exceptions.RayActorError as error:
                if not chunk:  # not even there: no other is started in its place
                    continue
                worker = self._new()
                running[worker.there.remote()] = worker, _NOTHING
                if len(chunk) == 1 and deaths + 1 == MAX_DEATHS:
                    told = f"{MAX_DEATHS} workers died over it: {_short(error)}"
                    yield chunk[0], FirsthandError(told)
                else:
                    waiting.extendleft(((job,), deaths + 1) for job in reversed(chunk))
                continue
            idle.append(worker)
            yield from or_raised(answer)


class Worker:
    """What lives on the other machine: a studio, built when it is first needed."""

    def __init__(self, build: Callable[[], Studio]) -> None:
        self._build = build
        self._built: Studio | None = None

    def there(self) -> list[Made]:
        return []

    def complete(self, jobs: Sequence[Job]) -> list[Recipe | FirsthandError] | FirsthandError:
        try:
            return [completed(job, self._studio.painter) for job in jobs]
        except FirsthandError as error:
            return error

    def make(
        self, jobs: Sequence[Job], retries: int, taken: set[Recipe] | None = None
    ) -> list[Made] | FirsthandError:
        """A picture that is not clear has no pixels in a Generation, so none are sent."""
        try:
            return [_portable(made) for made in make_each(self._studio, jobs, retries, taken)]
        except FirsthandError as error:
            return error

    @property
    def _studio(self) -> Studio:
        if self._built is None:
            self._built = self._build()
        return self._built


def _connected(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise it reports home
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # standard output is not Ray's
    try:
        import ray
    except ImportError:
        raise MissingError("--ray needs Ray: pip install 'firsthand[ray]'") from None
    try:
        ray.init(
            address=address, include_dashboard=False if address == LOCAL else None,
            log_to_driver=False, logging_level=logging.ERROR, namespace="firsthand",
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"--ray is HOST:PORT of a Ray cluster, auto or {LOCAL}; {address}: {_short(error)}; "
            "one that asks for a token wants RAY_AUTH_MODE=token set here"
        ) from None
    return ray


def _portable(made: Made) -> Made:
    """Errors of other libraries may not survive the journey."""
    job, outcome = made
    if isinstance(outcome, Exception) and not isinstance(outcome, FirsthandError):
        return job, FirsthandError(f"{type(outcome).__name__}: {outcome}")
    return made


def or_raised(found: Any) -> Any:
    """What a worker found, unless that is an error of all its work."""
    if isinstance(found, FirsthandError):
        raise found
    return found


def _short(error: Exception) -> str:
    """The end of it, where Ray says what it was."""
    return " ".join(_MARKS.sub("", str(error)).split())[-200:]
