"""Reads what the Civitai site's own generator adds: resources, the picture that was remixed.

Knows nothing of the containers; ids are told, never followed.
"""

from collections.abc import Iterator
from typing import Any

from provenance.read.found import (
    Carried,
    Found,
    Parent,
    items_of,
    lora_from,
    object_of,
    recipe_from,
    scalars,
    text_of,
    whole,
)
from provenance.recipe import Lora

_LORA_TYPES = ("lora", "locon", "lycoris", "dora")
_TAKEN = ("prompt", "negativePrompt", "seed", "steps", "cfgScale", "sampler", "width", "height")


def read_civitai(carried: Carried) -> Iterator[Found]:
    """`extraMetadata` beside a ComfyUI graph, as the site's generator writes it."""
    for text in carried.under("UserComment", "parameters", "prompt", "extraMetadata"):
        whole_text = text.object
        extra = object_of(whole_text.get("extraMetadata"))
        if text.key == "extraMetadata":
            extra = whole_text
        if "prompt" in extra or "resources" in extra or "remixOfId" in extra:
            yield _found(extra, f"{text.where} extraMetadata", text.text)


def resource_model(resources: Any) -> str | None:
    """The checkpoint's name, or its id where the list has no names."""
    kinds = ("checkpoint", "model")
    return next((_name(each) for each in _listed(resources) if each.get("type") in kinds), None)


def resource_loras(resources: Any) -> list[Lora]:
    """The LoRAs of the list."""
    found = (
        lora_from(_name(each), each.get("weight", each.get("strength")))
        for each in _listed(resources)
        if str(each.get("type")).lower() in _LORA_TYPES
    )
    return [lora for lora in found if lora]


def parents_in(values: dict[str, Any]) -> Iterator[Parent]:
    """The picture on Civitai that this one is a remix of."""
    number = whole(values.get("remixOfId"), 1, 2**63)
    if number is not None:
        yield Parent(f"https://civitai.com/images/{number}", "remixOfId")


def _found(extra: dict[str, Any], source: str, raw: str) -> Found:
    resources = extra.get("resources")
    return Found(
        tool="Civitai",
        source=source,
        raw=raw,
        recipe=recipe_from(
            extra.get("prompt"),
            negative=extra.get("negativePrompt"),
            model=resource_model(resources),
            seed=extra.get("seed"),
            steps=extra.get("steps"),
            guidance=extra.get("cfgScale"),
            sampler=extra.get("sampler"),
            size=(extra.get("width"), extra.get("height")),
            loras=resource_loras(resources),
        ),
        settings=scalars(extra, without=_TAKEN) | ({"resources": resources} if resources else {}),
        parents=tuple(parents_in(extra)),
    )


def _listed(resources: Any) -> list[dict[str, Any]]:
    return [each for each in items_of(resources) if isinstance(each, dict)]


def _name(resource: dict[str, Any]) -> str | None:
    number = whole(resource.get("modelVersionId"), 1, 2**63)
    named = text_of(resource.get("modelName")) or text_of(resource.get("air"))
    return named or (f"civitai:{number}" if number is not None else None)
