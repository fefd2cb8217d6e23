"""The vote puts forward the pictures that share local features with the query."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from index import voting
from index.voting import VotingStore
from provenance.errors import CheckError, MissingError
from provenance.fingerprint import DescriptorSpec, Vector
from provenance.local.features import SPEC, LocalDescriptor
from tests.conftest import KNOWN, UNKNOWN

Photo = Callable[[str], Image.Image]


def packed(image: Image.Image) -> Vector:
    return LocalDescriptor().describe([image])[0]


def nearest(store: VotingStore, row: Vector, count: int) -> list[int]:
    return store.nearest_each([row], count)[0]


@pytest.fixture
def store(photo: Photo) -> VotingStore:
    made = VotingStore(SPEC)
    names = [*KNOWN, *UNKNOWN]
    made.add(np.arange(len(names)), [packed(photo(name)) for name in names])
    return made


@pytest.mark.parametrize("name", KNOWN)
def test_a_mirrored_crop_finds_its_picture(store: VotingStore, photo: Photo, name: str) -> None:
    image = photo(name)
    width, height = image.size
    crop = ImageOps.mirror(image.crop((width // 4, height // 4, width * 3 // 4, height * 3 // 4)))
    assert nearest(store, packed(crop), 3)[0] == KNOWN.index(name)


def test_the_answer_is_short_and_without_repeats(store: VotingStore, photo: Photo) -> None:
    found = nearest(store, packed(photo("coffee.png")), 4)
    assert len(found) == len(set(found)) <= 4


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_several_are_asked_as_each_alone(
    store: VotingStore, photo: Photo, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    asked = [packed(photo(name)) for name in KNOWN[:3]]
    asked.insert(1, np.zeros(0, np.uint8))
    alone = [nearest(store, row, 4) for row in asked]
    monkeypatch.setattr(voting, "cores", lambda: cores)
    assert store.nearest_each(asked, 4) == alone
    assert alone[1] == []


def test_nothing_is_found_by_nothing(store: VotingStore) -> None:
    nothing = np.zeros(0, np.uint8)
    assert len(nearest(store, nothing, 5)) == 0
    store.add(np.array([77]), [nothing])
    empty = VotingStore(SPEC)
    assert len(nearest(empty, packed(Image.effect_noise((99, 99), 80)), 5)) == 0


def test_it_is_the_same_from_its_file(store: VotingStore, photo: Photo, tmp_path: Path) -> None:
    store.write(tmp_path / "v.faiss")
    again = VotingStore.read(SPEC, tmp_path / "v.faiss")
    query = packed(photo("rocket.jpg").resize((300, 200)))
    assert nearest(again, query, 5) == nearest(store, query, 5)
    assert len(again) == len(store) > 500
    with pytest.raises(CheckError, match="128 dimensions cannot"):
        VotingStore.read(DescriptorSpec("x", "1", "features", 64), tmp_path / "v.faiss")


def test_a_lost_code_book_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(voting, "CODE_BOOK", tmp_path / "gone.safetensors")
    voting._code_book.cache_clear()
    with pytest.raises(MissingError, match=r"gone\.safetensors"):
        VotingStore(SPEC)
    voting._code_book.cache_clear()
