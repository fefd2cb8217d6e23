"""Devices: the policy as a table; memory that runs out; what makes a denoiser faster or smaller."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from gen import devices
from gen.devices import GIB, Device, Engine, Plan, dtype_for, found, out_of_memory, plan
from gen.families import STARTER
from gen.models import ModelSpec, resolve
from gen.pipeline import DiffusersPainter, Painter, load
from provenance.errors import MissingError, UsageError
from provenance.recipe import Lora, Recipe
from tests import tiny_pipelines
from tests.test_painter import pixels
from ui.cli import build
from ui.settings import load_settings

CARD = Device("cuda", "cuda:0", "a card", 24 * GIB, True)
CPU = Device("cpu", "cpu", "the CPU (4 cores)")
MEMORY_OF_ITS_OWN = Device("mps", "cpu", "a pretended card", 24 * GIB)
"""The CPU, treated as a device to offload from."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    room = tmp_path_factory.mktemp("models")
    return {
        family: resolve(str(tiny_pipelines.write(family, room / family)))
        for family in ("sd15", "flux")
    }


def paint(painter: Painter, **changes: Any) -> NDArray[np.uint8]:
    given = {"steps": 2, "width": 64, "height": 64, **changes}
    recipe = painter.complete(Recipe("a fox", seed=1, **given))
    return np.asarray(painter.paint(recipe, lambda *_: None))


# --- the policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "sizes", "offload", "batch"),
    [
        (80, (7, 1), "none", 8),
        (14, (7, 1), "none", 2),
        (11, (7, 1), "none", 1),
        (10.5, (7, 1), "model", 1),
        (32, (22, 9), "model", 4),
        (24, (22, 9), "group", 8),
        (4, (22, 9), "sequential", 3),
        (1, (22, 9), "sequential", 1),
    ],
)
def test_offload_and_batch_follow_the_free_memory(
    free: float, sizes: tuple[int, ...], offload: str, batch: int
) -> None:
    card = Device("cuda", "cuda:0", "a card", int(free * GIB))
    made = plan(card, "bfloat16", [size * GIB for size in sizes], Engine())
    assert (made.offload, made.batch) == (offload, batch)


def test_small_models_have_a_core_for_each_batch_and_large_ones_all_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 4)
    small, large = (plan(CPU, "float32", [size], Engine()) for size in (10**6, 2 * GIB))
    assert (small.batch, small.one_core_each) == (16, True)
    assert (large.batch, large.one_core_each) == (1, False)
    for engine in (Engine(weights="fp8"), Engine(attention="native")):
        kept = plan(CPU, "float32", [10**6], engine)
        assert (kept.batch, kept.one_core_each) == (1, False)
    assert plan(CPU, "float32", [2 * GIB], Engine(batch=3)).batch == 3


@pytest.mark.parametrize(
    ("device", "engine", "dtype"),
    [
        (CARD, Engine(), "bfloat16"),
        (Device("cuda", "cuda:0", "an older card"), Engine(), "float16"),
        (CPU, Engine(), "float32"),
        (CPU, Engine(dtype="bfloat16"), "bfloat16"),
        (CARD, Engine(dtype="float32"), "float32"),
    ],
)
def test_the_dtype_follows_the_device(device: Device, engine: Engine, dtype: str) -> None:
    assert dtype_for(device, engine) == dtype


def test_the_plan_says_what_it_is() -> None:
    assert str(plan(CARD, "bfloat16", [7 * GIB], Engine(offload="model", batch=1))) == (
        "painting on a card (CUDA, cuda:0), bfloat16, model offload, 1 picture at a time: "
        "weights of 7.0 GiB, 24.0 GiB free"
    )
    assert str(plan(CPU, "float32", [GIB], Engine())) == (
        "painting on the CPU (4 cores), float32, no offload, 1 picture at a time: "
        "no accelerator is used"
    )


