"""Pictures to test with: real photographs that scikit-image ships, and folders made of them."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import skimage
from PIL import Image, ImageDraw

from gen.models import resolve
from gen.pipeline import Painter, load
from gen.starter.scenes import OBJECTS
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.check import Checker
from provenance.fingerprint import Fingerprinter
from provenance.hashes import hash_descriptors
from provenance.label.authority import local_credential
from provenance.label.labeller import Labeller
from provenance.label.profiles import Style
from provenance.label.signing import Signer
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


@cache
def labeller(style: Style = Style()) -> Labeller:  # noqa: B008
    """Labels and signs, with one key for all tests."""
    return Labeller(style, signer())


@cache
def signer() -> Signer:
    with TemporaryDirectory() as place:
        return Signer(local_credential(Path(place)))


def root() -> str:
    """The certificate (PEM) by which the tests' signer is believed."""
    return signer().credential.authority.decode()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FIRSTHAND_")]:
        if name != "FIRSTHAND_REQUIRE_BROWSER":
            monkeypatch.delenv(name)
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


@pytest.fixture(scope="session")
def sprites_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for the sprites that scenes are drawn from, listed in the true format."""
    folder = tmp_path_factory.mktemp("sprites")
    listed = []
    for number, name in enumerate(OBJECTS):
        file = f"{name.replace(' ', '_')}.png"
        _sprite(number).save(folder / file)
        listed.append({"file": file, "name": name, "category": "thing"})
    (folder / "sprites.json").write_text(json.dumps({"licence": "none", "sprites": listed}))
    return folder


def _sprite(number: int) -> Image.Image:
    """A coloured ellipse with a square foot, of its own proportions."""
    rng = random.Random(number)
    picture = Image.new("RGBA", (rng.randint(36, 56), rng.randint(36, 56)))
    colour = tuple(rng.randrange(256) for _ in range(3))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((0, 0, picture.width - 1, picture.height - 1), fill=colour)
    pen.rectangle((8, picture.height // 2, picture.width - 9, picture.height), fill=colour)
    return picture
