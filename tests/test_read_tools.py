"""What each tool writes comes back as its recipe: files as the tools make them."""

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from provenance.images import read_picture
from provenance.inspect import Inspection, inspect
from provenance.read import novelai, recipe_of
from provenance.read.found import Carried, Found, Text
from provenance.read.infotext import parse_found
from provenance.read.pairs import pairs_of
from provenance.recipe import Lora
from tests.carriers import hidden, png, wide_comment, with_exif, xmp
from tests.test_infotext import parse_infotext
from ui.inspection import says


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """Inspects bytes as a file, whose name says nothing."""

    def tell(data: bytes) -> Inspection:
        path = tmp_path / "picture"
        path.write_bytes(data)
        recipe = inspect(path)
        json.dumps(recipe, allow_nan=False, ensure_ascii=False).encode()
        return recipe

    return tell


def numbers(recipe: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(recipe[key] for key in ("seed", "steps", "guidance", "width", "height"))


# A1111 and its kin


def found_in(text: str) -> Found:
    found = parse_found(Text("", "parameters", text))
    assert found
    return found


def test_quoted_values_hashes_and_loras() -> None:
    found = found_in(
        "a fox <lora:ink:0.8> <lora:mood>\nin snow\nNegative prompt: fog,\nrain\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 9, "
        'Size: 512x768, Model hash: 0123456789, Model: "m, the second", '
        'ControlNet 0: "preprocessor: none, model: x [aa], weight: 1", '
        'Lora hashes: "ink: aabbccddeeff, mood: 112233445566", Version: f2.0.1v1.10.1-previous-1'
    )
    recipe = found.recipe
    assert recipe
    assert (recipe.prompt, recipe.negative) == ("a fox\nin snow", "fog,\nrain")
    assert (recipe.model, recipe.scheduler) == ("m, the second", "Karras")
    assert recipe.loras == (Lora("ink", 0.8, "aabbccddeeff"), Lora("mood", 1.0, "112233445566"))
    assert (found.tool, found.version) == ("Forge", "f2.0.1v1.10.1-previous-1")
    assert found.settings["ControlNet 0"].startswith("preprocessor: none, model")


def test_civitai_tells_resources_hashes_and_the_remixed_picture() -> None:
    found = found_in(
        "a fox\nNegative prompt: fog\nSteps: 25, Sampler: Undefined, CFG scale: 3.5, Seed: 7, "
        "Size: 832x1216, Clip skip: 2, Created Date: 2025-02-24T22:37:15.9939366Z, "
        'Hashes: {"model": "aabbccddee", "lora:ink": "112233445566"}, '
        'Civitai resources: [{"type":"checkpoint","modelVersionId":128713,"modelName":"Dream, v1",'
        '"modelVersionName":"8"},{"type":"lora","weight":0.7,"modelVersionId":5}], '
        'Civitai metadata: {"remixOfId":4242}'
    )
    recipe = found.recipe
    assert recipe
    assert (recipe.sampler, recipe.model, recipe.model_hash) == (None, "Dream, v1", "aabbccddee")
    assert recipe.loras == (Lora("ink", 1.0, "112233445566"),)
    assert found.settings["Created Date"].startswith("2025-02-24T22:37:15")
    assert [parent.uri for parent in found.parents] == ["https://civitai.com/images/4242"]
    assert found.tool == "Civitai"


def test_one_pasted_line() -> None:
    recipe = parse_infotext(
        "a fox. Steps of stone. Negative prompt: fog. "
        "Steps: 20, Sampler: Euler, Seed: 1, CFG scale: 7"
    )
    assert recipe
    assert (recipe.prompt, recipe.negative) == ("a fox. Steps of stone.", "fog.")
    assert recipe.seed == 1


def test_sd_next_names_itself_and_no_sampler() -> None:
    found = found_in(
        "a fox\nNegative prompt: \nSteps: 30, Size: 512x512, Seed: 42, CFG scale: 6, App: SD.Next, "
        "Version: 67ccbe0, Pipeline: StableDiffusionPipeline, Operations: txt2img, Model: m"
    )
    assert found.recipe
    assert (found.tool, found.version, found.recipe.sampler) == ("SD.Next", "67ccbe0", None)
    assert found.recipe.negative == ""


def test_additional_networks() -> None:
    recipe = parse_infotext(
        "a fox\nSteps: 20, Sampler: Euler, Seed: 1, AddNet Enabled: True, AddNet Module 1: LoRA, "
        "AddNet Model 1: ink(aabbccddeeff), AddNet Weight 1: 0.6"
    )
    assert recipe
    assert recipe.loras == (Lora("ink", 0.6, "aabbccddeeff"),)


def test_seeds_are_exact_to_the_last_digit() -> None:
    seed = 2**63 + 12345
    recipe = parse_infotext(f"a fox\nSteps: 20, Sampler: Euler, Seed: {seed}, CFG scale: 7")
    assert recipe
    assert recipe.seed == seed


@pytest.mark.parametrize(
    "line",
    ["a" * 200_000, "a:" * 100_000, 'a:"' * 60_000, "a:{" * 60_000, " " * 200_000, "a b-" * 50_000,
     '\\"' * 100_000, "<lora:" * 30_000, ("Steps: 1" + " " * 20) * 7_000],
    ids=["letters", "colons", "quotes", "braces", "blanks", "keys", "escapes", "tags", "steps"],
)  # fmt: skip
def test_hostile_lines_take_linear_time(line: str) -> None:
    began = time.process_time()
    parse_infotext(f"{line}\nSteps: 1, {line}"[:200_000])
    parse_infotext(line)
    pairs_of(line)
    assert time.process_time() - began < 2


# ComfyUI

GRAPH: dict[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "m.safetensors"}},
    "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "ink.safetensors", "model": ["1", 0],
          "strength_model": 0.8, "strength_clip": 1.0, "clip": ["1", 1]}},
    "3": {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": ["3", 0], "clip": ["2", 1]}},
    "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["2", 1]}},
    "6": {"class_type": "EmptyLatentImage", "inputs": {"width": ["12", 0], "height": 768}},
    "7": {"class_type": "KSampler", "inputs": {"seed": ["8", 0], "steps": 20, "cfg": 7,
          "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0, "model": ["2", 0],
          "positive": ["13", 0], "negative": ["13", 1], "latent_image": ["6", 0]}},
    "8": {"class_type": "Seed (rgthree)", "inputs": {"seed": 123}},
    "9": {"class_type": "VAEDecode", "inputs": {"samples": ["11", 0], "vae": ["1", 2]}},
    "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "x"}},
    "11": {"class_type": "KSampler", "inputs": {"seed": 9, "steps": 8, "cfg": 2, "denoise": 0.4,
           "sampler_name": "euler", "scheduler": "normal", "model": ["2", 0],
           "positive": ["4", 0], "negative": ["5", 0], "latent_image": ["7", 0]}},
    "12": {"class_type": "INTConstant", "inputs": {"value": 512}},
    "13": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["4", 0],
           "negative": ["5", 0], "strength": 1.0}},
}  # fmt: skip


