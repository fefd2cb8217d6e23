"""Job files, and runs that survive a kill."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen.batch import outcomes, read_jobs, run
from gen.studio import Studio
from index.library import Library
from provenance.check import Checker
from provenance.errors import CheckError, UsageError
from provenance.images import read_picture
from provenance.label.profiles import Style
from provenance.recipe import Recipe
from tests.conftest import hash_policy, hashes_only, labeller
from tests.test_studio import Held, PhotoPainter
from ui.wiring import hold_for_review


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_text_file_is_a_prompt_a_line(tmp_path: Path) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", "# foxes\na fox\n\n  a red fox  \n"))
    assert [job.recipe.prompt for job in jobs] == ["a fox", "a red fox"]
    assert [job.number for job in jobs] == [1, 2]


def test_csv_and_jsonl_take_any_recipe_field(tmp_path: Path) -> None:
    table = '\ufeffprompt,seed,guidance,negative\na fox,3,2.5,\n"a cat, grey",,,fog\n'
    first, second = read_jobs(written(tmp_path, "j.csv", table))
    assert first.recipe == Recipe("a fox", seed=3, guidance=2.5)
    assert (second.recipe.prompt, second.recipe.negative) == ("a cat, grey", "fog")
    lines = '{"prompt": "a fox", "seed": 3, "guidance": 2.5}\n\n{"prompt": "雪"}\n'
    (same, _) = read_jobs(written(tmp_path, "j.jsonl", lines))
    assert same.recipe == first.recipe


def test_a_job_without_a_seed_gets_the_same_one_every_time(tmp_path: Path) -> None:
    path = written(tmp_path, "j.txt", "a fox\na fox\n")
    seeds = [job.recipe.seed for job in read_jobs(path)]
    assert seeds == [job.recipe.seed for job in read_jobs(path)]
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("j.yaml", "a", r"\.txt, \.csv, \.jsonl"),
        ("j.txt", "# nothing\n", "holds no job"),
        ("j.csv", "promt\na fox\n", "line 2: .*unknown recipe field promt"),
        ("j.csv", "prompt\na,b\n", "more cells"),
        ("j.csv", 'prompt\n"a', "not CSV"),
        ("j.jsonl", '{"prompt": "a"}\nnope\n', "line 2: not JSON"),
        ("j.jsonl", "[1]\n", "a job is an object"),
        ("j.jsonl", '{"prompt": "a", "seed": -4}\n', "line 1: seed must be"),
        ("j.jsonl", "[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_bad_job_file_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_jobs(written(tmp_path, name, text))


def test_a_missing_or_binary_job_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.txt: No such file"):
        read_jobs(tmp_path / "none.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_jobs(tmp_path / "b.txt")


PROMPTS = "grass.png\ncoffee.png\nihc.png\n"


def test_a_clear_picture_is_a_file_and_a_blocked_one_is_not(
    tmp_path: Path, checker: Checker
) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", PROMPTS))
    out = tmp_path / "out"
    rows = list(run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), out))
    assert [row["decision"] for row in rows] == ["clear", "block", "clear"]
    assert rows[1]["file"] is None
    assert {path.name for path in out.glob("*.png")} == {
        Path(row["file"]).name for row in rows if row["file"]
    }
    assert outcomes(jobs, out) == rows


def test_files_and_what_is_held_are_in_the_format_that_is_set(
    tmp_path: Path, checker: Checker
) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", "grass.png\n"))
    hold, label = partial(hold_for_review, tmp_path / "review"), labeller(Style(form="webp"))
    strict = Checker(hashes_only(), checker.index, replace(hash_policy(), min_detail=101))
    clear, held = (
        next(
            run(jobs, Studio(PhotoPainter(), each, (), hold, label), tmp_path / str(each is strict))
        )
        for each in (checker, strict)
    )
    assert (Path(clear["file"]).suffix, held["file"]) == (".webp", None)
    for file in (clear["file"], held["held"]):
        with Image.open(file) as image:
            assert image.format == "WEBP"
    evidence = json.loads(Path(held["held"]).with_suffix(".json").read_text("utf-8"))
    assert evidence["labels"]["content"] == clear["labels"]["content"]


def test_a_second_run_paints_nothing(tmp_path: Path, checker: Checker) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", PROMPTS))
    list(run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), tmp_path / "out"))
    painter = PhotoPainter()
    assert list(run(jobs, Studio(painter, checker, (), Held(), labeller()), tmp_path / "out")) == []
    assert painter.painted == []
    more = read_jobs(written(tmp_path, "j.txt", PROMPTS + "retina.jpg\n"))
    assert (
        len(list(run(more, Studio(painter, checker, (), Held(), labeller()), tmp_path / "out")))
        == 1
    )


def test_a_torn_journal_line_is_painted_again(tmp_path: Path, checker: Checker) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", PROMPTS))
    out = tmp_path / "out"
    rows = list(run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), out))
    journal = out / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (out / ".00003-1.png.part").write_bytes(b"half")
    again = list(run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), out))
    assert [row["job"] for row in again] == [3]
    assert outcomes(jobs, out) == [*rows[:2], *again]
    assert again[0]["labels"]["content"] == rows[2]["labels"]["content"]
    assert not list(out.glob(".*.part"))


def test_a_job_that_does_not_fit_stops_before_the_first(tmp_path: Path, checker: Checker) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", PROMPTS))

    class Picky(PhotoPainter):
        def complete(self, recipe: Recipe) -> Recipe:
            if recipe.prompt == "ihc.png":
                raise UsageError("too large")
            return super().complete(recipe)

    painter = Picky()
    with pytest.raises(UsageError, match="job 3: too large"):
        next(run(jobs, Studio(painter, checker, (), Held(), labeller()), tmp_path / "out"))
    assert painter.painted == []


def test_two_runs_do_not_share_a_folder(tmp_path: Path, checker: Checker) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", PROMPTS))
    first = run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), tmp_path / "out")
    next(first)
    with pytest.raises(UsageError, match="another batch"):
        next(run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), tmp_path / "out"))


def test_a_failed_check_writes_nothing(tmp_path: Path, library: Library, checker: Checker) -> None:
    jobs = read_jobs(written(tmp_path, "j.txt", PROMPTS))
    running = run(jobs, Studio(PhotoPainter(), checker, (), Held(), labeller()), tmp_path / "out")
    next(running)
    (library.folder / "catalog.sqlite").unlink()
    with pytest.raises(CheckError):
        list(running)
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


def test_sixty_jobs_killed_three_times_have_sixty_outcomes(
    tmp_path: Path, known_folder: Path
) -> None:
    """The real command with the real model, killed while it works."""
    firsthand = [sys.executable, "-c", "from ui.cli import main; main()"]
    subprocess.run([*firsthand, "index", "add", str(known_folder)], check=True)
    jobs = "".join(
        json.dumps({"prompt": f"a fox in the snow {n}", "seed": n, "steps": 1}) + "\n"
        for n in range(60)
    )
    command = [*firsthand, "batch", str(written(tmp_path, "jobs.jsonl", jobs)), "--out", "out"]
    rng = random.Random(60)
    for _ in range(3):
        killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert killed.stdout
        for _ in range(rng.randint(5, 15)):
            assert killed.stdout.readline(), "the batch ended early"
        killed.kill()
        killed.wait()
        killed.stdout.close()
    last = subprocess.run([*command, "--json", "-"], cwd=tmp_path, capture_output=True, text=True)
    rows: list[dict[str, Any]] = [json.loads(line) for line in last.stdout.splitlines()]
    assert [row["job"] for row in rows] == list(range(1, 61))
    assert [row["seed"] for row in rows] == list(range(60))
    recorded = (tmp_path / "out" / "journal.jsonl").read_text("utf-8").splitlines()
    assert len({json.loads(line)[0] for line in recorded}) == len(recorded) == 60
    files = sorted((tmp_path / "out").glob("*.png"))
    assert [str(file.relative_to(tmp_path)) for file in files] == sorted(
        row["file"] for row in rows if row["file"]
    )
    for file in files:
        assert read_picture(file).image.size == (128, 128)
    assert not list((tmp_path / "out").glob(".*.part"))
