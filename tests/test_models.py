"""Models of every family in their true formats, from name to pixels; LoRAs, VAEs, hashes."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from gen import families, single
from gen.addons import Addons
from gen.models import resolve
from gen.pipeline import Painter, load, step_and_side
from gen.shelf import Shelf
from gen.watch import Watch
from gen.weights import HashStore, hash_file, read_header, require_loadable
from provenance.errors import MissingError, UsageError
from provenance.inspect import inspect
from provenance.recipe import Lora, Part, Recipe
from provenance.verdict import Decision, Verdict
from tests import tiny_pipelines, tiny_single
from tests.conftest import labeller
from ui.cli import build
from ui.settings import load_settings
from ui.wiring import anchors

Pixels = NDArray[np.uint8]


class Room:
    """The tiny models, each made and loaded once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._painters: dict[str, Painter] = {}

    def model(self, family: str) -> Path:
        place = self.folder / family
        return place if place.exists() else tiny_pipelines.write(family, place)

    def file(self, family: str) -> Path:
        place = self.folder / f"{family}-single.safetensors"
        return place if place.exists() else tiny_single.write(family, place)

    def lora(self, family: str, *, kohya: bool = False) -> Path:
        place = self.folder / f"{family}-{'kohya' if kohya else 'peft'}.safetensors"
        if kohya and family == "flux":
            return tiny_pipelines.kohya_flux(place)
        return tiny_pipelines.lora(place, family, kohya=kohya)

    def painter(self, family: str) -> Painter:
        if family not in self._painters:
            self._painters[family] = load(resolve(str(self.model(family))))
        return self._painters[family]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("room"))


def paint(painter: Painter, prompt: str = "a fox in the snow", **changes: Any) -> Pixels:
    size = {"width": 64, "height": 64} if "init" not in changes else {}
    recipe = painter.complete(Recipe(prompt, **{"seed": 1, "steps": 2, **size, **changes}))
    return np.asarray(painter.paint(recipe, lambda done, steps: None))


def differ(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


# --- families ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_every_family_paints(room: Room, family: str) -> None:
    painter, told = room.painter(family), []
    recipe = painter.complete(Recipe("a fox", seed=1, steps=2, width=64, height=96))
    first = np.asarray(painter.paint(recipe, lambda done, steps: told.append((done, steps))))
    assert first.shape == (96, 64, 3)
    assert told[-1][0] == told[-1][1]
    assert (first == np.asarray(painter.paint(recipe, lambda *_: None))).all()
    assert differ(first, paint(painter, "a car", height=96)) > 20
    assert differ(first, paint(painter, "a fox", seed=2, height=96)) > 20
    assert painter.complete(recipe) == recipe
    assert recipe.model_hash == painter.spec.hash[:10]


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "pixart"])
def test_negative_prompt_and_guidance_count(room: Room, family: str) -> None:
    painter = room.painter(family)
    assert differ(paint(painter), paint(painter, negative="fog")) > 0
    assert differ(paint(painter), paint(painter, guidance=2.0)) > 0


def test_flux_is_guided_without_a_negative_prompt(room: Room) -> None:
    painter = room.painter("flux")
    assert differ(paint(painter), paint(painter, guidance=1.0)) > 0
    with pytest.raises(UsageError, match="flux takes no negative prompt"):
        paint(painter, negative="fog")


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_a_size_that_does_not_fit_says_what_does(room: Room, family: str) -> None:
    painter = room.painter(family)
    assert paint(painter, width=32, height=48).shape == (48, 32, 3)
    with pytest.raises(UsageError, match=rf"width must be a multiple of [24] for {family}, got 65"):
        painter.complete(Recipe("x", seed=1, width=65, height=64))


def test_steps_of_real_models_are_theirs() -> None:
    """FLUX packs latents by two though its configuration says a patch of one."""

    def pipeline(part: str, **config: Any) -> Any:
        denoiser = SimpleNamespace(config=config)
        return SimpleNamespace(
            vae_scale_factor=8, default_sample_size=128, components={part: denoiser},
            **{part: denoiser},
        )  # fmt: skip

    assert step_and_side(pipeline("unet", sample_size=64)) == (8, 512)
    assert step_and_side(pipeline("transformer", patch_size=1)) == (16, 1024)
    assert step_and_side(pipeline("transformer", patch_size=2, sample_size=128)) == (16, 1024)