def test_a_graph_is_followed_through_its_links(told: Any) -> None:
    row = told(png({"prompt": json.dumps(GRAPH), "workflow": "{}"}))
    recipe = row["recipe"]
    assert numbers(recipe) == (123, 20, 7.0, 512, 768)
    assert (recipe["prompt"], recipe["negative"]) == ("a fox", "fog")
    assert (recipe["model"], recipe["sampler"]) == ("m.safetensors", "dpmpp_2m")
    assert recipe["loras"] == [{"name": "ink.safetensors", "weight": 0.8, "hash": None}]
    assert row["found"][0]["settings"]["samplers"] == 2


def test_zero_is_a_seed(told: Any) -> None:
    zero = {"class_type": "KSampler", "inputs": {"seed": 0, "steps": 1, "cfg": 0.0}}
    assert numbers(told(png({"prompt": json.dumps({"1": zero})}))["recipe"])[:3] == (0, 1, 0.0)


def test_a_graph_in_webp_with_nan(told: Any) -> None:
    body = json.dumps(GRAPH | {"14": {"class_type": "X", "inputs": {"value": float("nan")}}})
    row = told(with_exif("WEBP", t010f='workflow:{"nodes": []}', t0110=f"prompt:{body}"))
    assert row["recipe"]["seed"] == 123
    assert row["made_by"]["tool"] == "ComfyUI"
    data = with_exif("WEBP", t0110=f"prompt:{body}")
    recipe = recipe_of(read_picture(data))
    assert recipe
    assert recipe.seed == 123


