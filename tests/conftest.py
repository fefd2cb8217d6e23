"""Pictures to test with: real photographs that scikit-image ships, and folders made of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import skimage
from PIL import Image

from gen.models import resolve
from gen.pipeline import Painter, load
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.check import Checker
from provenance.fingerprint import Fingerprinter
from provenance.hashes import hash_descriptors
from provenance.verdict import Policy, Threshold, load_policy
from ui.wiring import fingerprinter

PHOTOS = Path(skimage.__file__).parent / "data"
KNOWN = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "coins.png")
UNKNOWN = ("motorcycle_left.png", "hubble_deep_field.jpg", "grass.png", "ihc.png", "retina.jpg")


def hashes_only() -> Fingerprinter:
    return Fingerprinter(hash_descriptors())


def hash_policy() -> Policy:
    policy = load_policy()
    limits = {"pdq-256": Threshold(0.75, 0.8789), **policy.fast}
    return replace(policy, name=f"{policy.name}, hashes only", thresholds=limits)


def with_second_look() -> Fingerprinter:
    return fingerprinter()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTHAND_HOME", str(tmp_path / "home"))


@pytest.fixture
def photo() -> Callable[[str], Image.Image]:
    return lambda name: Image.open(PHOTOS / name).convert("RGB")


@pytest.fixture
def known_folder(tmp_path: Path) -> Path:
    """A folder with five photographs."""
    folder = tmp_path / "known"
    folder.mkdir()
    for name in KNOWN:
        (folder / name).write_bytes((PHOTOS / name).read_bytes())
    return folder


@pytest.fixture
def library(tmp_path: Path, known_folder: Path) -> Library:
    """A library of those five, with hashes only."""
    made = Library.create(tmp_path / "library", hashes_only().specs)
    ingest(FolderSource(known_folder, "photos"), made, hashes_only)
    return made


@pytest.fixture
def checker(library: Library) -> Checker:
    return Checker(hashes_only(), library, hash_policy())


@pytest.fixture(scope="session")
def starter() -> Painter:
    return load(resolve("starter"))
