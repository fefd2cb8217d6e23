"""ModelSpec → the pipeline that diffusers has loaded; runs no code that a model brings."""

import json
from pathlib import Path
from typing import Any

from gen.models import ModelSpec
from gen.single import configured, load_single
from gen.weights import LOAD_ERRORS, SAFE, require_loadable
from provenance.errors import UsageError

_LIBRARIES = ("diffusers", "transformers")


def load_pipeline(spec: ModelSpec) -> Any:
    """In evaluation mode, on CUDA in half precision where there is one."""
    import torch
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    for library in (logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity(library.CRITICAL)  # what goes wrong is raised
    cuda = torch.cuda.is_available()
    dtype = torch.float16 if cuda else torch.float32
    if spec.file:
        with configured(spec) as folder:
            _refuse_other_code(folder)
            pipeline = load_single(spec, folder, dtype)
    else:
        pipeline = _from_folder(spec, dtype)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()  # diffusers leaves T5 from a single file in training, with dropout
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if cuda else "cpu")


def _from_folder(spec: ModelSpec, dtype: Any) -> Any:
    from diffusers import DiffusionPipeline

    _refuse_other_code(spec.folder)
    for file in spec.folder.rglob(f"*{SAFE}"):
        require_loadable(file)
    try:
        return DiffusionPipeline.from_pretrained(
            spec.folder,
            **_own_components(spec.folder),
            dtype=dtype,
            use_safetensors=None if spec.unsafe_pickle else True,
            local_files_only=True,
            safety_checker=None,
        )
    except LOAD_ERRORS as error:
        told = " ".join(str(error).split())[:300]
        raise UsageError(f"{spec.folder} does not load as a diffusers model: {told}") from error


def _own_components(folder: Path) -> dict[str, Any]:
    """The starter's autoencoder, which diffusers does not know by name."""
    config = folder / "vae" / "config.json"
    if not config.is_file():
        return {}
    if json.loads(config.read_text("utf-8")).get("_class_name") != "PatchAutoencoder":
        return {}
    from gen.starter.autoencoder import PatchAutoencoder

    return {"vae": PatchAutoencoder.from_pretrained(folder / "vae", use_safetensors=True)}


def _refuse_other_code(folder: Path) -> None:
    """A model index may name any Python module; only the two libraries' own are loaded."""
    listing = json.loads((folder / "model_index.json").read_text("utf-8"))
    for name, value in listing.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        library = value[0]
        ours = name == "vae" and value[1] == "PatchAutoencoder"
        if library is not None and library not in _LIBRARIES and not ours:
            raise UsageError(
                f"{folder} wants its {name} from {library!r}; "
                f"only {' and '.join(_LIBRARIES)} are loaded"
            )