def test_flux_by_custom_sampler(told: Any) -> None:
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
        "3": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["2", 0]}},
        "4": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["3", 0]}},
        "5": {"class_type": "RandomNoise", "inputs": {"noise_seed": 2**64 - 1}},
        "6": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "7": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 28,
              "denoise": 1, "model": ["1", 0]}},
        "8": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 832}},
        "9": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["5", 0],
              "guider": ["4", 0], "sampler": ["6", 0], "sigmas": ["7", 0],
              "latent_image": ["8", 0]}},
    }  # fmt: skip
    recipe = told(png({"prompt": json.dumps(graph)}))["recipe"]
    assert numbers(recipe) == (2**64 - 1, 28, 3.5, 1024, 832)
    assert (recipe["prompt"], recipe["model"]) == ("a fox", "flux1-dev.safetensors")
    assert (recipe["sampler"], recipe["scheduler"]) == ("euler", "simple")


def test_the_drawing_alone_is_enough(told: Any) -> None:
    nodes = [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["m.ckpt"]},
        {"id": 2, "type": "CLIPTextEncode", "widgets_values": ["a fox"]},
        {"id": 3, "type": "EmptyLatentImage", "widgets_values": [640, 512, 1]},
        {"id": 4, "type": "KSampler", "widgets_values": [5, "fixed", 20, 7, "euler", "normal", 1],
         "inputs": [{"name": "model", "link": 1}, {"name": "positive", "link": 2},
                    {"name": "latent_image", "link": 3}]},
    ]  # fmt: skip
    links = [[1, 1, 0, 4, 0, "MODEL"], [2, 2, 0, 4, 1, "C"], [3, 3, 0, 4, 2, "L"]]
    recipe = told(png({"workflow": json.dumps({"nodes": nodes, "links": links})}))["recipe"]
    assert numbers(recipe) == (5, 20, 7.0, 640, 512)
    assert (recipe["prompt"], recipe["model"]) == ("a fox", "m.ckpt")


def test_links_lead_through_bypassed_nodes(told: Any) -> None:
    """By the same slot and kind, else by the first input of the kind; muted nodes lead nowhere."""
    nodes = [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["m.ckpt"]},
        {"id": 2, "type": "LoraLoader", "mode": 4, "widgets_values": ["ink", 1, 1],
         "inputs": [{"name": "clip", "link": 2}, {"name": "model", "link": 1}]},
        {"id": 3, "type": "LoraLoader", "mode": 4, "widgets_values": ["ink", 1, 1],
         "inputs": [{"name": "model", "link": 3}]},
        {"id": 4, "type": "CLIPTextEncode", "widgets_values": ["a fox"]},
        {"id": 5, "type": "CLIPTextEncode", "widgets_values": ["fog"]},
        {"id": 6, "type": "ControlNetApplyAdvanced", "mode": 4,
         "inputs": [{"name": "positive", "link": 4}, {"name": "negative", "link": 5}]},
        {"id": 7, "type": "KSampler", "widgets_values": [5, "fixed", 20, 7, "euler", "normal", 1],
         "inputs": [{"name": "model", "link": 6}, {"name": "positive", "link": 7},
                    {"name": "negative", "link": 8}]},
    ]  # fmt: skip
    links = [[1, 1, 0, 2, 1, "MODEL"], [2, 1, 1, 2, 0, "CLIP"], [3, 2, 0, 3, 0, "MODEL"],
             [4, 4, 0, 6, 0, "C"], [5, 5, 0, 6, 1, "C"], [6, 3, 0, 7, 0, "MODEL"],
             [7, 6, 0, 7, 1, "C"], [8, 6, 1, 7, 2, "C"]]  # fmt: skip

    def recipe() -> Any:
        return told(png({"workflow": json.dumps({"nodes": nodes, "links": links})}))["recipe"]

    first = recipe()
    assert (first["model"], first["loras"]) == ("m.ckpt", [])
    assert (first["prompt"], first["negative"]) == ("a fox", "fog")
    nodes[1]["mode"] = 2
    assert recipe()["model"] is None
    nodes[1]["mode"], links[0][1:3] = 4, [3, 0]  # in a circle
    assert recipe()["model"] is None


