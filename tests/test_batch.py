"""Runs that survive a kill and jobs that fail."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from gen.batch import Here, Journal, Outcome, plan, run, sized
from gen.jobs import Job, read_jobs
from gen.pipeline import OnStep
from gen.studio import Studio
from index.library import Library
from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.images import read_picture
from provenance.label.profiles import Style
from provenance.recipe import Recipe
from tests.conftest import PHOTOS, hash_policy, hashes_only, labeller
from tests.test_jobs import written
from tests.test_library import fingerprint, new
from tests.test_studio import Held, PhotoPainter
from ui.cli import build
from ui.settings import load_settings
from ui.wiring import batch_basis, hold_for_review

PROMPTS = "grass.png\ncoffee.png\nihc.png\n"


def jobs_of(tmp_path: Path, prompts: str = PROMPTS) -> list[Job]:
    return read_jobs(written(tmp_path, "j.txt", prompts))


def studio(checker: Checker, painter: PhotoPainter | None = None) -> Studio:
    return Studio(painter or PhotoPainter(), checker, (), Held(), labeller())


def batch(jobs: Sequence[Job], made_by: Studio, out: Path, **options: Any) -> list[Outcome]:
    """The outcomes that this run yields."""
    tasks = plan(jobs, Here(made_by), go_on="max_errors" in options)
    with Journal(out) as journal:
        return list(run(tasks, Here(made_by), journal, **options))


def recorded(jobs: Sequence[Job], made_by: Studio, out: Path) -> list[Outcome]:
    with Journal(out) as journal:
        return journal.outcomes(plan(jobs, Here(made_by), go_on=True))


def test_a_clear_picture_is_a_file_and_a_blocked_one_is_not(
    tmp_path: Path, checker: Checker
) -> None:
    out = tmp_path / "out"
    rows = batch(jobs_of(tmp_path), studio(checker), out)
    assert [row["decision"] for row in rows] == ["clear", "block", "clear"]
    assert rows[1]["file"] is None
    assert {path.name for path in out.glob("*.png")} == {
        Path(row["file"]).name for row in rows if row["file"]
    }
    assert recorded(jobs_of(tmp_path), studio(checker), out) == rows


def test_files_and_what_is_held_are_in_the_format_that_is_set(
    tmp_path: Path, checker: Checker
) -> None:
    hold, label = partial(hold_for_review, tmp_path / "review"), labeller(Style(form="webp"))
    strict = Checker(hashes_only(), checker.index, replace(hash_policy(), min_detail=101))
    clear, held = (
        batch(
            jobs_of(tmp_path, "grass.png\n"),
            Studio(PhotoPainter(), each, (), hold, label),
            tmp_path / str(each is strict),
        )[0]
        for each in (checker, strict)
    )
    assert (Path(clear["file"]).suffix, held["file"]) == (".webp", None)
    for file in (clear["file"], held["held"]):
        with Image.open(file) as image:
            assert image.format == "WEBP"
    evidence = json.loads(Path(held["held"]).with_suffix(".json").read_text("utf-8"))
    assert evidence["labels"]["content"] == clear["labels"]["content"]


def test_a_second_run_paints_nothing(tmp_path: Path, checker: Checker) -> None:
    out = tmp_path / "out"
    batch(jobs_of(tmp_path), studio(checker), out)
    painter = PhotoPainter()
    assert batch(jobs_of(tmp_path), studio(checker, painter), out) == []
    assert painter.painted == []
    more = jobs_of(tmp_path, PROMPTS + "retina.jpg\n")
    assert len(batch(more, studio(checker, painter), out)) == 1


def test_another_model_is_another_task(tmp_path: Path, checker: Checker) -> None:
    out, jobs = tmp_path / "out", jobs_of(tmp_path, "grass.png\n")
    (first,) = batch(jobs, studio(checker), out)

    class Other(PhotoPainter):
        def complete(self, recipe: Recipe) -> Recipe:
            return super().complete(recipe).with_changes(model="other", model_hash="cd" * 5)

    (second,) = batch(jobs, studio(checker, Other()), out)
    assert Path(second["file"]).stem == Path(first["file"]).stem + "_2"
    assert recorded(jobs, studio(checker), out) == [first]


def test_a_torn_journal_line_is_painted_again_into_the_same_file(
    tmp_path: Path, checker: Checker
) -> None:
    out, jobs = tmp_path / "out", jobs_of(tmp_path)
    rows = batch(jobs, studio(checker), out)
    journal = out / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (out / ".firsthand-00ff.part").write_bytes(b"half")
    (out / ".thesis.part").write_bytes(b"of another program")
    again = batch(jobs, studio(checker), out)
    assert [row["job"] for row in again] == [3]
    assert recorded(jobs, studio(checker), out) == [*rows[:2], *again]
    assert again[0]["labels"]["content"] == rows[2]["labels"]["content"]
    assert again[0]["file"] == rows[2]["file"]
    assert len(list(out.glob("*.png"))) == 2
    assert [part.name for part in out.glob(".*.part")] == [".thesis.part"]


def test_files_of_others_are_never_written_over(tmp_path: Path, checker: Checker) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "same.png").write_bytes((PHOTOS / "astronaut.png").read_bytes())
    (out / "same_2.png").write_bytes(b"notes of mine")
    rows = batch(jobs_of(tmp_path), studio(checker), out, name="same")
    assert [Path(row["file"]).name for row in rows if row["file"]] == ["same_3.png", "same_4.png"]
    assert (out / "same_2.png").read_bytes() == b"notes of mine"


def test_a_damaged_journal_is_said(tmp_path: Path, checker: Checker) -> None:
    out = tmp_path / "out"
    batch(jobs_of(tmp_path), studio(checker), out)
    journal = out / "journal.jsonl"
    journal.write_bytes(b"[1]\n" + journal.read_bytes())
    with pytest.raises(UsageError, match="line 1 is damaged"):
        batch(jobs_of(tmp_path), studio(checker), out)
    journal.write_bytes(journal.read_bytes()[4:])
    assert batch(jobs_of(tmp_path), studio(checker), out) == []


class Picky(PhotoPainter):
    """Takes no picture of `ihc.png`."""

    def complete(self, recipe: Recipe) -> Recipe:
        if recipe.prompt == "ihc.png":
            raise UsageError("too large")
        return super().complete(recipe)


def test_a_job_that_does_not_fit_stops_before_the_first(tmp_path: Path, checker: Checker) -> None:
    painter = Picky()
    jobs = jobs_of(tmp_path, PROMPTS + "ihc.png\n")
    with pytest.raises(UsageError, match=r"job 3: too large \(and 1 more\)"):
        batch(jobs, studio(checker, painter), tmp_path / "out")
    assert painter.painted == []
    assert not (tmp_path / "out").exists()


def test_a_job_that_does_not_fit_is_an_error_where_errors_are_allowed(
    tmp_path: Path, checker: Checker
) -> None:
    rows = batch(jobs_of(tmp_path), studio(checker, Picky()), tmp_path / "out", max_errors=5)
    assert {row["job"]: row["error"] for row in rows} == {1: None, 2: None, 3: "too large"}


class Flaky(PhotoPainter):
    """Fails at what the prompt calls `bad`, as a library below may."""

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        if recipe.prompt.startswith("bad"):
            self.painted.append(recipe)
            raise RuntimeError("no memory")
        return super().paint(recipe, on_step)


def test_a_job_that_fails_costs_nobody_else_and_is_tried_again(
    tmp_path: Path, checker: Checker
) -> None:
    out, jobs = tmp_path / "out", jobs_of(tmp_path, "grass.png\nbad\ncoffee.png\nretina.jpg\n")
    rows = batch(jobs, studio(checker, Flaky()), out)
    assert [row["decision"] for row in rows] == ["clear", None, "block", "clear"]
    assert rows[1]["error"] == "RuntimeError: no memory"
    assert rows[1]["file"] is None
    painter = Flaky()
    (again,) = batch(jobs, studio(checker, painter), out)
    assert (again["job"], len(recorded(jobs, studio(checker), out))) == (2, 4)


class FailsLate(PhotoPainter):
    """Fails at the first retry of the first job."""

    def paint(self, recipe: Recipe, on_step: OnStep) -> Image.Image:
        if (recipe.prompt, recipe.seed) == ("coffee.png", 2):
            self.painted.append(recipe)
            raise RuntimeError("no memory")
        return super().paint(recipe, on_step)


def test_an_error_loses_nothing_that_was_made(tmp_path: Path, checker: Checker) -> None:
    """One of four is blocked, its retry fails: the three others are made once."""
    (tmp_path / "jobs.jsonl").write_text(
        "".join(
            json.dumps({"prompt": "coffee.png" if seed == 1 else "grass.png", "seed": seed}) + "\n"
            for seed in range(1, 5)
        )
    )
    painter = FailsLate()
    jobs = read_jobs(tmp_path / "jobs.jsonl")
    rows = batch(jobs, studio(checker, painter), tmp_path / "out", retries=1)
    assert sorted((row["job"], row["decision"]) for row in rows) == [
        (1, "block"), (2, "clear"), (3, "clear"), (4, "clear"),
    ]  # fmt: skip
    painted = [recipe.seed for recipe in painter.painted if recipe.prompt == "grass.png"]
    assert [painted.count(seed) for seed in (2, 3, 4)] == [1, 1, 1]


def test_a_retry_takes_no_other_jobs_recipe(
    tmp_path: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gen.batch.CHUNK", 2)
    (tmp_path / "jobs.jsonl").write_text(
        json.dumps({"prompt": "coffee.png", "seed": 1, "count": 6})
    )
    jobs = read_jobs(tmp_path / "jobs.jsonl")
    rows = batch(jobs, studio(checker), tmp_path / "out", retries=1)
    assert all(row["attempts"] for row in rows)
    assert sorted(row["seed"] for row in rows) == [7, 8, 9, 10, 11, 12]


def test_pictures_of_jobs_that_are_gone_are_counted(tmp_path: Path, checker: Checker) -> None:
    out, jobs = tmp_path / "out", jobs_of(tmp_path)
    batch(jobs, studio(checker), out)
    with Journal(out) as journal:
        tasks = plan(jobs, Here(studio(checker)))
        assert (journal.strays(tasks), journal.strays(tasks[1:])) == (0, 1)
        (out / f"00001-{jobs[0].recipe.seed}.png").unlink()
        assert (journal.settled(tasks[0]), journal.outdated(tasks)) == (False, 0)


def test_a_journal_names_no_file_elsewhere(tmp_path: Path, checker: Checker) -> None:
    out, jobs = tmp_path / "out", jobs_of(tmp_path, "grass.png\n")
    batch(jobs, studio(checker), out)
    journal = out / "journal.jsonl"
    key, outcome = json.loads(journal.read_text())
    journal.write_text("\n" + json.dumps([key, {**outcome, "file": "../secret"}]) + "\n")
    with pytest.raises(UsageError, match="line 2 is damaged"):
        batch(jobs, studio(checker), out)


def test_three_errors_in_a_row_end_a_run(tmp_path: Path, checker: Checker) -> None:
    jobs = jobs_of(tmp_path, "bad\nbad\ngrass.png\nbad\nbad\nbad\ncoffee.png\n")
    rows = batch(jobs, studio(checker, Flaky()), tmp_path / "out")
    assert [row["job"] for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("most", "last"), [(1, 1), (4, 5), (6, 7)])
def test_a_run_ends_after_so_many_errors(
    tmp_path: Path, checker: Checker, most: int, last: int
) -> None:
    jobs = jobs_of(tmp_path, "bad\nbad\ngrass.png\nbad\nbad\nbad\ncoffee.png\n")
    rows = batch(jobs, studio(checker, Flaky()), tmp_path / "out", max_errors=most)
    assert rows[-1]["job"] == last


def test_two_runs_do_not_share_a_folder(tmp_path: Path, checker: Checker) -> None:
    with Journal(tmp_path / "out"), pytest.raises(UsageError, match="another batch"):
        batch(jobs_of(tmp_path), studio(checker), tmp_path / "out")


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path, checker: Checker) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="out cannot be written to: File exists"):
        batch(jobs_of(tmp_path), studio(checker), tmp_path / "out")


def test_a_failed_check_ends_the_run_and_writes_nothing(
    tmp_path: Path, library: Library, checker: Checker
) -> None:
    made_by = studio(checker)
    tasks = plan(jobs_of(tmp_path), Here(made_by))
    with Journal(tmp_path / "out") as journal:
        running = run(tasks, Here(made_by), journal, max_errors=100)
        next(running)
        (library.folder / "catalog.sqlite").unlink()
        with pytest.raises(CheckError):
            list(running)
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


def test_a_size_by_name_is_the_models(tmp_path: Path, checker: Checker) -> None:
    painter = PhotoPainter()
    (job,) = read_jobs(written(tmp_path, "j.csv", "prompt,size\ngrass.png,wide\n"))
    assert sized(job.recipe, job.size, painter).width == 80  # 64 * 1344 / 1024, in steps of 16
    assert sized(job.recipe, None, painter) == job.recipe


def test_thirty_jobs_killed_and_stopped_have_thirty_outcomes(
    tmp_path: Path, known_folder: Path
) -> None:
    """The real command with the real model, killed while it works."""
    firsthand = [sys.executable, "-c", "from ui.cli import main; main()"]
    assert CliRunner().invoke(build(), ["index", "add", str(known_folder)]).exit_code == 0
    jobs = "".join(
        json.dumps({"prompt": f"a fox in the snow {n}", "seed": n, "steps": 8, "size": "128x128"})
        + "\n"
        for n in range(30)
    )
    command = [*firsthand, "batch", str(written(tmp_path, "jobs.jsonl", jobs)), "--out", "out"]
    for signalled, lines in ((signal.SIGKILL, 4), (signal.SIGKILL, 2), (signal.SIGTERM, 1)):
        stopped = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert stopped.stdout
        for _ in range(lines):
            assert stopped.stdout.readline(), "the batch ended early"
        stopped.send_signal(signalled)
        told, _ = stopped.communicate()
    assert stopped.returncode == 130
    assert "give the same command again to go on" in told
    assert "data:image/webp" in (tmp_path / "out" / "contact-sheet.html").read_text()
    last = subprocess.run([*command, "--json", "-"], cwd=tmp_path, capture_output=True, text=True)
    rows: list[dict[str, Any]] = [json.loads(line) for line in last.stdout.splitlines()]
    assert [row["job"] for row in rows] == list(range(1, 31))
    assert [row["seed"] for row in rows] == list(range(30))
    recorded = (tmp_path / "out" / "journal.jsonl").read_text("utf-8").splitlines()
    assert len({json.loads(line)[0] for line in recorded}) == len(recorded) == 30
    files = sorted((tmp_path / "out").glob("*.png"))
    assert [str(file.relative_to(tmp_path)) for file in files] == sorted(
        row["file"] for row in rows if row["file"]
    )
    for file in files:
        assert read_picture(file).image.size == (128, 128)
    assert not list((tmp_path / "out").glob(".*.part"))


def test_what_another_library_finds_is_made_and_checked_again(
    tmp_path: Path, checker: Checker, library: Library, photo: Callable[[str], Image.Image]
) -> None:
    out, jobs = tmp_path / "out", jobs_of(tmp_path)
    here = Here(studio(checker))

    def rows(basis: str) -> tuple[int, list[Outcome]]:
        tasks = plan(jobs, here, basis=basis)
        with Journal(out) as journal:
            outdated = journal.outdated(tasks)
            list(run(tasks, here, journal))
            return outdated, journal.outcomes(tasks)

    outdated, first = rows(library.version)
    assert outdated == 0
    assert [row["decision"] for row in first] == ["clear", "block", "clear"]
    library.add([new("gallery/1", fingerprint(photo("grass.png")))])
    outdated, second = rows(library.version)
    assert outdated == 2
    assert [row["decision"] for row in second] == ["block", "block", "clear"]
    assert {row["library"]["version"] for row in second} == {library.version}
    assert second[2]["file"] == first[2]["file"]
    assert [str(file) for file in out.glob("*.png")] == [second[2]["file"]]
    assert rows(library.version) == (0, second)


def test_an_earlier_basis_brings_no_file_back(
    tmp_path: Path, checker: Checker, library: Library
) -> None:
    """Neither one that a stricter policy took away, nor one that the user did."""
    out, jobs = tmp_path / "out", jobs_of(tmp_path, "grass.png\n")
    strict = Checker(hashes_only(), library, replace(hash_policy(), min_detail=101))

    def row(each: Checker, basis: str) -> Outcome:
        here = Here(studio(each))
        tasks = plan(jobs, here, basis=basis)
        with Journal(out) as journal:
            list(run(tasks, here, journal))
            (outcome,) = journal.outcomes(tasks)
            return outcome

    for checked_by, basis in ((checker, "one"), (strict, "two"), (checker, "one")):
        outcome = row(checked_by, basis)
        files = [str(file) for file in out.glob("*.png")]
        assert files == ([outcome["file"]] if checked_by is checker else [])
    Path(outcome["file"]).unlink()
    assert Path(row(checker, "one")["file"]).exists()


def test_labels_and_formats_are_part_of_what_a_batch_rests_on(library: Library) -> None:
    plain = load_settings()
    changes: list[dict[str, Any]] = [{"label": "cn"}, {"format": "jpeg"}, {"mark": True}]
    others = [replace(plain, **change) for change in changes]
    told = {batch_basis(settings, library) for settings in (plain, *others, plain)}
    assert len(told) == 4
