"""A model's name → where its files are and what they hash to."""

import json
from dataclasses import dataclass
from pathlib import Path

from gen.hub import is_hub_id, model_folder
from gen.shelf import Shelf
from gen.weights import PICKLES, SAFE, autov1, require_loadable
from provenance.errors import MissingError, UsageError
from provenance.files import given_path

STARTER = "starter"
STARTER_FOLDER = Path(__file__).parent / "starter" / "model"
WAYS = (
    f"give {STARTER!r}, a hub id (org/name or org/name@revision), a diffusers model folder "
    f"or a single {SAFE} file"
)
_IN_MEMORY = Shelf()


@dataclass(frozen=True)
class ModelSpec:
    """A model in a diffusers folder or, with `file`, in a single checkpoint file.

    `hash` is 64 hex digits: over all weight files of a folder, or the file's SHA-256. `pipeline`
    is diffusers' class, empty for a file (its configuration says it). `config` is the folder that
    the user names for a single file. `other_hashes` are those by which other tools know the file.
    """

    name: str
    folder: Path
    hash: str
    pipeline: str
    bytes: int
    file: Path | None = None
    config: Path | None = None
    unsafe_pickle: bool = False
    other_hashes: tuple[str, ...] = ()


def resolve(name: str, *, config: Path | None = None, shelf: Shelf = _IN_MEMORY) -> ModelSpec:
    """The model of this name: bundled, a folder, a file (given or on the shelf), or from a hub."""
    path = STARTER_FOLDER if name == STARTER else _place(name, shelf)
    if path.is_file():
        return _file_spec(path, config, shelf)
    if config:
        raise UsageError(f"--config is for a single file; {name} is a whole model already")
    if not path.is_dir():
        if not is_hub_id(name):
            raise MissingError(f"no model {name!r}: {path} is not there; {WAYS}")
        path = model_folder(name)
        return _folder_spec(name, path, name, shelf)
    return _folder_spec(name, path, STARTER if name == STARTER else path.name, shelf)


def _place(name: str, shelf: Shelf) -> Path:
    try:
        path = given_path(name).resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--model {name}: {error}") from None
    if not path.exists() and shelf.home:
        for kept in (name, f"{name}{SAFE}"):
            if (shelf.home / "models" / kept).exists():
                return shelf.home / "models" / kept
    return path


def _file_spec(path: Path, config: Path | None, shelf: Shelf) -> ModelSpec:
    require_loadable(path, unsafe_pickle=shelf.unsafe_pickle)
    if config and not (config / "model_index.json").is_file():
        raise UsageError(
            f"--config is a diffusers folder with a model_index.json; {config} has none"
        )
    made = shelf.hashes.of(path)
    return ModelSpec(
        path.stem, path.parent, made.sha256, "", path.stat().st_size,
        path, config, shelf.unsafe_pickle, tuple(filter(None, (made.autov3, autov1(path)))),
    )  # fmt: skip


def _folder_spec(name: str, folder: Path, label: str, shelf: Shelf) -> ModelSpec:
    listing = folder / "model_index.json"
    if not listing.is_file():
        raise MissingError(f"no model {name!r}: {folder} has no model_index.json; {WAYS}")
    try:
        pipeline = str(json.loads(listing.read_text("utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{listing} is not a diffusers model index: {error!r}") from None
    weights = _weights(folder, shelf)
    size = sum(file.stat().st_size for file in weights)
    digest = shelf.hashes.of_folder(folder, weights)
    return ModelSpec(
        label, folder, digest, pipeline, size, unsafe_pickle=shelf.unsafe_pickle
    )  # fmt: skip


def _weights(folder: Path, shelf: Shelf) -> list[Path]:
    safe = sorted(folder.rglob(f"*{SAFE}"))
    if safe:
        return safe
    pickles = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in PICKLES]
    if not pickles:
        raise MissingError(f"no {SAFE} weights under {folder}; other formats are not loaded")
    for file in pickles:
        require_loadable(file, unsafe_pickle=shelf.unsafe_pickle)
    return pickles
