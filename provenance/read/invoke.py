"""Reads InvokeAI: `invokeai_metadata` (3 and later), `sd-metadata` (2), `Dream` (1 and 2)."""

import re
from collections.abc import Iterator
from typing import Any

from provenance.read.found import (
    Carried,
    Found,
    Parent,
    Text,
    items_of,
    lora_from,
    object_of,
    recipe_from,
    scalars,
    text_of,
)
from provenance.recipe import Lora

_TAKEN = ("positive_prompt", "negative_prompt", "width", "height", "seed", "cfg_scale", "steps",
          "scheduler", "app_version", "prompt", "sampler")  # fmt: skip
_FLAG = re.compile(r"(?<=\s)-{1,2}([A-Za-z_]{1,40})(?:[ =]([^\s\-][^\s]{0,100}|-[0-9.]{1,20}))?")
MAX_DREAM = 20_000  # characters


def read_invoke(carried: Carried) -> Iterator[Found]:
    for text in carried.under("invokeai_metadata", "Dream", "dream", "sd-metadata"):
        if text.key.lower() == "dream":
            found = _dream(text)
        else:
            values = text.object
            found = _image(values, text) if "image" in values else _core(values, text)
        if found:
            yield found


def _core(values: dict[str, Any], text: Text) -> Found | None:
    """CoreMetadataInvocation (invokeai/app/invocations/metadata.py)."""
    if not values.keys() & {"positive_prompt", "generation_mode", "model", "seed"}:
        return None
    model = object_of(values.get("model"))
    return Found(
        tool="InvokeAI",
        source=text.where,
        raw=text.text,
        version=text_of(values.get("app_version")),
        recipe=recipe_from(
            values.get("positive_prompt"),
            negative=values.get("negative_prompt"),
            model=_model_name(model),
            model_hash=model.get("hash"),
            seed=values.get("seed"),
            steps=values.get("steps"),
            guidance=values.get("cfg_scale"),
            sampler=values.get("scheduler"),
            size=(values.get("width"), values.get("height")),
            loras=_loras(values.get("loras")),
        ),
        settings=scalars(values, without=_TAKEN),
        parents=_parents(values.get("init_image")) + _adapted(values),
    )


def _adapted(values: dict[str, Any]) -> tuple[Parent, ...]:
    """The pictures that IP-Adapters looked at."""
    images = [object_of(each).get("image") for each in items_of(values.get("ipAdapters"))[:20]]
    return tuple(Parent(each.uri, "IP-Adapter image") for i in images for each in _parents(i))


def _image(values: dict[str, Any], text: Text) -> Found | None:
    """`sd-metadata` of version 2."""
    image = object_of(values.get("image"))
    prompts = image.get("prompt")
    if isinstance(prompts, list):
        parts = [object_of(each).get("prompt") for each in prompts]
        prompts = ", ".join(part for part in parts if isinstance(part, str))
    prompt, negative = _bracketed(text_of(prompts) or "")
    if not image:
        return None
    return Found(
        tool="InvokeAI",
        source=text.where,
        raw=text.text,
        version=text_of(values.get("app_version")),
        recipe=recipe_from(
            prompt,
            negative=negative,
            model=values.get("model_weights"),
            model_hash=values.get("model_hash"),
            seed=image.get("seed"),
            steps=image.get("steps"),
            guidance=image.get("cfg_scale"),
            sampler=image.get("sampler"),
            size=(image.get("width"), image.get("height")),
        ),
        settings=scalars(image, without=_TAKEN) | scalars(values, without=_TAKEN),
        parents=_parents(image.get("init_image_path")),
    )


def _dream(text: Text) -> Found | None:
    """A command line: the prompt in quotes, then flags."""
    line = text.text.strip()[:MAX_DREAM]
    end = line.rfind('"')
    if not line.startswith('"') or end < 1:
        return None
    flags = dict(_FLAG.findall(line[end + 1 :]))
    prompt, negative = _bracketed(line[1:end])
    return Found(
        tool="InvokeAI",
        source=text.where,
        raw=text.text,
        recipe=recipe_from(
            prompt,
            negative=negative,
            seed=flags.get("S", flags.get("seed")),
            steps=flags.get("s", flags.get("steps")),
            guidance=flags.get("C", flags.get("cfg_scale")),
            sampler=flags.get("A", flags.get("sampler")),
            size=(flags.get("W", flags.get("width")), flags.get("H", flags.get("height"))),
        ),
        settings=scalars(flags, without=("S", "s", "C", "A", "W", "H")),
        parents=_parents(flags.get("I")),
    )


def _bracketed(prompt: str) -> tuple[str, str]:
    """`positive [negative] positive` in two; brackets do not nest."""
    negatives = re.findall(r"\[([^\[\]]{1,10000})\]", prompt)
    positive = re.sub(r"\[[^\[\]]{1,10000}\]", "", prompt)
    return positive.strip(), ", ".join(each.strip() for each in negatives)


def _model_name(model: dict[str, Any]) -> Any:
    return model.get("name") or model.get("model_name")


def _loras(values: Any) -> list[Lora]:
    found = []
    for each in map(object_of, items_of(values)):
        model = object_of(each.get("model") or each.get("lora"))
        found.append(lora_from(_model_name(model), each.get("weight"), model.get("hash")))
    return [lora for lora in found if lora]


def _parents(image: Any) -> tuple[Parent, ...]:
    name = text_of(image.get("image_name")) if isinstance(image, dict) else text_of(image)
    return (Parent(name, "init image"),) if name else ()
