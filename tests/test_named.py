"""Descriptors that the user names: their preprocessing, their versions, what is refused."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from provenance.embed.named import named
from provenance.embed.sscd import prepared
from provenance.errors import CheckError, MissingError, UsageError
from provenance.fingerprint import reduced
from tests import tiny

Photo = Callable[[str], Image.Image]


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("originals")
    for family in tiny.FAMILIES:
        tiny.folder(family, place / family)
    return place


@pytest.fixture
def folders(originals: Path, tmp_path: Path) -> Path:
    """A folder of each family, to do with as one likes."""
    return Path(shutil.copytree(originals, tmp_path / "models"))


def unit(row: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(row / np.linalg.norm(row))


def test_sscd_sees_what_its_readme_prepares(photo: Photo) -> None:
    """skew_320: Resize([320, 320]), ToTensor, Normalize(mean, std)."""
    image = reduced(photo("coffee.png"))
    square = np.asarray(image.resize((320, 320), Image.Resampling.BILINEAR)) / 255
    expected = (square - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(prepared(image)[0].permute(1, 2, 0), expected, atol=1e-5)


def test_sscd_gives_what_its_file_gives(tmp_path: Path, photo: Photo) -> None:
    import torch

    words = tiny.sscd(tmp_path / "net.pt")
    image = reduced(photo("coffee.png"))
    (row,) = named(words).describe([image])
    net: Any = torch.jit.load(tmp_path / "net.pt")  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        assert np.allclose(row, unit(net(prepared(image))[0].numpy()), atol=1e-6)


# Short side resized (bicubic), centre cut out, scaled to 0..1, normalised: by Pillow and numpy.
SHORT, CUT = {"dinov2": 64, "clip": 32, "siglip": None}, {"dinov2": 56, "clip": 32, "siglip": 32}
CONSTANTS = {
    "dinov2": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    "siglip": ([0.5] * 3, [0.5] * 3),
}


def pixels(family: str, image: Image.Image) -> NDArray[np.float64]:
    short, cut = SHORT[family], CUT[family] or 0
    if short is None:
        image = image.resize((cut, cut), Image.Resampling.BICUBIC)
    else:
        scale = short / min(image.size)
        width, height = int(image.width * scale), int(image.height * scale)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - cut) // 2, (height - cut) // 2
        image = image.crop((left, top, left + cut, top + cut))
    mean, std = CONSTANTS[family]
    return np.moveaxis((np.asarray(image) / 255 - mean) / std, -1, 0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("picture", ["coffee.png", "rocket.jpg"])
def test_a_model_folder_gives_its_image_embedding(
    originals: Path, photo: Photo, family: str, picture: str
) -> None:
    import torch
    from transformers import AutoModel

    image = reduced(photo(picture))
    descriptor = named(f"{family}:{originals / family}")
    model = AutoModel.from_pretrained(originals / family)
    asked = torch.from_numpy(pixels(family, image)).float()[None]
    with torch.inference_mode():
        if family == "dinov2":
            expected = model(asked).last_hidden_state[0, 0]
        elif family == "clip":
            expected = model.visual_projection(model.vision_model(asked).pooler_output)[0]
        else:
            expected = model.vision_model(asked).pooler_output[0]
    (row,) = descriptor.describe([image])
    assert descriptor.spec.dim == len(row)
    assert np.allclose(row, unit(expected.numpy()), atol=1e-4)


def test_the_preprocessing_of_old_folders_is_read(folders: Path, photo: Photo) -> None:
    """As openai/clip-vit-large-patch14 has it: a feature extractor, sizes as numbers."""
    mean, std = CONSTANTS["clip"]
    old = {
        "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": mean, "image_std": std,
        "resample": 3, "size": 32,
    }  # fmt: skip
    image = reduced(photo("coffee.png"))
    new_row = named(f"clip:{folders / 'clip'}").describe([image])[0]
    (folders / "clip" / "preprocessor_config.json").write_text(json.dumps(old))
    assert np.array_equal(named(f"clip:{folders / 'clip'}").describe([image])[0], new_row)


def test_names_say_model_and_width(folders: Path) -> None:
    (folders / "clip").rename(folders / "CLIP-ViT.B_32")
    (folders / "siglip").rename(folders / "mine")
    assert named(f"clip:{folders / 'CLIP-ViT.B_32'}").spec.name == "clip-vit-b-32-24"
    assert named(f"siglip:{folders / 'mine'}").spec.name == "siglip-mine-32"
    assert named(f"dinov2:{folders / 'dinov2'}/").spec.name == "dinov2-32"


def test_a_width_that_a_config_leaves_out_is_the_default(folders: Path) -> None:
    """google/siglip-base-patch16-224 says no more of its vision model than its type."""
    path = folders / "siglip" / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"] = {"model_type": "siglip_vision_model"}
    path.write_text(json.dumps(config))
    assert named(f"siglip:{folders / 'siglip'}").spec.dim == 768


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_another_file_is_another_version(folders: Path, file: str) -> None:
    words = f"dinov2:{folders / 'dinov2'}"
    before = named(words).spec
    assert named(words).spec == before
    path = folders / "dinov2" / file
    path.write_bytes(path.read_bytes() + b" ")
    assert named(words).spec.name == before.name
    assert named(words).spec.version != before.version


def test_another_sscd_file_is_another_version(tmp_path: Path) -> None:
    first = named(tiny.sscd(tmp_path / "a.pt"))
    other = named(tiny.sscd(tmp_path / "b.pt", seed=1))
    assert first.spec.name == other.spec.name == "sscd-512"
    assert first.spec.version != other.spec.version


def test_torchscript_is_not_run_before_it_is_confirmed(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    words = tiny.sscd(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(UsageError, match=f"sscd:{file}#sha256={digest}"):
        named(f"sscd:{file}")
    wrong = "0" * 64
    with pytest.raises(UsageError, match=rf"is {digest}, the settings say {wrong}"):
        named(f"sscd:{file}#sha256={wrong}")
    assert named(words.replace(digest, digest.upper())).spec == named(words).spec


def test_a_file_that_is_swapped_after_the_start_is_not_run(tmp_path: Path) -> None:
    descriptor = named(tiny.sscd(tmp_path / "net.pt"))
    tiny.sscd(tmp_path / "net.pt", seed=1)
    with pytest.raises(UsageError, match="not the file that you have confirmed"):
        descriptor.describe([Image.new("RGB", (64, 64))])


def test_a_folder_that_changes_after_the_start_is_not_used(folders: Path) -> None:
    descriptor = named(f"clip:{folders / 'clip'}")
    tiny.folder("clip", folders / "clip", seed=1)
    with pytest.raises(CheckError, match="has changed since"):
        descriptor.describe([Image.new("RGB", (64, 64))])


def test_a_width_other_than_stated_is_told(tmp_path: Path) -> None:
    words = tiny.sscd(tmp_path / "large.pt", width=1024)
    with pytest.raises(UsageError, match=r"gives 1024 numbers, not 512.*&dim=1024"):
        named(words).describe([Image.new("RGB", (64, 64))])
    descriptor = named(f"{words}&dim=1024")
    assert descriptor.spec.name == "sscd-1024"
    assert descriptor.describe([Image.new("RGB", (64, 64))])[0].shape == (1024,)


def test_a_confirmed_file_that_is_no_torchscript_is_named(tmp_path: Path) -> None:
    import torch

    (tmp_path / "text.pt").write_bytes(b"none")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    for file in tmp_path.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        with pytest.raises(UsageError, match="no TorchScript file"):
            named(f"sscd:{file}#sha256={digest}").describe([Image.new("RGB", (64, 64))])


@pytest.mark.parametrize(
    "words",
    ["", "sscd", "sscd:", "clip:", "vgg:/models/vgg", "sscd:/a.pt#sha256=12", "sscd:/a.pt#size=3"],
)
def test_words_of_another_form_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match="a descriptor is named sscd:FILE#sha256=HEX"):
        named(words)


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none\.pt"):
        named(f"sscd:{tmp_path / 'none.pt'}#sha256={'0' * 64}")
    with pytest.raises(MissingError, match="no model folder"):
        named(f"clip:{tmp_path / 'none'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"config\.json"):
        named(f"clip:{tmp_path / 'empty'}")
    with pytest.raises(MissingError, match="hf download nobody/nothing"):
        named("dinov2:nobody/nothing")


def test_a_hub_id_is_looked_up_in_the_cache(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub" / "models--facebook--dinov2-small"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    shutil.copytree(folders / "dinov2", cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    descriptor = named("dinov2:facebook/dinov2-small")
    assert descriptor.spec.name == "dinov2-small-32"
    assert descriptor.spec.version == named(f"dinov2:{folders / 'dinov2'}").spec.version


def test_weights_that_are_not_safetensors_are_not_loaded(folders: Path) -> None:
    import torch

    torch.save({}, folders / "clip" / "pytorch_model.bin")
    (folders / "clip" / "model.safetensors").unlink()
    with pytest.raises(MissingError, match="other formats are not loaded"):
        named(f"clip:{folders / 'clip'}")


def test_a_folder_of_another_family_is_refused(folders: Path) -> None:
    with pytest.raises(UsageError, match="of type 'clip'; siglip: takes siglip"):
        named(f"siglip:{folders / 'clip'}")
    (folders / "clip" / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="not a transformers config"):
        named(f"clip:{folders / 'clip'}")


def test_without_preprocessing_a_folder_is_refused(folders: Path) -> None:
    (folders / "clip" / "preprocessor_config.json").unlink()
    with pytest.raises(MissingError, match=r"no preprocessor_config\.json"):
        named(f"clip:{folders / 'clip'}")


@pytest.mark.parametrize("harm", ["cut short", "weights left out"])
def test_damaged_weights_are_never_made_up(folders: Path, harm: str) -> None:
    """transformers would start a weight that is left out at random."""
    from safetensors.torch import load_file, save_file

    path = folders / "dinov2" / "model.safetensors"
    if harm == "cut short":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        kept = load_file(path)
        del kept["layernorm.weight"]
        save_file(kept, path, {"format": "pt"})
    with pytest.raises(MissingError, match=r"cannot be loaded|lacks 1 weights, such as layernorm"):
        named(f"dinov2:{folders / 'dinov2'}").describe([Image.new("RGB", (64, 64))])


def test_code_in_a_folder_is_not_run(folders: Path, photo: Photo) -> None:
    folder = folders / "clip"
    image = reduced(photo("coffee.png"))
    before = named(f"clip:{folder}").describe([image])[0]
    (folder / "evil.py").write_text("raise SystemExit('ran')\nclass Model: pass\n")
    for name, key in (
        ("config.json", "AutoModel"),
        ("preprocessor_config.json", "AutoImageProcessor"),
    ):
        config = json.loads((folder / name).read_text())
        config["auto_map"] = {key: "evil.Model"}
        (folder / name).write_text(json.dumps(config))
    assert np.array_equal(named(f"clip:{folder}").describe([image])[0], before)


def test_a_spec_is_read_without_loading_torch(originals: Path) -> None:
    code = (
        "import sys\nfrom provenance.embed.named import named\n"
        f"print(named('clip:{originals / 'clip'}').spec.dim)\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "24\n"
