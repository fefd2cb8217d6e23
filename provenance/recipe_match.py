"""Whether two recipes are the same, nearly the same, or neither; and what differs, in words.

What is unknown on one side is no difference, but one is less sure. Tools write the same thing in
different ways (`dpmpp_2m` and `DPM++ 2M`, a hash and its first ten digits): those are made alike.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from provenance.recipe import Lora, Recipe

Kind = Literal["same", "near", "parent"]

_DECIDE = 3  # smaller things that may differ between recipes that are nearly the same
_UNSURE = 0.1  # taken off for each smaller thing that is not known
_ENDING = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|gguf|sft)\Z", re.IGNORECASE)
_TAG = re.compile(r"<(?:lora|lyco):([^:<>]{1,200})(?::([^:<>]{0,20}))?(?::[^<>]{0,200})?>")
_SPACINGS = ("karras", "exponential", "normal", "simple", "automatic", "sgm", "uniform", "beta")
_WORDS = {
    "dpmpp": "dpm++", "ancestral": "a", "k": "", "sample": "", "gpu": "", "a1111": "",
}  # fmt: skip
_CLASSES = {  # diffusers' names
    "eulerdiscrete": "euler", "eulerancestraldiscrete": "eulera", "heundiscrete": "heun",
    "lmsdiscrete": "lms", "dpmsolvermultistep": "dpm++2m", "dpmsolversinglestep": "dpm++2s",
    "dpmsolversde": "dpm++sde", "kdpm2discrete": "dpm2", "kdpm2ancestraldiscrete": "dpm2a",
    "unipcmultistep": "unipc", "flowmatcheulerdiscrete": "euler", "pndm": "plms",
}  # fmt: skip


@dataclass(frozen=True)
class Likeness:
    """How one recipe compares with another.

    `sure` (0..1) says how much of what decides the pixels is known on both sides. `decides` is
    whether a picture made by the one must not pass for new where the other's is known.
    """

    kind: Kind
    sure: float = 1.0
    differs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    decides: bool = True

    def words(self, name: str) -> str:
        """The likeness to the recipe of the picture that is called so."""
        if self.kind == "parent":
            return f"says that it was made from {name}"
        told = "; ".join(self.differs)
        if self.unknown:
            told += f"{'; ' if told else ''}not known: {', '.join(self.unknown)}"
        said = "the same recipe as" if self.kind == "same" else "nearly the recipe of"
        return f"made by {said} {name}{f' ({told})' if told else ''}"


def compared(one: Recipe, other: Recipe, hashes: Iterable[str] = ()) -> Likeness | None:
    """How `one` compares with `other`; None where they are neither the same nor near.

    `hashes` are further hashes of the model of `one`. Same: prompt, model and seed agree, and
    nothing differs. Near: prompt and model agree, and the seed or little else does not.
    """
    if not words(one.prompt) or words(one.prompt) != words(other.prompt):
        return None
    model = _same_model(one, other, hashes)
    if model is False:
        return None
    seed = None if None in (one.seed, other.seed) else one.seed == other.seed
    further = [(name, *_pair(name, one, other)) for name in _FURTHER]
    differs = [_difference(name, a, b) for name, a, b in further if _apart(name, a, b)]
    unknown = [n for n, a, b in further if n in _NEEDED and (a is None or b is None)]
    sure = 1 - _UNSURE * len(unknown) - (seed is None) * 0.4 - (model is None) * 0.3
    if model and seed and not differs:
        return Likeness("same", sure, (), tuple(unknown))
    if seed is False:
        differs.insert(0, f"seed {one.seed}, there {other.seed}")
    unknown = ["model"] * (model is None) + ["seed"] * (seed is None) + unknown
    if len(differs) > _DECIDE or (not seed and (len(differs) > 1 or not model)):
        return None
    return Likeness("near", max(0.0, sure), tuple(differs), tuple(unknown), decides=bool(seed))


def lookup_keys(recipe: Recipe | None) -> tuple[int | None, int | None]:
    """(prompt, seed) as numbers under which a library finds what may be the same or near."""
    if recipe is None or not words(recipe.prompt):
        return None, None
    digest = hashlib.blake2b(words(recipe.prompt).encode(), digest_size=8).digest()
    seed = None if recipe.seed is None else recipe.seed % 2**63
    return int.from_bytes(digest) % 2**63, seed


def words(prompt: str) -> str:
    """A prompt without blanks that mean nothing and without tags of LoRAs."""
    return " ".join(_TAG.sub("", prompt).split()).strip(" ,")


def digest(value: str) -> str:
    """A hash in small letters, without a tool's prefix."""
    return value.strip().lower().rpartition(":")[2].removeprefix("0x")


