"""`generate --from`: the same pixels from our own files, the recipe from those of other tools."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from gen import samplers
from gen.repeat import Told, fitted, read_told, repeat
from gen.shelf import Shelf
from gen.weights import hash_file
from provenance.errors import MissingError, UsageError
from provenance.inspect import inspect
from provenance.recipe import Lora, Part, Recipe
from tests.carriers import png
from tests.conftest import PHOTOS
from tests.test_studio import PhotoPainter
from ui.cli import build


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A home with a model, a LoRA, a VAE and an embedding, and their like outside of it."""
    for number, place in enumerate(
        ("home/models/dream", "home/loras/ink", "home/vae/soft", "home/embeddings/mood", "evil")
    ):
        path = tmp_path / f"{place}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": np.full(4, number, np.float32)}, path)
    return Shelf(tmp_path / "home")


def told(tool: str | None = "A1111", settings: dict[str, Any] | None = None, **fields: Any) -> Told:
    recipe = Recipe("a fox", seed=1, steps=2, guidance=4.0, sampler="Euler", width=64, height=64)
    return Told(Path("x.png"), recipe.with_changes(**fields), tool, settings or {})


def hashes(shelf: Shelf, kind: str, name: str) -> dict[str, str]:
    made = hash_file(Path(shelf.home or "") / kind / f"{name}.safetensors")
    assert made.autov3
    return {"sha256": made.sha256, "autov2": made.autov2, "autov3": made.autov3[:12],
            "upper": f"0x{made.autov2.upper()}"}  # fmt: skip


@pytest.mark.parametrize("kind", ["sha256", "autov2", "autov3", "upper"])
def test_models_and_loras_are_found_by_any_hash(shelf: Shelf, kind: str) -> None:
    file = told(
        model="renamed since", model_hash=hashes(shelf, "models", "dream")[kind],
        loras=(Lora("other name", 0.5, hashes(shelf, "loras", "ink")[kind]),),
    )  # fmt: skip
    found = repeat(file, shelf, "starter")
    assert Path(found.model).name == "dream.safetensors"
    assert [(Path(lora.name).name, lora.weight) for lora in found.recipe.loras] == [
        ("ink.safetensors", 0.5)
    ]
    assert (found.recipe.model, found.recipe.model_hash) == (None, None)


@pytest.mark.parametrize("digest", ["blake3:" + "ab" * 32, "64e73fcb"])
def test_names_count_where_a_hash_is_of_another_kind(shelf: Shelf, digest: str) -> None:
    """InvokeAI's BLAKE3 and A1111's AutoV1."""
    file = told(model="Dream", model_hash=digest, loras=(Lora("ink", 1.0, digest),))
    found = repeat(file, shelf, "starter")
    assert Path(found.model).name == "dream.safetensors"
    assert Path(found.recipe.loras[0].name).name == "ink.safetensors"
    assert "the model's hash is unknown: dream.safetensors by its name" in found.not_repeated
    with pytest.raises(MissingError, match=f"model \\[{digest[:8]}.*which is not here"):
        repeat(told(model_hash=digest), shelf, "starter")


def test_an_invoke_picture_names_its_model(tmp_path: Path, shelf: Shelf) -> None:
    meta = {"positive_prompt": "a fox", "seed": 5, "steps": 2, "app_version": "5.0",
            "model": {"name": "dream", "hash": "blake3:" + "ab" * 32}}  # fmt: skip
    (tmp_path / "a.png").write_bytes(png({"invokeai_metadata": json.dumps(meta)}))
    found = repeat(read_told(tmp_path / "a.png"), shelf, "starter")
    assert Path(found.model).name == "dream.safetensors"


def test_names_count_where_no_hash_is_known(shelf: Shelf) -> None:
    file = told("ComfyUI", model="SDXL\\Dream.safetensors", loras=(Lora("sub/ink.safetensors"),))
    found = repeat(file, shelf, "starter")
    assert Path(found.model).name == "dream.safetensors"
    assert Path(found.recipe.loras[0].name).name == "ink.safetensors"
    assert any("by its name" in note for note in found.not_repeated)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "dream", "model_hash": "ab" * 5}, r"model dream \[ababababab\].*--model"),
        ({"model": "nowhere"}, "model nowhere, which is not here; put it into .*models"),
        ({"model": "starter", "loras": (Lora("ink", 1.0, "ab" * 6),)}, "LoRA ink .*loras.*none"),
        ({"model": "starter", "loras": (Lora("smoke"),)}, "LoRA smoke"),
    ],
)
def test_what_is_not_here_is_named(shelf: Shelf, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingError, match=message):
        repeat(told(**fields), shelf, "starter")


