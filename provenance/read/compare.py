"""What two readers say differently about one picture.

Two ways to write the same thing (`dpmpp_2m` and `DPM++ 2M`, a file's name with and without its
ending, a hash and its first ten digits) are no difference. Knows nothing of where values came from.
"""

from collections.abc import Callable, Sequence
from typing import Any

from provenance.read.found import Found
from provenance.recipe import Recipe
from provenance.recipe_match import digest, file_stem, sampler, words

MAX_VALUES = 20  # of one field


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
    if isinstance(one, _Digest):
        return one.startswith(other) or bool(other.startswith(one))
    return bool(one == other)


class _Digest(str):
    """A hash, of which either may be cut short."""

    __slots__ = ()


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "prompt": words, "negative": words, "model": file_stem,
    "model_hash": lambda value: _Digest(digest(value)),
    "seed": int, "steps": int, "guidance": float, "sampler": sampler,
    "width": int, "height": int,
}  # fmt: skip