def test_a_seed_that_was_chosen_when_it_ran_is_not_known(told: Any) -> None:
    sampler = {"class_type": "KSampler", "inputs": {"seed": -1, "steps": 3}}
    recipe = told(png({"prompt": json.dumps({"1": sampler})}))["recipe"]
    assert (recipe["seed"], recipe["steps"]) == (None, 3)


def test_an_infotext_beside_a_graph_and_what_they_say_differently(told: Any) -> None:
    info = (
        "a fox\nNegative prompt: fog\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, "
        "CFG scale: 7, Seed: 124, Size: 512x768, Model hash: 0123456789, Model: m"
    )
    row = told(png({"prompt": json.dumps(GRAPH), "parameters": info}))
    assert row["made_by"]["tool"] == "ComfyUI"
    assert row["recipe"]["model_hash"] == "0123456789"
    assert [each["what"] for each in row["disagreements"]] == ["seed"]
    assert [each["value"] for each in row["disagreements"][0]["values"]] == [123, 124]


@pytest.mark.parametrize("names", [2_000, 20_000])
def test_endless_graphs_end(names: int, told: Any) -> None:
    inputs = ("seed", "steps", "model", "positive", "negative", "latent_image", "text",
              "lora_stack", "conditioning", "a", "b", "c")  # fmt: skip
    loop = {
        str(n): {"class_type": "KSampler", "inputs": {
            key: [str((n * k + 1) % names), 0] for k, key in enumerate(inputs)}}
        for n in range(names)
    }  # fmt: skip
    began = time.process_time()
    assert told(png({"prompt": json.dumps(loop)[: 2**22]}))["error"] is None
    assert time.process_time() - began < 2


def test_civitais_own_generator(told: Any) -> None:
    extra = {"prompt": "a fox", "negativePrompt": "fog", "steps": 20, "cfgScale": 5, "seed": 3,
             "sampler": "Euler a", "remixOfId": 99,
             "resources": [{"type": "lora", "modelVersionId": 7, "strength": 0.5}]}  # fmt: skip
    body = json.dumps(GRAPH | {"extraMetadata": json.dumps(extra)})
    row = told(with_exif("JPEG", comment=wide_comment(body)))
    assert row["made_by"]["tool"] == "Civitai"
    assert row["recipe"]["loras"][0] == {"name": "civitai:7", "weight": 0.5, "hash": None}
    assert {"uri": "https://civitai.com/images/99", "why": "remixOfId"} in row["parents"]


# InvokeAI


