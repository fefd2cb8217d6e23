"""Prompts: weights and long ones as CLIP reads them; wildcards, choices, matrices, styles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen import prompts
from gen.expand import expanded, matrix, read_styles, styled
from gen.jobs import read_jobs
from gen.models import resolve
from gen.pipeline import Painter, load
from provenance.errors import MissingError, UsageError
from provenance.recipe import Recipe
from tests import tiny_pipelines
from ui.cli.batches import _dressed
from ui.settings import load_settings

LONG = "a fox and a bear walk in the snow at night, " * 12  # 156 tokens


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def painter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Painter:
    place = tmp_path_factory.mktemp("prompts") / request.param
    return load(resolve(str(tiny_pipelines.write(request.param, place))))


def paint(painter: Painter, prompt: str, **changes: Any) -> Any:
    recipe = painter.complete(Recipe(prompt, seed=1, steps=2, width=32, height=32, **changes))
    return np.asarray(painter.paint(recipe, lambda *_: None)).astype(int)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a fox", [("a fox", 1.0)]),
        ("a (red:1.5) fox", [("a ", 1.0), ("red", 1.5), (" fox", 1.0)]),
        ("(red) [blue]", [("red", 1.1), (" ", 1.0), ("blue", 1 / 1.1)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("(a (b:2):1.5)", [("a ", 1.5), ("b", 3.0)]),
        (r"\(red\) fox", [("(red) fox", 1.0)]),
        ("(open", [("open", 1.1)]),
        ("close) 5:30", [("close) 5:30", 1.0)]),
        ("", []),
    ],
)
def test_weights_are_read_as_a1111_reads_them(text: str, parts: list[tuple[str, float]]) -> None:
    read = prompts.pieces(text)
    assert [word for word, _ in read] == [word for word, _ in parts]
    assert [weight for _, weight in read] == pytest.approx([weight for _, weight in parts])


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match=r"'1\.2\.3' is no weight"):
        prompts.pieces("(a:1.2.3)")


def test_what_we_encode_is_what_diffusers_encodes(painter: Painter) -> None:
    """With no weight in it: a bracket that is escaped leads through our code."""
    pipeline = painter.pipeline  # type: ignore[attr-defined]
    ours = prompts.encoded(pipeline, [(r"a \(red\) fox", "fog")])
    theirs = pipeline.encode_prompt(
        "a (red) fox", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True,
        negative_prompt="fog",
    )  # fmt: skip
    names = ["prompt_embeds", "negative_prompt_embeds"]
    names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"][: len(theirs) - 2]
    assert ours is not None
    for name, there in zip(names, theirs, strict=True):
        assert ours[name].shape == there.shape
        assert float((ours[name] - there).detach().abs().max()) < 1e-5, name


def test_short_prompts_are_left_to_diffusers(painter: Painter) -> None:
    assert prompts.encoded(painter.pipeline, [("a fox", "")]) is None  # type: ignore[attr-defined]


def test_a_weight_changes_the_picture(painter: Painter) -> None:
    plain = paint(painter, "a red fox")
    assert (plain != paint(painter, "a (red:1.6) fox")).any()
    assert np.abs(plain - paint(painter, "a (red:1.0) fox")).max() <= 1
    assert (plain != paint(painter, "a red fox", negative="(fog:1.5)")).any()


def test_words_beyond_77_tokens_count(painter: Painter) -> None:
    plain = paint(painter, LONG + "blue")
    assert (plain == paint(painter, LONG + "blue")).all()
    assert (plain != paint(painter, LONG + "green")).any()


def test_models_that_read_otherwise_refuse_weights(tmp_path: Path) -> None:
    painter = load(resolve(str(tiny_pipelines.write("pixart", tmp_path / "pixart"))))
    with pytest.raises(UsageError, match=r"PixArtSigmaPipeline does not take weights"):
        painter.complete(Recipe("a (red:1.2) fox", seed=1))
    assert painter.complete(Recipe("a fox (red)", seed=1)).prompt == "a fox (red)"


def test_t5_reads_long_prompts_to_their_end_or_says_that_it_does_not(tmp_path: Path) -> None:
    """The tiny T5 takes a letter for a token. SD 3 reads 256 unasked, and 512 at most."""
    painter = load(resolve(str(tiny_pipelines.write("sd3", tmp_path / "sd3"))))
    long = "fox " * 75
    assert (paint(painter, f"{long}blue") != paint(painter, f"{long}teal")).any()
    with pytest.raises(UsageError, match=r"the prompt has \d+ tokens; .* reads 512 here"):
        painter.complete(Recipe("fox " * 200, seed=1))
    painter.pipeline.tokenizer_3 = painter.pipeline.text_encoder_3 = None
    with pytest.raises(UsageError, match="reads 77 here"):
        painter.complete(Recipe("fox " * 80, seed=1))


# --- prompts that stand for many -----------------------------------------------------------------


def test_a_matrix_is_every_choice_of_its_parts() -> None:
    assert matrix("a fox | snow | night") == [
        "a fox", "a fox, snow", "a fox, night", "a fox, snow, night"
    ]  # fmt: skip
    assert matrix("a fox|snow {a | b}") == ["a fox|snow {a | b}"]
    assert matrix("a {red | {light|dark} blue} fox") == ["a {red | {light|dark} blue} fox"]
    assert matrix("a {b fox | snow") == ["a {b fox | snow"]
    with pytest.raises(UsageError, match="a matrix of 12 parts is more than 1,024 prompts"):
        matrix(" | ".join("abcdefghijkl"))


def test_choices_follow_the_seed(tmp_path: Path) -> None:
    (tmp_path / "animal.txt").write_text("# animals\nfox\n{owl|__bird__}\n\n")
    (tmp_path / "bird.txt").write_text("wren\n")
    made = {
        expanded(Recipe("a {red|blue} __animal__", seed=seed), tmp_path).prompt
        for seed in range(60)
    }
    assert made == {f"a {c} {a}" for c in ("red", "blue") for a in ("fox", "owl", "wren")}
    again = [expanded(Recipe("{a|b|c}", seed=4), None).prompt for _ in range(3)]
    assert len(set(again)) == 1
    assert expanded(Recipe("plain __x", seed=1), None).prompt == "plain __x"


def test_wildcards_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no wildcard __animal__.*animal\.txt is not there"):
        expanded(Recipe("__animal__", seed=1), tmp_path)
    (tmp_path / "loop.txt").write_text("a __loop__\n")
    with pytest.raises(UsageError, match="leads back to itself"):
        expanded(Recipe("__loop__", seed=1), tmp_path)
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(UsageError, match="holds no line"):
        expanded(Recipe("__none__", seed=1), tmp_path)
    outside = "__../secret__ __a/../../b__"
    assert expanded(Recipe(outside, seed=1), tmp_path).prompt == outside


def test_job_files_hold_them_all(tmp_path: Path) -> None:
    (tmp_path / "animal.txt").write_text("fox\nowl\n")
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a __animal__ | {red|red} snow\na car\n")
    made = read_jobs(jobs, tmp_path)
    assert [job.number for job in made] == [1, 2, 3]
    assert made[0].recipe.prompt in ("a fox", "a owl")
    assert made[1].recipe.prompt in ("a fox, red snow", "a owl, red snow")
    assert made[2].recipe.prompt == "a car"
    assert read_jobs(jobs, tmp_path) == made
    jobs.write_text("a __thing__\n")
    with pytest.raises(MissingError, match="no wildcard __thing__"):
        read_jobs(jobs, tmp_path)


def test_styles_go_around_the_prompt(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text(
        'name,prompt,negative_prompt\nfilm,"photo of {prompt}, grain",blur\nnight,dark,\n'
    )
    made = styled(Recipe("a fox", "fog"), ["film", "night"], file)
    assert (made.prompt, made.negative) == ("photo of a fox, grain, dark", "fog, blur")
    assert styled(made, [], tmp_path / "none.csv") == made
    assert list(read_styles(file)) == ["film", "night"]
    with pytest.raises(UsageError, match=r"unknown style 'ink'; styles\.csv has film, night"):
        styled(made, ["ink"], file)
    with pytest.raises(MissingError, match="no styles"):
        styled(made, ["ink"], tmp_path / "none.csv")


def test_a_wildcard_file_in_another_coding_is_named(tmp_path: Path) -> None:
    (tmp_path / "animal.txt").write_bytes("狐狸".encode("gbk"))
    with pytest.raises(UsageError, match=r"animal\.txt cannot be read as UTF-8"):
        expanded(Recipe("an __animal__", seed=1), tmp_path)


def test_a_batch_chooses_among_the_words_of_a_style(tmp_path: Path) -> None:
    rows = 'name,prompt,negative_prompt\nlit,"{prompt}, {a|a} light",\n'
    (tmp_path / "styles.csv").write_text(rows)
    (tmp_path / "j.txt").write_text("a fox\n")
    (job,) = _dressed(tmp_path / "j.txt", load_settings(home=tmp_path), [], ["lit"])
    assert job.recipe.prompt == "a fox, a light"
