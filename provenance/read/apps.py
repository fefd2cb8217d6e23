"""Reads Easy Diffusion's and Draw Things' JSON."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from provenance.read.found import (
    Carried,
    Found,
    items_of,
    lora_from,
    object_of,
    recipe_from,
    scalars,
    text_of,
)
from provenance.recipe import Lora

# Easy Diffusion's keys in JSON and, in PNG, the words that it shows for them.
_EASY = {
    "Prompt": "prompt", "Negative Prompt": "negative_prompt", "Seed": "seed",
    "Sampler": "sampler_name",
    "Stable Diffusion model": "use_stable_diffusion_model", "Width": "width", "Height": "height",
    "Steps": "num_inference_steps", "Guidance Scale": "guidance_scale",
    "LoRA model": "use_lora_model", "LoRA alpha": "lora_alpha", "Clip Skip": "clip_skip",
    "VAE model": "use_vae_model",
}  # fmt: skip
_EASY_TAKEN = ("prompt", "negative_prompt", "seed", "sampler_name", "width", "height",
               "num_inference_steps", "guidance_scale", "use_stable_diffusion_model")  # fmt: skip
_DRAW_TAKEN = ("c", "uc", "model", "seed", "steps", "scale", "sampler", "size")


def read_easy_diffusion(carried: Carried) -> Iterator[Found]:
    """JSON in EXIF, or PNG with one text a setting."""
    for text in carried.under("UserComment", "parameters", "comment"):
        values = _renamed(text.object)
        if "num_inference_steps" in values or "use_stable_diffusion_model" in values:
            yield _easy(values, text.where, text.text)
    single = _renamed({text.key: text.text for text in carried.texts})
    if "use_stable_diffusion_model" in single or "num_inference_steps" in single:
        raw = "\n".join(f"{each.key}: {each.text}" for each in carried.texts)
        yield _easy({k: single[k] for k in _EASY.values() if k in single}, "text chunks", raw)


def read_draw_things(carried: Carried) -> Iterator[Found]:
    """JSON in the XMP packet's exif:UserComment."""
    for text in carried.under("UserComment", "exif:UserComment"):
        values = text.object
        if "c" in values and values.keys() & {"uc", "scale", "sampler"}:
            width, _, height = str(values.get("size", "")).partition("x")
            yield Found(
                tool="Draw Things",
                source=text.where,
                raw=text.text,
                recipe=recipe_from(
                    values.get("c"),
                    negative=values.get("uc"),
                    model=values.get("model"),
                    seed=values.get("seed"),
                    steps=values.get("steps"),
                    guidance=values.get("scale"),
                    sampler=values.get("sampler"),
                    size=(width, height),
                    loras=_draw_loras(values.get("lora")),
                ),
                settings=scalars(values, without=_DRAW_TAKEN),
            )


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    return {_EASY.get(str(key), str(key)): value for key, value in values.items()}


def _easy(values: dict[str, Any], source: str, raw: str) -> Found:
    model = (text_of(values.get("use_stable_diffusion_model")) or "").replace("\\", "/")
    return Found(
        tool="Easy Diffusion",
        source=source,
        raw=raw,
        recipe=recipe_from(
            values.get("prompt"),
            negative=values.get("negative_prompt"),
            model=PurePosixPath(model).name,  # a path on its maker's machine
            seed=values.get("seed"),
            steps=values.get("num_inference_steps"),
            guidance=values.get("guidance_scale"),
            sampler=values.get("sampler_name"),
            size=(values.get("width"), values.get("height")),
            loras=_easy_loras(values),
        ),
        settings=scalars(values, without=_EASY_TAKEN),
    )


def _easy_loras(values: dict[str, Any]) -> list[Lora]:
    names, weights = values.get("use_lora_model"), values.get("lora_alpha")
    names = names if isinstance(names, list) else [names]
    weights = weights if isinstance(weights, list) else [weights]
    found = (lora_from(*pair) for pair in zip(names, weights, strict=False))
    return [lora for lora in found if lora]


def _draw_loras(values: Any) -> list[Lora]:
    each = map(object_of, items_of(values))
    found = (lora_from(lora.get("model"), lora.get("weight")) for lora in each)
    return [lora for lora in found if lora]