def test_size_presets_follow_the_family_and_the_native_size() -> None:
    assert families.preset("StableDiffusionXLPipeline", "portrait", 1024) == (832, 1216)
    assert families.preset("StableDiffusionPipeline", "landscape", 512) == (768, 512)
    assert families.preset("StableDiffusionPipeline", "tall", 128) == (128, 224)
    assert families.preset("AnythingPipeline", "wide", 1024) == (1344, 768)
    with pytest.raises(UsageError, match=r"one of square, portrait.*got 'huge'"):
        families.preset("FluxPipeline", "huge", 1024)


# --- single files --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3"])
def test_a_single_file_paints_what_its_folder_paints(room: Room, family: str) -> None:
    """Its configuration without weights and without CLIP's tokenizers, as it can be shipped."""
    bare = room.folder / f"{family}-config"
    left_out = ("*.safetensors", "tokenizer", "tokenizer_2")
    shutil.copytree(room.model(family), bare, ignore=shutil.ignore_patterns(*left_out))
    painter = load(resolve(str(room.file(family)), config=bare))
    assert differ(paint(painter), paint(room.painter(family))) <= 1
    assert painter.spec.name == f"{family}-single"
    assert painter.spec.pipeline == room.painter(family).spec.pipeline


def test_sd3_without_t5_works_and_flux_takes_the_rest_from_its_folder(room: Room) -> None:
    from safetensors.torch import load_file
    from safetensors.torch import save_file as save

    weights = load_file(room.file("sd3"))
    part = room.folder / "sd3-clips.safetensors"
    save({name: each for name, each in weights.items() if "t5xxl" not in name}, part)
    config = room.folder / "sd3-no-t5"
    ignored = shutil.ignore_patterns("*.safetensors", "tokenizer_3")
    shutil.copytree(room.model("sd3"), config, ignore=ignored)
    assert differ(paint(load(resolve(str(part), config=config))), paint(room.painter("sd3"))) > 20
    flux = room.model("flux")
    alone = room.folder / "flux-transformer.safetensors"
    shutil.copy(flux / "transformer" / "diffusion_pytorch_model.safetensors", alone)
    assert differ(paint(load(resolve(str(alone), config=flux))), paint(room.painter("flux"))) <= 1
    empty = room.folder / "flux-empty"
    shutil.copytree(flux, empty, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(MissingError, match=r"does not hold its text_encoder.*--config FOLDER"):
        load(resolve(str(alone), config=empty))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("sd15", {"text_encoder": 123060480, "unet": 859520964, "vae": 83653863}),
        ("sdxl", {"text_encoder_2": 694659840, "unet": 2567463684, "vae": 83653863}),
        ("sd3", {"text_encoder_3": 4762310656, "transformer": 2028328000, "vae": 83819683}),
        ("sd35-medium", {"transformer": 2243171520}),
        ("sd35-large", {"transformer": 8056627520}),
        ("flux-dev", {"text_encoder_2": 4762310656, "transformer": 11901408320}),
        ("flux-schnell", {"transformer": 11891178560}),
    ],
)
def test_the_layouts_are_those_of_the_published_models(name: str, sizes: dict[str, int]) -> None:
    """By their published numbers of parameters; no weights are made."""
    import diffusers
    import torch
    import transformers

    parts = json.loads((single.LAYOUTS / f"{name}.json").read_text("utf-8"))
    for part, size in sizes.items():
        library, kind = parts["model_index"][part]
        made = getattr({"diffusers": diffusers, "transformers": transformers}[library], kind)
        with torch.device("meta"):
            if library == "diffusers":
                model = made.from_config(parts[part])
            else:
                model = made(made.config_class.from_dict(parts[part]))
        assert sum(each.numel() for each in model.parameters()) == size, part


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        ({"input_blocks.0.0.weight": (320, 4, 3, 3), "+": "cond_stage_model.transformer."
          "text_model.embeddings.position_embedding.weight"}, "sd15"),
        ({"input_blocks.0.0.weight": (320, 4, 3, 3), "+": "conditioner.embedders.1.model."
          "positional_embedding"}, "sdxl"),
        ({"input_blocks.0.0.weight": (320, 4, 3, 3), "+": "conditioner.embedders.1.model."
          "positional_embedding", "edm_mean": (4,)}, None),
        ({"input_blocks.0.0.weight": (320, 9, 3, 3)}, None),
        ({"joint_blocks.0.x_block.mlp.fc1.weight": (6144, 1536)}, "sd3"),
        ({"joint_blocks.0.x_block.mlp.fc1.weight": (6144, 1536),
          "joint_blocks.0.x_block.attn2.qkv.weight": (4608, 1536)}, "sd35-medium"),
        ({"joint_blocks.0.x_block.mlp.fc1.weight": (9728, 2432)}, "sd35-large"),
        ({"img_in.weight": (3072, 64), "double_blocks.18.img_attn.qkv.weight": (1, 1),
          "guidance_in.in_layer.weight": (1, 1)}, "flux-dev"),
        ({"img_in.weight": (3072, 64), "double_blocks.18.img_attn.qkv.weight": (1, 1)},
         "flux-schnell"),
        ({"img_in.weight": (3072, 384), "double_blocks.18.img_attn.qkv.weight": (1, 1)}, None),
    ],
)  # fmt: skip
def test_a_layout_is_known_by_its_tensors(shapes: dict[str, Any], name: str | None) -> None:
    further = {str(shapes.pop("+")): (77, 768)} if "+" in shapes else {}
    inside = {f"model.diffusion_model.{key}": shape for key, shape in shapes.items()}
    assert single.layout({**inside, **shapes, **further}) == name


