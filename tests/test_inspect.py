"""`firsthand inspect`: real files as their manifest says, damaged and hostile ones without harm."""

import gc
import io
import json
import os
import random
import socket
import sqlite3
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sd_parsers
from PIL import Image
from typer.testing import CliRunner

from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.inspect import Traces, inspect
from provenance.label.mark import embed, mark_key
from provenance.ledger import Ledger, payload_of
from provenance.read.compare import disagreements
from provenance.read.found import Found
from provenance.read.pipelines import _MESSAGES
from provenance.recipe import Recipe
from provenance.verdict import Decision, Verdict
from tests.carriers import chunk, hidden, png, text_chunk, wide_comment, with_exif, xmp
from tests.conftest import PHOTOS, UNKNOWN, labeller, with_second_look
from ui.cli import build
from ui.inspection import page

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
INFO = "a fox\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768"
KEYS = {"path", "error", "made_by", "recipe", "claims", "credentials", "parents", "marks", "ledger"}


# The real files

_NAMES = {"seed": "seed", "steps": "steps", "sampler": "sampler", "sampler_name": "sampler",
          "cfg": "guidance", "scale": "guidance", "cfg_scale": "guidance", "cfgscale": "guidance",
          "guidance_scale": "guidance", "scheduler": "scheduler", "width": "width",
          "height": "height", "model_hash": "model_hash", "base_model_hash": "model_hash",
          "ckpt_name": "model", "base_model": "model", "prompt": "prompt"}  # fmt: skip


def manifest() -> list[dict[str, Any]]:
    file = SHARED / "metadata" / "manifest.json"
    return json.loads(file.read_text()) if file.is_file() else []


@pytest.mark.skipif(not manifest(), reason="real files are not at hand")
def test_real_files_give_what_their_manifest_says() -> None:
    for entry in manifest():
        row = inspect(SHARED / "metadata" / entry["file"])
        expected = entry["expected"]
        if not expected:
            assert row["recipe"] is None
            continue
        for key, value in expected.items():
            _compare(entry["file"], key, value, row)


def _compare(file: str, key: str, value: Any, row: dict[str, Any]) -> None:
    recipe, settings = row["recipe"], row["found"][0]["settings"]
    if key == "scheduler" and "invokeai" in file:
        assert recipe["sampler"] == value  # InvokeAI's word for sampler
    elif key in _NAMES:
        known = recipe[_NAMES[key]]
        assert known == (type(known)(value)), (file, key)
    elif key in ("size", "resolution"):
        size = value.strip("()").replace(", ", "x")
        assert f"{recipe['width']}x{recipe['height']}" == size
    elif key == "model":
        assert recipe["model"] == (value["model_name"] if isinstance(value, dict) else value)
    elif key == "prompt_start":
        assert row["found"][0]["raw"].startswith(value) or recipe["prompt"].startswith(value)
    elif key == "lora":
        assert [recipe["loras"][0]["name"], recipe["loras"][0]["weight"]] == value
    elif key == "civitai_resources":
        assert settings["Civitai resources"] == value
    elif key == "sui_models":
        assert recipe["model_hash"] == value[0]["hash"]
    elif key in ("version", "swarm_version"):
        assert row["made_by"]["version"] == value.removeprefix("Fooocus ")
    elif key in ("denoise", "strength", "noise", "generation_mode", "nodes"):
        assert settings[key] == value
    else:
        assert key == "class_types"


@pytest.mark.skipif(not manifest(), reason="real files are not at hand")
def test_real_files_as_sd_parsers_reads_them() -> None:
    """Seed and steps of every file that it reads; what it fails on is not asked."""
    parsers = sd_parsers.ParserManager()
    for entry in manifest():
        path = SHARED / "metadata" / entry["file"]
        theirs = parsers.parse(path)
        if theirs is None or not theirs.samplers:
            continue
        recipe = inspect(path)["recipe"]
        sampler = theirs.samplers[0]
        assert str(recipe["seed"]) == str(sampler.parameters["seed"])
        assert recipe["prompt"] in str(sampler.prompts[0].value)


# What is told


