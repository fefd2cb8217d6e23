"""A model's name → where its files are and what they hash to."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from provenance.errors import MissingError, UsageError

STARTER = "starter"
_STARTER_FOLDER = Path(__file__).parent / "starter" / "model"


@dataclass(frozen=True)
class ModelSpec:
    """A model in a diffusers folder. `hash` is 64 hex digits over all of its weight files."""

    name: str
    folder: Path
    hash: str
    pipeline: str
    bytes: int


def resolve(name: str) -> ModelSpec:
    """The bundled model by its name `starter`, or a diffusers folder by its path."""
    folder = _STARTER_FOLDER if name == STARTER else Path(name).expanduser().resolve()
    listing = folder / "model_index.json"
    if not listing.is_file():
        what = "is a single file" if folder.is_file() else "has no model_index.json"
        raise MissingError(
            f"no model {name!r}: {folder} {what}; give {STARTER!r} or a diffusers model folder"
        )
    try:
        pipeline = json.loads(listing.read_text("utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{listing} is not a diffusers model index: {error!r}") from None
    weights = tuple(sorted(folder.rglob("*.safetensors")))
    if not weights:
        raise MissingError(f"no .safetensors weights under {folder}; other formats are not loaded")
    size = sum(file.stat().st_size for file in weights)
    label = STARTER if name == STARTER else folder.name
    return ModelSpec(label, folder, _folder_hash(folder, weights), str(pipeline), size)


@cache
def _folder_hash(folder: Path, weights: tuple[Path, ...]) -> str:
    """SHA-256 over "SHA-256  relative path" of every weight file, in order."""
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            body = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{body}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()
