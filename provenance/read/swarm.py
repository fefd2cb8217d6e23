"""Reads SwarmUI's JSON (docs/Image Metadata Format.md of mcmonkeyprojects/SwarmUI)."""

from collections.abc import Iterator
from typing import Any

from provenance.read.found import (
    Carried,
    Found,
    Text,
    items_of,
    lora_from,
    object_of,
    recipe_from,
    scalars,
    text_of,
)
from provenance.recipe import Lora

KEYS = ("parameters", "UserComment", "Model", "comment", "ImageDescription", "stealth")
_TAKEN = ("prompt", "negativeprompt", "model", "seed", "steps", "cfgscale", "sampler", "scheduler",
          "width", "height", "swarm_version", "loras", "loraweights")  # fmt: skip


def read_swarm(carried: Carried) -> Iterator[Found]:
    for text in carried.under(*KEYS):
        values = text.object
        if isinstance(values.get("sui_image_params"), dict):
            yield _found(values, text)


def _found(values: dict[str, Any], text: Text) -> Found:
    asked = {str(key).lower(): value for key, value in values["sui_image_params"].items()}
    models = [each for each in items_of(values.get("sui_models")) if isinstance(each, dict)]
    return Found(
        tool="SwarmUI",
        source=text.where,
        raw=text.text,
        version=text_of(asked.get("swarm_version")),
        recipe=recipe_from(
            asked.get("prompt"),
            negative=asked.get("negativeprompt"),
            model=asked.get("model"),
            model_hash=next((m.get("hash") for m in models if m.get("param") == "model"), None),
            seed=asked.get("seed"),
            steps=asked.get("steps"),
            guidance=asked.get("cfgscale"),
            sampler=asked.get("sampler"),
            scheduler=asked.get("scheduler"),
            size=(asked.get("width"), asked.get("height")),
            loras=_loras(asked, models),
        ),
        settings=scalars(asked, without=_TAKEN) | scalars(object_of(values.get("sui_extra_data"))),
    )


def _loras(asked: dict[str, Any], models: list[dict[str, Any]]) -> list[Lora]:
    names, weights = _list(asked.get("loras")), _list(asked.get("loraweights"))
    weights += [None] * (len(names) - len(weights))
    hashes = {_stem(each.get("name")): each.get("hash") for each in models}
    found = (
        lora_from(name, weight, hashes.get(_stem(name)))
        for name, weight in zip(names, weights, strict=False)
    )
    return [lora for lora in found if lora]


def _list(value: Any) -> list[Any]:
    """A list as such, or as one text with commas (older versions)."""
    return (
        [each.strip() for each in value.split(",")] if isinstance(value, str) else items_of(value)
    )


def _stem(name: Any) -> str:
    return str(name).removesuffix(".safetensors")
