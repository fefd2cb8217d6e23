"""What a reader hands back, and the guarded steps from untrusted values to a Recipe.

Knows nothing of any tool. Values that are of the wrong kind or out of all bounds count as unknown.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from provenance.recipe import Lora, Recipe

Strength = Literal["claimed", "signed", "measured"]

MAX_JSON = 4 * 2**20  # characters
MAX_TEXT = 200_000  # characters of one value
MAX_LORAS = 200


@dataclass(frozen=True)
class Text:
    """One text in a file: `source` is where it lies (`PNG tEXt`), `key` what it is called there."""

    source: str
    key: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.source} {self.key}".strip()

    @cached_property
    def object(self) -> dict[str, Any]:
        """The JSON object that the text is, or an empty one; parsed once for all readers."""
        return object_of(self.text)


@dataclass(frozen=True)
class Carried:
    """All that a file carries beside its pixels, and these, as stored, for signatures over them."""

    texts: tuple[Text, ...] = ()
    rgb: Callable[[], bytes | None] = lambda: None

    def under(self, *keys: str) -> Iterator[Text]:
        return (text for text in self.texts if text.key in keys)

    def first(self, key: str) -> str | None:
        return next((text.text for text in self.under(key)), None)


@dataclass(frozen=True)
class Claim:
    """One thing that a file says: no truer than its `strength`."""

    what: str
    value: Any
    source: str
    strength: Strength = "claimed"


@dataclass(frozen=True)
class Parent:
    """A picture that this one says it was made from."""

    uri: str
    why: str


@dataclass(frozen=True)
class Found:
    """What one tool wrote in one place. `settings` is what has no field in a Recipe."""

    tool: str | None
    source: str
    raw: str
    recipe: Recipe | None = None
    version: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    parents: tuple[Parent, ...] = ()


Reader = Callable[[Carried], Iterable[Found]]


def recipe_from(
    prompt: Any,
    *,
    size: tuple[Any, Any] = (None, None),
    seed: Any = None,
    steps: Any = None,
    guidance: Any = None,
    loras: Iterable[Lora] = (),
    **texts: Any,
) -> Recipe:
    """A Recipe of whatever was read; what cannot be right is left out."""
    negative = text_of(texts.pop("negative", None)) or ""
    named: dict[str, Any] = {name: text_of(value) or None for name, value in texts.items()}
    return Recipe(
        prompt=text_of(prompt) or "",
        negative=negative,
        seed=whole(seed, -(2**63), 2**64),
        steps=whole(steps, 0, 100_000),
        guidance=real(guidance),
        width=whole(size[0], 1, 1_000_000),
        height=whole(size[1], 1, 1_000_000),
        loras=tuple(loras)[:MAX_LORAS],
        **named,
    )


def lora_from(name: Any, weight: Any, digest: Any = None) -> Lora | None:
    """A Lora of whatever was read; None without a name."""
    known, factor = text_of(name), real(weight)
    if not known or known.lower() == "none":
        return None
    return Lora(known, 1.0 if factor is None else factor, text_of(digest) or None)


def text_of(value: Any) -> str | None:
    """Text that can be written as UTF-8, of at most MAX_TEXT characters."""
    if not isinstance(value, str):
        return None
    return value[:MAX_TEXT].encode("utf-8", "replace").decode().replace("\0", "").strip()


def whole(value: Any, low: int, high: int) -> int | None:
    """A whole number; also from text, and from a float that is one. Exact to the last digit."""
    if isinstance(value, str) and re.fullmatch(r"\s{0,9}-?[0-9]{1,20}(\.0{0,9})?\s{0,9}", value):
        value = int(value.partition(".")[0])
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if low <= value < high else None


def real(value: Any) -> float | None:
    """A finite number of at most a million; also from text."""
    if isinstance(value, str) and re.fullmatch(r"\s{0,9}-?[0-9]{0,9}\.?[0-9]{0,20}\s{0,9}", value):
        value = float(value) if re.search("[0-9]", value) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) <= 1e6 else None  # also refuses nan


def json_of(text: str) -> Any:
    """The JSON value in the text, with null for NaN and Infinity; None where there is none."""
    if len(text) > MAX_JSON:
        return None
    try:
        return json.loads(text.strip("\0 \t\r\n"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def object_of(text: Any) -> dict[str, Any]:
    """The JSON object in the text, or an empty one."""
    if isinstance(text, dict):
        return text
    if not isinstance(text, str) or text.lstrip("\0 \t\r\n")[:1] != "{":
        return {}
    value = json_of(text)
    return value if isinstance(value, dict) else {}


def items_of(value: Any) -> list[Any]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def scalars(values: dict[Any, Any], without: Iterable[str] = ()) -> dict[str, Any]:
    """The plain values (text, numbers, booleans) of a mapping: what `settings` is made of."""
    left_out = set(without)
    return {
        str(key)[:200]: text_of(value) if isinstance(value, str) else value
        for key, value in list(values.items())[:500]
        if key not in left_out and isinstance(value, str | int | float) and value != ""
    }
