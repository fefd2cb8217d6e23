"""Source → library, through kills and bad files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource, image_files
from provenance.errors import UsageError
from provenance.images import _FORMATS
from tests.conftest import PHOTOS, hashes_only


def test_a_second_run_adds_nothing(library: Library, known_folder: Path) -> None:
    tally = ingest(FolderSource(known_folder, "photos"), library, hashes_only)
    assert (tally.added, tally.already_there, tally.unreadable) == (0, 5, [])


def test_a_changed_file_replaces_its_reference(library: Library, known_folder: Path) -> None:
    (known_folder / "coffee.png").write_bytes((PHOTOS / "grass.png").read_bytes())
    tally = ingest(FolderSource(known_folder, "photos"), library, hashes_only)
    assert (tally.added, tally.already_there) == (1, 4)
    assert len(library) == 5
    asked = hashes_only().describe([Image.open(PHOTOS / "coffee.png").convert("RGB")])[0]
    assert not any(candidate.exact for candidate in library.search(asked, 5))


def test_unreadable_files_are_told_and_left_out(library: Library, known_folder: Path) -> None:
    (known_folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (known_folder / "empty.jpg").touch()
    (known_folder / "notes.txt").write_text("no image by its name or first bytes")
    (known_folder / "no suffix").write_bytes((PHOTOS / "grass.png").read_bytes())
    tally = ingest(FolderSource(known_folder, "photos"), library, hashes_only)
    assert [Path(uri).name for uri, _ in tally.unreadable] == ["broken.png", "empty.jpg"]
    assert len(library) == 6


@pytest.mark.parametrize("kind", sorted({*_FORMATS} - {"TGA", "MPO"}))
def test_pictures_are_found_under_any_name(tmp_path: Path, kind: str) -> None:
    """TGA alone does not say what it is."""
    Image.init()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a picture", kind)
    assert [path.name for path in image_files(tmp_path)] == ["a picture"]
    (tmp_path / "a picture").rename(tmp_path / "a picture.dat")
    assert [path.name for path in image_files(tmp_path)] == ["a picture.dat"]


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypheic", b"\xff\x0a\xfa\x7f", b"MM\0+\0\x08", b"II\0*\x08\0"]
)
def test_formats_that_are_not_read_are_not_passed_over(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "IMG_0001").write_bytes(head + bytes(40))
    (tmp_path / "film").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    (tmp_path / "note.txt").write_text("P1 2026, a note")
    (tmp_path / "letters").write_text("BMW and other words, forty of them or so " * 3)
    assert [path.name for path in image_files(tmp_path)] == ["IMG_0001"]


def test_workers_give_the_same_library(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    base = Image.open(PHOTOS / "coffee.png").convert("RGB")
    for n in range(60):
        base.rotate(6 * n).resize((120, 80)).save(folder / f"{n:02}.png")
    contents = []
    for workers in (1, 2):
        with Library.create(tmp_path / f"lib{workers}", hashes_only().specs) as library:
            ingest(FolderSource(folder), library, hashes_only, workers=workers)
            asked = hashes_only().describe([base.resize((120, 80))])[0]
            found = library.search(asked, 60)
            contents.append([(c.reference.uri, dict(c.similarity)) for c in found])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 60


def test_a_manifest_says_more(tmp_path: Path, known_folder: Path) -> None:
    rows = [{"file": "coffee.png", "title": "A cup", "licence": "CC0-1.0", "uri": "https://x.y/1"}]
    (known_folder / "manifest.json").write_text(json.dumps(rows))
    with Library.create(tmp_path / "new", hashes_only().specs) as library:
        ingest(FolderSource(known_folder), library, hashes_only)
        reference = library.reference("https://x.y/1")
        assert reference
        assert (reference.title, reference.license) == ("A cup", "CC0-1.0")
        assert library.thumbnail(reference)


def test_what_a_manifest_says_later_is_taken_over(tmp_path: Path, known_folder: Path) -> None:
    manifest = known_folder / "manifest.json"
    uri = (known_folder / "coffee.png").resolve().as_uri()

    def added(said: dict[str, str], folder: Path = known_folder) -> tuple[str, str]:
        manifest.write_text(json.dumps([{"file": "coffee.png", **said}]))
        assert ingest(FolderSource(folder), library, hashes_only).added == 0
        reference = library.reference(uri)
        assert reference
        return reference.title, reference.license

    with Library.create(tmp_path / "new", hashes_only().specs) as library:
        ingest(FolderSource(known_folder), library, hashes_only)
        before = library.version
        assert added({"title": "A cup", "license": "CC0-1.0"}) == ("A cup", "CC0-1.0")
        assert added({"license": "MIT"}) == ("A cup", "MIT")
        assert added({}, known_folder / "coffee.png") == ("A cup", "MIT")
        assert library.version == before


def test_no_thumbnails_when_not_wanted(tmp_path: Path, known_folder: Path) -> None:
    with Library.create(tmp_path / "new", hashes_only().specs) as library:
        ingest(FolderSource(known_folder), library, hashes_only, thumbnails=False)
        assert library.describe()["thumbnails"] == 0


@pytest.mark.parametrize("text", ["{", "5", '["a", {"file": 3}]'])
def test_a_broken_manifest_is_named(known_folder: Path, text: str) -> None:
    (known_folder / "manifest.json").write_text(text)
    source = FolderSource(known_folder)
    if text.startswith("["):
        assert len(list(source.items())) == 5
    else:
        with pytest.raises(UsageError, match=r"manifest\.json"):
            list(source.items())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        FolderSource(tmp_path / "none")


SCRIPT = """
import os, signal, sys
from pathlib import Path
from index import ingest as module
from index.library import Library
from index.sources import FolderSource
from index.vectors import FaissStore
from tests.conftest import hashes_only

