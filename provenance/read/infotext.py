"""Reads A1111 "infotext", also as Forge, SD.Next, Civitai and Fooocus write it."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from provenance.read.civitai import parents_in, resource_loras, resource_model
from provenance.read.found import (
    MAX_LORAS,
    Carried,
    Found,
    Text,
    lora_from,
    object_of,
    real,
    recipe_from,
    scalars,
    text_of,
    whole,
)
from provenance.read.pairs import pairs_of
from provenance.recipe import Lora, Part, Recipe

MAX_LENGTH = 200_000  # characters; longer texts are not recipes

KEYS = ("parameters", "Parameters", "UserComment", "comment", "Comment", "ImageDescription",
        "XPComment", "stealth")  # fmt: skip
_NEGATIVE = "Negative prompt:"
_STEPS = re.compile(r"\bSteps: [0-9]")
_LORA_TAG = re.compile(
    r"\s{0,4}<(?:lora|lyco):([^:<>]{1,200})(?::(-?[0-9.]{1,10}))?(?::[^<>]{0,200})?>"
)
_ADDNET = re.compile(r"(.{1,200})\(([0-9a-fA-F]{6,64})\)")
_TAKEN = ("Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Seed", "Size",
          "Model hash", "Model", "Version", "App")  # fmt: skip


def read_infotext(carried: Carried) -> Iterator[Found]:
    """Each infotext of the file; and what the Extras tab says of its work."""
    for text in carried.under(*KEYS):
        if found := parse_found(text):
            yield found
    for text in carried.under("postprocessing", "extras"):
        if pairs := pairs_of(text.text[:MAX_LENGTH]):
            yield Found("A1111", text.where, text.text, settings=scalars(pairs))


def parse_found(text: Text) -> Found | None:
    """All that an infotext says, or None when it is none."""
    split = _split(text.text)
    if split is None:
        return None
    prompt, negative, pairs = split
    tool, version = _made_by(pairs)
    return Found(
        tool=tool,
        source=text.where,
        raw=text.text,
        recipe=_recipe(prompt, negative, pairs),
        version=version,
        settings=scalars(pairs, without=_TAKEN) | _structures(pairs),
        parents=tuple(parents_in(object_of(pairs.get("Civitai metadata")))),
    )


def _split(text: str) -> tuple[str, str, dict[str, Any]] | None:
    """Prompt, negative prompt, parameters.

    The parameters are the last line that begins with `Steps: `: extensions write lines after it. On
    Civitai all may be pasted into one line.
    """
    if not text or len(text) > MAX_LENGTH:
        return None
    lines = text.replace("\r\n", "\n").strip().split("\n")
    at = next((i for i in reversed(range(len(lines))) if lines[i].startswith("Steps: ")), None)
    if at is None:
        return _split_line(text)
    pairs = pairs_of(lines[at])
    if len(pairs) < 3 or whole(pairs.get("Steps"), 0, 100_000) is None:
        return None
    start = next((i for i in range(at) if lines[i].startswith(_NEGATIVE)), at)
    negative = "\n".join(lines[start:at]).removeprefix(_NEGATIVE)
    return "\n".join(lines[:start]), negative, pairs


def _split_line(text: str) -> tuple[str, str, dict[str, Any]] | None:
    starts = deque(_STEPS.finditer(text), maxlen=1)
    if not starts:
        return None
    last = starts[0]
    pairs = pairs_of(text[last.start() :].partition("\n")[0])
    if len(pairs) < 3 or not pairs.keys() & {"Sampler", "Seed", "CFG scale"}:
        return None
    prompt, _, negative = text[: last.start()].partition(_NEGATIVE)
    return prompt, negative, pairs


def _recipe(prompt: str, negative: str, pairs: dict[str, Any]) -> Recipe:
    hashes = object_of(pairs.get("Hashes"))
    sampler = pairs.get("Sampler")
    return recipe_from(
        _LORA_TAG.sub("", str(pairs.get("Raw prompt") or prompt)),
        negative=str(pairs.get("Raw negative prompt") or negative),
        model=text_of(pairs.get("Model")) or resource_model(pairs.get("Civitai resources")),
        model_hash=pairs.get("Model hash") or hashes.get("model"),
        seed=pairs.get("Seed"),
        steps=pairs.get("Steps"),
        guidance=pairs.get("CFG scale"),
        sampler=None if sampler == "Undefined" else sampler,
        scheduler=pairs.get("Schedule type") or pairs.get("Scheduler"),
        size=_size(pairs.get("Size")),
        loras=_loras(prompt, pairs, hashes),
    ).with_changes(**_further(pairs))


def _further(pairs: dict[str, Any]) -> dict[str, Any]:
    """What few files have. A strength without an initial picture is that of a hires fix."""
    vae, init = text_of(pairs.get("VAE")), text_of(pairs.get("Init image hash"))
    embeddings = list(_named(pairs.get("TI hashes")).items())[:MAX_LORAS]
    return {
        "vae": Part(vae, text_of(pairs.get("VAE hash"))) if vae else None,
        "embeddings": tuple(Part(name, text_of(digest)) for name, digest in embeddings),
        "init_hash": init,
        "strength": real(pairs.get("Denoising strength")) if init else None,
    }


def _size(value: Any) -> tuple[str | None, str | None]:
    width, _, height = str(value or "").partition("x")
    return width or None, height or None


def _loras(prompt: str, pairs: dict[str, Any], hashes: dict[str, Any]) -> list[Lora]:
    """From tags in the prompt, then from lists that name others."""
    known = _named(pairs.get("Lora hashes"))
    known |= {key[5:]: str(value) for key, value in hashes.items() if key.startswith("lora:")}
    weights = {name: real(value) for name, value in _named(pairs.get("Lora weights")).items()}
    tagged: list[Lora | None] = []
    for name, weight in _LORA_TAG.findall(prompt):
        if not weight or real(weight) is not None:
            tagged.append(lora_from(name, weight or None, known.pop(name, None)))
    listed = [lora_from(name, weights.get(name), digest) for name, digest in known.items()]
    found = [lora for lora in (*tagged, *listed, *_additional(pairs)) if lora]
    return found or resource_loras(pairs.get("Civitai resources"))


def _named(value: Any) -> dict[str, str]:
    """`name: value, name: value` by name; also as JSON."""
    if isinstance(value, dict):
        return {str(name): str(each) for name, each in value.items()}
    parts = (each.rpartition(":") for each in str(value or "").split(","))
    return {name.strip(): each.strip() for name, _, each in parts if name.strip()}


def _additional(pairs: dict[str, Any]) -> Iterable[Lora | None]:
    """LoRAs of the Additional Networks extension: `AddNet Model 1: name(hash)`."""
    for number in range(1, 6):
        if match := _ADDNET.fullmatch(str(pairs.get(f"AddNet Model {number}", ""))):
            weight = pairs.get(f"AddNet Weight {number}", pairs.get(f"AddNet Weight A {number}"))
            yield lora_from(match[1], weight, match[2])


def _structures(pairs: dict[str, Any]) -> dict[str, Any]:
    """The values that are JSON: `Hashes`, `Civitai resources`, `Civitai metadata`."""
    return {key: value for key, value in pairs.items() if isinstance(value, dict | list) and value}


def _made_by(pairs: dict[str, Any]) -> tuple[str, str | None]:
    """The tool by its own word; A1111, whose form this is, where no other is named."""
    version = text_of(pairs.get("Version"))
    app = text_of(pairs.get("App"))
    if app or pairs.keys() & {"Pipeline", "Backend", "Operations"}:
        return app or "SD.Next", version
    if not version:
        return ("Civitai" if any(key.startswith("Civitai ") for key in pairs) else "A1111"), None
    name, _, rest = version.partition(" ")
    if name in ("Fooocus", "Firsthand", "ComfyUI", "SD.Next", "RuinedFooocus"):
        return name, rest or None
    forge = re.match(r"f[0-9]+\.[0-9]|neo\b|classic\b", version)
    return ("Forge" if forge else "A1111"), version