def test_the_table_configures_a_file_without_config_or_network(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same code with the tiny model's widths in the table."""
    folder = room.model("sd15")
    parts = {"model_index": json.loads((folder / "model_index.json").read_text())}
    for part in ("unet", "vae", "text_encoder"):
        parts[part] = json.loads((folder / part / "config.json").read_text())
    parts["scheduler"] = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    (tmp_path / "sd15.json").write_text(json.dumps(parts))
    shutil.copy(single.LAYOUTS / "clip_merges.txt.gz", tmp_path)
    monkeypatch.setattr(single, "LAYOUTS", tmp_path)
    monkeypatch.setattr(single, "layout", lambda shapes: "sd15")
    painter = load(resolve(str(room.file("sd15"))))
    assert differ(paint(painter), paint(room.painter("sd15"))) <= 1
    weights = load_file(room.file("sd15"))
    marked = tmp_path / "velocity.safetensors"
    nothing = np.zeros(0, np.float32)
    save_file({**weights, "v_pred": nothing, "ztsnr": nothing}, marked)
    config = load(resolve(str(marked))).pipeline.scheduler.config
    assert (config.prediction_type, config.timestep_spacing) == ("v_prediction", "trailing")
    assert config.rescale_betas_zero_snr


def test_scaled_weights_are_refused(room: Room, tmp_path: Path) -> None:
    file = tmp_path / "scaled.safetensors"
    scale = {"model.diffusion_model.out.2.scale_weight": np.ones(1, np.float32)}
    save_file({**load_file(room.file("sd15")), **scale}, file)
    with pytest.raises(UsageError, match="scaled fp8 weights"):
        load(resolve(str(file), config=room.model("sd15")))


def test_what_cannot_be_had_offline_is_named(tmp_path: Path) -> None:
    """FLUX's files hold the transformer alone; T5's tokenizer does not come with Firsthand."""
    file = tmp_path / "flux.safetensors"
    shapes: dict[str, tuple[int, ...]]
    shapes = {"img_in.weight": (3072, 64), "double_blocks.18.img_attn.qkv.weight": (1, 1)}
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, file)
    lacking = "text_encoder, text_encoder_2, tokenizer_2, vae"
    with pytest.raises(MissingError, match=f"does not hold its {lacking}; give a diffusers folder"):
        load(resolve(str(file)))
    shapes = {"joint_blocks.0.x_block.mlp.fc1.weight": (6144, 1536), "vae.a": (1,)}
    shapes |= {f"text_encoders.{each}.a": (1,) for each in ("clip_l", "clip_g", "t5xxl")}
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, file)
    with pytest.raises(MissingError, match="does not hold its tokenizer_3; give"):
        load(resolve(str(file)))


def test_the_bundled_tokenizer_is_clips() -> None:
    tokenizer = single.clip_tokenizer()
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (len(tokenizer), tokenizer.pad_token_id) == (49408, 49407)
    assert single.clip_tokenizer("!").pad_token_id == 0


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(hub: Path, name: str, model: Path) -> None:
    """As `hf download` leaves it."""
    place = hub / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, place / "snapshots" / ("a" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40)


def test_a_hub_id_is_loaded_from_the_cache(room: Room, hub: Path) -> None:
    cached(hub, "some/model", room.model("pixart"))
    for name in ("some/model", "some/model@main", f"some/model@{'a' * 40}"):
        spec = resolve(name)
        assert (spec.name, spec.hash) == (name, resolve(str(room.model("pixart"))).hash)
    assert differ(paint(load(spec)), paint(room.painter("pixart"))) == 0
    with pytest.raises(MissingError, match=r"'some/model@v2'.*nor in the hub's local cache"):
        resolve("some/model@v2")