def file_stem(value: str) -> str:
    """A model's name without its folder and its file's ending."""
    return _ENDING.sub("", value.replace("\\", "/").rpartition("/")[2]).lower()


def sampler(value: str) -> str:
    """`DPM++ 2M Karras`, `dpmpp_2m` and `sample_dpmpp_2m` come to the same: spacings apart."""
    plain = value.lower().removesuffix("scheduler")
    parts = re.split(r"[\s_]+", _CLASSES.get(plain, plain))
    return "".join(_WORDS.get(part, part) for part in parts if part not in _SPACINGS)


def spacing(name: str | None, schedule: str | None) -> str | None:
    """Of the steps; None where it is the tool's choice. In old files it ends the sampler's name."""
    told = " ".join(re.split(r"[\s_]+", (schedule or "").lower())).strip()
    in_name = re.split(r"[\s_]+", (name or "").lower())[-1]
    if not told and in_name in ("karras", "exponential"):
        told = in_name
    return None if told in ("", "automatic") else "normal" if told == "uniform" else told


_NEEDED = ("steps", "guidance", "sampler", "size")
_FURTHER = ("negative prompt", *_NEEDED, "schedule", "LoRAs", "initial picture")


def _pair(name: str, one: Recipe, other: Recipe) -> tuple[Any, Any]:
    mine, theirs = _value(name, one), _value(name, other)
    sparse = one.steps is None or other.steps is None  # what is not named may be not known
    if name in ("negative prompt", "LoRAs", "initial picture") and sparse:
        return mine or None, theirs or None
    return mine, theirs


def _value(name: str, recipe: Recipe) -> Any:
    match name:
        case "negative prompt":
            return words(recipe.negative)
        case "size":
            return None if None in (recipe.width, recipe.height) else (recipe.width, recipe.height)
        case "sampler":
            return sampler(recipe.sampler) if recipe.sampler else None
        case "schedule":
            return spacing(recipe.sampler, recipe.scheduler)
        case "LoRAs":
            return _loras(recipe)
        case "initial picture":
            return (recipe.init_hash or recipe.init or "", recipe.strength)
    return getattr(recipe, name)


def _apart(name: str, one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    if name == "LoRAs":
        return len(one) != len(other) or not all(any(map(_same_lora(a), other)) for a in one)
    return bool(one != other)


def _difference(name: str, one: Any, other: Any) -> str:
    if name in ("negative prompt", "initial picture"):
        return f"another {name}"
    return f"{name} {_told(one)}, there {_told(other)}"


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple) and all(isinstance(each, Lora) for each in value):
        return ", ".join(f"{lora.name} x {lora.weight:g}" for lora in value) or "none"
    return f"{value[0]} x {value[1]}" if isinstance(value, tuple) else str(value)


def _loras(recipe: Recipe) -> tuple[Lora, ...]:
    """Those of the recipe, and those of tags in its prompt that it does not name."""
    named = {file_stem(lora.name) for lora in recipe.loras}
    tags = _TAG.findall(recipe.prompt)
    return (*recipe.loras, *(Lora(n, _weight(w)) for n, w in tags if file_stem(n) not in named))


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"-?[0-9]*\.?[0-9]+", text) else 1.0


def _same_lora(one: Lora) -> Any:
    def same(other: Lora) -> bool:
        alike = same_hash(one.hash, other.hash)
        if alike is None:
            alike = file_stem(one.name) == file_stem(other.name)
        return alike and abs(one.weight - other.weight) < 1e-3

    return same


def _same_model(one: Recipe, other: Recipe, hashes: Iterable[str]) -> bool | None:
    """None where it cannot be told: hashes of different kinds, or a name on one side only."""
    told = [same_hash(each, other.model_hash) for each in (one.model_hash, *hashes)]
    if True in told:
        return True
    if False in told:
        return False
    if not one.model or not other.model:
        return None
    return file_stem(one.model) == file_stem(other.model) or None


def same_hash(one: str | None, other: str | None) -> bool | None:
    """Whether two hashes of files are of one file; None where they are of different kinds.

    AutoV1 has 8 digits, AutoV2 the first 10 of the SHA-256, AutoV3 12 of the SHA-256 without a
    safetensors header; in full the two have 64, as has BLAKE3.
    """
    mine, theirs = digest(one or ""), digest(other or "")
    if min(len(mine), len(theirs)) < 8:
        return None
    if mine.startswith(theirs) or theirs.startswith(mine):
        return True
    return False if len(mine) == len(theirs) < 64 else None
