"""File names from templates: whatever the prompt says, a name in the folder."""

from pathlib import Path

import pytest

from gen.names import FIELDS, free, name, slug
from provenance.errors import UsageError
from provenance.recipe import Recipe

HOSTILE = [
    "../../etc/passwd", "..", "/", "\\\\host\\share", "a\0b", ".hidden", "con", "a\nb",
    "\u202egnp.exe", "{seed}", "雪の狐 " * 400, "e\u0301 " * 200, "𠜎" * 300,
    "%2e%2e%2f", "-rf *", "~", "$(id)",
]  # fmt: skip


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_hostile_prompt_is_a_plain_name(tmp_path: Path, prompt: str) -> None:
    recipe = Recipe(prompt, seed=3, model=prompt, sampler=prompt)
    template = "-".join(f"{{{field}}}" for field in FIELDS) + "{prompt}{model}" * 3
    stem = name(template, 1, recipe, "2026-01-02")
    path = tmp_path / f"{stem}_99.jpeg"
    path.touch()
    assert path.resolve().parent == tmp_path.resolve()
    assert len(path.name.encode()) <= 255
    assert not stem.startswith((".", " "))


def test_the_fields_say_what_they_are() -> None:
    recipe = Recipe("A fox, in the Snow!", seed=7, model="starter", steps=20, guidance=4.5,
                    width=512, height=768, sampler="DPM++ 2M")  # fmt: skip
    told = "{job:05} {seed} {prompt} {model} {sampler} {steps} {guidance} {width}x{height} {date}"
    assert name(told, 3, recipe, "2026-01-02") == (
        "00003 7 a-fox-in-the-snow starter dpm-2m 20 4.5 512x768 2026-01-02"
    )
    assert name("{guidance:05}x{steps:4}", 3, recipe, "2026-01-02") == "004.5x  20"
    assert slug("雪の中の狐") == "雪の中の狐"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{sed}", "knows no {sed}; known are job, seed, prompt"),
        ("{}", "knows no {}"),
        ("{0}", "knows no {0}"),
        ("{job.real}", "knows no {job.real}"),
        ("{job[0]}", "knows no"),
        ("{job!r}", "a width goes with a number"),
        ("{job:09999999}", "a width goes with a number"),
        ("{job:{seed}}", "a width goes with a number"),
        ("{prompt:5}", "a width goes with a number"),
        ("a/{job}", "no / or"),
        ("..\\{job}", "no / or"),
        ("{job", "expected '}'"),
        ("", "names nothing"),
        (" . ", "names nothing"),
    ],
)
def test_a_wrong_template_is_an_error(template: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        name(template, 1, Recipe("a"), "2026-01-02")
    assert message in str(error.value)


def test_a_taken_name_is_counted_on(tmp_path: Path) -> None:
    for taken in ("a.png", "a_2.png"):
        (tmp_path / taken).touch()
    assert free(tmp_path, "a", ".png", Path.exists) == tmp_path / "a_3.png"