def test_invoke_three_generations(told: Any) -> None:
    core = {"app_version": "5.6.0", "generation_mode": "sdxl_txt2img", "positive_prompt": "a fox",
            "negative_prompt": "fog", "width": 1024, "height": 768, "seed": 5, "cfg_scale": 7.5,
            "steps": 30, "scheduler": "euler", "model": {"name": "jug", "hash": "blake3:abcd"},
            "loras": [{"model": {"name": "ink"}, "weight": 0.75}]}  # fmt: skip
    old = {"model_weights": "sd-1.5", "model_hash": "ab" * 32, "app_id": "invoke-ai/InvokeAI",
           "app_version": "v2.3.0", "image": {"prompt": [{"prompt": "a fox [fog]", "weight": 1}],
           "steps": 30, "cfg_scale": 7.5, "seed": 5, "sampler": "k_lms", "width": 1024,
           "height": 768}}  # fmt: skip
    dream = '"a fox [fog]" -s 30 -S 5 -W 1024 -H 768 -C 7.5 -A k_lms'
    for key, text in (("invokeai_metadata", core), ("sd-metadata", old), ("Dream", dream)):
        row = told(png({key: text if isinstance(text, str) else json.dumps(text)}))
        assert row["made_by"]["tool"] == "InvokeAI"
        assert numbers(row["recipe"]) == (5, 30, 7.5, 1024, 768)
        assert (row["recipe"]["prompt"], row["recipe"]["negative"]) == ("a fox", "fog")
    row = told(png({"invokeai_metadata": json.dumps(core)}))
    assert row["made_by"]["version"] == "5.6.0"
    assert (row["recipe"]["model"], row["recipe"]["model_hash"]) == ("jug", "blake3:abcd")
    assert row["recipe"]["loras"] == [{"name": "ink", "weight": 0.75, "hash": None}]


# Fooocus

FOOOCUS = {
    "base_model": "jug", "base_model_hash": "aeb7e9e689", "prompt": "a fox",
    "seed": str(2**62 + 1),
    "negative_prompt": "fog", "full_prompt": ["a fox, sharp"], "guidance_scale": 4, "steps": 30,
    "loras": [["ink", 0.1, "0123456789"]], "resolution": "(768, 1280)", "sampler": "dpmpp_2m",
    "scheduler": "karras", "styles": "['Fooocus V2']", "version": "Fooocus v2.4.3",
    "metadata_scheme": "fooocus",
}  # fmt: skip


def test_fooocus_in_png_and_jpeg(told: Any) -> None:
    body = json.dumps(FOOOCUS)
    for data in (
        png({"parameters": body, "fooocus_scheme": "fooocus"}),
        with_exif("JPEG", comment=body, t0131="Fooocus v2.4.3"),
    ):
        row = told(data)
        assert row["made_by"] == {"tool": "Fooocus", "version": "v2.4.3"}
        assert numbers(row["recipe"]) == (2**62 + 1, 30, 4.0, 768, 1280)
        assert row["recipe"]["loras"] == [{"name": "ink", "weight": 0.1, "hash": "0123456789"}]


def test_fooocus_older_and_as_infotext(told: Any) -> None:
    old = {"Prompt": "a fox", "Negative Prompt": "fog", "Seed": 5, "Resolution": "(768, 1280)",
           "Guidance Scale": 4, "Base Model": "jug.safetensors", "Sampler": "dpmpp_2m",
           "Scheduler": "karras", "LoRA 1": "ink.safetensors : 0.5"}  # fmt: skip
    recipe = told(png({"Comment": json.dumps(old)}))["recipe"]
    assert (recipe["seed"], recipe["width"], recipe["model"]) == (5, 768, "jug.safetensors")
    assert recipe["loras"][0]["weight"] == 0.5
    info = (
        "a fox, sharp\nNegative prompt: fog, blur\nSteps: 30, Sampler: DPM++ 2M SDE, "
        "Scheduler: karras, Seed: 5, Size: 768x1280, CFG scale: 4, Raw prompt: a fox, "
        'Raw negative prompt: fog, Lora hashes: "ink: 0123456789", Lora weights: "ink: 0.1", '
        "Version: Fooocus v2.4.3"
    )
    row = told(png({"parameters": info, "fooocus_scheme": "a1111"}))
    assert row["made_by"] == {"tool": "Fooocus", "version": "v2.4.3"}
    assert row["recipe"]["prompt"] == "a fox"
    assert row["recipe"]["loras"] == [{"name": "ink", "weight": 0.1, "hash": "0123456789"}]