def test_a_file_of_another_layout_is_configured_from_the_hub(room: Room, hub: Path) -> None:
    with pytest.raises(MissingError, match=r"perhaps stable-diffusion-v1-5/.*--config FOLDER"):
        load(resolve(str(room.file("sd15"))))
    cached(hub, "stable-diffusion-v1-5/stable-diffusion-v1-5", room.model("sd15"))
    painter = load(resolve(str(room.file("sd15"))))
    assert differ(paint(painter), paint(room.painter("sd15"))) <= 1


# --- what is refused -----------------------------------------------------------------------------


def test_models_that_are_not_there(tmp_path: Path, hub: Path) -> None:
    assert not hub.exists()
    with pytest.raises(MissingError, match=r"give 'starter', a hub id .* or a single .safetensors"):
        resolve(str(tmp_path / "none" / "of" / "these"))
    with pytest.raises(MissingError, match=r"nor in the hub's local cache.*hf download some/model"):
        resolve("some/model@v1")
    (tmp_path / "model_index.json").write_text('{"_class_name": "X"}')
    with pytest.raises(MissingError, match=r"no \.safetensors weights under"):
        resolve(str(tmp_path))
    with pytest.raises(UsageError, match="--config is for a single file"):
        resolve("starter", config=tmp_path)


def test_pickles_are_refused_unless_the_user_insists(room: Room, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    file = tmp_path / "old.ckpt"
    torch.save({"state_dict": load_file(room.file("sd15"))}, file)
    with pytest.raises(UsageError, match=r"old\.ckpt is a pickle.*--unsafe-pickle"):
        resolve(str(file))
    shelf = Shelf(tmp_path / "home", unsafe_pickle=True)
    painter = load(resolve(str(file), config=room.model("sd15"), shelf=shelf))
    assert differ(paint(painter), paint(room.painter("sd15"))) <= 1
    folder = shutil.copytree(room.model("pixart"), tmp_path / "pickled")
    for each in folder.rglob("*.safetensors"):
        each.rename(each.with_suffix(".bin"))
    with pytest.raises(UsageError, match="is a pickle"):
        resolve(str(folder))


def hostile(tmp_path: Path) -> dict[str, bytes]:
    def header(text: bytes, weights: int = 0) -> bytes:
        return len(text).to_bytes(8, "little") + text + bytes(weights)

    one = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return {
        "empty": b"",
        "html": b"<!DOCTYPE html><html>not found</html>",
        "huge header": (2**60).to_bytes(8, "little") + one,
        "not JSON": header(b"{" * 40),
        "deep": header(b"[" * 100_000),
        "list": header(b"[1, 2, 3]"),
        "short": header(one, 4),
        "long": header(one, 80),
        "no tensor": header(b"{}"),
        "no offsets": header(b'{"a":{"dtype":"F32","shape":[2]}}', 8),
        "endless": header(one.replace(b"8]", b"1e999]"), 8),
        "no shape": header(b'{"a":{"dtype":"F32","data_offsets":[0,8]}}', 8),
        "a number for a shape": header(one.replace(b"[2]", b"2"), 8),
        "remarks that are none": header(one[:-1] + b',"__metadata__":["x"]}', 8),
    }


def test_broken_and_hostile_files_are_named(tmp_path: Path) -> None:
    for name, data in hostile(tmp_path).items():
        file = tmp_path / "bad.safetensors"
        file.write_bytes(data)
        with pytest.raises(UsageError, match=r"bad\.safetensors is") as raised:
            resolve(str(file))
        assert "\n" not in str(raised.value), name


@pytest.mark.parametrize("spoil", ["overlap", "shape", "cut"])
def test_a_folder_with_damaged_weights_is_named(room: Room, tmp_path: Path, spoil: str) -> None:
    folder = shutil.copytree(room.model("pixart"), tmp_path / "damaged")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = file.read_bytes()
    if spoil == "cut":
        file.write_bytes(data[:-100])
    elif spoil == "shape":
        save_file({"encoder.conv_in.weight": np.zeros((3, 3), np.float32)}, file)
    else:
        header = {key: value for key, value in read_header(file).items() if key[:2] != "__"}
        first = next(iter(header))
        header[first]["data_offsets"] = [4, 8]
        text = json.dumps(header).encode()
        size = int.from_bytes(data[:8], "little")
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(UsageError, match="damaged"):
        load(resolve(str(folder)))


# --- LoRAs, VAEs, embeddings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "kohya"),
    [("sd15", False), ("sd15", True), ("sdxl", False), ("sdxl", True), ("sd3", False),
     ("flux", False), ("flux", True)],
)  # fmt: skip
def test_a_lora_changes_the_pixels_and_leaves_nothing_behind(
    room: Room, family: str, kohya: bool
) -> None:
    painter, file = room.painter(family), room.lora(family, kohya=kohya)
    plain = paint(painter)
    full = paint(painter, loras=(Lora(str(file)),))
    half = paint(painter, loras=(Lora(str(file), 0.5),))
    assert np.abs(full.astype(int) - plain).mean() > 5
    assert np.abs(half.astype(int) - full).mean() > 1
    assert differ(paint(painter), plain) == 0
    assert differ(paint(painter, loras=(Lora(str(file)),)), full) == 0
    assert differ(paint(painter, loras=(Lora(str(file), 0.0),)), plain) <= 1


