"""Hashes and fingerprints: pinned values, the same alone and in a batch, never across versions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from index.sources import image_files
from provenance import threads
from provenance.embed.bundled import SPEC, BundledDescriptor
from provenance.embed.named import named
from provenance.errors import MissingError, UsageError, VersionMismatch
from provenance.fingerprint import (
    Descriptor,
    Fingerprinter,
    Value,
    content_hash,
    reduced,
    similarity,
)
from provenance.hashes import PDQ, hash_descriptors, pdq
from provenance.images import read_picture
from provenance.local.features import HEAD, ROW, LocalDescriptor, unpacked
from provenance.phash import PHASH
from tests import tiny

Photo = Callable[[str], Image.Image]
DESCRIPTORS: tuple[Descriptor, ...] = (
    *hash_descriptors(),
    BundledDescriptor(),
    LocalDescriptor(),
)


@pytest.fixture(scope="session")
def named_by_the_user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Descriptor]:
    place = tmp_path_factory.mktemp("models")
    made = {family: named(tiny.folder(family, place / family)) for family in tiny.FAMILIES}
    return {"sscd": named(tiny.sscd(place / "sscd.torchscript.pt")), **made}


@pytest.fixture(params=[*DESCRIPTORS, "sscd", *tiny.FAMILIES], ids=lambda d: getattr(d, "spec", d))
def descriptor(
    request: pytest.FixtureRequest, named_by_the_user: dict[str, Descriptor]
) -> Descriptor:
    made: Descriptor = named_by_the_user.get(request.param, request.param)
    return made


def test_hashes_are_constant(photo: Photo) -> None:
    """An upgrade of Pillow, imagehash or pdqhash that moves a hash must turn this red."""
    fingerprint = Fingerprinter(hash_descriptors()).describe([photo("chelsea.png")])[0]
    found = {
        name: np.atleast_2d(value.vector)[0].tobytes().hex()
        for name, value in fingerprint.values.items()
    }
    assert found == GOLDEN
    assert fingerprint.detail == 100
    assert fingerprint.content == content_hash(photo("chelsea.png"))


class TestEveryDescriptor:
    """The contract: a new descriptor gets these by joining DESCRIPTORS."""

    def test_rows_have_the_shape_that_the_spec_says(
        self, descriptor: Descriptor, photo: Photo
    ) -> None:
        row = descriptor.describe([reduced(photo("coffee.png"))])[0]
        spec = descriptor.spec
        if spec.metric == "hamming":
            assert row.shape in ((spec.dim // 8,), (8, spec.dim // 8))
            assert row.dtype == np.uint8
        elif spec.metric == "features":
            assert row.dtype == np.uint8
            assert unpacked(row).descriptors.shape == ((len(row) - HEAD) // ROW, spec.dim)
        else:
            rows = np.atleast_2d(row)
            assert rows.shape[1:] == (spec.dim,)
            assert row.dtype == np.float32
            assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-4)

    def test_alone_and_in_a_batch_are_the_same(self, descriptor: Descriptor, photo: Photo) -> None:
        images = [reduced(photo(n)) for n in ("coffee.png", "rocket.jpg", "chelsea.png")]
        together = descriptor.describe(images)
        for row, image in enumerate(images):
            assert descriptor.describe([image])[0].tobytes() == together[row].tobytes()

    def test_a_picture_is_the_same_as_itself_and_unlike_another(
        self, descriptor: Descriptor, photo: Photo
    ) -> None:
        a, b = descriptor.describe([reduced(photo("coffee.png")), reduced(photo("rocket.jpg"))])
        spec = descriptor.spec
        if spec.metric == "features":
            with pytest.raises(UsageError, match="second look"):
                similarity(Value(spec, a), Value(spec, b))
            return
        assert similarity(Value(spec, a), Value(spec, a)) == pytest.approx(1, abs=1e-4)
        assert similarity(Value(spec, a), Value(spec, b)) < 0.8

    def test_other_versions_are_not_compared(self, descriptor: Descriptor, photo: Photo) -> None:
        row = descriptor.describe([reduced(photo("coffee.png"))])[0]
        newer = replace(descriptor.spec, version="next")
        with pytest.raises(VersionMismatch, match="version next"):
            similarity(Value(descriptor.spec, row), Value(newer, row))

    def test_an_empty_batch_is_empty(self, descriptor: Descriptor) -> None:
        assert len(descriptor.describe([])) == 0

    @pytest.mark.parametrize("size", [(1, 1), (1, 60), (3, 500), (600, 7)])
    def test_tiny_pictures_have_a_value(
        self, descriptor: Descriptor, size: tuple[int, int]
    ) -> None:
        assert len(descriptor.describe([reduced(Image.new("RGB", size))])) == 1


@pytest.mark.parametrize("turn", list(Image.Transpose), ids=lambda turn: turn.name)
def test_one_of_eight_hashes_is_that_of_the_turned_picture(
    photo: Photo, turn: Image.Transpose
) -> None:
    describe = Fingerprinter(hash_descriptors()).describe
    asked, held = describe([photo("chelsea.png").transpose(turn), photo("chelsea.png")])
    for name in (PDQ, PHASH.name):
        turned, whole = asked.values[name], held.values[name]
        upright = replace(whole, vector=whole.vector[0])
        assert similarity(turned, upright) > 0.9
        assert similarity(replace(turned, vector=turned.vector[0]), upright) < 0.7


@pytest.mark.parametrize("name", ["coffee.png", "astronaut.png", "chelsea.png"])
def test_the_bundled_descriptor_sees_a_part_of_a_larger_picture(photo: Photo, name: str) -> None:
    page = photo("hubble_deep_field.jpg").resize((500, 400))
    page.paste(photo(name).resize((240, 190)), (250, 205))
    names = ("coffee.png", "astronaut.png", "chelsea.png", "rocket.jpg")
    rows = BundledDescriptor().describe([reduced(photo(each)) for each in names])
    asked = Value(SPEC, BundledDescriptor().describe([page])[0])
    found = {n: similarity(asked, Value(SPEC, r[0])) for n, r in zip(names, rows, strict=True)}
    assert max(found, key=lambda each: found[each]) == name
    whole = Value(SPEC, asked.vector[0])
    assert found[name] > similarity(whole, Value(SPEC, rows[names.index(name)][0])) + 0.1


PDQ_FILES = Path(__file__).parent.parent.parent / "shared" / "data" / "pdq"


@pytest.mark.skipif(not PDQ_FILES.is_dir(), reason="Meta's test pictures are not here")
class TestPdqConformance:
    """Against the hashes that Meta publishes for pictures of its own (facebook/ThreatExchange)."""

    def test_pictures_that_need_no_reduction_have_the_published_hashes(self) -> None:
        """Of the pixels as Meta's program decodes them.

        It drops transparency and clips 16-bit grey, where ours shows what a viewer shows.
        """
        listed = json.loads((PDQ_FILES / "manifest.json").read_text("utf-8"))["files"]
        compared = 0
        for file in listed:
            for expected in file["expected"].values():
                if not isinstance(expected, str):
                    continue
                image = Image.open(PDQ_FILES / file["file"]).convert("RGB")
                assert max(image.size) <= 512
                assert pdq(reduced(image))[0].tobytes().hex() == expected, file["file"]
                compared += 1
        assert compared >= 7

    def test_a_picture_has_one_hash_in_every_mode(self) -> None:
        modes = [read_picture(f).image for f in image_files(PDQ_FILES / "misc-images" / "modes")]
        first, *others = [pdq(reduced(image))[0] for image in modes]
        assert len(others) >= 8
        assert max(int(np.bitwise_count(first ^ other).sum()) for other in others) <= 10


def test_two_descriptors_of_one_name_are_refused() -> None:
    first = hash_descriptors()[0]
    with pytest.raises(UsageError, match="different names"):
        Fingerprinter((first, first))


def test_phash_is_always_there() -> None:
    assert Fingerprinter().specs == (PHASH,)


def test_the_network_gives_the_same_however_many_threads_torch_has(photo: Photo) -> None:
    before = torch.get_num_threads()
    image = reduced(photo("coffee.png"))
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(BundledDescriptor().describe([image])[0].tobytes())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_descriptors_side_by_side_give_what_each_gives_alone(
    photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    images = [photo(name) for name in ("coffee.png", "rocket.jpg")]
    for image, found in zip(images, Fingerprinter(DESCRIPTORS).describe(images), strict=True):
        for descriptor in DESCRIPTORS:
            alone = descriptor.describe([reduced(image)])[0]
            assert found.values[descriptor.spec.name].vector.tobytes() == alone.tobytes()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    gone = tmp_path / "weights.safetensors"
    with pytest.raises(MissingError, match=r"weights\.safetensors cannot be loaded"):
        BundledDescriptor(gone).describe([Image.new("RGB", (64, 64))])
    gone.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(MissingError, match="cannot be loaded"):
        BundledDescriptor(gone).describe([Image.new("RGB", (64, 64))])


GOLDEN = {
    "phash-64": "b15fe6465121175e",
    "phash-256": "b1ac5ffee6df46225131214897e25edba410e16552ca376ab8c93d465d07426f",
    "dhash-256": "2238223142300b321371334d634dc9dced9b8c91b4db985dc975c963c07bc0db",
    "pdq-256": "5feb5321f01da156898e2bf629a5d3438412cdbd23f48942464526315db33ffd",
}
