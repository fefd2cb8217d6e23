"""The Studio is the only way a picture leaves; what is not clear does not leave it."""

import json
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen.gates import RecipeGate
from gen.models import ModelSpec
from gen.pipeline import OnStep
from gen.studio import Generation, Studio
from gen.watch import Watch
from index.library import Library
from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.images import Picture, read_picture
from provenance.label.labeller import Labelled
from provenance.read import recipe_of
from provenance.recipe import MAX_SEED, Recipe
from provenance.verdict import Decision, Verdict
from tests.conftest import PHOTOS, hash_policy, hashes_only, labeller
from tests.test_library import fingerprint, new

Photo = Callable[[str], Image.Image]


SPEC = ModelSpec("photos", Path(), "ab" * 32, "None", 0)


@dataclass
class PhotoPainter:
    """Paints the photograph that the prompt names; counts what it painted."""

    spec: ModelSpec = SPEC
    painted: list[Recipe] = field(default_factory=list)
    batch: int = 1
    samplers: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def complete(self, recipe: Recipe) -> Recipe:
        return recipe.with_changes(
            model="photos", model_hash="ab" * 5, steps=2, guidance=1.0, width=64, height=64
        ).validated()

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        self.painted.append(recipe)
        on_step(1, 2)
        on_step(2, 2)
        names = recipe.prompt.split()
        return Image.open(PHOTOS / names[(recipe.seed or 0) % len(names)]).convert("RGB")

    def begun(self, recipe: Recipe) -> bytes | None:
        return None

    def shape(self, recipe: Recipe) -> Hashable:
        return recipe.negative

    def paint_each(
        self, recipes: Sequence[Recipe], on_step: OnStep, watches: Sequence[Watch] = ()
    ) -> list[Image.Image | None]:
        self.batches.append(len(recipes))
        return [self.paint(recipe, on_step) for recipe in recipes]