def test_two_loras_are_more_than_one_and_the_recipe_has_their_hashes(room: Room) -> None:
    painter, first = room.painter("sd15"), room.lora("sd15")
    second = tiny_pipelines.lora(room.folder / "second.safetensors", "sd15", seed=7)
    both = (Lora(str(first)), Lora(str(second), 0.7))
    assert differ(paint(painter, loras=both), paint(painter, loras=both[:1])) > 0
    recipe = painter.complete(Recipe("x", seed=1, loras=both))
    marks = [str(hash_file(file).autov3)[:12] for file in (first, second)]
    assert recipe.loras == (Lora("sd15-peft", 1.0, marks[0]), Lora("second", 0.7, marks[1]))
    assert painter.complete(recipe) == recipe
    with pytest.raises(UsageError, match="the recipe asks for LoRA"):
        painter.complete(recipe.with_changes(loras=(Lora(str(second), 1.0, marks[0][::-1]),)))


@pytest.mark.parametrize(
    ("name", "steps", "sampler", "spacing"),
    [
        ("lcm-lora-sdv1-5", 4, "LCM", None),
        ("sdxl_lightning_8step_lora", 8, "Euler", "SGM Uniform"),
        ("Hyper-SD15-12steps-CFG-lora", 12, "DDIM", "SGM Uniform"),
        ("dmd2_sdxl_4step_lora_fp16", 4, "LCM", None),
    ],
)
def test_a_lora_for_few_steps_says_how_it_is_used(
    room: Room, tmp_path: Path, name: str, steps: int, sampler: str, spacing: str | None
) -> None:
    painter = room.painter("sd15")
    lora = Lora(str(shutil.copy(room.lora("sd15"), tmp_path / f"{name}.safetensors")))
    recipe = painter.complete(Recipe("x", seed=1, loras=(lora,)))
    assert (recipe.steps, recipe.guidance) == (steps, 1.0)
    assert (recipe.sampler, recipe.scheduler) == (sampler, spacing)
    assert paint(painter, loras=(lora,), steps=None).std() > 1
    own = painter.complete(
        Recipe("x", seed=1, loras=(lora,), steps=9, guidance=2.0, sampler="Euler a")
    )
    assert (own.steps, own.guidance, own.sampler, own.scheduler) == (9, 2.0, "Euler a", None)


def test_other_loras_change_no_steps(room: Room, tmp_path: Path) -> None:
    painter = room.painter("sd15")
    for name in ("enlightning", "turbocharged", "4step"):
        lora = Lora(str(shutil.copy(room.lora("sd15"), tmp_path / f"{name}.safetensors")))
        recipe = painter.complete(Recipe("x", seed=1, loras=(lora,)))
        assert (recipe.steps, recipe.guidance, recipe.sampler) == (25, 7.5, "PLMS")


def test_a_flow_model_keeps_its_sampler_and_its_own_guidance(room: Room, tmp_path: Path) -> None:
    painter = room.painter("flux")
    copy = tmp_path / "Hyper-FLUX.1-dev-8steps-lora.safetensors"
    lora = Lora(str(shutil.copy(room.lora("flux"), copy)), 0.125)
    recipe = painter.complete(Recipe("x", seed=1, loras=(lora,)))
    assert (recipe.steps, recipe.sampler) == (8, "Euler")
    assert recipe.guidance == painter.complete(Recipe("x", seed=1)).guidance


def test_a_lora_for_another_model_says_so(room: Room) -> None:
    painter = room.painter("sdxl")
    plain = paint(painter)
    for other, message in (("sd15", "does not fit"), ("flux", "fits no layer")):
        with pytest.raises(UsageError, match=f"{message}.*family"):
            paint(painter, loras=(Lora(str(room.lora(other))),))
    assert differ(paint(painter), plain) == 0
    with pytest.raises(UsageError, match="a LoRA is a file"):
        paint(painter, loras=(Lora(str(room.folder)),))
    with pytest.raises(MissingError, match=r"no such file: ink\.safetensors"):
        paint(painter, loras=(Lora("ink.safetensors"),))
    with pytest.raises(UsageError, match="pixart takes no LoRAs"):
        paint(room.painter("pixart"), loras=(Lora(str(room.lora("sd15"))),))


