"""A template and a recipe → a file's name, whatever the prompt says; never a path."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from provenance.errors import UsageError
from provenance.recipe import Recipe

TEMPLATE = "{job:05}-{seed}"
MAX_BYTES = 180  # of 255: room for "_2", the ending, and the name of the unfinished file
MAX_WORDS = 40  # characters of a prompt
FIELDS = ("job", "seed", "prompt", "model", "sampler", "steps", "guidance", "width", "height",
          "date")  # fmt: skip
_NUMBERS = ("job", "seed", "steps", "guidance", "width", "height")
_SPEC = re.compile(r"0?[0-9]{0,2}")


def check_template(template: str) -> str:
    """The template itself; raises UsageError saying what is wrong with it."""
    name(template, 1, Recipe("a"), "2000-01-01")
    return template


def name(template: str, job: int, recipe: Recipe, date: str) -> str:
    """The name, without its ending: no longer than file systems take, without a separator.

    `date` is YYYY-MM-DD. Numbers may have a width, as in `{job:05}`.
    """
    values: Mapping[str, Any] = {
        "job": job, "seed": recipe.seed or 0, "prompt": slug(recipe.prompt) or "picture",
        "model": slug(recipe.model or "") or "model",
        "sampler": slug(recipe.sampler or "") or "own",
        "steps": recipe.steps or 0, "guidance": f"{recipe.guidance or 0:g}",
        "width": recipe.width or 0, "height": recipe.height or 0, "date": date,
    }  # fmt: skip
    text = "".join(_parts(template, values)).strip(" .")
    if not text:
        raise UsageError(f"--name {template!r} names nothing")
    return text.encode()[:MAX_BYTES].decode(errors="ignore").rstrip(" .")


def slug(text: str, most: int = MAX_WORDS) -> str:
    """Letters and digits of any script, all else as single hyphens."""
    words = "".join(c if c.isalnum() else "-" for c in unicodedata.normalize("NFC", text.lower()))
    return re.sub("-+", "-", words)[:most].strip("-")


def free(folder: Path, stem: str, suffix: str, taken: Any) -> Path:
    """The first of `stem`, `stem_2`, `stem_3`… for which `taken(path)` is false."""
    path = folder / f"{stem}{suffix}"
    number = 1
    while taken(path):
        number += 1
        path = folder / f"{stem}_{number}{suffix}"
    return path


def _parts(template: str, values: Mapping[str, Any]) -> list[str]:
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--name {template!r}: {error}") from None
    parts = []
    for literal, field, spec, conversion in parsed:
        if set(literal) & set("/\\") or not literal.isprintable():
            raise UsageError(f"--name {template!r} is a file's name: no / or \\ in it")
        parts.append(literal)
        if field is None:
            continue
        if field not in FIELDS:
            raise UsageError(f"--name knows no {{{field}}}; known are {', '.join(FIELDS)}")
        value = values[field]
        if conversion or not _SPEC.fullmatch(spec or "") or (spec and field not in _NUMBERS):
            raise UsageError(f"--name {template!r}: a width goes with a number, as in {{job:05}}")
        shown, spec = str(value), spec or ""
        parts.append(shown.rjust(int(spec or 0), "0" if spec.startswith("0") else " "))
    return parts
