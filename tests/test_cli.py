"""The commands as a user runs them: help, exit codes, JSON, what is on disk afterwards."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from provenance.verdict import DEFAULT_POLICY
from tests import tiny
from tests.conftest import PHOTOS
from tests.test_images import bomb
from ui.settings import load_settings

FIRSTHAND = [sys.executable, "-c", "from ui.cli import main; main()"]
COMMANDS = [
    ["generate"], ["batch"], ["audit"], ["check"], ["inspect"], ["credentials"], ["models"],
    ["serve"], ["demo"],
    ["models", "calibrate"],
    ["index", "add"], ["index", "describe"], ["index", "info"], ["index", "search"],
    ["index", "remove"], ["index", "calibrate"], ["index", "verify"],
    ["ledger", "list"], ["ledger", "verify"], ["ledger", "export"],
]  # fmt: skip


def firsthand(*args: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [*FIRSTHAND, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def indexed(known_folder: Path) -> Path:
    done = firsthand("index", "add", known_folder)
    assert done.returncode == 0, done.stderr
    assert "5 added, 0 already there, 0 unreadable" in done.stdout
    return known_folder


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    shown = firsthand(*command, "--help")
    assert shown.returncode == 0
    assert f"Example: firsthand {' '.join(command)}" in " ".join(shown.stdout.split())


def test_every_command_is_in_the_list_above() -> None:
    groups = [[], ["index"], ["ledger"], ["models"]]
    listed = [
        [*group, line.split()[0]]
        for group in groups
        for line in firsthand(*group, "--help").stdout.split("Commands:")[1].splitlines()
        if re.match(r"  \w", line) and "Example:" not in line
    ]
    assert sorted(listed) == sorted([*COMMANDS, ["index"], ["ledger"]])


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["generate", "a fox"], 4, "no library at"),
        (["check", "x.png"], 4, "no library at"),
        (["generate", "a fox", "--size", "big"], 2, "a size is WxH"),
        (["generate", "a fox", "--seed", "-1"], 2, "seed must be from 0"),
        (["generate", " "], 2, "prompt is empty"),
        (["generate", "a fox", "--lora", "x:heavy"], 2, "a LoRA is NAME"),
        (["audit", "none"], 2, "no such file or folder"),
        (["audit", "."], 2, "no pictures in ."),
        (["index", "add", "none"], 2, "no such file or folder"),
        (["index", "remove"], 2, "say what to remove"),
        (["batch", "none.txt", "--out", "o"], 2, "none.txt"),
        (["index", "info"], 4, "firsthand index add"),
        (["ledger", "verify"], 4, "no ledger at"),
        (["generate", "a fox", "--json", "."], 2, "is a folder; give the name of a file"),
        (["check", "x.png", "--json", "."], 2, "is a folder; give the name of a file"),
        (["audit", ".", "--report", "."], 2, "is a folder; give the name of a file"),
        (["check", "x.png", "--library", "~nobody-of-this-name/l"], 2, "no such home folder"),
        (["nonsense"], 2, "No such command"),
        (["audit", ".", "--workers", "0"], 2, "workers"),
    ],
)
def test_errors_are_one_line_with_the_right_code(
    tmp_path: Path, args: list[str], code: int, message: str
) -> None:
    failed = firsthand(*args, cwd=tmp_path)
    assert failed.returncode == code
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


def test_audit_reports_copies_and_writes_every_report(tmp_path: Path, indexed: Path) -> None:
    done = firsthand(
        "audit",
        indexed,
        "--json",
        "-",
        "--report",
        tmp_path / "r.html",
        "--csv",
        tmp_path / "r.csv",
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["decision"] for row in rows] == ["block"] * 5
    for row in rows:
        assert row["matches"][0]["uri"] == Path(row["path"]).resolve().as_uri()
        assert row["matches"][0]["score"] == 1
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert len((tmp_path / "r.csv").read_text("utf-8-sig").splitlines()) == 6
    assert not list((tmp_path / "home" / "audits").glob("*"))


def test_audit_groups_near_duplicates(tmp_path: Path, indexed: Path) -> None:
    folder = tmp_path / "stock"
    folder.mkdir()
    photo = Image.open(PHOTOS / "hubble_deep_field.jpg").convert("RGB").resize((500, 436))
    photo.save(folder / "a.png")
    assert firsthand("audit", folder).stdout == "1 pictures: 1 clear\n"
    photo.crop((50, 50, 450, 400)).save(folder / "b.png")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    done = firsthand("audit", folder, folder.resolve() / "a.png")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"group 1    {folder}/a.png, {folder}/b.png, {folder}/c.png",
        "3 pictures: 3 clear",
        "3 pictures in 1 group of near duplicates",
    ]
    for option, group in (("--fast", [1, None, 1]), ("--no-groups", [None] * 3)):
        rows = firsthand("audit", folder, option, "--json", "-").stdout.splitlines()
        told = [json.loads(row)["group"] for row in rows]
        assert [each and each["id"] for each in told] == group
    assert not list((tmp_path / "home" / "audits").glob("*"))
    assert indexed


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_a_killed_audit_goes_on_with_its_groups(
    tmp_path: Path, indexed: Path, sent: int, code: int
) -> None:
    """Killed by itself, as it is about to tell of the sixth picture."""
    folder = tmp_path / "entries"
    folder.mkdir()
    for number in range(12):
        photo = Image.open(PHOTOS / "hubble_deep_field.jpg").convert("RGB").resize((500, 436))
        photo.crop((0, 0, 500 - number, 436)).save(folder / f"{number:02}.png")
    audits = tmp_path / "home" / "audits"
    script = (
        "import os, provenance.audit as audits\n"
        "add = audits.Journal.add\n"
        "def dying(journal, *given):\n"
        "    if len(journal._found) + dying.done == 5:\n"
        f"        os.kill(os.getpid(), {int(sent)})\n"
        "    dying.done += 1\n"
        "    add(journal, *given)\n"
        "dying.done = 0\n"
        "audits.Journal.add = dying\n"
        "from ui.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script, "audit", str(folder)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == code
    assert ("give the same command again to go on" in killed.stderr) == (sent == signal.SIGTERM)
    assert _lines(audits) == 6, "the basis, and five findings"
    again = firsthand("audit", folder)
    assert again.stdout.splitlines()[-1] == "12 pictures in 1 group of near duplicates"
    assert not list(audits.glob("*"))
    assert indexed


def _lines(audits: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in audits.glob("*/journal.jsonl"))


def test_exit_codes_of_an_audit(tmp_path: Path, indexed: Path) -> None:
    clear = tmp_path / "clear"
    clear.mkdir()
    Image.open(PHOTOS / "hubble_deep_field.jpg").save(clear / "a.png")
    assert firsthand("audit", clear).returncode == 0
    assert firsthand("audit", clear, "--fast").returncode == 0
    assert firsthand("audit", clear, indexed).returncode == 1
    assert firsthand("audit", clear, "--policy", "none.toml").returncode == 2
    (clear / "broken.jpg").write_bytes(b"")
    done = firsthand("audit", clear, indexed)
    assert done.returncode == 3
    assert "1 unreadable" in done.stdout
    assert "the file is empty" in done.stdout


def test_every_odd_file_gets_one_line_and_the_audit_goes_on(tmp_path: Path, indexed: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    photo = Image.open(PHOTOS / "hubble_deep_field.jpg").convert("RGB").resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "rotated.jpg", exif=exif)
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("RGBA").save(folder / "transparent.png")
    photo.convert("I;16").save(folder / "sixteen.png")
    photo.save(folder / "animated.gif", save_all=True, append_images=[photo.rotate(90)])
    Image.new("RGB", (1, 1)).save(folder / "one-pixel.png")
    (folder / "bomb.png").write_bytes(bomb(50_000))
    (folder / "broken.jpg").write_bytes((PHOTOS / "rocket.jpg").read_bytes()[:3000])
    (folder / "empty.webp").touch()
    (folder / "text.png").write_text("this is no picture")
    done = firsthand("audit", folder, "--json", "-")
    rows = {Path(row["path"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 3
    assert {name for name, row in rows.items() if row["error"]} == {
        "bomb.png", "broken.jpg", "empty.webp", "text.png",
    }  # fmt: skip
    decided = {name: row["decision"] for name, row in rows.items() if not row["error"]}
    assert decided == {
        "rotated.jpg": "clear", "cmyk.jpg": "clear", "transparent.png": "clear",
        "sixteen.png": "clear", "animated.gif": "review", "one-pixel.png": "review",
    }  # fmt: skip
    assert indexed


def test_check_names_the_nearest(indexed: Path) -> None:
    done = firsthand("check", indexed / "coffee.png", indexed / "rocket.jpg")
    assert done.returncode == 1
    assert done.stdout.count("the same pixels as") == 2
    assert "5 references" in done.stdout


def test_index_search_info_remove_verify(indexed: Path) -> None:
    found = firsthand("index", "search", indexed / "coffee.png", "-k", 3, "--json", "-")
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(rows) == 3
    assert (rows[0]["title"], rows[0]["score"]) == ("coffee.png", 1)
    assert "references   5" in firsthand("index", "info").stdout
    assert firsthand("index", "verify").stdout == "the library is sound\n"
    assert "calibrated   no: firsthand index calibrate" in firsthand("index", "info").stdout
    few = firsthand("index", "calibrate", "--report", "calibration.html")
    assert few.returncode == 2
    assert "at least 200 pictures with enough detail, there are 5" in few.stderr
    again = firsthand("index", "add", indexed)
    assert "0 added, 5 already there" in again.stdout
    gone = firsthand("index", "remove", indexed / "coffee.png")
    assert "1 removed, 4 references left" in gone.stdout
    assert firsthand("index", "remove", "none").returncode == 2
    assert "4 removed" in firsthand("index", "remove", "--source", "known").stdout


def test_generate_saves_what_is_clear(tmp_path: Path, indexed: Path) -> None:
    assert indexed
    done = firsthand(
        "generate", "a fox in the snow", "-n", 2, "--seed", 5, "--steps", 8,
        "--out", "pictures", "--json", "rows.jsonl", cwd=tmp_path,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in rows] == [5, 6]
    assert done.returncode == int(any(row["decision"] != "clear" for row in rows))
    files = {row["file"] for row in rows if row["file"]}
    assert files
    assert files == {str(p.relative_to(tmp_path)) for p in (tmp_path / "pictures").iterdir()}
    again = firsthand("generate", "a fox in the snow", "--seed", 5, "--steps", 8, cwd=tmp_path)
    assert again.returncode == 0
    assert len(list((tmp_path / "pictures").iterdir())) == len(files) + 1


def test_what_was_generated_is_recovered_without_its_metadata(
    tmp_path: Path, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indexed
    monkeypatch.setenv("FIRSTHAND_MARK", "true")
    made = firsthand("generate", "a fox in the snow", "--seed", 5, "--steps", 8, cwd=tmp_path)
    (file,) = (tmp_path / "pictures").iterdir()
    assert made.returncode == 0
    lost = tmp_path / "lost.webp"
    Image.open(file).convert("RGB").save(lost, lossless=True)
    resized = tmp_path / "resized.jpg"
    Image.open(file).convert("RGB").resize((300, 300)).save(resized, quality=90)
    told = firsthand("inspect", file, lost, resized, "--no-matches", "--json", "-")
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [row["ledger"]["recovered"] for row in rows] == ["file", "pixels", "mark"]
    assert {row["ledger"]["recipe"]["seed"] for row in rows} == {5}
    assert rows[0]["ledger"]["manifest"].startswith("urn:c2pa:")
    assert all(row["marks"][0]["what"] == "firsthand-mark" for row in rows)
    for marks, recovered in (((), "similarity"), (("--marks",), "mark")):
        (line,) = firsthand("audit", resized, *marks, "--json", "-").stdout.splitlines()
        says = json.loads(line)["labels"]
        assert says["ledger"]["recovered"] == recovered
        assert bool(says.get("marks")) == bool(marks)
    assert "1 entries, each as it was made" in firsthand("ledger", "verify").stdout
    (audited,) = firsthand("audit", file, "--fast", "--json", "-").stdout.splitlines()
    labels = json.loads(audited)["labels"]
    assert labels["credentials"]["outcome"] == "trusted"
    assert labels["ledger"]["recovered"] == "pixels"
    small = firsthand("generate", "a fox", "--size", "64x64", cwd=tmp_path)
    assert small.returncode == 1
    assert "refused before painting: an invisible mark" in small.stdout


def test_a_gallery_recipe_is_refused_and_its_near_copy_blocked(tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    (tmp_path / "empty").mkdir()
    firsthand("index", "add", tmp_path / "empty")
    first = firsthand("generate", "a car in the city", "--seed", 3, "--out", gallery)
    assert "clear" in first.stdout, first.stderr
    assert "THE LIBRARY IS EMPTY" in first.stdout
    assert "1 added" in firsthand("index", "add", gallery).stdout
    same = firsthand("generate", "a car in the city", "--seed", 3, "--out", tmp_path / "out")
    assert same.returncode == 1
    assert "refused before painting: this is the recipe of a-car-in-the-city-3.png" in same.stdout
    near = firsthand(
        "generate", "a car in the city", "--seed", 3, "--steps", 21, "--out", tmp_path / "out"
    )
    assert near.returncode == 1
    assert "block" in near.stdout
    assert not (tmp_path / "out").exists()


def test_settings_come_from_file_environment_and_options(
    tmp_path: Path, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "library").rename(home / "elsewhere")
    assert indexed
    assert firsthand("index", "info").returncode == 4
    (home / "settings.toml").write_text('library = "elsewhere"\n')
    assert firsthand("index", "info").returncode == 0
    monkeypatch.setenv("FIRSTHAND_LIBRARY", str(tmp_path / "nowhere"))
    assert firsthand("index", "info").returncode == 4
    assert firsthand("index", "info", "--library", home / "elsewhere").returncode == 0
    (home / "settings.toml").write_text('libary = "x"\n')
    wrong = firsthand("index", "info")
    assert (wrong.returncode, "unknown setting 'libary'" in wrong.stderr) == (2, True)


def test_descriptors_of_the_settings_are_added_and_decide(tmp_path: Path, indexed: Path) -> None:
    home = tmp_path / "home"
    tiny.folder("clip", home / "clip-tiny")
    words = tiny.sscd(tmp_path / "net.pt")
    (home / "settings.toml").write_text(f'descriptors = ["clip:clip-tiny", "{words}"]\n')
    policy = tmp_path / "policy.toml"
    limits = "\n[thresholds.clip-tiny-24]\nreview = 0.999\nblock = 0.9999\n"
    policy.write_text(DEFAULT_POLICY.read_text() + limits)
    refused = firsthand("index", "add", indexed)
    assert refused.returncode == 4
    assert "lacks clip-tiny-24, sscd-512, which the settings name" in refused.stderr
    assert "to add them: firsthand index describe" in refused.stderr
    assert firsthand("check", indexed / "coffee.png").returncode == 1  # this policy needs them not
    lacking = firsthand("check", indexed / "coffee.png", "--policy", policy)
    assert (lacking.returncode, "which the library lacks" in lacking.stderr) == (4, True)
    added = firsthand("index", "describe")
    assert added.stdout == (
        "clip-tiny-24, sscd-512 added: 5 pictures described from their sources, 0 from thumbnails\n"
    ), added.stderr
    assert "nothing to add" in firsthand("index", "describe").stdout
    assert re.search(r"descriptors .*clip-tiny-24 version \w{12}, sscd-512 version 1-", (
        firsthand("index", "info").stdout
    ))  # fmt: skip
    assert firsthand("index", "verify").stdout == "the library is sound\n"
    assert "5 already there" in firsthand("index", "add", indexed).stdout
    done = firsthand("audit", indexed, "--policy", policy, "--json", "-")
    assert done.returncode == 1, done.stderr
    for row in map(json.loads, done.stdout.splitlines()):
        assert {"clip-tiny-24", "sscd-512"} <= row["matches"][0]["similarity"].keys()
    tiny.folder("clip", home / "clip-tiny", seed=1)
    other = firsthand("check", indexed / "coffee.png")
    assert other.returncode == 4
    assert "the library holds clip-tiny-24 version" in other.stderr
    again = firsthand("index", "describe", "--drop", "clip-tiny-24")
    assert "clip-tiny-24 forgotten" in again.stdout
    assert "clip-tiny-24 added: 5" in again.stdout
    (home / "settings.toml").unlink()
    unnamed = firsthand("index", "add", indexed)
    assert unnamed.returncode == 4
    assert "which the settings do not name" in unnamed.stderr


def test_sources_that_are_gone_need_a_word(tmp_path: Path, indexed: Path) -> None:
    home = tmp_path / "home"
    (home / "settings.toml").write_text(f"descriptors = ['{tiny.sscd(tmp_path / 'net.pt')}']\n")
    (indexed / "coffee.png").unlink()
    refused = firsthand("index", "describe")
    assert refused.returncode == 4
    assert "1 of 5 pictures are gone or have changed" in refused.stderr
    assert "being added  sscd-512 version" in firsthand("index", "info").stdout
    done = firsthand("index", "describe", "--from-thumbnails")
    assert "0 pictures described from their sources, 1 from thumbnails" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("descriptors = 5", "descriptors is a list of texts"),
        ("descriptors = [5]", "descriptors is a list of texts"),
        ('descriptors = ["vgg:x"]', "no descriptor 'vgg:x'; a descriptor is named sscd:FILE"),
        ('descriptors = "\'"', "No closing quotation"),
    ],
)
def test_descriptors_of_another_form_are_refused(
    tmp_path: Path, known_folder: Path, text: str, message: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings.toml").write_text(text)
    refused = firsthand("index", "add", known_folder)
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "home" / "library").exists()


def test_the_environment_names_descriptors_as_a_shell_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my models" / "clip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    text = "'clip:my models/clip' dinov2:facebook/dinov2-small sscd:net.pt#sha256=00"
    monkeypatch.setenv("FIRSTHAND_DESCRIPTORS", text)
    assert load_settings().descriptors == (
        f"clip:{tmp_path}/my models/clip",
        "dinov2:facebook/dinov2-small",
        f"sscd:{tmp_path}/net.pt#sha256=00",
    )


def test_nothing_is_painted_for_a_place_that_cannot_be_written_to(
    tmp_path: Path, indexed: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    done = firsthand("generate", "a fox", "--steps", "1", "--out", tmp_path / "taken")
    assert done.returncode == 2
    assert "taken is a file; a folder is needed there" in done.stderr
    assert firsthand("ledger", "verify").returncode == 4  # nothing was entered


def test_a_file_name_that_is_not_utf8_costs_no_report(tmp_path: Path, indexed: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/entries/caf\xe9\x1b[31m.png"))
    odd.parent.mkdir()
    odd.write_bytes((PHOTOS / "coffee.png").read_bytes())
    files = [tmp_path / f"r.{kind}" for kind in ("jsonl", "csv", "html")]
    options = zip(("--json", "--csv", "--report"), files, strict=True)
    done = firsthand("audit", odd.parent, *(part for option in options for part in option))
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout
    (row,) = map(json.loads, files[0].read_text("utf-8").splitlines())
    assert row["path"] == str(odd)
    assert all("caf" in file.read_text("utf-8-sig") for file in files)


def test_a_folder_whose_name_is_not_utf8_is_indexed_and_audited(
    tmp_path: Path, indexed: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    odd.mkdir()
    (odd / "a.png").write_bytes((PHOTOS / "coffee.png").read_bytes())
    assert firsthand("audit", odd, "--no-groups").returncode == 1
    done = firsthand("index", "add", odd)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("closed", [False, True])
def test_results_survive_an_output_that_cannot_take_them(
    tmp_path: Path, indexed: Path, closed: bool
) -> None:
    """ASCII alone, or none at all."""
    entry = tmp_path / "狐狸.png"
    entry.write_bytes((PHOTOS / "coffee.png").read_bytes())
    command = [*FIRSTHAND, "audit", str(entry), "--json", str(tmp_path / "r.jsonl")]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-' if closed else 'exec "$@"', "sh", *command],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (row,) = map(json.loads, (tmp_path / "r.jsonl").read_text("utf-8").splitlines())
    assert row["path"] == str(entry)
    assert closed or "\\u72d0" in done.stdout


def test_a_link_is_removed_by_its_own_name(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    (pictures / "sub").mkdir(parents=True)
    shutil.copy(PHOTOS / "coffee.png", pictures / "sub" / "real.png")
    (pictures / "link.png").symlink_to(pictures / "sub" / "real.png")
    assert firsthand("index", "add", pictures).returncode == 0
    assert (
        "1 removed, 1 references left" in firsthand("index", "remove", pictures / "link.png").stdout
    )
    found = firsthand("index", "search", PHOTOS / "coffee.png")
    assert "real.png" in found.stdout
    assert "link.png" not in found.stdout
    unknown = firsthand("index", "remove", "--source", "nobody")
    assert unknown.returncode == 2
    assert "not in the library: source nobody" in unknown.stderr
    gone = firsthand("index", "search", tmp_path / "gone.png")
    assert f"{tmp_path / 'gone.png'}: cannot be read" in gone.stderr


def test_serving_ends_as_services_are_stopped_and_leaves_nothing(
    tmp_path: Path, indexed: Path
) -> None:
    """Behind a proxy too, which knows nothing of this machine."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        refused = firsthand("serve", "--port", port)
        assert refused.returncode == 2
        assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in refused.stderr
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    with subprocess.Popen(
        [*FIRSTHAND, "serve", "--port", str(port)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, **proxy, "PYTHONUNBUFFERED": "1"},
    ) as run:  # fmt: skip
        assert run.stdout
        assert any("Running on" in line for line in run.stdout)
        serving = load_settings().home / "serving" / str(port)
        assert serving.stat().st_mode & 0o777 == 0o700
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
    assert not serving.exists()
