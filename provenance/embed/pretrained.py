"""DINOv2, CLIP and SigLIP from model folders of transformers, each with its own image processor.

Nothing is downloaded, no weights but safetensors are read, and no code from a folder is run.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from provenance.errors import CheckError, MissingError, UsageError
from provenance.fingerprint import DescriptorSpec, Vector, unit_row


@dataclass(frozen=True)
class Family:
    """The `model_type`s of config.json that are meant; where it says how many numbers an image
    embedding has; and how many there are where it says nothing (transformers' own default).
    """

    types: tuple[str, ...]
    width: tuple[str, ...]
    default: int


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "dinov2": Family(("dinov2", "dinov2_with_registers"), ("hidden_size",), 768),
        "clip": Family(("clip",), ("projection_dim",), 512),
        "siglip": Family(("siglip",), ("vision_config", "hidden_size"), 768),
    }
)
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")  # transformers' order


class PretrainedDescriptor:
    """A Descriptor; its network loads when the first picture arrives.

    `source` is a folder's whole path, or a hub id whose files are in the local Hugging Face cache.
    The vector is what each family is used with for retrieval: DINOv2's CLS token after the last
    norm, CLIP's and SigLIP's image features.
    """

    def __init__(self, family: str, source: str) -> None:
        self._folder = _folder(source)
        config = _config(self._folder, family)
        dim = _width(config, FAMILIES[family])
        name = _name(family, source, dim)
        self.spec = DescriptorSpec(name, _version(self._folder), "cosine", dim)

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        """(dim,) float32 unit rows, one picture at a time."""
        import torch

        processor, model = self._loaded
        embed = getattr(model, "get_image_features", model)
        rows = []
        with torch.inference_mode():
            for image in images:
                pixels = processor(images=image, return_tensors="pt").pixel_values
                found = embed(pixel_values=pixels).pooler_output
                rows.append(unit_row(self.spec, found[0].numpy()))
        return rows

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The folder's image processor, by Pillow, and its model."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoImageProcessor, AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        if self.spec.version != _version(self._folder):
            raise CheckError(
                f"{self._folder} has changed since {self.spec} was asked for; start anew"
            )
        where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = AutoImageProcessor.from_pretrained(self._folder, backend="pil", **where)
            model, found = AutoModel.from_pretrained(
                self._folder,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **where,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise MissingError(
                f"the model in {self._folder} cannot be loaded: {str(error).splitlines()[0]}"
            ) from None
        if missing := sorted(found["missing_keys"]):
            raise MissingError(f"{self._folder} lacks {len(missing)} weights, such as {missing[0]}")
        return processor, model.eval()


def _folder(source: str) -> Path:
    if (folder := Path(source)).is_absolute() and folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise MissingError(f"no model folder {source}")
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, "config.json")
    if not isinstance(found, str):
        raise MissingError(
            f"{source} is neither a folder nor in the Hugging Face cache; fetch it with: "
            f"hf download {source}"
        )
    return Path(found).parent


def _config(folder: Path, family: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        found = config["model_type"]
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a transformers config: {error!r}") from None
    if found not in FAMILIES[family].types:
        raise UsageError(
            f"{folder} holds a model of type {found!r}; {family}: takes "
            f"{' or '.join(FAMILIES[family].types)}"
        )
    return dict(config)


def _width(config: dict[str, Any], family: Family) -> int:
    value: Any = config
    for key in family.width:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int) else family.default


def _files(folder: Path) -> list[Path]:
    """What decides the vectors: weights, the model's configuration, the preprocessing."""
    single = folder / "model.safetensors"
    weights = [single] if single.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not weights:
        raise MissingError(f"no model*.safetensors in {folder}; other formats are not loaded")
    processors = [path for name in _PROCESSORS if (path := folder / name).is_file()]
    if not processors:
        raise MissingError(f"no {_PROCESSORS[1]} in {folder}: how to prepare a picture is unknown")
    return [*weights, folder / "config.json", *processors]


def _version(folder: Path) -> str:
    """The beginning of a SHA-256 over "SHA-256  name" of each file that decides the vectors."""
    digest = hashlib.sha256()
    for path in _files(folder):
        with path.open("rb") as file:
            body = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{body}  {path.name}\n".encode())
    return digest.hexdigest()[:12]


def _name(family: str, source: str, dim: int) -> str:
    """Such as dinov2-small-384: the model's name, with its family before it if it is not there."""
    label = re.sub(r"[^a-z0-9]+", "-", Path(source).name.lower()).strip("-")
    return f"{label if label.startswith(family) else f'{family}-{label}'}-{dim}"
