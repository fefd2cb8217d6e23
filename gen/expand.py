"""Prompts that stand for many: `{a|b}`, wildcards `__name__`, matrices `a | b`, styles.

What comes out is plain prompts; a recipe records those, never what they came from.
"""

import csv
import random
import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from provenance.errors import MissingError, UsageError
from provenance.recipe import Recipe

MAX_PROMPTS = 1024  # of one matrix
_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_WILDCARD = re.compile(r"__([^\W_][\w /-]*?)__")
_BAR = re.compile(r"[{}]|\s\|\s")
_ROUNDS = 1000


def matrix(prompt: str) -> list[str]:
    """`a | b | c` → a; a, b; a, c; a, b, c: the first part with every choice of the others."""
    first, *others = (part.strip() for part in _parts(prompt))
    if 2 ** len(others) > MAX_PROMPTS:
        raise UsageError(
            f"a matrix of {len(others) + 1:,} parts is more than {MAX_PROMPTS:,} prompts"
        )
    chosen = (each for count in range(len(others) + 1) for each in combinations(others, count))
    return [", ".join([first, *parts]) for parts in chosen]


def _parts(prompt: str) -> Iterator[str]:
    """What stands between the bars that are in no braces."""
    depth = start = 0
    for found in _BAR.finditer(prompt):
        if found[0] in "{}":
            depth = max(0, depth + (1 if found[0] == "{" else -1))
        elif depth == 0:
            yield prompt[start : found.start()]
            start = found.end()
    yield prompt[start:]


def expanded(recipe: Recipe, wildcards: Path | None) -> Recipe:
    """With one of each `{a|b}` and a line of `NAME.txt` for each `__NAME__`, chosen by the seed."""
    rng = random.Random(f"{recipe.seed}\n{recipe.prompt}\n{recipe.negative}")
    prompt, negative = (_expand(text, rng, wildcards) for text in (recipe.prompt, recipe.negative))
    return recipe.with_changes(prompt=prompt, negative=negative)


def read_styles(file: Path) -> dict[str, tuple[str, str]]:
    """A1111's styles.csv: name, prompt, negative_prompt."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return {
                row["name"]: (row.get("prompt") or "", row.get("negative_prompt") or "")
                for row in csv.DictReader(lines)
                if row.get("name")
            }
    except FileNotFoundError:
        raise MissingError(
            f"no styles: {file} (name,prompt,negative_prompt) is not there"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None


def styled(recipe: Recipe, names: Sequence[str], file: Path) -> Recipe:
    """With each style's words around the prompt where it says {prompt}, else after it."""
    known = read_styles(file) if names else {}
    for name in names:
        if name not in known:
            raise UsageError(f"unknown style {name!r}; {file.name} has {', '.join(known)}")
        prompt, negative = known[name]
        recipe = recipe.with_changes(
            prompt=_merged(prompt, recipe.prompt), negative=_merged(negative, recipe.negative)
        )
    return recipe


def _merged(style: str, text: str) -> str:
    if "{prompt}" in style:
        return style.replace("{prompt}", text)
    return ", ".join(filter(None, (text.strip(), style.strip())))


def _expand(text: str, rng: random.Random, wildcards: Path | None) -> str:
    """The innermost first, until nothing is left to choose."""
    for _ in range(_ROUNDS):
        if found := _CHOICE.search(text):
            choice = rng.choice(found[1].split("|")).strip()
        elif found := _WILDCARD.search(text):
            choice = rng.choice(_lines(found[1], wildcards))
        else:
            return text
        text = text[: found.start()] + choice + text[found.end() :]
    raise UsageError(f"a wildcard leads back to itself: {text[:80]}")


def _lines(name: str, wildcards: Path | None) -> list[str]:
    file = (wildcards / f"{name}.txt") if wildcards else None
    if file is None or not file.is_file():
        raise MissingError(f"no wildcard __{name}__: {file or f'{name}.txt'} is not there")
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as UTF-8 text: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{file} holds no line to choose")
    return lines
