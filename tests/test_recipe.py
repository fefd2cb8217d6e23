import dataclasses
import json
from typing import Any

import pytest

from provenance.errors import UsageError
from provenance.recipe import Lora, Part, Recipe

FULL = Recipe(
    "a fox", "fog", "starter", "0123456789abcdef", 7, 20, 4.0, "DPM++ 2M", None, 128, 128,
    (Lora("ink", 0.5, "aa"),), Part("soft", "bb"), (Part("inky", "cc"),), "a.png", "dd", 0.5,
    0.1, "bfloat16",
)  # fmt: skip


def test_json_round_trip() -> None:
    assert Recipe.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL


@pytest.mark.parametrize(
    "change",
    [
        {"model": "the same weights under another name"},
        {"model_hash": "0123456789"},
        {"model_hash": "0x0123456789ABCDEF"},
        {"prompt": " a  fox\n"},
        {"sampler": "dpm++ 2m"},
        {"vae": None},
        {"embeddings": ()},
    ],
)
def test_key_ignores_names_spellings_and_what_files_leave_unsaid(change: dict[str, Any]) -> None:
    assert FULL.with_changes(**change).key == FULL.key


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a wolf"}, {"negative": ""}, {"model_hash": "f" * 10}, {"seed": 8},
        {"steps": 21}, {"guidance": 4.5}, {"sampler": "Euler"}, {"width": 64}, {"loras": ()},
        {"init_hash": "ee"}, {"strength": 0.6},
    ],
)  # fmt: skip
def test_key_differs_with_what_decides_the_pixels(change: dict[str, Any]) -> None:
    assert FULL.with_changes(**change).key != FULL.key


@pytest.mark.parametrize("field", ["model_hash", "seed", "steps", "guidance", "width"])
def test_a_recipe_with_a_gap_has_no_key(field: str) -> None:
    assert FULL.with_changes(**{field: None}).key is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "a" * 10_001}, "10,000 are allowed"),
        ({"prompt": "a\0b"}, "control characters"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**63}, "seed must be from 0"),
        ({"steps": 0}, "steps must be from 1"),
        ({"guidance": float("nan")}, "guidance must be from 0"),
        ({"width": 130}, "multiple of 8"),
        ({"height": 100_000}, "height must be from"),
    ],
)
def test_a_recipe_that_cannot_be_painted_says_why(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FULL.with_changes(**change).validated()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs a prompt"),
        ({"prompt": 3}, "needs a prompt"),
        ({"prompt": "x", "sed": 1}, "unknown recipe field sed"),
        ({"prompt": "x", "seed": "one"}, "seed must be a whole number"),
        ({"prompt": "x", "seed": 1.5}, "seed must be a whole number"),
        ({"prompt": "x", "seed": True}, "seed must be a whole number"),
        ({"prompt": "x", "guidance": "much"}, "guidance must be a number"),
        ({"prompt": "x", "loras": ["ink"]}, "a LoRA is"),
        ({"prompt": "x", "loras": [{"name": "ink", "weight": "heavy"}]}, "weight is a number"),
        ({"prompt": "x", "negative": 5}, "negative must be text"),
        ({"prompt": "x", "loras": 5}, "loras must be a list"),
    ],
)
def test_from_json_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe.from_json(values)


def test_numbers_may_come_as_text() -> None:
    assert Recipe.from_json({"prompt": "x", "seed": "12", "guidance": "3.5"}).guidance == 3.5


def test_every_field_is_in_the_json() -> None:
    assert FULL.to_json().keys() == {field.name for field in dataclasses.fields(Recipe)}


def test_what_few_recipes_have_changes_nothing_for_the_others() -> None:
    plain = FULL.with_changes(
        vae=None, embeddings=(), init=None, init_hash=None, strength=None, cache=None,
        precision=None,
    )  # fmt: skip
    assert "init" not in plain.to_json()
    assert plain.key == ("f6c3b2aa84f47bdbe3ee630bffd0687ce509e899af9540a765f70022b4da3f86")


def test_a_spacing_in_the_samplers_name_is_the_same_as_on_its_own() -> None:
    apart = FULL.with_changes(sampler="DPM++ 2M", scheduler="Karras")
    assert FULL.with_changes(sampler="DPM++ 2M Karras").key == apart.key != FULL.key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strength": 1.5}, "strength must be from 0 to 1"),
        ({"cache": 2}, "cache must be from 0 to 1"),
        ({"init": None, "init_hash": None}, "strength is for an init image"),
    ],
)
def test_img2img_needs_a_picture_and_a_share(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FULL.with_changes(**changes).validated()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "fox \ud800"}, {"model": "\udfff"}, {"init_hash": "\ud800"}, {"vae": "\ud800"},
        {"loras": [{"name": "ink", "hash": 7}]}, {"loras": [{"name": "\ud800"}]},
        {"loras": [{"name": "ink", "weight": 10**400}]},
        {"embeddings": [{"name": "a", "hash": []}]},
    ],
)  # fmt: skip
def test_what_no_tool_writes_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Recipe.from_json({"prompt": "a fox", **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance": float("inf")}, "guidance must be a number, got inf"),
        ({"strength": "nan"}, "strength must be a number"),
        ({"seed": float("inf")}, "seed must be a whole number"),
        ({"loras": [{"name": "a", "weight": float("-inf")}]}, "weight is a number, got -inf"),
    ],
)
def test_numbers_are_finite(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe.from_json({"prompt": "a fox", **change})


def test_key_knows_a_hash_with_its_kind() -> None:
    def named(prefix: str) -> Recipe:
        lora = Lora("ink", 1.0, f"{prefix}aabbccddeeff")
        return FULL.with_changes(model_hash=prefix + "ab" * 32, loras=(lora,))

    assert named("blake3:").key == named("").key


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -101])
def test_a_lora_weighs_something_sensible(weight: float) -> None:
    with pytest.raises(UsageError, match="weight is from -100 to 100"):
        Recipe("a fox", loras=(Lora("ink", weight),)).validated()


def test_half_a_surrogate_pair_is_no_prompt() -> None:
    with pytest.raises(UsageError, match="no Unicode text"):
        Recipe("a fox \ud800").validated()