@pytest.mark.parametrize("kind", ["model", "lora"])
def test_a_path_in_a_file_leads_nowhere(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    for path in (tmp_path / "evil.safetensors", tmp_path / "home" / "loras" / ".." / ".." / "evil"):
        lora = {"model": "starter", "loras": (Lora(str(path)),)}
        with pytest.raises(MissingError, match="not here"):
            repeat(told(**({"model": str(path)} if kind == "model" else lora)), shelf, "starter")


def test_nothing_is_fetched_for_a_name_in_a_file(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gen.models.model_folder", lambda name: pytest.fail(f"fetched {name}"))
    with pytest.raises(MissingError, match="evil/model"):
        repeat(told(model="evil/model"), shelf, "starter")


def test_what_the_user_says_needs_not_be_here(shelf: Shelf) -> None:
    file = told(model="nowhere", loras=(Lora("smoke"),), vae=Part("none such"), init_hash="ab" * 32)
    found = repeat(file, shelf, "other", {"model", "loras", "vae", "init"})
    assert (found.model, found.vae, found.recipe.loras) == ("other", None, ())
    assert (found.recipe.init, found.recipe.init_hash) == (None, "ab" * 32)


def test_vae_and_embeddings_are_loaded_or_told(shelf: Shelf) -> None:
    parts: dict[str, Any] = {
        "vae": Part("soft.safetensors"), "embeddings": (Part("mood"), Part("gone", "ab12")),
    }  # fmt: skip
    found = repeat(told(model="starter", **parts), shelf, "starter")
    assert Path(found.vae or "").name == "soft.safetensors"
    assert [Path(each).name for each in found.embeddings] == ["mood.safetensors"]
    assert any("embedding gone [ab12] is not in" in note for note in found.not_repeated)


def test_what_cannot_be_repeated_is_said(shelf: Shelf) -> None:
    settings = {"Clip skip": "2", "Hires upscale": "2", "Denoising strength": "0.5",
                "VAE": "soft", "Version": "v1.9.4", "ADetailer model": "face\x1b[2J"}  # fmt: skip
    file = told(settings=settings, model="starter", prompt="[a:b:0.5] fox", seed=2**64 - 1,
                guidance=None)  # fmt: skip
    notes = repeat(file, shelf, "starter").not_repeated
    said = "\n".join(notes)
    for part in ("Clip skip: 2", "Hires upscale: 2", "ADetailer model", "whose noise", "AND",
                 "random one", "does not say guidance"):  # fmt: skip
        assert part in said
    assert "Version" not in said
    assert "\x1b" not in said
    assert repeat(told("Firsthand", model="starter"), shelf, "starter").not_repeated == ()


def test_an_init_image_is_never_read_from_a_path_in_the_file(shelf: Shelf) -> None:
    found = repeat(told(model="starter", init="/etc/hostname", strength=0.5), shelf, "starter")
    assert (found.recipe.init, found.recipe.strength) == (None, None)
    assert any("/etc/hostname" in note for note in found.not_repeated)
    kept = repeat(told(model="starter", init="/x", init_hash="ab" * 32), shelf, "starter")
    assert (kept.recipe.init, kept.recipe.init_hash) == (None, "ab" * 32)


def _diffusers() -> Any:
    import diffusers

    return diffusers


@dataclass
class Sampled(PhotoPainter):
    """Takes the samplers of a model that predicts noise, and no weights."""

    scheduler: Any = field(
        default_factory=lambda: __import__("diffusers").PNDMScheduler(skip_prk_steps=True)
    )

    def complete(self, recipe: Recipe) -> Recipe:
        if "1.2" in recipe.prompt:
            raise UsageError("no weights")
        own = samplers.own_name(self.scheduler)[0]
        sampler, spacing = samplers.named(self.scheduler, recipe.sampler or own, recipe.scheduler)
        return super().complete(recipe.with_changes(sampler=sampler, scheduler=spacing))


@pytest.mark.parametrize(
    ("theirs", "ours", "notes"),
    [
        (("DPM++ 2M Karras", None), ("DPM++ 2M", "Karras"), 0),
        (("DPM++ 2M", "Automatic"), ("DPM++ 2M", None), 0),
        (("dpmpp_2m_sde_gpu", "karras"), ("DPM++ 2M SDE", "Karras"), 0),
        (("euler_ancestral", "normal"), ("Euler a", None), 0),
        (("dpm_2_ancestral", "simple"), ("DPM2 a", None), 0),
        (("dpmpp_2m_k", None), ("DPM++ 2M", "Karras"), 0),
        (("k_euler_ancestral", None), ("Euler a", None), 0),
        (("Euler Ancestral", None), ("Euler a", None), 0),
        (("uni_pc_bh2", "simple"), ("UniPC", None), 0),
        (("DPM++ 2M", "Beta"), ("DPM++ 2M", None), 1),
        (("DPM++ 2S a", "Karras"), ("PLMS", None), 1),
        (("res_multistep", "bong_tangent"), ("PLMS", None), 1),
        ((None, None), ("PLMS", None), 0),
    ],
)
def test_samplers_by_the_names_of_other_tools(
    theirs: tuple[str | None, str | None], ours: tuple[str, str | None], notes: int
) -> None:
    painter = Sampled()
    recipe, said = fitted(Recipe("a", sampler=theirs[0], scheduler=theirs[1]), painter)
    done = painter.complete(recipe)
    assert ((done.sampler, done.scheduler), len(said)) == (ours, notes)


def test_weights_are_left_out_where_the_model_reads_none() -> None:
    recipe, notes = fitted(Recipe("a (red:1.2) fox", negative="(fog:0.5)"), Sampled())
    assert (recipe.prompt, recipe.negative) == ("a red fox", "fog")
    assert "weights" in notes[0]


def test_what_the_user_says_is_not_replaced() -> None:
    recipe, notes = fitted(Recipe("a (b:1.2)", sampler="Bogus"), Sampled(), {"sampler", "prompt"})
    assert (recipe.prompt, recipe.sampler, notes) == ("a (b:1.2)", "Bogus", [])


def test_our_own_file_without_a_vae_had_none(shelf: Shelf) -> None:
    assert repeat(told("Firsthand", model="starter"), shelf, "starter").complete
    assert not repeat(told("A1111", model="starter"), shelf, "starter").complete


def test_what_a_picture_was_made_from_is_said(tmp_path: Path, shelf: Shelf) -> None:
    """As ComfyUI's image to image has it."""
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
        "4": {"class_type": "KSampler", "inputs": {
            "latent_image": ["2", 0], "positive": ["3", 0], "seed": 1, "steps": 2, "cfg": 4.0,
            "sampler_name": "euler", "scheduler": "normal", "denoise": 0.6}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}},
    }  # fmt: skip
    (tmp_path / "a.png").write_bytes(png({"prompt": json.dumps(graph)}))
    notes = repeat(read_told(tmp_path / "a.png"), shelf, "starter").not_repeated
    assert "it was made from cat.png (ComfyUI LoadImage)" in notes
    assert "denoise: 0.6" in notes


