"""Reads Fooocus: its own JSON scheme, its older JSON comments.

Its A1111 scheme is read as infotext. Tuples and lists that Fooocus hands to `eval` are taken
apart by narrow regular expressions here.
"""

import re
from collections.abc import Iterator
from typing import Any

from provenance.read.found import (
    Carried,
    Found,
    Text,
    items_of,
    lora_from,
    recipe_from,
    scalars,
    text_of,
)
from provenance.recipe import Lora

KEYS = ("parameters", "UserComment", "Comment", "comment", "stealth")
_SIZE = re.compile(r"\(?\s{0,9}(\d{1,6})\s{0,9}(?:,|[x×*])\s{0,9}(\d{1,6})\b")
_COMBINED = re.compile(r"(.{1,300}?)\s{0,9}:\s{0,9}(-?[0-9.]{1,10})")
_OWN = {"base_model", "metadata_scheme", "full_prompt", "base_model_name"}
_TAKEN = ("prompt", "negative_prompt", "base_model", "base_model_hash", "seed", "steps", "sampler",
          "scheduler", "guidance_scale", "resolution", "version", "width", "height",
          "cfg")  # fmt: skip


def read_fooocus(carried: Carried) -> Iterator[Found]:
    for text in carried.under(*KEYS):
        values = text.object
        plain = {_plain(key): value for key, value in values.items()}
        if plain.keys() & _OWN and "prompt" in plain and "seed" in plain:
            yield _found(plain, text)


def _plain(key: Any) -> str:
    """`Base Model` (older) and `base_model` are the same key."""
    return re.sub(r"\s+", "_", str(key).strip().lower())


def _found(values: dict[str, Any], text: Text) -> Found:
    tool, _, version = (text_of(values.get("version")) or "").partition(" ")
    size = _SIZE.match(str(values.get("resolution", "")).strip("[( "))
    return Found(
        tool=tool if "Fooocus" in tool else "Fooocus",
        source=text.where,
        raw=text.text,
        version=version or None,
        recipe=recipe_from(
            values.get("prompt"),
            negative=values.get("negative_prompt"),
            model=values.get("base_model") or values.get("base_model_name"),
            model_hash=values.get("base_model_hash"),
            seed=values.get("seed"),
            steps=values.get("steps"),
            guidance=values.get("guidance_scale", values.get("cfg")),
            sampler=values.get("sampler"),
            scheduler=values.get("scheduler"),
            size=(size[1], size[2]) if size else (values.get("width"), values.get("height")),
            loras=_loras(values),
        ),
        settings=scalars(values, without=_TAKEN),
    )


def _loras(values: dict[str, Any]) -> list[Lora]:
    """`loras` [[name, weight, hash]], or texts `name : weight` under lora_combined_N or lora_N."""
    found = [lora_from(*each[:3]) for each in items_of(values.get("loras"))
             if isinstance(each, list) and len(each) >= 2]  # fmt: skip
    if not found:
        for number in range(1, 21):
            text = values.get(f"lora_combined_{number}", values.get(f"lora_{number}"))
            if match := _COMBINED.fullmatch(str(text or "")[:400]):
                found.append(lora_from(match[1], match[2]))
    return [lora for lora in found if lora]