def test_a_lora_that_fails_leaves_nothing_of_the_others(room: Room) -> None:
    """Neither its layers, nor what its text encoder made of the prompt."""
    painter = room.painter("sd15")
    plain = paint(painter)
    file = room.folder / "words.safetensors"
    name = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    rng = np.random.default_rng(0)
    save_file(
        {f"{name}.lora_{part}.weight": rng.normal(0, 3, shape).astype(np.float32)
         for part, shape in (("A", (4, 32)), ("B", (32, 4)))}, file,
    )  # fmt: skip
    words, good, bad = Lora(str(file)), Lora(str(room.lora("sd15"))), Lora(str(room.lora("flux")))
    assert differ(paint(painter, loras=(words,)), plain) > 0
    with pytest.raises(UsageError, match="fits no layer"):
        paint(painter, loras=(good, bad))
    assert differ(paint(painter), plain) == 0


def test_another_vae_in_either_format(room: Room, tmp_path: Path) -> None:
    from safetensors.torch import save_file as save

    other = tiny_pipelines.vae(4, seed=9)
    other.save_pretrained(tmp_path / "soft")
    save({k: v.contiguous() for k, v in tiny_single.vae(other).items()}, tmp_path / "f.safetensors")
    shelf = Shelf()
    spec = resolve(str(room.model("sd15")))
    painters = [load(spec, Addons(str(tmp_path / name), shelf=shelf)) for name in
                ("soft", "f.safetensors")]  # fmt: skip
    pictures = [paint(each) for each in painters]
    assert differ(*pictures) == 0
    assert all(each.pipeline.vae.use_slicing for each in painters)
    assert differ(pictures[0], paint(room.painter("sd15"))) > 20
    digest = hashlib.sha256((tmp_path / "f.safetensors").read_bytes()).hexdigest()
    recipe = painters[1].complete(Recipe("x", seed=1))
    assert recipe.vae == Part("f", digest[:10])
    with pytest.raises(UsageError, match="asks for VAE f; it is not loaded"):
        room.painter("sd15").complete(recipe)
    with pytest.raises(UsageError, match="does not fit StableDiffusionPipeline as a VAE"):
        load(spec, Addons(str(room.lora("sd15")), shelf=shelf))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_an_embedding_is_a_word_of_the_prompt(room: Room, tmp_path: Path, family: str) -> None:
    rng = np.random.default_rng(1)
    first = rng.standard_normal((3, 32)).astype(np.float32)
    second = rng.standard_normal((3, 48)).astype(np.float32)
    parts = {"clip_l": first, "clip_g": second} if family == "sdxl" else {"emb_params": first}
    save_file(parts, tmp_path / "inky.safetensors")
    spec = resolve(str(room.model(family)))
    painter = load(spec, Addons(embeddings=(str(tmp_path / "inky.safetensors"),)))
    assert differ(paint(painter), paint(room.painter(family))) == 0
    assert differ(paint(painter, "inky fox"), paint(room.painter(family), "inky fox")) > 20
    assert painter.complete(Recipe("an inky fox", seed=1)).embeddings[0].name == "inky"
    assert painter.complete(Recipe("a fox", seed=1)).embeddings == ()
    save_file({"emb_params": second[:, :20].copy()}, tmp_path / "narrow.safetensors")
    with pytest.raises(UsageError, match=r"does not fit .* as a textual inversion"):
        load(spec, Addons(embeddings=(str(tmp_path / "narrow.safetensors"),)))