def test_a_line_of_json_says_whose_it_is(tmp_path: Path) -> None:
    text = "a fox\nSteps: 2, Sampler: Euler, CFG scale: 4, Seed: 5, Clip skip: 2, Version: v1.9.4"
    picture, line = tmp_path / "a.png", tmp_path / "a.json"
    picture.write_bytes(png({"parameters": text}))
    row, there = inspect(picture), read_told(picture)
    line.write_text(json.dumps(row))
    assert read_told(line) == replace(there, file=line)
    assert (there.tool, there.settings["Clip skip"]) == ("A1111", "2")
    parent = {"uri": "cat.png", "why": "init image"}
    labels = {"made_by": row["made_by"], "parents": [parent]}
    line.write_text(json.dumps({"recipe": row["recipe"], "labels": labels}))
    audited = read_told(line)
    assert (audited.tool, audited.parents) == ("A1111", ("cat.png (init image)",))
    line.write_text(json.dumps({"recipe": row["recipe"], "labels": {"profile": "eu"}}))
    assert read_told(line).tool == "Firsthand"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.png", png(), "no recipe in it: it says nothing"),
        ("x.png", b"\x89PNG broken", "no recipe in it: "),
        ("x.json", b"[]", "not a JSON object"),
        ("x.json", b"{}\n{}", "not one JSON object"),
        ("x.json", b'{"prompt": "a", "sed": 1}', "unknown recipe field sed"),
        ("x.json", b"[" * 100_000, "not one JSON object"),
        ("x.json", b'{"recipe": 5}', "needs a prompt"),
        ("x.json", b" " * (2**20 + 1), "larger than"),
    ],
)
def test_a_file_without_a_recipe_is_an_error(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_told(tmp_path / name)
    with pytest.raises(UsageError, match="no such file"):
        read_told(tmp_path / "none.png")


def run(*args: object) -> Result:
    return CliRunner().invoke(build(), [str(arg) for arg in args])


def pixels(path: str) -> Any:
    return np.asarray(Image.open(path))


def test_our_own_pictures_are_repeated_to_the_pixel(tmp_path: Path, known_folder: Path) -> None:
    assert run("index", "add", known_folder).exit_code == 0
    rows = tmp_path / "rows.jsonl"

    def made(*args: object) -> list[dict[str, Any]]:
        done = run("generate", *args, "--out", tmp_path / "out", "--json", rows)
        assert done.exit_code == 0, (done.output, done.exception)
        return [json.loads(line) for line in rows.read_text().splitlines()]

    asked = ("--steps", 6, "--guidance", 3.3, "--sampler", "DPM++ 2M", "--size", "96x128")
    (first,) = made("a {red|blue} fox in the snow", "--seed", 5, *asked)
    (again,) = made("--from", first["file"])
    assert again["recipe"] == first["recipe"]
    assert (pixels(again["file"]) == pixels(first["file"])).all()
    assert (again["from"], again["not_repeated"]) == (first["file"], [])
    (tmp_path / "line.json").write_text(json.dumps(first))
    (third,) = made("--from", tmp_path / "line.json")
    assert (pixels(third["file"]) == pixels(first["file"])).all()
    others = made("--from", first["file"], "--seed", 7, "-n", 2, "--negative", "fog")
    assert [row["seed"] for row in others] == [7, 8]
    assert {**others[0]["recipe"], "seed": 5, "negative": ""} == first["recipe"]
    assert not (pixels(others[0]["file"]) == pixels(first["file"])).all()


def test_a_picture_that_began_with_another_is_repeated_with_it(
    tmp_path: Path, known_folder: Path
) -> None:
    assert run("index", "add", known_folder).exit_code == 0
    rows = tmp_path / "rows.jsonl"

    def made(*args: object) -> dict[str, Any]:
        done = run("generate", *args, "--out", tmp_path / "out", "--json", rows)
        assert done.exit_code == 0, (done.output, done.exception)
        return dict(json.loads(rows.read_text()))

    for name in ("ihc.png", "motorcycle_left.png"):
        (tmp_path / name).write_bytes((PHOTOS / name).read_bytes())
    asked = ("--steps", 8, "--size", "128x128", "--seed", 5, "--strength", 0.3)
    first = made("a boat", *asked, "--init", tmp_path / "ihc.png")
    assert run("generate", "--from", first["file"]).exit_code != 0
    again = made("--from", first["file"], "--init", tmp_path / "ihc.png")
    assert (again["recipe"], again["not_repeated"]) == (first["recipe"], [])
    assert (pixels(again["file"]) == pixels(first["file"])).all()
    other = made(
        "--from", first["file"], "--init", tmp_path / "motorcycle_left.png", "--size", "192x128"
    )
    assert "it began with another picture" in other["not_repeated"][0]
    assert other["recipe"]["strength"] == 0.3


def test_an_a1111_picture_is_repeated_as_far_as_it_goes(tmp_path: Path, known_folder: Path) -> None:
    assert run("index", "add", known_folder).exit_code == 0
    text = (
        "a fox in the snow <lora:ink:0.8>\nNegative prompt: fog\nSteps: 6,"
        " Sampler: DPM++ 2M Karras, CFG scale: 4, Seed: 5, Size: 128x128,"
        " Model hash: abcdef0123, Model: dream, Clip skip: 2, Version: v1.9.4"
    )
    (tmp_path / "a.png").write_bytes(png({"parameters": text}))
    missing = run("generate", "--from", tmp_path / "a.png")
    assert isinstance(missing.exception, MissingError)
    assert "model dream [abcdef0123]" in str(missing.exception)
    missing = run("generate", "--from", tmp_path / "a.png", "--model", "starter")
    assert "LoRA ink" in str(missing.exception)
    done = run("generate", "--from", tmp_path / "a.png", "--model", "starter", "--lora", "none",
               "--out", tmp_path / "out", "--json", tmp_path / "r.jsonl")  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    row = json.loads((tmp_path / "r.jsonl").read_text())
    assert (row["seed"], row["recipe"]["negative"], row["recipe"]["steps"]) == (5, "fog", 6)
    assert "Clip skip: 2" in row["not_repeated"]
    assert "not repeated: Clip skip: 2" in done.stderr


def test_a_prompt_or_a_file_is_needed() -> None:
    assert "say what the pictures should show" in str(run("generate").exception)
