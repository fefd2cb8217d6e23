"""Job files → jobs: a prompt a line, or a table or JSON lines of any recipe fields."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gen.expand import expanded, matrix
from gen.families import PRESETS
from provenance.errors import UsageError
from provenance.recipe import MAX_SEED, Lora, Recipe

MAX_JOBS_BYTES = 256 * 2**20
MAX_COUNT = 100_000  # pictures of one line
MAX_JOBS = 1_000_000  # pictures of one file
_LORAS = ";"  # between several in one text
_KNOWN = sorted({field.name for field in fields(Recipe)} | {"size", "count"})


@dataclass(frozen=True)
class Job:
    """One picture to make; `number` counts from 1 in the order of the file.

    `size` is a preset's name, whose pixels depend on the model.
    """

    number: int
    recipe: Recipe
    size: str | None = None


def read_jobs(path: Path, wildcards: Path | None = None) -> list[Job]:
    """The jobs of a .txt (a prompt a line), .csv or .jsonl file.

    Fields are those of a recipe; `size`, as WxH or a preset's name; `count`, pictures with
    seeds that follow each other; LoRAs also as text, NAME:WEIGHT with ; between.

    Empty lines and, in .txt, lines that begin with # are skipped. A job without a seed gets one
    that follows from its line, so that running the file again means the same pictures. A prompt
    that is a matrix becomes several jobs; wildcards and choices are made by the job's seed.
    """
    readers = {".txt": _txt, ".csv": _csv, ".jsonl": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"job files are {', '.join(readers)}; got {path.name}")
    try:
        if path.stat().st_size > MAX_JOBS_BYTES:
            raise UsageError(f"{path} is larger than {MAX_JOBS_BYTES:,} bytes; split it")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from None
    try:
        jobs = _all_jobs(reader(text), wildcards)
    except UsageError as error:
        raise UsageError(f"{path}, {error}") from None
    if not jobs:
        raise UsageError(f"{path} holds no job")
    return jobs


def parse_lora(text: str) -> Lora:
    """`NAME[:WEIGHT]`."""
    name, colon, weight = text.strip().rpartition(":")
    try:
        return Lora(name, float(weight)) if colon else Lora(text.strip())
    except ValueError:
        raise UsageError(f"a LoRA is NAME[:WEIGHT]; got {text!r}") from None


def parse_size(text: str) -> tuple[int, int] | None:
    """`WxH` in pixels; None for a preset's name."""
    if text in PRESETS:
        return None
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and len(text) < 20):
        raise UsageError(
            f"a size is WxH in pixels, such as 128x128, or one of {', '.join(PRESETS)}; "
            f"got {text[:40]!r}"
        )
    return int(width), int(height)


def _all_jobs(rows: Iterator[tuple[int, Mapping[str, Any]]], wildcards: Path | None) -> list[Job]:
    """Raises UsageError beginning with the number of the line."""
    jobs: list[Job] = []
    for line, values in rows:
        try:
            jobs += _jobs(values, len(jobs), wildcards)
        except UsageError as error:
            raise UsageError(f"line {line}: {error}") from None
    return jobs


def _jobs(values: Mapping[str, Any], before: int, wildcards: Path | None) -> Iterator[Job]:
    """Those of one line: each prompt of a matrix, each with its seeds."""
    recipe, size, count = _read(values)
    number = before
    for prompt in matrix(recipe.prompt):
        first = recipe.with_changes(prompt=prompt)
        if first.seed is None:
            first = first.with_changes(seed=_seed_of(number + 1, prompt))
        for further in range(count):
            number += 1
            if number > MAX_JOBS:
                raise UsageError(f"more than {MAX_JOBS:,} pictures; split the file")
            each = first.with_changes(seed=(first.seed or 0) + further)
            yield Job(number, expanded(each, wildcards).validated(), size)


def _read(values: Mapping[str, Any]) -> tuple[Recipe, str | None, int]:
    """The line's recipe, the preset that it names, how many pictures it is for."""
    given = dict(values)
    if unknown := sorted(given.keys() - set(_KNOWN)):
        raise UsageError(f"unknown field {', '.join(unknown)}; known are {', '.join(_KNOWN)}")
    count = _count(given.pop("count", None))
    size = given.pop("size", None)
    if size is not None:
        if given.keys() & {"width", "height"}:
            raise UsageError("give size, or width and height")
        pixels = parse_size(str(size))
        given |= {} if pixels is None else {"width": pixels[0], "height": pixels[1]}
        size = str(size) if pixels is None else None
    if loras := given.get("loras"):
        given["loras"] = _lora_list(loras)
    recipe = Recipe.from_json(given).validated()
    if recipe.seed is not None and recipe.seed + count - 1 > MAX_SEED:
        raise UsageError(f"seed {recipe.seed} is too large for {count} that follow each other")
    return recipe, size, count


def _count(count: Any) -> int:
    if count is None:
        return 1
    text = str(count)
    whole = text.isdecimal() and len(text) < 20 and not isinstance(count, bool)
    if not whole or not 1 <= int(text) <= MAX_COUNT:
        raise UsageError(f"count is a whole number from 1 to {MAX_COUNT:,}, got {text[:40]!r}")
    return int(text)


def _lora_list(loras: Any) -> Any:
    """What `Recipe.from_json` takes, also from text or a list of texts."""
    if isinstance(loras, str):
        loras = [each for each in loras.split(_LORAS) if each.strip()]
    if not isinstance(loras, list):
        return loras
    return [vars(parse_lora(each)) if isinstance(each, str) else each for each in loras]


def _seed_of(number: int, prompt: str) -> int:
    digest = hashlib.sha256(f"{number}\n{prompt}".encode()).digest()
    return int.from_bytes(digest[:4])


def _txt(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, {"prompt": line.strip()}


def _csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    try:
        named = [name.strip() for name in rows.fieldnames or () if name.strip()]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise UsageError(f"line 1: two columns of one name: {', '.join(twice)}")
        for row in rows:
            if None in row:
                raise UsageError(f"line {rows.line_num}: more cells than columns")
            if not any(v and v.strip() for v in row.values()):  # as spreadsheets end a table
                continue
            if any(v and not k.strip() for k, v in row.items()):
                raise UsageError(f"line {rows.line_num}: a cell in a column without a name")
            yield rows.line_num, {k.strip(): v.strip() for k, v in row.items() if v}
    except csv.Error as error:
        raise UsageError(f"line {rows.line_num}: not CSV: {error}") from None


def _jsonl(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"line {number}: not JSON: {error}") from None
            if not isinstance(values, dict):
                raise UsageError(f"line {number}: a job is an object, got {line[:40]}")
            yield number, {key: value for key, value in values.items() if value is not None}