# --- img2img -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
def test_painting_begins_with_a_picture(room: Room, tmp_path: Path, family: str) -> None:
    painter = room.painter(family)
    for name, colour in (("red.png", "red"), ("blue.png", "blue")):
        Image.new("RGB", (80, 64), colour).save(tmp_path / name)
    changes: dict[str, Any] = {
        "steps": 4,
        "width": 64,
        "height": 64,
        "init": str(tmp_path / "red.png"),
    }
    red = paint(painter, **changes)
    assert red.shape == (64, 64, 3)
    assert differ(red, paint(painter, **changes)) == 0
    assert differ(red, paint(painter, **changes, strength=0.3)) > 0
    assert differ(red, paint(painter, **{**changes, "init": str(tmp_path / "blue.png")})) > 0
    recipe = painter.complete(Recipe("x", seed=1, init=str(tmp_path / "red.png")))
    assert (recipe.init, recipe.strength, len(recipe.init_hash or "")) == ("red.png", 0.6, 64)
    assert painter.complete(recipe) == recipe
    assert painter.begun(recipe) == (tmp_path / "red.png").read_bytes()
    assert painter.begun(painter.complete(Recipe("x", seed=1))) is None
    Image.new("RGB", (80, 64), "green").save(tmp_path / "red.png")
    with pytest.raises(UsageError, match=r"red\.png has changed"):
        painter.paint(recipe, lambda *_: None)
    with pytest.raises(UsageError, match=r"red\.png has changed"):
        painter.begun(recipe)


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_what_does_not_go_with_a_picture_to_begin_with_is_said(
    room: Room, tmp_path: Path, family: str
) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    painter, init = room.painter(family), str(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"strength 0.24 of 4 steps paints no step; give 0.25"):
        painter.complete(Recipe("x", seed=1, steps=4, init=init, strength=0.24))
    assert paint(painter, init=init, width=64, height=64, steps=4, strength=0.25).any()
    if family != "sd15":
        assert paint(painter, init=init, width=64, height=64, steps=4, sampler="LCM").any()
        with pytest.raises(UsageError, match=r"begins with no picture.*Euler, LCM do"):
            painter.complete(Recipe("x", seed=1, init=init, sampler="DPM++ 2M"))


def test_looks_are_taken_at_shares_of_the_steps_that_are_painted(
    room: Room, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    painter, watch = room.painter("sd15"), Watch(always=True)
    asked = Recipe("x", seed=1, steps=20, init=str(tmp_path / "a.png"), strength=0.5)
    painter.paint_each([painter.complete(asked)], lambda *_: None, [watch])
    assert watch.seen.looks == [1, 4, 6]


def test_where_there_is_no_img2img_it_is_said(room: Room, tmp_path: Path, starter: Painter) -> None:
    Image.new("RGB", (80, 64), "red").save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no image-to-image pipeline for PixArtSigmaPipeline"):
        paint(room.painter("pixart"), init=str(tmp_path / "a.png"))
    with pytest.raises(MissingError, match="no such init image"):
        paint(starter, init=str(tmp_path / "b.png"))


def test_the_bundled_model_keeps_more_of_a_picture_at_less_strength(
    tmp_path: Path, starter: Painter
) -> None:
    Image.new("RGB", (96, 96), "red").save(tmp_path / "a.png")
    sized: dict[str, Any] = {"init": str(tmp_path / "a.png"), "width": 64, "height": 64, "steps": 4}
    little = paint(starter, **sized, strength=0.25)
    much = paint(starter, **sized, strength=1.0)
    off = [np.abs(made - np.array((255.0, 0, 0))).mean() for made in (little, much)]
    assert off[0] < off[1] / 2


# --- hashes and the shelf ------------------------------------------------------------------------


def test_hashes_are_those_of_the_community_sites(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": np.arange(4, dtype=np.float32)}, file, {"ss_tag": "x"})
    made = hash_file(file)
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert made.autov2 == made.sha256[:10]
    assert made.autov3 == hashlib.sha256(data[start:]).hexdigest()
    save_file({"a": np.arange(4, dtype=np.float32)}, file, {"ss_tag": "another"})
    assert hash_file(file).autov3 == made.autov3
    assert hash_file(file).sha256 != made.sha256


def test_hashes_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(4, np.float32)}, file)
    known = HashStore(tmp_path / "hashes.json").of(file)
    monkeypatch.setattr("gen.weights.hash_file", lambda path: pytest.fail("hashed again"))
    assert HashStore(tmp_path / "hashes.json").of(file) == known
    monkeypatch.undo()
    save_file({"a": np.ones(5, np.float32)}, file)
    assert HashStore(tmp_path / "hashes.json").of(file) == hash_file(file) != known
    (tmp_path / "hashes.json").write_text("damaged")
    assert HashStore(tmp_path / "hashes.json").of(file) == hash_file(file)


def test_require_loadable_names_other_formats(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"weights are \.safetensors files, got a\.zip"):
        require_loadable(tmp_path / "a.zip")


# --- the command line ----------------------------------------------------------------------------


def run(*args: object) -> list[dict[str, Any]]:
    ran = CliRunner().invoke(build(), [*map(str, args), "--json", "-"], catch_exceptions=False)
    assert ran.exit_code in (0, 1), ran.output
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


@pytest.fixture
def home(tmp_path: Path, room: Room) -> Path:
    """A home with an empty library and things on its shelf."""
    home = tmp_path / "home"
    (home / "loras").mkdir(parents=True)
    (home / "models").mkdir()
    shutil.copy(room.lora("sd15"), home / "loras" / "ink.safetensors")
    (home / "models" / "tiny").symlink_to(room.model("pixart"))
    (home / "loras" / "odd.pt").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    CliRunner().invoke(build(), ["index", "add", str(tmp_path / "empty")], catch_exceptions=False)
    return home