def write(tmp_path: Path, data: bytes, name: str = "a.png") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_a_plain_picture_says_nothing(tmp_path: Path) -> None:
    row = inspect(write(tmp_path, png()))
    assert row.keys() >= KEYS
    assert (row["made_by"], row["recipe"], row["claims"], row["found"]) == (None, None, [], [])
    assert row["credentials"]["outcome"] == "none"


def test_what_firsthand_saved_is_told(tmp_path: Path) -> None:
    recipe = Recipe(
        "a fox", "fog", "starter", "0123456789", 2**53 + 1, 20, 4.0, "Euler", None, 64, 64
    )
    verdict = Verdict(Decision.CLEAR, ("nothing close",), (), "default-3", "v1", 5)
    saved = labeller()(Image.new("RGB", (64, 64)), recipe, verdict)
    row = inspect(write(tmp_path, saved.data))
    assert row["made_by"]["tool"] == "Firsthand"
    assert row["recipe"] == recipe.to_json()
    assert row["disagreements"] == []
    assert {"what": "verdict", "value": "clear", "source": "PNG iTXt firsthand",
            "strength": "claimed"} in row["claims"]  # fmt: skip


def test_two_texts_that_differ_are_both_told(tmp_path: Path) -> None:
    other = text_chunk("parameters", INFO.replace("Seed: 5", "Seed: 6"))
    row = inspect(write(tmp_path, png({"parameters": INFO}, extra=other)))
    (seed,) = row["disagreements"]
    assert seed["what"] == "seed"
    assert [each["value"] for each in seed["values"]] == [5, 6]


def test_the_same_in_other_words_is_no_difference() -> None:
    one = Recipe("a  fox", "", "dir/m.safetensors", "0xABCDEF012345", 1, sampler="dpmpp_2m_sde_gpu")
    other = Recipe("a fox", "", "M", "abcdef0123", 1, sampler="DPM++ 2M SDE Karras")
    assert disagreements([Found("x", "", "", one), Found("y", "", "", other)]) == []
    euler = [Found("x", "", "", Recipe("f", sampler=name)) for name in ("euler_ancestral", "Euler")]
    assert [each["what"] for each in disagreements(euler)] == ["sampler"]


def test_a_remote_manifest_is_told_and_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    packet = xmp('xmlns:t="http://purl.org/dc/terms/" t:provenance="http://127.0.0.1:9/m.c2pa"')
    row = inspect(write(tmp_path, png({"XML:com.adobe.xmp": packet})))
    assert row["credentials"]["outcome"] == "remote-only"


def test_credentials_that_are_damaged_are_unreadable(tmp_path: Path) -> None:
    row = inspect(write(tmp_path, png(extra=chunk(b"caBX", b"\0\0\0\x10jumb"))))
    assert row["credentials"]["outcome"] == "unreadable"


# The command


def run(*args: str) -> Any:
    return CliRunner().invoke(build(), ["inspect", *args])


def test_the_page_and_the_exit_codes(tmp_path: Path) -> None:
    good = write(tmp_path, png({"parameters": INFO + "\nTemplate: \x1b[31m{red}"}))
    bad = write(tmp_path, b"no picture", "b.png")
    ran = run(str(good))
    assert ran.exit_code == 0
    assert "made by" in ran.output
    assert "claimed" in ran.output
    assert "\x1b[31m" not in ran.output
    assert run(str(good), str(bad)).exit_code == 3
    assert "--json" in run("--help").output


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    texts = {"Software": "\x1b]0;owned\x07tool\x9b2J", "Author": "a\rb\x08"}
    output = run(str(write(tmp_path, png(texts, kind="iTXt")))).output
    assert "tool" in output
    assert not set("\x1b\x07\x9b\r\x08") & set(output)


def test_json_lines(tmp_path: Path) -> None:
    good = write(tmp_path, png({"parameters": INFO}))
    out = tmp_path / "says.jsonl"
    assert run(str(good), "--json", str(out)).exit_code == 0
    assert json.loads(out.read_text())["recipe"]["seed"] == 5
    ran = run(str(good), "--json", "-")
    (line,) = ran.stdout.splitlines()
    assert json.loads(line).keys() >= KEYS


# Hostile files


