"""Job files: what a line may say, and what is said of one that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from gen.jobs import read_jobs
from provenance.errors import UsageError
from provenance.recipe import Lora, Recipe


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
        ("j.csv", "promt\na fox\n", "line 2: unknown field promt; known are .*count, .*prompt"),
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


def test_a_line_may_stand_for_several_seeds(tmp_path: Path) -> None:
    jobs = read_jobs(written(tmp_path, "j.csv", "prompt,seed,count\na fox,7,3\na cat,,2\n"))
    assert [job.number for job in jobs] == [1, 2, 3, 4, 5]
    seeds = [job.recipe.seed or 0 for job in jobs]
    assert seeds[:3] == [7, 8, 9]
    assert seeds[4] == seeds[3] + 1


def test_sizes_and_loras_are_written_as_on_the_command_line(tmp_path: Path) -> None:
    table = "prompt,size,loras\na,96x128,ink:0.5; paper\nb,portrait,\n"
    first, second = read_jobs(written(tmp_path, "j.csv", table))
    assert (first.recipe.width, first.recipe.height, first.size) == (96, 128, None)
    assert first.recipe.loras == (Lora("ink", 0.5), Lora("paper"))
    assert (second.recipe.width, second.size) == (None, "portrait")
    line = '{"prompt": "a", "loras": ["ink:0.5", {"name": "paper"}], "size": null}'
    (same,) = read_jobs(written(tmp_path, "j.jsonl", line))
    assert same.recipe.loras == first.recipe.loras


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a", "size": "big"}', "a size is WxH"),
        ('{"prompt": "a", "size": "64x64", "width": 64}', "give size, or width and height"),
        ('{"prompt": "a", "count": 0}', "count is a whole number from 1"),
        ('{"prompt": "a", "count": 2.5}', "count is a whole number from 1"),
        ('{"prompt": "a", "count": true}', "count is a whole number from 1"),
        ('{"prompt": "a", "n": 2}', "unknown field n; known are .*count"),
        ('{"prompt": "a", "loras": [{"name": "ink", "wieght": 0.3}]}', "got wieght too"),
        ('{"prompt": "a", "loras": ["ink:dark"]}', "NAME\\[:WEIGHT\\]"),
        ('{"prompt": "a", "loras": 5}', "loras must be a list"),
        ('{"prompt": "a", "seed": 9223372036854775807, "count": 2}', "too large for 2"),
        ('{"prompt": "a", "strength": 0.5}', "strength is for an init image"),
    ],
)
def test_a_wrong_field_is_said_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"line 2: .*{message}"):
        read_jobs(written(tmp_path, "j.jsonl", f'{{"prompt": "fine"}}\n{line}\n'))


@pytest.mark.parametrize("count", ["0" * 9 + "1" + "9" * 9, "1" * 5000, "000", "-1", True])
def test_a_count_is_read_to_its_last_digit(tmp_path: Path, count: Any) -> None:
    line = json.dumps({"prompt": "a fox", "count": count})
    with pytest.raises(UsageError, match="count is a whole number from 1 to 100,000"):
        read_jobs(written(tmp_path, "j.jsonl", line))


def test_a_file_has_only_so_many_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gen.jobs.MAX_JOBS", 7)
    line = '{"prompt": "a | b | c", "count": %d}\n'
    assert len(read_jobs(written(tmp_path, "j.jsonl", line % 1))) == 4
    with pytest.raises(UsageError, match="line 1: more than 7 pictures; split the file"):
        read_jobs(written(tmp_path, "j.jsonl", line % 2))


def test_columns_have_one_name_each_and_empty_rows_are_no_jobs(tmp_path: Path) -> None:
    jobs = read_jobs(written(tmp_path, "j.csv", "prompt,seed\na fox,1\n,\n , \nb,2\n"))
    assert [(job.number, job.recipe.prompt) for job in jobs] == [(1, "a fox"), (2, "b")]
    with pytest.raises(UsageError, match="two columns of one name: prompt"):
        read_jobs(written(tmp_path, "j.csv", "prompt, prompt\na,b\n"))