class Held:
    """A review store in memory."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []

    def __call__(self, picture: Labelled, recipe: Recipe, verdict: Verdict) -> str:
        self.pictures.append(picture.data)
        return f"held/{recipe.seed}"


def make(checker: Checker, *prompts: str, retries: int = 0, gates: Sequence[RecipeGate] = ()
         ) -> tuple[list[Generation], PhotoPainter, Held]:  # fmt: skip
    painter, held = PhotoPainter(), Held()
    studio = Studio(painter, checker, gates, held, labeller())
    recipes = [Recipe(prompt, seed=0) for prompt in prompts]
    return list(studio.make(recipes, retries=retries)), painter, held


def test_a_clear_picture_comes_labelled(checker: Checker) -> None:
    (made,), _, _ = make(checker, "grass.png")
    assert made.decision is Decision.CLEAR
    assert made.picture
    picture = read_picture(made.picture.data)
    assert recipe_of(picture) == made.recipe
    record = json.loads(picture.texts["firsthand"])
    assert record["decision"] == "clear"
    assert record["library"] == {"version": checker.index.version, "references": 5}
    assert picture.image.tobytes() == Image.open(PHOTOS / "grass.png").convert("RGB").tobytes()


def test_a_known_picture_does_not_leave(checker: Checker) -> None:
    (made,), painter, held = make(checker, "coffee.png")
    assert made.decision is Decision.BLOCK
    assert made.picture is None
    assert (len(painter.painted), held.pictures) == (1, [])
    assert made.verdict
    assert made.verdict.matches[0].reference.title == "coffee.png"


def test_a_picture_for_review_is_held(checker: Checker) -> None:
    strict = replace(hash_policy(), min_detail=101)
    (made,), _, held = make(Checker(hashes_only(), checker.index, strict), "grass.png")
    assert made.decision is Decision.REVIEW
    assert made.picture is None
    assert made.held == "held/0"
    assert len(held.pictures) == 1


def test_a_known_recipe_is_refused_before_painting(library: Library, photo: Photo) -> None:
    checker = Checker(hashes_only(), library, hash_policy())
    (first,), painter, _ = make(checker, "grass.png")
    library.add([new("gallery/7", fingerprint(photo("ihc.png")), first.recipe)])
    (made,), painter, _ = make(checker, "grass.png", gates=[RecipeGate(library)])
    assert made.refused
    assert [reference.uri for reference in made.refused.references] == ["gallery/7"]
    assert made.decision is Decision.BLOCK
    assert (made.picture, made.verdict, painter.painted) == (None, None, [])
    assert "gallery/7" in made.reasons[0]


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"model": "renamed", "model_hash": "64e73fcb"}, True),  # AutoV1, in another tool's file
        ({"prompt": "  grass.png, "}, True),
        ({"guidance": None}, True),
        ({"guidance": None, "steps": None, "width": None}, False),  # too little is known there
        ({"steps": 3}, False),  # near: what is painted is compared
        ({"seed": 1}, False),
    ],
)
def test_the_gate_knows_a_recipe_in_other_words(
    library: Library, photo: Photo, change: dict[str, Any], refused: bool
) -> None:
    recipe = PhotoPainter().complete(Recipe("grass.png", seed=0))
    known = recipe.with_changes(**change)
    library.add([new("gallery/7", fingerprint(photo("ihc.png")), known)])
    said = RecipeGate(library, ("64e73fcb",))(recipe)
    assert bool(said) == refused
    if said and None in change.values():
        assert said.reason == "this is the recipe of gallery/7 (not known there: guidance, sampler)"


def test_retries_take_the_next_seeds_and_say_so(checker: Checker) -> None:
    (made,), painter, _ = make(checker, "coffee.png rocket.jpg grass.png", retries=5)
    assert made.decision is Decision.CLEAR
    assert made.recipe.seed == 2
    assert [tried.recipe.seed for tried in made.attempts] == [0, 1]
    assert all(tried.picture is None for tried in made.attempts)
    assert len(painter.painted) == 3
    assert [tried["decision"] for tried in made.to_json()["attempts"]] == ["block", "block"]


def test_retries_end(checker: Checker) -> None:
    (made,), painter, _ = make(checker, "coffee.png", retries=2)
    assert made.decision is Decision.BLOCK
    assert len(painter.painted) == 3


def test_no_verdict_no_picture(library: Library) -> None:
    checker = Checker(hashes_only(), library, hash_policy())
    painter = PhotoPainter()
    making = Studio(painter, checker, (), Held(), labeller()).make(
        [Recipe("grass.png", seed=0), Recipe("ihc.png", seed=0)]
    )
    assert next(making).picture
    (library.folder / "catalog.sqlite").unlink()
    with pytest.raises(CheckError, match="removed"):
        next(making)
    assert len(painter.painted) == 2


def recipes(*prompts: str, negative: str = "") -> list[Recipe]:
    return [Recipe(prompt, negative, seed=0) for prompt in prompts]


def test_neighbours_of_one_shape_are_painted_at_once(checker: Checker) -> None:
    painter = PhotoPainter(batch=3)
    asked = [*recipes("grass.png", "ihc.png"), *recipes(*["grass.png"] * 4, negative="fog")]
    made = list(Studio(painter, checker, (), Held(), labeller()).make(asked))
    assert painter.batches == [2, 3, 1]
    assert [(each.recipe.prompt, each.recipe.negative) for each in made] == [
        (recipe.prompt, recipe.negative) for recipe in asked
    ]


def test_retries_in_a_batch_keep_the_order(checker: Checker) -> None:
    painter = PhotoPainter(batch=2)
    asked = recipes("coffee.png grass.png", "coffee.png rocket.jpg ihc.png", "retina.jpg")
    made = list(Studio(painter, checker, (), Held(), labeller()).make(asked, retries=2))
    assert [each.recipe.prompt for each in made] == [recipe.prompt for recipe in asked]
    assert [each.recipe.seed for each in made] == [1, 2, 0]
    assert [len(each.attempts) for each in made] == [1, 2, 0]
    assert all(each.picture for each in made)


def test_what_a_gate_refuses_keeps_its_place(library: Library, checker: Checker) -> None:
    known = PhotoPainter().complete(Recipe("grass.png", seed=0))
    library.add([new("gallery/7", fingerprint(Image.new("RGB", (64, 64))), known)])
    asked = recipes("ihc.png", "grass.png", "retina.jpg", "grass.png")
    painter = PhotoPainter(batch=4)
    made = list(Studio(painter, checker, [RecipeGate(library)], Held(), labeller()).make(asked))
    assert [bool(each.refused) for each in made] == [False, True, False, True]
    assert painter.batches == [2]
    (alone,) = Studio(painter, checker, [RecipeGate(library)], Held(), labeller()).make(asked[1:2])
    assert alone.refused


def test_the_next_ones_are_painted_while_these_are_checked(checker: Checker) -> None:
    begun = threading.Event()

    class Telling(PhotoPainter):
        def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
            if recipe.prompt == "ihc.png":
                begun.set()
            return super().paint(recipe, on_step)

    class Waiting(Checker):
        def check(self, picture: Picture, recipe: Recipe | None = None) -> Verdict:
            assert begun.wait(60), "painting waits for the check"
            return super().check(picture, recipe)

    waiting = Waiting(checker.fingerprinter, checker.index, checker.policy)
    made = list(
        Studio(Telling(), waiting, (), Held(), labeller()).make(recipes("grass.png", "ihc.png"))
    )
    assert [bool(each.picture) for each in made] == [True, True]


class Endless(PhotoPainter):
    """Paints the second picture until it is stopped."""

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        image = super().paint(recipe, on_step)
        while len(self.painted) > 1:
            on_step(1, 2)
        return image


def test_nothing_is_painted_once_nobody_waits(checker: Checker) -> None:
    before = threading.active_count()
    making = Studio(Endless(), checker, (), Held(), labeller()).make(
        recipes("grass.png", "ihc.png")
    )
    assert next(making).picture
    making.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_failed_check_stops_what_is_painted_meanwhile(checker: Checker) -> None:
    class Failing(Checker):
        def check(self, picture: Picture, recipe: Recipe | None = None) -> Verdict:
            raise CheckError("no check")

    failing = Failing(checker.fingerprinter, checker.index, checker.policy)
    before = threading.active_count()
    making = Studio(Endless(), failing, (), Held(), labeller()).make(
        recipes("grass.png", "ihc.png")
    )
    with pytest.raises(CheckError, match="no check"):
        next(making)
    assert threading.active_count() == before


def test_a_failed_painting_is_told_after_what_was_painted_before(checker: Checker) -> None:
    making = Studio(PhotoPainter(), checker, (), Held(), labeller()).make(
        recipes("grass.png", "none.png")
    )
    assert next(making).picture
    with pytest.raises(FileNotFoundError):
        next(making)


def test_a_recipe_that_cannot_be_painted_stops_before_the_first(checker: Checker) -> None:
    painter = PhotoPainter()
    making = Studio(painter, checker, (), Held(), labeller()).make(
        [Recipe("grass.png", seed=0), Recipe(" ", seed=0)]
    )
    with pytest.raises(UsageError, match="empty"):
        next(making)
    assert painter.painted == []


def test_progress_is_told(checker: Checker) -> None:
    steps: list[tuple[int, int]] = []
    studio = Studio(PhotoPainter(), checker, (), Held(), labeller())
    list(studio.make([Recipe("grass.png", seed=0)], on_step=lambda *at: steps.append(at)))
    assert steps == [(1, 2), (2, 2)]


def test_the_json_has_no_pixels(checker: Checker) -> None:
    (made,), _, _ = make(checker, "coffee.png")
    row = json.loads(json.dumps(made.to_json()))
    assert row["decision"] == "block"
    assert row["seed"] == 0
    assert row["recipe"]["prompt"] == "coffee.png"
    assert len(json.dumps(row)) < 10_000


def test_retries_paint_no_seed_that_is_asked_for_anyway(checker: Checker) -> None:
    prompt = "coffee.png grass.png ihc.png retina.jpg"
    painter = PhotoPainter()
    asked = [Recipe(prompt, seed=seed) for seed in (0, 1)]
    made = list(Studio(painter, checker, (), Held(), labeller()).make(asked, retries=1))
    assert [each.recipe.seed for each in made] == [2, 1]
    assert len({recipe.seed for recipe in painter.painted}) == 3


def test_after_the_largest_seed_comes_0(checker: Checker) -> None:
    prompt = "grass.png coffee.png"  # an odd seed is the known picture
    painter = PhotoPainter()
    asked = [Recipe(prompt, seed=MAX_SEED)]
    (made,) = Studio(painter, checker, (), Held(), labeller()).make(asked, retries=1)
    assert (made.recipe.seed, made.decision) == (0, Decision.CLEAR)
