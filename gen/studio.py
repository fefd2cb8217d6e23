"""Studio: gates → paint → check → label → Generation. The only way a picture leaves this room."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, NamedTuple

from PIL import Image

from gen.gates import Gate, Refused
from gen.pipeline import OnStep, Painter
from gen.watch import Seen, Watch, mitigated
from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.images import Picture
from provenance.label.labeller import Labelled
from provenance.recipe import MAX_SEED, Recipe
from provenance.verdict import NO_VERDICT, Decision, Verdict

Label = Callable[[Image.Image, Recipe, Verdict], Labelled]
"""Makes the file that may leave; raises CheckError where it cannot be signed."""

Hold = Callable[[Labelled, Recipe, Verdict], str]
"""Keeps a picture that a person must review, out of every output; returns where."""


@dataclass(frozen=True)
class Generation:
    """What became of one recipe.

    `picture` is the labelled file and is there only when the verdict is clear. A recipe that a gate
    refused has `refused` and no verdict. `held` says where a picture for review is kept.
    `attempts` are the generations before this one that were not clear, when retries were asked for
    or the policy has another one follow a stop. `seen` is what was seen while it was painted.
    """

    recipe: Recipe
    verdict: Verdict | None = None
    refused: Refused | None = None
    picture: Labelled | None = None
    held: str | None = None
    attempts: tuple["Generation", ...] = ()
    seen: Seen | None = None

    @property
    def stopped(self) -> bool:
        """Whether painting ended early because what was being painted came too close."""
        return bool(self.seen and self.seen.stopped)

    @property
    def decision(self) -> Decision:
        return self.verdict.decision if self.verdict else Decision.BLOCK

    @property
    def reasons(self) -> tuple[str, ...]:
        if self.refused:
            return (f"refused before painting: {self.refused.reason}",)
        return self.verdict.reasons if self.verdict else ()

    def to_json(self) -> dict[str, Any]:
        """The verdict's JSON with recipe and seed; `refused` and `held` where they apply."""
        verdict = self.verdict.to_json() if self.verdict else NO_VERDICT
        return {
            "path": None,
            **verdict,
            "decision": str(self.decision),
            "reasons": list(self.reasons),
            "error": None,
            "labels": self.picture.labels if self.picture else {},
            "refused": self.refused.reason if self.refused else None,
            "references": [r.uri for r in self.refused.references] if self.refused else [],
            "held": self.held,
            "recipe": self.recipe.to_json(),
            "seed": self.recipe.seed,
            "watch": self.seen.to_json() if self.seen else None,
            "attempts": [
                {"seed": tried.recipe.seed, "decision": str(tried.decision),
                 "reasons": list(tried.reasons)}
                for tried in self.attempts
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Preview:
    """What a picture is going to be like, as its prediction at a step shows it.

    There are previews only of what an early look at it found clear.
    """

    recipe: Recipe
    step: int
    picture: Labelled


@dataclass(frozen=True)
class Watching:
    """That painting is watched: `limit` and `always` as in `gen.watch.Watch`."""

    limit: float | None = None
    always: bool = False


class _Wanted(NamedTuple):
    """A recipe in its place among those that were asked for, and what became of it so far."""

    place: int
    recipe: Recipe
    attempts: tuple[Generation, ...] = ()


_Show = Callable[[Image.Image, Verdict, int], None]


class _Eye:
    """Watches one picture: looks at what it is going to be as the check looks at pictures.

    `show` is called with what was clear, its verdict, and the step.
    """

    def __init__(
        self, check: Callable[[Image.Image], Verdict], how: Watching, show: _Show | None
    ) -> None:
        self.watch = Watch(self._look, how.limit, always=how.always or show is not None)
        self._check, self._show = check, show
        self._last: Verdict | None = None

    def stopped(self, recipe: Recipe) -> Verdict:
        """The verdict on a picture that was not painted to its end: the last early look's."""
        if self._last is None or not self.watch.seen.hit:
            raise CheckError("there is no picture, and nothing that was seen of it says why")
        step, reasons = self.watch.seen.stopped, self._last.reasons
        stop = f"stopped at step {step} of {recipe.steps}, because of what was being painted"
        return replace(self._last, reasons=(stop, *reasons))

    def _look(self, picture: Image.Image) -> Decision:
        self._last = self._check(picture)
        if self._show and self._last.decision is Decision.CLEAR:
            self._show(picture, self._last, self.watch.seen.looks[-1])
        return self._last.decision


class _Stopped(Exception):
    """Ends a painting that nobody waits for any more."""


class Studio:
    """Holds gates, painter, checker, labeller and the place for what must be reviewed."""

    def __init__(
        self,
        painter: Painter,
        checker: Checker,
        gates: Sequence[Gate],
        hold: Hold,
        label: Label,
        watching: Watching | None = None,
        label_preview: Label | None = None,
    ) -> None:
        self.painter, self.checker = painter, checker
        self._gates, self._hold, self._label = tuple(gates), hold, label
        self._watching, self._label_preview = watching, label_preview
        self._one_check = Lock()  # threads that paint take early looks

    @property
    def watches(self) -> bool:
        """Whether early looks are taken, without which there are no previews."""
        return self._watching is not None

    def make(
        self,
        recipes: Sequence[Recipe],
        *,
        retries: int = 0,
        on_step: OnStep = lambda done, steps: None,
    ) -> Iterator[Generation]:
        """One Generation for each recipe, in their order, as soon as it is made.

        A recipe whose picture is not clear is tried again, `retries` times, with the next seed that
        is not asked for anyway, and one whose painting was stopped as the policy says. Every recipe
        needs a seed. Neighbours of one shape are painted at once, and while what was painted is
        checked the next ones are painted. Any error in gate, painter or check is raised in its
        turn: no picture. Nothing is painted any more once the iterator is closed.
        """
        with closing(self.live(recipes, retries=retries, on_step=on_step, previews=False)) as made:
            for each in made:
                if isinstance(each, Generation):
                    yield each

    def live(
        self,
        recipes: Sequence[Recipe],
        *,
        retries: int = 0,
        on_step: OnStep = lambda done, steps: None,
        previews: bool = True,
    ) -> Generator[Generation | Preview]:
        """As `make`; before a Generation come the previews of its picture, if it is watched."""
        waiting: dict[int, Generation] = {}
        shown = 0
        made = self.each(recipes, retries=retries, on_step=on_step, previews=previews)
        with closing(made):
            for each in made:
                if isinstance(each, Preview):
                    yield each
                else:
                    waiting[each[0]] = each[1]
                while shown in waiting:
                    yield waiting.pop(shown)
                    shown += 1

    def each(
        self,
        recipes: Sequence[Recipe],
        *,
        retries: int = 0,
        taken: set[Recipe] | None = None,
        on_step: OnStep = lambda done, steps: None,
        previews: bool = False,
    ) -> Generator[tuple[int, Generation] | Preview]:
        """As `live`, each Generation with its recipe's place as soon as there is no more to do for
        it, so that an error loses none. `taken` are recipes that no retry may use; those that are
        painted here are added."""
        complete = [self.painter.complete(recipe) for recipe in recipes]
        todo = deque(_Wanted(place, recipe) for place, recipe in enumerate(complete))
        asked_for = set[Recipe]() if taken is None else taken
        asked_for.update(complete)
        made: deque[tuple[int, Generation]] = deque()
        early: SimpleQueue[Preview | None] = SimpleQueue()  # after a batch's previews comes None
        stopped = Event()

        def stepped(done: int, steps: int) -> None:
            if stopped.is_set():
                raise _Stopped
            on_step(done, steps)

        def settle(wanted: _Wanted, generation: Generation) -> None:
            attempts = wanted.attempts
            again = self._instead(generation, attempts, retries)
            while again in asked_for:
                again = _next_seed(again)
            if again is None:
                made.append((wanted.place, replace(generation, attempts=attempts)))
            else:
                asked_for.add(again)
                todo.appendleft(_Wanted(wanted.place, again, (*attempts, generation)))

        def begin() -> tuple[list[_Wanted], list[_Eye], "Future[list[Image.Image | None]]"] | None:
            batch = self._admitted(todo, settle)
            if not batch:
                return None
            asked = [wanted.recipe for wanted in batch]
            shows = [self._shows(recipe, early.put) if previews else None for recipe in asked]
            how = self._watching
            eyes = [_Eye(self._check, how, show) for show in shows] if how else []
            watches = [eye.watch for eye in eyes]
            paint = partial(self.painter.paint_each, asked, stepped, watches)
            painted = thread.submit(copy_context().run, paint)
            painted.add_done_callback(lambda _: early.put(None))
            return batch, eyes, painted

        with ThreadPoolExecutor(1) as thread:
            try:
                painting = begin()
                while painting:
                    batch, eyes, painted = painting
                    yield from iter(early.get, None)
                    images = painted.result()
                    painting = begin()
                    for wanted, eye, image in zip_longest(batch, eyes, images):
                        settle(wanted, self._checked(image, wanted.recipe, eye))
                        while made:
                            yield made.popleft()
                    painting = painting or begin()
                yield from made  # what gates have refused
            finally:
                stopped.set()

    def _shows(self, recipe: Recipe, put: Callable[[Preview], None]) -> _Show | None:
        if self._label_preview is None:
            return None
        label = self._label_preview

        def show(image: Image.Image, verdict: Verdict, step: int) -> None:
            put(Preview(recipe, step, label(image, recipe, verdict)))

        return show

    def _admitted(
        self, todo: deque[_Wanted], settle: Callable[[_Wanted, Generation], None]
    ) -> list[_Wanted]:
        """Takes the next ones that can be painted at once; settles those that a gate refuses."""
        batch: list[_Wanted] = []
        shape = None
        while todo and len(batch) < self.painter.batch:
            its_shape = self.painter.shape(todo[0].recipe)
            if batch and its_shape != shape:
                break
            shape, wanted = its_shape, todo.popleft()
            refused = next(filter(None, (gate(wanted.recipe) for gate in self._gates)), None)
            if refused:
                settle(wanted, Generation(wanted.recipe, refused=refused))
            else:
                batch.append(wanted)
        return batch

    def _instead(
        self, made: Generation, attempts: tuple[Generation, ...], retries: int
    ) -> Recipe | None:
        """What is painted after this; None where it is what becomes of the recipe."""
        on_hit = self.checker.policy.on_hit
        stops = [each for each in (*attempts, made) if each.stopped]
        once_more = bool(stops) and on_hit != "stop"
        if made.decision is Decision.CLEAR or len(attempts) >= retries + once_more:
            return None
        if made.stopped and on_hit == "mitigate" and len(stops) == 1 and made.verdict:
            other = mitigated(made.recipe, made.verdict.matches[0].reference)
            try:
                return self.painter.complete(other)
            except UsageError:  # the model takes no negative prompt, or not this one
                return self.painter.complete(other.with_changes(negative=made.recipe.negative))
        return _next_seed(made.recipe)

    def _check(self, image: Image.Image) -> Verdict:
        with self._one_check:
            return self.checker.check(Picture(image))

    def _checked(self, image: Image.Image | None, recipe: Recipe, eye: _Eye | None) -> Generation:
        if image is None:
            if eye is None:
                raise CheckError("no picture was painted, and nothing was seen of it")
            return Generation(recipe, eye.stopped(recipe), seen=eye.watch.seen)
        made = self._released(image, recipe, self._check(image))
        return replace(made, seen=eye.watch.seen) if eye else made

    def _released(self, image: Image.Image, recipe: Recipe, verdict: Verdict) -> Generation:
        if verdict.decision is Decision.BLOCK:
            return Generation(recipe, verdict)
        picture = self._label(image, recipe, verdict)
        if verdict.decision is Decision.CLEAR:
            return Generation(recipe, verdict, picture=picture)
        return Generation(recipe, verdict, held=self._hold(picture, recipe, verdict))


def _next_seed(recipe: Recipe) -> Recipe:
    """After the largest seed comes 0."""
    return recipe.with_changes(seed=((recipe.seed or 0) + 1) % (MAX_SEED + 1))
