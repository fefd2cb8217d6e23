"""The README is executed: its commands run, its file tree is the tree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import KNOWN, PHOTOS, UNKNOWN

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ firsthand (.+)$", README, re.MULTILINE)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The files that the README's commands name."""
    for folder, names in (("known", KNOWN), ("entries", UNKNOWN[:2] + KNOWN[:1])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes((PHOTOS / name).read_bytes())
    (tmp_path / "jobs.csv").write_text("prompt,seed,steps,count\na fox in the snow,1,2,2\n")
    return tmp_path


def test_every_command_runs(desk: Path) -> None:
    """All but `serve`, which runs until it is stopped (tests/test_app.py opens it)."""
    assert len(COMMANDS) >= 6
    for line in COMMANDS:
        if line.startswith("serve"):
            continue
        script = "from ui.cli import main; main()"
        args = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)]
        ran = subprocess.run(
            [sys.executable, "-c", script, *args], cwd=desk, capture_output=True, text=True
        )
        assert ran.returncode in (0, 1), f"firsthand {line}: {ran.stderr}"
        assert "Traceback" not in ran.stderr


def test_every_make_target_is_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake (demo|app|test|check|bench|format)\b", README))
    assert {"demo", "test"} <= named <= targets


def test_the_file_tree_is_the_tree() -> None:
    (tree,) = re.findall(r"<!-- tree -->\n```\n(.*?)```", README, re.DOTALL)
    told = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    for path in told:
        assert (ROOT / path).exists(), f"the README names {path}"
    modules = {
        path.relative_to(ROOT).as_posix()
        for room in ("gen", "provenance", "index", "ui")
        for path in (ROOT / room).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert modules <= told


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
