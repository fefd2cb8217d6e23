"""A hub id → the folder of its files: from the local cache, or fetched where there is a network."""

import re
from pathlib import Path
from typing import Any

from provenance.errors import MissingError

_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")
_CONFIGS = ["*.json", "*.txt", "*.model", "**/*.json", "**/*.txt", "**/*.model"]


def is_hub_id(name: str) -> bool:
    """Whether this reads as `org/name` or `org/name@revision`."""
    return _ID.fullmatch(name) is not None


def model_folder(name: str) -> Path:
    """A whole pipeline in diffusers' format, safetensors only."""
    from diffusers import DiffusionPipeline

    def get(place: str, revision: str | None, local: bool) -> str:
        return str(
            DiffusionPipeline.download(
                place, revision=revision, local_files_only=local, use_safetensors=True
            )
        )

    return _cached_or_fetched(name, get)


def config_folder(name: str) -> Path:
    """The configuration files of a pipeline and its tokenizers, without weights."""
    from huggingface_hub import snapshot_download

    def get(place: str, revision: str | None, local: bool) -> str:
        return snapshot_download(
            place, revision=revision, local_files_only=local, allow_patterns=_CONFIGS
        )

    return _cached_or_fetched(name, get)


def _cached_or_fetched(name: str, get: Any) -> Path:
    """The libraries below raise many kinds of errors without a network; all mean: not here."""
    from diffusers.utils import logging

    logging.set_verbosity(logging.CRITICAL)  # what goes wrong is raised
    place, _, revision = name.partition("@")
    failed = []
    for local in (True, False):
        try:
            return Path(get(place, revision or None, local))
        except Exception as error:
            told = " ".join(str(error).split()).split(" (")[0]
            failed.append(f"{type(error).__name__}: {told[:120]}")
    raise MissingError(
        f"no model {name!r}: it is neither a folder or file here, nor in the hub's local cache "
        f"({failed[0]}), nor could it be fetched ({failed[1]}); fetch it with "
        f"`hf download {place}` where there is a network, or give a folder"
    )
