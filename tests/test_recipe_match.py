"""Two recipes: the same, nearly the same, or neither; tools' spellings are no difference."""

import time
from typing import Any

import pytest

from provenance.recipe import Lora, Recipe
from provenance.recipe_match import compared, same_hash, sampler

SHA = "a599c42a9f" + "0" * 54
FULL = Recipe(
    "a fox, in the snow", "fog", "sdxl", "a599c42a9f", 7, 20, 4.0, "DPM++ 2M", "Karras", 512, 768,
    (Lora("ink", 0.5, "813ea5fb1c67"),),
)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"prompt": " a fox,  in the snow <lora:ink:0.5>,\n"},
        {"prompt": "a fox, in the snow <lora:ink:0.5>", "loras": ()},
        {"model_hash": SHA.upper()},
        {"model_hash": "0x" + SHA},
        {"model_hash": "sha256:" + SHA, "model": "renamed"},
        {"model_hash": None, "model": "models/SDXL.safetensors"},
        {"sampler": "dpmpp_2m", "scheduler": "karras"},
        {"sampler": "DPM++ 2M Karras", "scheduler": None},
        {"sampler": "DPMSolverMultistepScheduler", "scheduler": "Automatic"},
        {"loras": (Lora("ink.safetensors", 0.5),)},
        {"loras": (Lora("other name", 0.5, "813ea5fb1c67" + "0" * 52),)},
        {"vae": None},
    ],
)
def test_the_same(change: dict[str, Any]) -> None:
    likeness = compared(FULL, FULL.with_changes(**change))
    assert likeness
    assert (likeness.kind, likeness.differs, likeness.sure) == ("same", (), 1.0)
    assert likeness.decides


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        ({"steps": None}, ("steps",)),
        ({"sampler": None, "scheduler": None}, ("sampler",)),
        ({"width": None, "guidance": None}, ("guidance", "size")),
        ({"steps": None, "negative": "", "loras": ()}, ("steps",)),
    ],
)
def test_what_is_unknown_is_no_difference(change: dict[str, Any], unknown: tuple[str]) -> None:
    likeness = compared(FULL, FULL.with_changes(**change))
    assert likeness
    assert likeness.kind == "same"
    assert likeness.unknown == unknown
    assert likeness.sure == pytest.approx(1 - 0.1 * len(unknown))
    assert likeness == compared(FULL.with_changes(**change), FULL)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"steps": 30}, "steps 20, there 30"),
        ({"guidance": 7.5}, "guidance 4, there 7.5"),
        ({"sampler": "Euler a"}, "sampler dpm++2m, there eulera"),
        ({"scheduler": "exponential"}, "schedule karras, there exponential"),
        ({"width": 640}, "size 512 x 768, there 640 x 768"),
        ({"negative": ""}, "another negative prompt"),
        ({"loras": ()}, "LoRAs ink x 0.5, there none"),
        ({"loras": (Lora("ink", 0.8),)}, "LoRAs ink x 0.5, there ink x 0.8"),
        ({"init_hash": "ff", "strength": 0.5}, "another initial picture"),
    ],
)
def test_nearly_the_same_says_what_differs(change: dict[str, Any], differs: str) -> None:
    likeness = compared(FULL, FULL.with_changes(**change))
    assert likeness
    assert (likeness.kind, likeness.differs, likeness.decides) == ("near", (differs,), True)
    assert likeness.words("x.png") == f"made by nearly the recipe of x.png ({differs})"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 8}, "seed 7, there 8"),
        ({"seed": None}, "not known: seed"),
    ],
)
def test_another_seed_is_mentioned_and_decides_nothing(change: dict[str, Any], told: str) -> None:
    likeness = compared(FULL, FULL.with_changes(**change))
    assert likeness
    assert (likeness.kind, likeness.decides) == ("near", False)
    assert told in likeness.words("x")


def test_a_model_that_cannot_be_told_makes_it_near() -> None:
    """AutoV1 and AutoV2 say nothing of each other, and names are whatever a user likes."""
    likeness = compared(FULL, FULL.with_changes(model="renamed", model_hash="64e73fcb"))
    assert likeness
    assert (likeness.kind, likeness.unknown, likeness.decides) == ("near", ("model",), True)


def test_the_model_is_known_by_any_of_its_hashes() -> None:
    there = FULL.with_changes(model="renamed", model_hash="64e73fcb")
    likeness = compared(FULL, there, hashes=("813ea5fb1c67", "64e73fcb"))
    assert likeness
    assert likeness.kind == "same"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a wolf"},
        {"prompt": ""},
        {"model_hash": "ffffffffff"},
        {"seed": 8, "steps": 30, "guidance": 5.0},
        {"seed": 8, "model": None, "model_hash": None},
        {"steps": 1, "guidance": 1.0, "sampler": "Euler", "width": 64},
    ],
)
def test_neither(change: dict[str, Any]) -> None:
    assert compared(FULL, FULL.with_changes(**change)) is None


def test_two_empty_prompts_are_nothing_in_common() -> None:
    assert compared(FULL.with_changes(prompt=" "), FULL.with_changes(prompt=" ")) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a599c42a9f", SHA, True),
        ("a599c42a9f", "a599c42a90", False),
        ("a599c42a9f", "64e73fcb", None),
        ("blake3:" + "f" * 64, "f" * 64, True),
        ("blake3:" + "f" * 64, SHA, None),
        ("a599c42a9f", "813ea5fb1c67", None),
        (SHA, "f" * 64, None),
        ("a599", "a599c42a9f", None),
        (None, SHA, None),
    ],
)
def test_hashes_of_different_kinds_cannot_be_compared(
    one: str | None, other: str | None, same: bool | None
) -> None:
    assert same_hash(one, other) is same
    assert same_hash(other, one) is same


@pytest.mark.parametrize(
    "spellings",
    [
        ("Euler a", "euler_ancestral", "k_euler_a", "EulerAncestralDiscreteScheduler", "euler_a"),
        ("DPM++ 2M SDE Karras", "dpmpp_2m_sde_gpu", "sample_dpmpp_2m_sde"),
        ("UniPC", "uni_pc", "UniPCMultistepScheduler"),
        ("DPM2 a", "dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler"),
        ("Heun", "heun", "HeunDiscreteScheduler"),
        ("DDIM", "ddim", "DDIMScheduler"),
    ],
)
def test_a_sampler_by_any_tools_name(spellings: tuple[str, ...]) -> None:
    assert len({sampler(each) for each in spellings}) == 1
    assert sampler("Euler") != sampler("Euler a")


def test_hostile_prompts_are_compared_in_no_time() -> None:
    bait = Recipe(("<lora:" + "a" * 390) * 500 + "<lora:x:" * 10_000, seed=1, model="m")
    began = time.process_time()
    assert compared(bait, bait)
    assert time.process_time() - began < 1
