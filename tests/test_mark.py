"""The invisible mark: what it survives, how visible it is, that it is not seen where none is."""

import hashlib
import io
import math
import multiprocessing
import random
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance.errors import CheckError, UsageError
from provenance.label.mark import CHANCE, PAYLOAD, PSNR, detect, embed, mark_key
from tests.conftest import PHOTOS, UNKNOWN, hashes_only
from ui.bench.mark import EDITS, psnr, ssim

KEY = hashlib.sha256(b"a key").digest()
PAYLOADS = {name: hashlib.sha256(name.encode()).digest()[:PAYLOAD] for name in ("coffee.png",
            "chelsea.png", "rocket.jpg")}  # fmt: skip


@pytest.fixture(scope="module")
def marked() -> dict[str, Image.Image]:
    return {name: embed(_photo(name), KEY, payload) for name, payload in PAYLOADS.items()}


def _photo(name: str) -> Image.Image:
    return Image.open(PHOTOS / name).convert("RGB")


@pytest.mark.parametrize("edit", EDITS)
def test_it_survives(edit: str, marked: dict[str, Image.Image]) -> None:
    cut = "cut" in edit  # takes long to find
    for name, image in list(marked.items())[: 1 if cut else 3]:
        found = detect(EDITS[edit](image), KEY, parts=cut)
        assert found, name
        assert found.payload == PAYLOADS[name]
        assert found.chance <= CHANCE


def test_where_it_was_cut_is_told(marked: dict[str, Image.Image]) -> None:
    image = marked["coffee.png"]
    width, height = image.size
    cut = image.crop((round(0.05 * width), 0, width, round(0.93 * height)))
    assert detect(cut, KEY) is None
    found = detect(cut, KEY, parts=True)
    assert found
    assert found.part == pytest.approx((0.05, 0, 1, 0.93), abs=0.01)


def test_it_is_hardly_seen_and_no_fingerprint_minds(marked: dict[str, Image.Image]) -> None:
    for name, image in marked.items():
        original = _photo(name)
        assert psnr(original, image) >= PSNR - 0.2
        assert ssim(original, image) > 0.95
        one, other = hashes_only().describe([original, image])
        for hash_ in ("pdq-256", "phash-256"):
            bits = one.values[hash_].vector[0] ^ other.values[hash_].vector[0]
            assert np.bitwise_count(bits).sum() <= 6


def test_the_same_picture_key_and_payload_give_the_same_pixels() -> None:
    first, again = (embed(_photo("coffee.png"), KEY, b"sixsix") for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != embed(_photo("coffee.png"), KEY, b"sixsiy").tobytes()


def test_the_form_of_the_mark_is_constant() -> None:
    """A change here loses every mark that was ever made."""
    grey = Image.new("RGB", (320, 320), (128, 128, 128))
    change = np.asarray(embed(grey, KEY, b"sixsix")).astype(int) - 128
    assert change[160, 100:116, 0].tolist() == pytest.approx(
        [3, 3, 0, -3, -3, -2, -1, -2, -4, -4, -1, 2, 3, 2, 1, 0], abs=1
    )


def test_another_key_sees_nothing(marked: dict[str, Image.Image]) -> None:
    assert [detect(image, bytes(32)) for image in marked.values()] == [None] * 3
    assert detect(marked["coffee.png"], bytes(32), parts=True) is None


def test_nothing_is_seen_where_there_is_none() -> None:
    rng = random.Random(3)
    plain = [Image.new("RGB", (200, 150), colour) for colour in ("black", "white", "teal")]
    noise = Image.frombytes("RGB", (256, 256), rng.randbytes(256 * 256 * 3))
    for image in (*plain, noise, *map(_photo, UNKNOWN)):
        assert detect(image, KEY) is None
    assert detect(plain[0], KEY, parts=True) is None
    flat = detect(plain[0], KEY, most=1.0)
    assert flat
    assert flat.z == 0


def test_chance_is_the_bound_it_claims() -> None:
    found = detect(_photo("coffee.png"), KEY, most=1.0)
    assert found
    assert found.chance == min(1.0, math.exp(48 * math.log(2) - found.z**2 / 2))
    assert found.z < 9.5


@pytest.mark.parametrize(
    ("size", "payload", "message"),
    [((127, 500), b"sixsix", "128 pixels"), ((500, 500), b"short", "6 bytes")],
)
def test_what_cannot_be_marked(size: tuple[int, int], payload: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        embed(Image.new("RGB", size), KEY, payload)


def test_one_key_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "home" / "mark.key"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = set(pool.map(mark_key, [file] * 8))
    assert len(keys) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["mark.key"]


def test_a_damaged_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mark.key").write_bytes(b"short")
    with pytest.raises(CheckError, match="holds 5 bytes"):
        mark_key(tmp_path / "mark.key")


def test_a_mark_goes_through_a_file(marked: dict[str, Image.Image]) -> None:
    out = io.BytesIO()
    marked["rocket.jpg"].save(out, "WEBP", quality=80)
    found = detect(Image.open(out).convert("RGB"), KEY)
    assert found
    assert found.payload == PAYLOADS["rocket.jpg"]