folder, target, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
module.BATCH = 2

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "second commit":
    add, calls = Library.add, []
    def counted(self, batch):
        calls.append(1)
        if len(calls) == 2:
            die()
        add(self, batch)
    Library.add = counted
elif moment == "before rename":
    Path.replace = die
elif moment == "after rename":
    import index.stores
    index.stores._sync_folder = die
elif moment == "in transaction":
    from index.catalog import Catalog
    insert, calls = Catalog._put, []
    def counted(self, *args):
        calls.append(1)
        if len(calls) == 4:
            die()
        insert(self, *args)
    Catalog._put = counted
library = Library.create(target, hashes_only().specs)
module.ingest(FolderSource(folder, "photos"), library, hashes_only)
"""


@pytest.mark.parametrize(
    ("moment", "kept"),
    [("in transaction", 2), ("second commit", 2), ("before rename", 5), ("after rename", 5)],
)
def test_a_kill_loses_no_committed_reference(
    tmp_path: Path, known_folder: Path, moment: str, kept: int
) -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", SCRIPT, str(known_folder), str(tmp_path / "lib"), moment]
    killed = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -signal.SIGKILL
    with Library.open(tmp_path / "lib") as library:
        assert len(library) == kept
        tally = ingest(FolderSource(known_folder, "photos"), library, hashes_only)
        assert (tally.added, tally.already_there) == (5 - kept, kept)
        assert library.verify() == []
        assert len(list((tmp_path / "lib" / "stores").iterdir())) == 4


def test_pictures_of_one_page_are_each_a_reference(library: Library, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    names = ("grass.png", "ihc.png", "retina.jpg")
    for name in names:
        (album / name).write_bytes((PHOTOS / name).read_bytes())
    rows = [{"file": name, "uri": "https://example.org/album"} for name in names]
    (album / "manifest.json").write_text(json.dumps(rows))
    assert ingest(FolderSource(album), library, hashes_only).added == 3
    assert len(library) == 8
    assert library.reference("https://example.org/album#ihc.png")
    assert ingest(FolderSource(album), library, hashes_only).already_there == 3


def test_a_folder_that_cannot_be_listed_is_told(
    library: Library, known_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = known_folder / "closed"
    closed.mkdir()
    listed = os.scandir

    def scandir(path: str) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    tally = ingest(FolderSource(known_folder, "photos"), library, hashes_only)
    assert [uri for uri, _ in tally.unreadable] == [closed.resolve().as_uri()]


def test_a_file_name_need_not_be_utf8(library: Library, known_folder: Path) -> None:
    odd = os.fsencode(known_folder) + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes((PHOTOS / "grass.png").read_bytes())
    tally = ingest(FolderSource(known_folder, "photos"), library, hashes_only)
    assert tally.added == 1
    found = library.reference(Path(os.fsdecode(odd)).resolve().as_uri())
    assert found
    assert found.title == "caf?.png"


def test_links_that_lead_nowhere_are_told(library: Library, known_folder: Path) -> None:
    (known_folder / "gone.png").symlink_to("/nowhere/x.png")
    (known_folder / "loop.png").symlink_to("loop.png")
    (known_folder / "gone").symlink_to("/nowhere/x")
    (known_folder / "loop").symlink_to("loop")
    tally = ingest(FolderSource(known_folder), library, hashes_only)
    assert sorted(Path(uri).name for uri, _ in tally.unreadable) == ["gone.png", "loop.png"]


WORKERS = """
import sys
from pathlib import Path
from provenance.scan import scan
from tests.conftest import hashes_only
if __name__ == "__main__":
    for number, found in enumerate(scan([Path(sys.argv[1])] * 600, hashes_only, workers=2)):
        if number == 0:
            print("begun", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_a_scan_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    """Whoever is left holds the pipe, which then does not end."""
    (tmp_path / "run.py").write_text(WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "run.py", PHOTOS / "coffee.png"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as run:  # fmt: skip
        assert run.stdout
        assert run.stdout.readline() == "begun\n"
        run.send_signal(how)
        _, errors = run.communicate(timeout=120)
    assert run.returncode
    assert errors.count("Traceback") == (how is signal.SIGINT)  # the script's own
