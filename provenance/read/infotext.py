"""Reads A1111 "infotext", also as Forge, SD.Next and Civitai write it."""

import json
import re
from itertools import starmap

from provenance.errors import UsageError
from provenance.recipe import Lora, Part, Recipe

MAX_LENGTH = 200_000  # characters; longer texts are not recipes

# modules/infotext_utils.py of AUTOMATIC1111/stable-diffusion-webui
_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_NEGATIVE = "Negative prompt:"
_LORA_TAG = re.compile(r"\s*<lora:([^:<>]{1,200}):(-?[0-9.]{1,10})>")


def parse_infotext(text: str) -> Recipe | None:
    """The recipe in the text, or None when it is no infotext.

    The parameters are the last line that begins with `Steps: `: extensions write lines after it.
    """
    if not text or len(text) > MAX_LENGTH:
        return None
    lines = text.strip().split("\n")
    at = next((i for i in reversed(range(len(lines))) if lines[i].startswith("Steps: ")), None)
    if at is None:
        return None
    pairs = {key: _unquoted(value) for key, value in _PAIR.findall(lines[at])}
    if len(pairs) < 3:
        return None
    prompt, _, negative = "\n".join(lines[:at]).partition(_NEGATIVE)
    try:
        return _recipe(prompt.strip(), negative.strip(), pairs)
    except UsageError:
        return None


def _recipe(prompt: str, negative: str, pairs: dict[str, str]) -> Recipe:
    width, _, height = pairs.get("Size", "").partition("x")
    hashes = _hashes(pairs.get("Lora hashes", ""))
    loras = [Lora(n, float(w), hashes.get(n)) for n, w in _LORA_TAG.findall(prompt) if _numeric(w)]
    recipe = Recipe.from_json(
        {
            "prompt": _LORA_TAG.sub("", prompt).strip(),
            "negative": negative,
            "model": pairs.get("Model"),
            "model_hash": pairs.get("Model hash"),
            "seed": pairs.get("Seed"),
            "steps": pairs.get("Steps"),
            "guidance": pairs.get("CFG scale"),
            "sampler": pairs.get("Sampler"),
            "scheduler": pairs.get("Schedule type"),
            "width": width or None,
            "height": height or None,
            "init_hash": pairs.get("Init image hash"),
            "strength": pairs.get("Denoising strength") if "Init image hash" in pairs else None,
        }
    )
    vae = Part(pairs["VAE"], pairs.get("VAE hash")) if "VAE" in pairs else None
    embeddings = tuple(starmap(Part, _hashes(pairs.get("TI hashes", "")).items()))
    return recipe.with_changes(loras=tuple(loras), vae=vae, embeddings=embeddings)


def _hashes(text: str) -> dict[str, str]:
    found = re.findall(r"([^:,]+): *([0-9a-fA-F]+)", text)
    return {name.strip(): value for name, value in found}


def _numeric(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", text) is not None


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            return value
    return value.strip()
