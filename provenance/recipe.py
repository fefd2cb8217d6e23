"""Recipe: everything that decides the pixels, and what makes two recipes the same."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from provenance.errors import UsageError

MAX_PROMPT = 10_000  # characters
MAX_WEIGHT = 100  # of a LoRA
MAX_SEED = 2**63 - 1  # what torch.Generator takes


@dataclass(frozen=True)
class Lora:
    """One LoRA as the recipe applies it."""

    name: str
    weight: float = 1.0
    hash: str | None = None


@dataclass(frozen=True)
class Part:
    """A VAE or a textual inversion that the model was used with."""

    name: str
    hash: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A picture's recipe. `None` is "not known": a recipe read from a file may have gaps.

    `size` is in pixels, `guidance` the classifier-free guidance scale, `model_hash` a hex digest
    or its first ten digits (AutoV2). `init` names the picture that painting begins with,
    `init_hash` is the SHA-256 of its pixels, `strength` (0..1) how much of it is painted anew.
    `cache` is the threshold of first-block caching, `precision` says in what was computed where
    it was not float32.
    """

    prompt: str
    negative: str = ""
    model: str | None = None
    model_hash: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    width: int | None = None
    height: int | None = None
    loras: tuple[Lora, ...] = ()
    vae: Part | None = None
    embeddings: tuple[Part, ...] = ()
    init: str | None = None
    init_hash: str | None = None
    strength: float | None = None
    cache: float | None = None
    precision: str | None = None

    def with_changes(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def validated(self) -> Self:
        """The recipe itself when it can be painted; raises UsageError saying what is wrong."""
        problem = next(_problems(self), None)
        if problem:
            raise UsageError(problem)
        return self

    @property
    def key(self) -> str | None:
        """A digest that two recipes share when they are the same; None where too little is known.

        What decides the pixels must be known: model, seed, steps, guidance and size. An unnamed
        sampler counts as a sampler of its own. A VAE is left out, because many files name the one
        that the model has anyway, and so are embeddings, whose words are in the prompt.
        """
        needed = (self.model_hash, self.seed, self.steps, self.guidance, self.width, self.height)
        if any(value is None for value in needed):
            return None
        identity: dict[str, Any] = {
            "prompt": " ".join(self.prompt.split()),
            "negative": " ".join(self.negative.split()),
            "model": _bare(str(self.model_hash)).removeprefix("0x")[:10],
            "numbers": [self.seed, self.steps, float(self.guidance or 0), self.width, self.height],
            "sampler": _sampler(self.sampler, self.scheduler),
            "loras": sorted([_bare(x.hash or "") or x.name.lower(), x.weight] for x in self.loras),
        }
        if begins := self.init_hash or self.init:
            identity["init"] = [begins, self.strength]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Every field; those after `loras` only where they are set."""
        values = asdict(self) | {"loras": [asdict(lora) for lora in self.loras]}
        values["embeddings"] = [asdict(each) for each in self.embeddings]
        return {k: v for k, v in values.items() if k not in _SELDOM or v not in (None, [])}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The recipe in a mapping of its own fields; unknown fields and wrong types are refused."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(
                f"unknown recipe field {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        given = {name: value for name, value in values.items() if value is not None}
        if not _is_text(given.get("prompt")):
            raise UsageError(f"a recipe needs a prompt (text), got {given.get('prompt')!r}")
        for name in _TEXTS & given.keys():
            if not _is_text(given[name]):
                raise UsageError(f"{name} must be text, got {given[name]!r}")
        for name in ("loras", "embeddings"):
            if not isinstance(given.get(name, ()), list | tuple):
                raise UsageError(f"{name} must be a list, got {given[name]!r}")
        numbers = {name: _number(name, given[name]) for name in _NUMBERS if name in given}
        given["loras"] = tuple(_lora(lora) for lora in given.get("loras", ()))
        given["embeddings"] = tuple(_part(each) for each in given.get("embeddings", ()))
        if "vae" in given:
            given["vae"] = _part(given["vae"])
        return cls(**{**given, **numbers})


_SELDOM = {"vae", "embeddings", "init", "init_hash", "strength", "cache", "precision"}
_TEXTS = {
    "negative", "model", "model_hash", "sampler", "scheduler", "init", "init_hash", "precision",
}  # fmt: skip
_NUMBERS = {
    "seed": int, "steps": int, "width": int, "height": int, "guidance": float, "strength": float,
    "cache": float,
}  # fmt: skip


def _bare(digest: str) -> str:
    """A hash without its kind: InvokeAI writes `blake3:…`."""
    return digest.lower().rpartition(":")[2]


def _sampler(name: str | None, spacing: str | None) -> list[str]:
    """Lower case, the spacing on its own: older files have it in the name ("DPM++ 2M Karras")."""
    name, spacing = (name or "").lower(), (spacing or "").lower()
    for each in ("karras", "exponential"):
        if not spacing and name.endswith(f" {each}"):
            name, spacing = name.removesuffix(f" {each}"), each
    return [name, spacing.replace("automatic", "")]


def _number(name: str, value: Any) -> int | float:
    kind = _NUMBERS[name]
    number: int | float | None = None
    with suppress(TypeError, ValueError, OverflowError):
        number = int(value) if kind is int else _finite(value)
    cut = isinstance(value, float) and number != value
    if number is None or isinstance(value, bool) or (kind is int and cut):
        wanted = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} must be {wanted}, got {value!r}")
    return number


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _is_text(value: Any) -> bool:
    """Whether it is text that UTF-8 can hold: half a surrogate pair is none."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lora(value: Any) -> Lora:
    if not _is_part(value):
        raise UsageError(f"a LoRA is {{name, weight, hash}}, got {value!r}")
    if unknown := sorted(map(str, value.keys() - {"name", "weight", "hash"})):
        raise UsageError(f"a LoRA has name, weight and hash, got {', '.join(unknown)} too")
    try:
        return Lora(value["name"], _finite(value.get("weight", 1.0)), value.get("hash"))
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"a LoRA's weight is a number, got {value.get('weight')!r}") from None


