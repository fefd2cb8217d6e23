"""The import rule: ui knows everybody, gen and index never meet, provenance is alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "provenance": {"provenance"},
    "gen": {"gen", "provenance"},
    "index": {"index", "provenance"},
    "ui": {"ui", "gen", "index", "provenance"},
}
HEAVY = {
    "faiss": {"index/vectors.py", "index/voting.py"},
    "c2pa": {"provenance/label/credentials.py", "provenance/label/signing.py"},
    "ray": {"gen/farm.py"},
    "sqlite3": {"index/database.py", "provenance/ledger.py"},
    "imagehash": {"provenance/hashes.py", "ui/bench/speed.py"},
    "pdqhash": {"provenance/hashes.py"},
    "cv2": {
        "provenance/label/mark.py",
        "provenance/local/features.py",
        "provenance/local/fit.py",
        "provenance/local/look.py",
        "provenance/local/pixels.py",
    },
    "gradio": {"ui/app.py", "ui/server.py"},
    "matplotlib": {"ui/calibration.py"},
    "huggingface_hub": {"gen/hub.py", "provenance/embed/pretrained.py"},
    "typer": {
        f"ui/cli/{name}.py"
        for name in ("__init__", "batches", "checking", "ledger", "library", "options", "painting")
    },
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        forbidden = (imports(file) & MAY_IMPORT.keys()) - MAY_IMPORT[room]
        assert not forbidden, f"{file} imports {forbidden}"


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_in_its_room_only(library: str) -> None:
    users = {
        file.relative_to(ROOT).as_posix()
        for room in MAY_IMPORT
        for file in (ROOT / room).rglob("*.py")
        if library in imports(file)
    }
    assert users == HEAVY[library]


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; sys.argv=['firsthand','--help']\n"
        "from ui.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy={'torch','numpy','PIL','gradio','faiss','diffusers','transformers'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"
    assert "audit" in ran.stdout


def test_importing_does_nothing(tmp_path: Path) -> None:
    code = "import ui.wiring, gen.batch, provenance.audit, index.ingest"
    env = {"HOME": str(tmp_path), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True)
    assert not list(tmp_path.iterdir())