def test_generate_takes_every_family(home: Path, room: Room, tmp_path: Path) -> None:
    for family in tiny_pipelines.FAMILIES:
        (row,) = run(
            "generate", "a fox", "--model", room.model(family), "--steps", 2, "--seed", 3,
            "--size", "64x64", "--out", tmp_path / "out",
        )  # fmt: skip
        assert row["recipe"]["model"] == family
        assert row["error"] is None


def test_generate_takes_all_that_decides_pixels(home: Path, room: Room, tmp_path: Path) -> None:
    clear = Verdict(Decision.CLEAR, (), (), "none", "0", 0)
    signed = labeller()(Image.new("RGB", (80, 64), "red"), Recipe("red", seed=1), clear)
    (tmp_path / "red.png").write_bytes(signed.data)
    save_file({"emb_params": np.ones((1, 32), np.float32)}, tmp_path / "inky.safetensors")
    (home / "styles.csv").write_text('name,prompt,negative_prompt\nfilm,"{prompt}, grain",blur\n')
    (row,) = run(
        "generate", "a {fox|fox} inky", "--model", room.file("sd15"), "--config",
        room.model("sd15"), "--lora", "ink:0.5", "--embedding", tmp_path / "inky.safetensors",
        "--sampler", "dpm++ 2m karras", "--steps", 4, "--seed", 3, "--init", tmp_path / "red.png",
        "--strength", 0.5, "--style", "film", "--size", "portrait", "--out", tmp_path / "out",
    )  # fmt: skip
    recipe = row["recipe"]
    assert (recipe["prompt"], recipe["negative"]) == ("a fox inky, grain", "blur")
    assert (recipe["sampler"], recipe["scheduler"]) == ("DPM++ 2M", "Karras")
    assert (recipe["width"], recipe["height"]) == (64, 96)
    assert (recipe["init"], recipe["strength"]) == ("red.png", 0.5)
    assert [(each["name"], each["weight"]) for each in recipe["loras"]] == [("ink", 0.5)]
    assert [each["name"] for each in recipe["embeddings"]] == ["inky"]
    assert recipe["model_hash"] == hashlib.sha256(room.file("sd15").read_bytes()).hexdigest()[:10]
    told = inspect(Path(row["file"] or row["held"]), anchors(load_settings()))
    assert told["credentials"]["outcome"] == "trusted"
    assert told["credentials"]["verdict"]["decision"] == row["decision"]
    assert {"uri": "red.png", "why": "C2PA ingredient (parentOf)"} in told["parents"]
    assert signed.labels["manifest"] in str(told["found"])


def test_a_batch_takes_loras_and_overrides_of_a_job(home: Path, room: Room, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    lora = {"name": str(room.lora("sd15", kohya=True)), "weight": 0.3}
    lines: list[dict[str, Any]] = [
        {"prompt": "a fox | snow"}, {"prompt": "a car", "sampler": "Euler a", "loras": [lora]}
    ]  # fmt: skip
    jobs.write_text("".join(json.dumps({**line, "steps": 2}) + "\n" for line in lines))
    given = ("batch", jobs, "--model", room.model("sd15"), "--lora", "ink:0.5", "--out",
             tmp_path / "out")  # fmt: skip
    rows = run(*given)
    assert [row["recipe"]["prompt"] for row in rows] == ["a fox", "a fox, snow", "a car"]
    worn = [[(each["name"], each["weight"]) for each in row["recipe"]["loras"]] for row in rows]
    assert worn == [[("ink", 0.5)], [("ink", 0.5)], [("sd15-kohya", 0.3), ("ink", 0.5)]]
    assert rows[2]["recipe"]["sampler"] == "Euler a"
    assert run(*given) == rows


def test_models_lists_what_is_there(home: Path) -> None:
    rows = {row["name"]: row for row in run("models")}
    assert set(rows) == {"starter", "ink", "odd", "tiny"}
    assert rows["ink"]["kind"] == "loras"
    assert len(rows["ink"]["autov3"]) == 64
    assert "pickle" in rows["odd"]["problem"]
    assert rows["starter"]["licence"] == "Apache-2.0"
    shown = CliRunner().invoke(build(), ["models"]).output
    assert f"AutoV2 {rows['tiny']['sha256'][:10]}" in shown
    (row,) = run("generate", "a fox", "--model", "tiny", "--steps", 2, "--seed", 1, "--size",
                 "64x64", "--out", home / "out")  # fmt: skip
    assert row["recipe"]["model_hash"] == rows["tiny"]["sha256"][:10]