@pytest.mark.parametrize("field", ["resolution", "styles", "adm_guidance", "loras"])
def test_nothing_is_run(field: str, told: Any, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    told(png({"parameters": json.dumps(FOOOCUS | {field: code})}))
    assert not trap.exists()


# NovelAI


def signed_by(key: Ed25519PrivateKey, picture: Image.Image) -> str:
    """The JSON that NovelAI hides, with its comment signed over these pixels."""
    comment = {"prompt": "a fox", "steps": 28, "height": 48, "width": 64, "scale": 5.0,
               "uc": "fog", "seed": 7, "sampler": "k_euler",
               "noise_schedule": "karras"}  # fmt: skip
    message = picture.tobytes() + json.dumps(comment).encode()
    signed = {**comment, "signed_hash": base64.b64encode(key.sign(message)).decode()}
    return json.dumps({
        "Description": "a fox", "Software": "NovelAI", "Source": "Stable Diffusion XL 7BCCAA2C",
        "Comment": json.dumps(signed),
    })  # fmt: skip


def test_novelai_signature(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    picture = Image.effect_noise((64, 48), 60).convert("RGB")
    kept = hidden(signed_by(key, picture), image=picture)

    def inspected(image: Image.Image) -> Inspection:
        out = io.BytesIO()
        image.save(out, "PNG")
        return told(out.getvalue())  # type: ignore[no-any-return]

    claims = {claim["what"]: claim for claim in inspected(kept)["claims"]}
    assert claims["signature"]["strength"] == "measured"  # not NovelAI's key
    monkeypatch.setattr(novelai, "PUBLIC_KEY", public)
    row = inspected(kept)
    claims = {claim["what"]: claim for claim in row["claims"]}
    assert claims["made-by"] == {"what": "made-by", "value": "NovelAI", "strength": "signed",
                                 "source": "alpha bits stealth signed_hash"}  # fmt: skip
    assert numbers(row["recipe"]) == (7, 28, 5.0, 64, 48)
    assert row["recipe"]["model_hash"] == "7BCCAA2C"
    changed = kept.copy()
    red, *others = kept.getpixel((3, 3))  # type: ignore[misc]
    changed.putpixel((3, 3), (red ^ 2, *others))
    claims = {claim["what"]: claim for claim in inspected(changed)["claims"]}
    assert "made-by" not in claims
    assert "does not fit" in claims["signature"]["value"]


def test_only_some_signatures_are_verified() -> None:
    picture = Image.effect_noise((64, 48), 60).convert("RGB")
    text = signed_by(Ed25519PrivateKey.from_private_bytes(b"k" * 32), picture)
    taken: list[int] = []

    def rgb() -> bytes:
        taken.append(1)
        return picture.tobytes()

    carried = Carried(tuple(Text("PNG", "UserComment", text) for _ in range(9)), rgb)
    found = list(novelai.read_novelai(carried))
    assert len(found) == 9
    assert len(taken) == novelai.MAX_VERIFIED
    assert "not verified" in found[-1].claims[0].value


# SwarmUI and others


@pytest.mark.parametrize("place", ["png", "jpeg", "model tag"])
def test_swarm(place: str, told: Any) -> None:
    body = json.dumps({
        "sui_image_params": {"prompt": "a fox", "negativeprompt": "fog", "model": "XL/jug",
            "seed": "5", "steps": 30, "cfgscale": 7, "width": 1024, "height": 768,
            "sampler": "euler", "scheduler": "normal", "loras": ["ink"], "loraweights": ["0.6"],
            "swarm_version": "0.9.6.3"},
        "sui_models": [{"name": "XL/jug.safetensors", "param": "model", "hash": "0x" + "ab" * 32},
                       {"name": "ink.safetensors", "param": "loras", "hash": "0x" + "cd" * 32}],
    })  # fmt: skip
    row = told({
        "png": png({"parameters": body}),
        "jpeg": with_exif("JPEG", comment=wide_comment(body, "utf-16-le")),
        "model tag": with_exif("JPEG", t0110=body),
    }[place])  # fmt: skip
    assert row["made_by"] == {"tool": "SwarmUI", "version": "0.9.6.3"}
    assert numbers(row["recipe"]) == (5, 30, 7.0, 1024, 768)
    assert row["recipe"]["model_hash"] == "0x" + "ab" * 32
    assert row["recipe"]["loras"] == [{"name": "ink", "weight": 0.6, "hash": "0x" + "cd" * 32}]


def test_easy_diffusion_in_both_forms(told: Any) -> None:
    words = {"Prompt": "a fox", "Negative Prompt": "fog", "Seed": "5", "Sampler": "euler_a",
             "Stable Diffusion model": r"C:\models\sd-1.5.ckpt", "Width": "512", "Height": "768",
             "Steps": "25", "Guidance Scale": "7.5"}  # fmt: skip
    keys = {"prompt": "a fox", "negative_prompt": "fog", "seed": 5, "sampler_name": "euler_a",
            "use_stable_diffusion_model": "sd-1.5.ckpt", "width": 512, "height": 768,
            "num_inference_steps": 25, "guidance_scale": 7.5}  # fmt: skip
    for data in (png(words), with_exif("JPEG", comment=wide_comment(json.dumps(keys)))):
        row = told(data)
        assert row["made_by"]["tool"] == "Easy Diffusion"
        assert numbers(row["recipe"]) == (5, 25, 7.5, 512, 768)
        assert row["recipe"]["model"] == "sd-1.5.ckpt"


def test_draw_things(told: Any) -> None:
    body = json.dumps({"c": "a fox", "uc": "fog", "model": "sd.ckpt", "seed": 5, "steps": 25,
                       "scale": 7.5, "sampler": "Euler a", "size": "512x768"})  # fmt: skip
    escaped = body.replace('"', "&quot;")
    packet = xmp(elements="<exif:UserComment><rdf:Alt><rdf:li xml:lang='x-default'>"
                 f"{escaped}</rdf:li></rdf:Alt></exif:UserComment>")  # fmt: skip
    row = told(png({"XML:com.adobe.xmp": packet}, kind="iTXt"))
    assert row["made_by"]["tool"] == "Draw Things"
    assert numbers(row["recipe"]) == (5, 25, 7.5, 512, 768)


def test_midjourney(told: Any) -> None:
    job = "2b6e053b-9a65-4ca9-9e13-b6f4465164d4"
    row = told(png({"Description": f"https://s.mj.run/x danh võ --no cars, rain --seed 8 --v 6.1 "
                                   f"--ar 4:3 Job ID: {job}", "Author": "ana"}))  # fmt: skip
    assert row["made_by"] == {"tool": "Midjourney", "version": "6.1"}
    assert row["recipe"]["prompt"].endswith("danh võ")
    assert (row["recipe"]["negative"], row["recipe"]["seed"]) == ("cars, rain", 8)
    assert row["parents"] == [{"uri": "https://s.mj.run/x", "why": "image prompt"}]
    values = {claim["what"]: claim["value"] for claim in row["claims"]}
    assert (values["job"], values["creator"]) == (job, "ana")


def test_flags_in_the_prompt_of_another_tool_are_not_midjourneys(told: Any) -> None:
    text = "a cat --ar 2:3 --v 5\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, Seed: 1"
    row = told(with_exif("JPEG", comment=wide_comment(text)))
    assert (row["made_by"]["tool"], row["disagreements"]) == ("A1111", [])
    row = told(png({"Description": "a cat --ar 2:3 --v 6.1 and more words"}))
    assert row["made_by"] == {"tool": "Midjourney", "version": "6.1"}


@pytest.mark.parametrize("text", ["Tea -- and --more", "a file --help", "see Job ID: 12"])
def test_other_descriptions_are_not_midjourneys(text: str, told: Any) -> None:
    assert told(png({"Description": text}))["made_by"] is None


def test_openai(told: Any) -> None:
    row = told(png({"Software": "DALL·E 3", "Description": "a fox"}, kind="iTXt"))
    assert row["made_by"]["tool"] == "OpenAI"
    assert row["recipe"]["prompt"] == "a fox"
    assert row["recipe"]["seed"] is None


@pytest.mark.parametrize(
    ("tool", "tags"),
    [
        ("Grok", {"t013b": "2b6e053b-9a65-4ca9-9e13-b6f4465164d4", "t010e": "Signature: QUJD"}),
        ("Ideogram", {"t010f": "Ideogram AI"}),
        ("Reve", {"t0131": "reve.com"}),
    ],
    ids=["grok", "ideogram", "reve"],
)
def test_services_by_their_marks(tool: str, tags: dict[str, str], told: Any) -> None:
    row = told(with_exif("JPEG", **tags))
    assert row["made_by"] == {"tool": tool, "version": None}
    assert row["recipe"] is None


# Labels


@pytest.mark.parametrize(
    ("code", "what"),
    [("trainedAlgorithmicMedia", "ai-generated"), ("digitalCapture", "digital-source-type"),
     ("compositeWithTrainedAlgorithmicMedia", "ai-edited")],
)  # fmt: skip
def test_digital_source_types_are_claims(code: str, what: str, told: Any) -> None:
    uri = f"http://cv.iptc.org/newscodes/digitalsourcetype/{code}"
    row = told(png({"XML:com.adobe.xmp": xmp(f'e:DigitalSourceType="{uri}"')}))
    assert row["claims"] == [
        {"what": what, "value": code, "strength": "claimed",
         "source": "XMP Iptc4xmpExt:DigitalSourceType"}
    ]  # fmt: skip
    assert row["made_by"] is None


def test_iptc_2025_and_the_file_it_came_from(told: Any) -> None:
    packet = xmp('e:AISystemUsed="Painter" e:AIPromptInformation="a fox"',
                 '<xmpMM:DerivedFrom stRef:documentID="xmp.did:1"/>')  # fmt: skip
    row = told(png({"XML:com.adobe.xmp": packet}))
    values = {claim["what"]: claim["value"] for claim in row["claims"]}
    assert values == {"ai-system": "Painter", "ai-prompt": "a fox"}
    assert row["parents"] == [{"uri": "xmp.did:1", "why": "xmpMM:DerivedFrom"}]


def test_aigc_labels_in_their_places(told: Any) -> None:
    label = {"Label": "1", "ContentProducer": "001191110102MACQD9K64010000", "ProduceID": "7"}
    bare, wrapped = json.dumps(label), json.dumps({"AIGC": label})
    quoted = bare.replace('"', "&quot;")
    plain = with_exif("JPEG")
    segment = b"AIGC" + bare.encode()
    for data in (
        png({"AIGC": bare}),
        png({"AIGC": wrapped}, kind="zTXt"),
        png({"XML:com.adobe.xmp": xmp(f'TC260:AIGC="{quoted}"')}),
        png({"XML:com.adobe.xmp": xmp(elements=f"<TC260:AIGC>{quoted}</TC260:AIGC>")}),
        with_exif("JPEG", comment=wrapped),
        plain[:2] + b"\xff\xe9" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:],
    ):
        values = {claim["what"]: claim["value"] for claim in told(data)["claims"]}
        assert values["ai-generated"] == "is AI-made (AIGC label 1)"
        assert values["aigc-producer"] == label["ContentProducer"]


@pytest.mark.parametrize(
    ("label", "what", "line"),
    [("AIGC", "ai-generated", "AI-generated (claimed)"), ("0", "aigc-label", ""),
     ("2", "ai-suspected", "possibly AI-generated (claimed)"),
     ("3", "ai-suspected", "possibly AI-generated (claimed)")],
)  # fmt: skip
def test_an_aigc_label_says_no_more_than_it_does(
    label: str, what: str, line: str, told: Any
) -> None:
    row = told(png({"AIGC": json.dumps({"Label": label})}))
    assert [claim["what"] for claim in row["claims"]] == [what]
    assert says({"labels": row}).startswith(line)
    assert ("AI" in says({"labels": row})) == bool(line)


def test_readers_take_no_pixels_that_they_do_not_need() -> None:
    def rgb() -> bytes:
        raise AssertionError("read")

    carried = Carried((Text("PNG tEXt", "Software", "NovelAI"),), rgb)
    assert list(novelai.read_novelai(carried)) == []