def seeds() -> list[bytes]:
    """One file of each kind, to be damaged."""
    graph = json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 2}}})
    out = io.BytesIO()
    Image.new("P", (9, 9)).save(out, "GIF", comment=INFO.encode())
    buried = io.BytesIO()
    hidden(INFO).save(buried, "PNG")
    swarm = json.dumps({"sui_image_params": {"prompt": "a fox", "seed": 1}})
    return [
        png({"parameters": INFO}), png({"parameters": INFO}, kind="zTXt", late=True),
        png({"prompt": graph, "XML:com.adobe.xmp": xmp('dc:source="x"')}, kind="iTXt"),
        with_exif("JPEG", comment=wide_comment(INFO)), with_exif("WEBP", comment=swarm),
        with_exif("JPEG", t010e=graph, t0131="NovelAI"), out.getvalue(), buried.getvalue(),
        png({"Software": "NovelAI", "Comment": '{"seed": 1, "uc": "", "signed_hash": "QUJD"}'}),
        png({"invokeai_metadata": '{"seed": 1}', "Dream": '"a [b]" -s 1 -S 2'}),
    ]  # fmt: skip


def hostile() -> Iterator[bytes]:
    """Files made to break readers, one by one."""
    deep, wide = 100_000, 300_000
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a11;</x>'
    outside = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
    for packet in (bomb, outside, "<a>" * deep, "<" * wide, xmp("x" * wide)):
        yield png({"XML:com.adobe.xmp": packet}, kind="iTXt")
    texts = [
        "[" * deep, '{"a":' * deep, '{"1":' + "[" * deep, '{"seed": NaN, "sui_image_params": {}}',
        '{"sui_image_params": {"prompt": [1], "seed": {"a": 1}, "steps": "NaN", "loras": 5}}',
        '{"1": {"class_type": "KSampler", "inputs": {"seed": 1e999, "steps": [["1", 0], 0]}}}',
        '{"1": {"class_type": 5, "inputs": []}, "2": {"class_type": "", "inputs": {"a": [[]]}}}',
        '{"positive_prompt": "\\ud800", "seed": ' + "9" * 4000 + "}", '{"image": {"prompt": 5}}',
        '{"base_model": 1, "prompt": 2, "seed": [], "loras": [[], [[], {}], "x"]}',
        '{"nodes": [5, {"id": [], "inputs": 3}], "links": [5, [1], [[], 2, 3]]}',
        f"a\nSteps: 1, {'a:' * wide}", f"Steps: 1, {'x' * wide}", INFO + ", Seed: " + "9" * 5000,
        "Steps: 20, Sampler: Euler, Civitai metadata: {\"remixOfId\": " + "9" * 30 + "}",
        '"' + "[" * wide + '" -s 1', "--a " * deep, "Job ID: " * deep, "<lora:" * deep,
        '{"a":[' + "[]," * 1_000_000 + "0]}", "\ud800".encode("utf-8", "replace").decode(),
        '{"c": "x", "uc": [], "lora": [1, {"weight": "x"}], "size": 5}',
        '{"firsthand": 1, "decision": [], "recipe": {"prompt": 3}}',
    ]  # fmt: skip
    for key in ("parameters", "prompt", "invokeai_metadata", "Dream", "Comment", "Description",
                "workflow", "sd-metadata", "firsthand", "AIGC", "postprocessing"):  # fmt: skip
        for text in texts:
            yield png({key: text, "Software": "NovelAI"}, kind="zTXt", late=True)
    plain = png({"parameters": INFO})
    for length in (2**31 - 1, 2**32 - 1, 2**31):
        yield plain[:33] + struct.pack(">I", length) + plain[37:]
    many = b"".join(text_chunk("parameters", INFO.replace("5", str(n))) for n in range(5_000))
    yield png(late=True, extra=many)
    yield png(
        late=True, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"\0" * 50_000_000)) * 8
    )


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Some bits flipped, a piece cut out, moved or repeated, a number made huge."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(out))
        match rng.randrange(5):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + rng.choice((1, 4, 40, len(out)))]
            case 2:
                out[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            case 3:
                out[at:at] = out[at // 2 : at // 2 + rng.randrange(200)]
            case _:
                out[at : at + 8] = rng.randbytes(8)
        out = out or bytearray(b"\0")
    return bytes(out)


def test_the_library_is_asked_where_there_is_one(tmp_path: Path, known_folder: Path) -> None:
    file = tmp_path / "small.jpg"
    Image.open(PHOTOS / "coffee.png").convert("RGB").resize((300, 200)).save(file)
    home = tmp_path / "home"
    with Library.create(home / "library", with_second_look().specs) as library:
        ingest(FolderSource(known_folder), library, with_second_look)
    (row,) = map(json.loads, run(str(file), "--json", "-").output.splitlines())
    assert (row["matches"][0]["title"], row["matches"][0]["why"]) == ("coffee.png", "copy")
    assert row["library"]["references"] == 5
    assert "copy of coffee.png" in str(page(row))
    (row,) = map(json.loads, run(str(file), "--json", "-", "--no-matches").output.splitlines())
    assert row["matches"] is None


def test_the_ledgers_commands(made_here: tuple[Traces, Path], tmp_path: Path) -> None:
    def ledger(*args: str) -> Any:
        return CliRunner().invoke(build(), ["ledger", *args])

    assert ledger("list").output.rstrip().endswith("a cup")
    head = made_here[0].ledger and made_here[0].ledger.head
    assert f"1 entries, each as it was made; the last digest is {head}" in ledger("verify").output
    assert ledger("export", str(tmp_path / "l.jsonl")).exit_code == 0
    (line,) = (tmp_path / "l.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["digest"] == head
    assert ledger("list", "--json", "-").output == line + "\n"
    assert ledger("export", "-").stdout == line + "\n"
    assert not Path("-").exists()
    with sqlite3.connect(tmp_path / "home" / "ledger.sqlite") as database:
        database.execute("DROP TRIGGER entry_stays")
        database.execute("UPDATE entry SET made = '2020-01-01'")
    database.close()
    assert "entry 1 was changed" in str(ledger("verify").exception)


def test_a_ledger_lists_what_a_terminal_can_print(tmp_path: Path) -> None:
    verdict = Verdict(Decision.CLEAR, (), (), "default-5", "v1", 5)
    with Ledger(tmp_path / "home" / "ledger.sqlite") as ledger:
        ledger.add(png(), Recipe("a fox \x9b31m red \u202e"), verdict)
    shown = CliRunner().invoke(build(), ["ledger", "list"]).output
    assert "a fox \ufffd31m red \ufffd" in shown


def test_a_record_with_numbers_that_are_none(tmp_path: Path) -> None:
    recipe = '{"prompt": "x", "guidance": 1e999, "loras": [{"name": "a", "weight": 1e999}]}'
    row = inspect(
        write(tmp_path, png({"firsthand": f'{{"decision": "clear", "recipe": {recipe}}}'}))
    )
    assert row["recipe"] is None
    assert "verdict: clear" in str(page(row))
    lora = {"name": "a", "weight": None, "hash": None}
    known = Recipe("x").to_json() | {"loras": [lora]}
    assert "a x unknown" in str(page(row | {"recipe": known}))


# What is in the pixels, and what was made here


def blue_blocks(message: str, blocks: int) -> Image.Image:
    """Blue differences as dwtDct leaves them: the greatest of 4 x 4 Haar means says the bit."""
    pixels = np.full((blocks * 8, blocks * 8, 3), 100, np.uint8)
    for number in range(blocks * blocks):
        top, left = 8 * (number // blocks), 8 * (number % blocks)
        more = 68 if message[number % len(message)] == "1" else 47
        pixels[top + 2 : top + 4, left + 4 : left + 6, 2] = 100 + more
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", _MESSAGES)
def test_marks_of_pipelines_are_told_as_measured(tmp_path: Path, name: str) -> None:
    message = _MESSAGES[name]
    row = inspect(write(tmp_path, png(image=blue_blocks(message, 40))))
    (mark,) = row["marks"]
    assert mark["value"] == f"{name}-like ({len(message)} of {len(message)} bits)"
    assert mark["strength"] == "measured"
    assert name in str(page(row | {"path": "x"}))


def test_a_read_only_home_is_looked_into(
    made_here: tuple[Traces, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    traces, file = made_here
    assert traces.ledger
    traces.ledger.__exit__()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    done = CliRunner().invoke(build(), ["inspect", str(file), "--json", "-"])
    assert json.loads(done.stdout)["ledger"]["recovered"] == "file"
    assert CliRunner().invoke(build(), ["ledger", "verify"]).exit_code == 0


def test_ordinary_pictures_have_no_marks(tmp_path: Path) -> None:
    for name in UNKNOWN:
        assert inspect(PHOTOS / name)["marks"] == []
    broken = blue_blocks("10" * 24, 40)
    assert inspect(write(tmp_path, png(image=broken)))["marks"] == []


@pytest.fixture
def made_here(tmp_path: Path) -> Iterator[tuple[Traces, Path]]:
    """A home in which one marked picture was made; the picture's file."""
    key = mark_key(tmp_path / "home" / "mark.key")
    recipe = Recipe("a cup", "", "m", "0123456789", 5, 20, 4.0, "Euler", None, 320, 240)
    photo = Image.open(PHOTOS / "coffee.png").convert("RGB").resize((320, 240))
    marked = embed(photo, key, payload_of(recipe))
    verdict = Verdict(Decision.CLEAR, (), (), "default-5", "v1", 5)
    file = write(tmp_path, labeller()(marked, recipe, verdict).data, "made.png")
    with Ledger(tmp_path / "home" / "ledger.sqlite") as ledger:
        ledger.add(file.read_bytes(), recipe, verdict, payload=payload_of(recipe))
        yield Traces(key, ledger), file


@pytest.mark.parametrize("way", ["file", "pixels", "mark", "similarity"])
def test_what_was_made_here_is_recovered(
    tmp_path: Path, made_here: tuple[Traces, Path], way: str
) -> None:
    traces, file = made_here
    image = Image.open(file).convert("RGB")
    if way == "pixels":
        image.save(file, "WEBP", lossless=True)
    elif way == "mark":
        image.crop((20, 6, 320, 236)).save(file, "JPEG", quality=70)
    elif way == "similarity":
        traces = Traces(bytes(32), traces.ledger)
        image.resize((200, 150)).save(file, "JPEG", quality=50)
    row = inspect(file, traces=traces)
    assert row["ledger"]["recovered"] == way
    assert row["ledger"]["recipe"]["prompt"] == "a cup"
    marks = [mark["what"] for mark in row["marks"]]
    assert marks == ([] if way == "similarity" else ["firsthand-mark"])
    shown = " ".join(str(page(row)).split())
    assert f"made here on {row['ledger']['made'][:10]}, entry 1, recovered by" in shown
    assert "verified" not in shown


def test_what_was_not_made_here_has_no_entry(made_here: tuple[Traces, Path]) -> None:
    row = inspect(PHOTOS / "chelsea.png", traces=made_here[0])
    assert (row["ledger"], row["marks"]) == (None, [])


def test_a_large_picture_takes_little_memory(
    tmp_path: Path, made_here: tuple[Traces, Path]
) -> None:
    """What numpy and Python take, that is; Pillow holds the pixels besides."""
    file = tmp_path / "large.png"
    Image.new("RGB", (8000, 6000), "teal").save(file, compress_level=1)
    tracemalloc.start()
    inspect(file, traces=made_here[0])
    assert tracemalloc.get_traced_memory()[1] < 500 * 2**20
    tracemalloc.stop()


@pytest.fixture
def _alone() -> Iterator[None]:
    """What other tests left in memory is not collected over and over in the time of these."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def survives(path: Path, data: bytes) -> float:
    """Inspects the bytes; the processor's seconds that it took."""
    path.write_bytes(data)
    began = time.process_time()
    row = inspect(path)
    took = time.process_time() - began
    json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    assert row["path"] == str(path)
    return took


@pytest.mark.usefixtures("_alone")
def test_hostile_files_do_no_harm(tmp_path: Path) -> None:
    for number, data in enumerate(hostile()):
        assert survives(tmp_path / "x", data) < 2, number


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("seed", [6])
def test_mutated_files_do_no_harm(tmp_path: Path, seed: int) -> None:
    rng, kinds = random.Random(seed), seeds()
    for number in range(300):
        took = survives(tmp_path / "x", mutated(rng, kinds[number % len(kinds)]))
        assert took < 2, number
