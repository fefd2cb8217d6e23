"""What two readers say differently about one picture.

Two ways to write the same thing (`dpmpp_2m` and `DPM++ 2M`, a file's name with and without its
ending, a hash and its first ten digits) are no difference. Knows nothing of where values came from.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from provenance.read.found import Found
from provenance.recipe import Recipe

MAX_VALUES = 20  # of one field

_SAMPLERS = {
    "dpmpp": "dpm++", "ancestral": "a", "k": "", "sample": "", "gpu": "", "a1111": "",
}  # fmt: skip
_ENDING = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|gguf|sft)\Z", re.IGNORECASE)


def disagreements(found: Sequence[Found]) -> list[dict[str, Any]]:
    """[{what, values: [{value, source}]}] for each field that recipes fill differently."""
    told = [(each.source, each.recipe) for each in found if each.recipe]
    return [
        {"what": what, "values": values}
        for what, plain in _FIELDS.items()
        if (values := _different(what, plain, told))
    ]


def agree(one: Recipe, other: Recipe) -> bool:
    """Whether no field that both fill differs."""
    return not disagreements([Found(None, "", "", one), Found(None, "", "", other)])


def _different(
    what: str, plain: Callable[[Any], Any], told: Sequence[tuple[str, Recipe]]
) -> list[dict[str, Any]]:
    kept: list[tuple[Any, dict[str, Any]]] = []
    for source, recipe in told:
        value = getattr(recipe, what)
        if value in (None, "", ()):
            continue
        compared = plain(value)
        if not any(_same(compared, known) for known, _ in kept[:MAX_VALUES]):
            kept.append((compared, {"value": value, "source": source}))
    return [value for _, value in kept[:MAX_VALUES]] if len(kept) > 1 else []


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, _Digest):
        return one.startswith(other) or other.startswith(one)
    return bool(one == other)


class _Digest(str):
    """A hash, of which either may be cut short."""

    __slots__ = ()


def _digest(value: str) -> _Digest:
    return _Digest(value.lower().removeprefix("0x"))


def _words(value: str) -> str:
    """A prompt without blanks that mean nothing and without weights of LoRAs."""
    return " ".join(re.sub(r"<(?:lora|lyco):[^<>]{0,300}>", "", value).split()).strip(" ,")


def _file(value: str) -> str:
    return _ENDING.sub("", value.replace("\\", "/").rpartition("/")[2]).lower()


def _sampler(value: str) -> str:
    """`DPM++ 2M Karras`, `dpmpp_2m` and `sample_dpmpp_2m` come to `2mdpm++`: schedules apart."""
    words = re.split(r"[\s_]+", value.lower())
    schedules = ("karras", "exponential", "normal", "simple", "automatic")
    return "".join(_SAMPLERS.get(word, word) for word in words if word not in schedules)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "prompt": _words, "negative": _words, "model": _file, "model_hash": _digest,
    "seed": int, "steps": int, "guidance": float, "sampler": _sampler,
    "width": int, "height": int,
}  # fmt: skip
