"""Workers through Ray: a worker that dies costs its batch, a job that kills costs itself."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from gen import farm
from gen.batch import Journal, plan, run
from gen.jobs import Job
from gen.pipeline import OnStep
from gen.studio import Studio
from index.library import Library
from provenance.check import Checker
from provenance.errors import CheckError, MissingError, UsageError
from provenance.images import Picture, read_picture
from provenance.read import recipe_of
from provenance.recipe import Recipe
from tests.conftest import hash_policy, hashes_only, labeller
from tests.test_studio import Held, PhotoPainter
from ui.wiring import hold_for_review

DIES_ONCE, DIES_ALWAYS = 5, 11


@dataclass
class Deadly(PhotoPainter):
    """Kills its own process at one seed, and at another until `mark` is there."""

    mark: Path = Path()

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        first = recipe.seed == DIES_ONCE and not self.mark.exists()
        if first or recipe.seed == DIES_ALWAYS:
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().paint(recipe, on_step)


def deadly_studio(library: Path, mark: Path) -> Studio:
    checker = Checker(hashes_only(), Library.open(library), hash_policy())
    return Studio(Deadly(mark=mark), checker, (), Held(), labeller())


def no_studio() -> Studio:
    raise CheckError("the library is not there")


@pytest.fixture(scope="module")
def ray_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray keeps a token in the user's home; its workers find this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        tests = Path(__file__).parent
        patch.setenv("PYTHONPATH", f"{tests.parent}{os.pathsep}{tests}")
        yield


def test_two_workers_of_which_some_die(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch, ray_home: None
) -> None:
    monkeypatch.setattr(farm, "CHUNK", 4)
    monkeypatch.setattr(farm, "MAX_DEATHS", 2)
    prompts = ["grass.png", "coffee.png", "ihc.png"]
    jobs = [Job(n, Recipe(prompts[n % 3], seed=n)) for n in range(1, 21)]
    build = partial(deadly_studio, library.folder, tmp_path / "mark")
    with farm.Farm("local", build, 2) as hands, Journal(tmp_path / "out") as journal:
        tasks = plan(jobs, hands)
        rows = list(run(tasks, hands, journal))
        assert sorted(row["job"] for row in rows) == list(range(1, 21))
        assert journal.outcomes(tasks) == sorted(rows, key=lambda row: int(row["job"]))
    assert (tmp_path / "mark").exists()
    failed = [row for row in rows if row["error"]]
    assert [row["job"] for row in failed] == [DIES_ALWAYS]
    assert "2 workers died over it" in failed[0]["error"]
    decided = {row["job"]: row["decision"] for row in rows if not row["error"]}
    assert decided == {n: ("clear", "block")[n % 3 == 1] for n in decided}
    files = {Path(row["file"]) for row in rows if row["file"]}
    assert files == set((tmp_path / "out").glob("*.png"))
    for file in files:
        assert recipe_of(read_picture(file))


def test_each_picture_is_held_once_under_a_name_of_its_own(
    tmp_path: Path, checker: Checker
) -> None:
    verdict = checker.check(Picture(Image.new("RGB", (64, 64))))
    picture = labeller()(Image.new("RGB", (64, 64)), Recipe("a", seed=7), verdict)
    other = labeller()(Image.new("RGB", (64, 64), "red"), Recipe("a", seed=7), verdict)
    held = [hold_for_review(tmp_path, each, Recipe("a", seed=7), verdict)
            for each in (picture, other, picture)]  # fmt: skip
    assert held[0] == held[2] != held[1]
    assert {Path(each).suffix for each in held} == {".png"}
    assert len(list(tmp_path.glob("7-*.png"))) == len(list(tmp_path.glob("7-*.json"))) == 2


def test_what_is_wrong_at_a_worker_travels_back() -> None:
    worker = farm.Worker(no_studio)
    for answer in (worker.complete([Job(1, Recipe("a"))]), worker.make([Job(1, Recipe("a"))], 0)):
        assert isinstance(answer, CheckError)
        with pytest.raises(CheckError, match="the library is not there"):
            farm.or_raised(answer)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"firsthand\[ray\]"):
        farm.Farm("local", no_studio, 1)


def test_an_address_without_a_cluster_is_an_error(ray_home: None) -> None:
    with pytest.raises(UsageError, match="HOST:PORT of a Ray cluster"):
        farm.Farm("nonsense", no_studio, 1)