def _part(value: Any) -> Part:
    if _is_text(value):
        return Part(value)
    if not _is_part(value):
        raise UsageError(f"a VAE or an embedding is {{name, hash}}, got {value!r}")
    return Part(value["name"], value.get("hash"))


def _is_part(value: Any) -> bool:
    if not isinstance(value, Mapping) or not _is_text(value.get("name")):
        return False
    return value.get("hash") is None or _is_text(value["hash"])


def _problems(recipe: Recipe) -> Iterator[str]:
    for name, text in (("prompt", recipe.prompt), ("negative prompt", recipe.negative)):
        if len(text) > MAX_PROMPT:
            yield f"the {name} has {len(text):,} characters; {MAX_PROMPT:,} are allowed"
        if not _is_text(text):
            yield f"the {name} holds what is no Unicode text: {text[:MAX_PROMPT]!a}"
        if any(ord(character) < 32 and character not in "\n\t" for character in text):
            yield f"the {name} holds control characters"
    if not recipe.prompt.strip():
        yield "the prompt is empty; say what the picture should show"
    limits = {
        "seed": (recipe.seed, 0, MAX_SEED),
        "steps": (recipe.steps, 1, 500),
        "guidance": (recipe.guidance, 0, 100),
        "strength": (recipe.strength, 0, 1),
        "cache": (recipe.cache, 0, 1),
        "width": (recipe.width, 16, 8192),
        "height": (recipe.height, 16, 8192),
    }
    for name, (value, low, high) in limits.items():
        if value is not None and not low <= value <= high:  # also refuses nan
            yield f"{name} must be from {low} to {high}, got {value}"
    for lora in recipe.loras:
        if not abs(lora.weight) <= MAX_WEIGHT:  # also refuses nan
            yield f"a LoRA's weight is from -{MAX_WEIGHT} to {MAX_WEIGHT}, got {lora.weight}"
    if recipe.strength is not None and not (recipe.init or recipe.init_hash):
        yield "strength is for an init image; give one, or leave strength out"
    for name in ("width", "height"):
        if (limits[name][0] or 0) % 8:
            yield f"{name} must be a multiple of 8, got {limits[name][0]}"