def test_relief_halves_the_batch_then_offloads_more_then_says_what_would_help() -> None:
    at, steps = Plan(CARD, "bfloat16", "none", 6, ""), []
    for _ in range(5):
        at = at.relieved()
        steps.append((at.batch, at.offload))
    assert steps == [
        (3, "none"), (1, "none"), (1, "model"), (1, "group"), (1, "sequential")
    ]  # fmt: skip
    with pytest.raises(MissingError, match=r"a card has too little memory .* smaller --size"):
        at.relieved()
    with pytest.raises(MissingError, match="too little memory"):
        Plan(CPU, "float32", "none", 1, "").relieved()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Engine(dtype="fp16"), "dtype is one of float32, bfloat16, float16; got 'fp16'"),
        (Engine(offload="all"), "offload is one of none, model"),
        (Engine(weights="int4"), "weights is one of fp8, int8"),
        (Engine(batch=0), "batch is a number from 1"),
        (Engine(preset="great"), "preset is one of fast, balanced, best"),
        (Engine(device="cuda:99"), "no device 'cuda:99' here"),
        (Engine(device="tpu"), "no device 'tpu' here; there is .*cpu"),
        (Engine(device="cpu", offload="model"), "offload model is for accelerators"),
    ],
)
def test_options_that_are_none_say_what_would_be(engine: Engine, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(resolve("starter"), engine=engine)


def test_the_cpu_is_always_there() -> None:
    assert found("cpu").place == "cpu"
    assert found(None).place


def test_options_come_before_the_environment_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text('device = "cpu"\nbatch = 3\ncompile = true\n')
    monkeypatch.setenv("FIRSTHAND_BATCH", "5")
    settings = load_settings(home=tmp_path, engine={"preset": "best"})
    assert settings.engine == Engine(device="cpu", batch=5, compile=True, preset="best")
    assert not load_settings(home=tmp_path, engine={"compile": False}).compile
    with pytest.raises(UsageError, match="batch is a number from 1, got 'many'"):
        load_settings(home=tmp_path, engine={"batch": "many"})


def test_that_files_may_run_code_is_said_with_each_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(home=tmp_path, unsafe_pickle=True).unsafe_pickle
    monkeypatch.setenv("FIRSTHAND_UNSAFE_PICKLE", "true")
    with pytest.raises(UsageError, match=r"give --unsafe-pickle with the command"):
        load_settings(home=tmp_path)
    monkeypatch.delenv("FIRSTHAND_UNSAFE_PICKLE")
    (tmp_path / "settings.toml").write_text("unsafe_pickle = true\n")
    with pytest.raises(UsageError, match=r"settings\.toml: give --unsafe-pickle"):
        load_settings(home=tmp_path)


def test_the_command_says_where_it_paints_and_takes_a_preset(known_folder: Path) -> None:
    CliRunner().invoke(build(), ["index", "add", str(known_folder)], catch_exceptions=False)
    given = ["generate", "a fox", "--seed", "1", "--preset", "fast", "--batch", "2", "-n", "2"]
    given += ["--size", "64x64", "--out", str(known_folder.parent / "out"), "--json", "-"]
    ran = CliRunner().invoke(build(), given, catch_exceptions=False)
    assert re.search(r"^painting on the CPU \(.*up to 2 at once", ran.stderr, re.MULTILINE)
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["recipe"]["steps"] for row in rows] == [STARTER.steps // 2] * 2


# --- memory --------------------------------------------------------------------------------------


class Small:
    """Memory for so many rows: more of them raise what torch raises when it has none left."""

    def __init__(self, rows: int) -> None:
        self.rows, self.seen = rows, [0]

    def __call__(self, _: Any, args: tuple[Any, ...]) -> None:
        import torch

        self.seen.append(len(args[0]))
        if len(args[0]) > self.rows:
            torch.empty(2**56)


def test_torch_says_in_several_ways_that_memory_is_out() -> None:
    import torch

    with pytest.raises(RuntimeError) as real:
        torch.empty(2**56)
    assert out_of_memory(real.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB"))
    assert not out_of_memory(RuntimeError("a shape is wrong"))
    assert not out_of_memory(OSError("out of memory"))


def test_where_memory_runs_out_fewer_are_painted_at_once(specs: dict[str, ModelSpec]) -> None:
    painter = load(specs["sd15"], engine=Engine(batch=8))
    first = painter.complete(Recipe("a fox", seed=1, steps=1, width=64, height=64))
    recipes = [first.with_changes(seed=seed) for seed in range(7)]
    whole = pixels(painter.paint_each(recipes, lambda *_: None))
    small = Small(4)  # two pictures, guided
    painter.pipeline.unet.register_forward_pre_hook(small)
    fewer = pixels(painter.paint_each(recipes, lambda *_: None))
    assert np.array_equal(fewer, whole)
    assert painter.batch == 1 or max(small.seen[-3:]) <= 4
    small.rows = 1
    with pytest.raises(MissingError, match="too little memory for one picture"):
        painter.paint(first, lambda *_: None)
    small.rows = 8
    again = painter.paint(first.with_changes(seed=0), lambda *_: None)
    assert np.array_equal(np.asarray(again), whole[0])


def test_with_one_at_a_time_it_offloads_more(specs: dict[str, ModelSpec]) -> None:
    painter = load(specs["sd15"], engine=Engine(batch=2, dtype="float32"),
                   device=MEMORY_OF_ITS_OWN)  # fmt: skip
    plain, tries = paint(painter), []

    def fail_twice(*_: Any) -> None:
        import torch

        tries.append(painter.plan.offload)
        if len(tries) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    painter.pipeline.unet.register_forward_pre_hook(fail_twice)
    assert (paint(painter) == plain).all()
    assert tries[:3] == ["none", "model", "group"]
    assert "group offload" in str(painter.plan)


def test_weights_that_do_not_fit_are_offloaded_more(specs: dict[str, ModelSpec]) -> None:
    painter = load(specs["sd15"], engine=Engine(batch=2, dtype="float32"),
                   device=MEMORY_OF_ITS_OWN)  # fmt: skip
    plain, tries = paint(painter), []

    def fail(*_: Any, **__: Any) -> None:
        import torch

        tries.append(painter.plan.offload)
        if len(tries) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    painter.pipeline.unet.register_forward_pre_hook(fail)
    painter.pipeline.enable_model_cpu_offload = fail
    assert (paint(painter) == plain).all()
    assert tries[:3] == ["none", "model", "group"]  # the second time while it was placed
    assert painter.plan.offload == "group"


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_offload_changes_the_last_bit_at_most(specs: dict[str, ModelSpec], family: str) -> None:
    """Weights that have moved may be aligned otherwise, and are then summed in another order."""
    plain = paint(load(specs[family], engine=Engine(dtype="float32"), device=MEMORY_OF_ITS_OWN))
    for offload in devices.OFFLOADS[1:]:
        engine = Engine(dtype="float32", offload=offload)
        painter = load(specs[family], engine=engine, device=MEMORY_OF_ITS_OWN)
        first = paint(painter)
        assert np.abs(first.astype(int) - plain).max() <= 1, offload
        assert (first == paint(painter)).all(), f"{offload}, again"


def test_encodings_outlast_offloading(specs: dict[str, ModelSpec]) -> None:
    painter = load(specs["sd15"], engine=Engine(offload="model"), device=MEMORY_OF_ITS_OWN)
    read: list[int] = []
    painter.pipeline.text_encoder.encoder.register_forward_pre_hook(lambda *_: read.append(1))
    for _ in range(3):
        paint(painter, negative="fog")
    assert len(read) == 2


# --- faster, smaller -----------------------------------------------------------------------------


def weights_of(painter: DiffusersPainter) -> int:
    return sum(value.nbytes for value in painter.pipeline.unet.parameters())


def test_kept_weights_are_smaller_and_said_in_the_recipe(specs: dict[str, ModelSpec]) -> None:
    plain, kept = (load(specs["sd15"], engine=Engine(weights=how)) for how in (None, "fp8"))
    assert weights_of(kept) < 0.6 * weights_of(plain)
    assert kept.complete(Recipe("x", seed=1)).precision == "fp8 weights, float32"
    assert plain.complete(Recipe("x", seed=1)).precision is None
    one = paint(kept)
    assert (one == paint(kept)).all()
    assert (one != paint(plain)).any()


def test_a_lora_goes_on_kept_weights(specs: dict[str, ModelSpec], tmp_path: Path) -> None:
    lora = tiny_pipelines.lora(tmp_path / "ink.safetensors", "sd15")
    painter = load(specs["sd15"], engine=Engine(weights="fp8"))
    plain = paint(painter)
    assert np.abs(paint(painter, loras=(Lora(str(lora)),)).astype(int) - plain).mean() > 5
    assert (paint(painter) == plain).all()


def test_bfloat16_is_said_in_the_recipe(specs: dict[str, ModelSpec]) -> None:
    painter = load(specs["sd15"], engine=Engine(dtype="bfloat16"))
    assert painter.complete(Recipe("x", seed=1)).precision == "bfloat16"
    assert (paint(painter) == paint(painter)).all()
    starter = load(resolve("starter"), engine=Engine(dtype="bfloat16"))
    assert paint(starter).shape == (64, 64, 3)


def test_int8_says_what_it_needs(specs: dict[str, ModelSpec]) -> None:
    pytest.importorskip("torchao")
    painter = load(specs["sd15"], engine=Engine(weights="int8"))
    assert painter.complete(Recipe("x", seed=1)).precision == "int8 weights, float32"
    assert (paint(painter) == paint(painter)).all()


def test_caching_is_in_the_recipe_and_repeats(specs: dict[str, ModelSpec]) -> None:
    painter = load(specs["flux"], engine=Engine(preset="fast"))
    recipe = painter.complete(Recipe("a fox", seed=1, width=64, height=64))
    assert (recipe.steps, recipe.cache) == (14, 0.08)
    plain = paint(painter, steps=8, cache=0)
    cached = paint(painter, steps=8, cache=0.9)
    assert (plain != cached).any()
    recipe = painter.complete(Recipe("a fox", seed=1, steps=8, width=64, height=64, cache=0.9))
    both = painter.paint_each([recipe, recipe.with_changes(seed=2)], lambda *_: None)
    assert (np.asarray(both[0]) == cached).all()
    assert (paint(painter, steps=8, cache=0) == plain).all()


def test_caching_where_there_is_none_is_refused(specs: dict[str, ModelSpec]) -> None:
    with pytest.raises(UsageError, match="takes no first-block caching"):
        load(specs["sd15"]).complete(Recipe("x", seed=1, cache=0.1))
    assert load(specs["sd15"], engine=Engine(preset="fast")).complete(
        Recipe("x", seed=1)
    ).cache is None  # fmt: skip


def test_presets_are_shares_of_the_usual_steps(specs: dict[str, ModelSpec]) -> None:
    steps = [
        load(specs["sd15"], engine=Engine(preset=preset)).complete(Recipe("x", seed=1)).steps
        for preset in ("fast", "balanced", "best")
    ]
    assert steps == [12, 25, 50]


def test_attention_backends_say_where_there_are_none(specs: dict[str, ModelSpec]) -> None:
    before = paint(load(specs["flux"]))
    painter = load(specs["flux"], engine=Engine(attention="_native_math"))
    assert (paint(painter) == paint(painter)).all()
    assert (before == paint(load(specs["flux"]))).all(), "other models keep their own"
    for backend, error, message in (
        ("fastest", UsageError, "no attention 'fastest'.*native"),
        ("flash", MissingError, "attention 'flash' does not run here"),
    ):
        with pytest.raises(error, match=message):
            load(specs["flux"], engine=Engine(attention=backend))
    with pytest.raises(UsageError, match="has one attention only"):
        load(specs["sd15"], engine=Engine(attention="native"))
