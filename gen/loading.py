"""ModelSpec → the pipeline that diffusers has loaded; runs no code that a model brings."""

import json
from pathlib import Path
from typing import Any

from gen.devices import Plan
from gen.models import ModelSpec
from gen.single import configured, load_single
from gen.weights import LOAD_ERRORS, SAFE, require_loadable
from provenance.errors import UsageError

_LIBRARIES = ("diffusers", "transformers")
_GROUP_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


def load_pipeline(spec: ModelSpec, dtype: str) -> Any:
    """In evaluation mode, in the machine's own memory; `dtype` by torch's name."""
    import torch
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    for library in (logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity(library.CRITICAL)  # what goes wrong is raised
    kind = getattr(torch, dtype)
    if spec.file:
        with configured(spec) as folder:
            _refuse_other_code(folder)
            pipeline = load_single(spec, folder, kind)
    else:
        pipeline = _from_folder(spec, kind)
    for part in _modules(pipeline):
        part.eval()  # diffusers leaves T5 from a single file in training, with dropout
    pipeline.set_progress_bar_config(disable=True)
    decode_one_by_one(pipeline)
    return pipeline


def decode_one_by_one(pipeline: Any) -> None:
    """Less memory in the same time, and each picture as it is alone."""
    if hasattr(pipeline.vae, "enable_slicing"):
        pipeline.vae.enable_slicing()


def denoiser(pipeline: Any) -> Any:
    """The part that paints: a UNet or a transformer."""
    return pipeline.components.get("unet") or pipeline.transformer


def sizes(pipeline: Any) -> list[int]:
    """Bytes of weights of each component."""
    return [
        sum(value.nbytes for value in (*part.parameters(), *part.buffers()))
        for part in _modules(pipeline)
    ]


def place(pipeline: Any, plan: Plan) -> None:
    """Moves the weights to where the plan wants them, from wherever an earlier one had them."""

    for module in (each for part in _modules(pipeline) for each in part.modules()):
        for hook in _GROUP_HOOKS if hasattr(module, "_diffusers_hook") else ():
            module._diffusers_hook.remove_hook(hook, recurse=False)
    pipeline.remove_all_hooks()
    at = plan.device.place
    if plan.offload == "none":
        pipeline.to(at)
    elif plan.offload == "model":
        pipeline.enable_model_cpu_offload(device=at)
    else:
        pipeline.to("cpu")
        for part in _modules(pipeline):
            _by_groups(part, plan, blocks=plan.offload == "group" and part is denoiser(pipeline))


def _by_groups(part: Any, plan: Plan, *, blocks: bool) -> None:
    """Diffusers' group offloading: of the denoiser a block at a time, of the others each layer.

    Each layer of everything if offload is sequential: accelerate's kind does the same more slowly.
    """
    import torch
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        part,
        onload_device=torch.device(plan.device.place),
        offload_type="block_level" if blocks else "leaf_level",
        num_blocks_per_group=1 if blocks else None,
        use_stream=plan.device.kind in ("cuda", "rocm", "xpu"),
    )


def _modules(pipeline: Any) -> list[Any]:
    import torch

    return [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]


def _from_folder(spec: ModelSpec, dtype: Any) -> Any:
    from diffusers import DiffusionPipeline

    _refuse_other_code(spec.folder)
    for file in spec.folder.rglob(f"*{SAFE}"):
        require_loadable(file)
    try:
        return DiffusionPipeline.from_pretrained(
            spec.folder,
            **_own_components(spec.folder, dtype),
            dtype=dtype,
            use_safetensors=None if spec.unsafe_pickle else True,
            local_files_only=True,
            safety_checker=None,
        )
    except LOAD_ERRORS as error:
        told = " ".join(str(error).split())[:300]
        raise UsageError(f"{spec.folder} does not load as a diffusers model: {told}") from error


def _own_components(folder: Path, dtype: Any) -> dict[str, Any]:
    """The starter's autoencoder, which diffusers does not know by name."""
    config = folder / "vae" / "config.json"
    if not config.is_file():
        return {}
    if json.loads(config.read_text("utf-8")).get("_class_name") != "PatchAutoencoder":
        return {}
    from gen.starter.autoencoder import PatchAutoencoder

    made = PatchAutoencoder.from_pretrained(folder / "vae", use_safetensors=True)
    return {"vae": made.to(dtype)}


def _refuse_other_code(folder: Path) -> None:
    """A model index may name any Python module; only the two libraries' own are loaded."""
    listing = json.loads((folder / "model_index.json").read_text("utf-8"))
    if not isinstance(listing["_class_name"], str):
        raise UsageError(f"{folder} wants a pipeline of its own; diffusers' are loaded")
    for name, value in listing.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2:
            raise UsageError(f"{folder}: its {name} is [library, class], got {value!r:.80}")
        library = value[0]
        ours = name == "vae" and value == ["gen.starter.autoencoder", "PatchAutoencoder"]
        if library is not None and library not in _LIBRARIES and not ours:
            raise UsageError(
                f"{folder} wants its {name} from {library!r}; "
                f"only {' and '.join(_LIBRARIES)} are loaded"
            )
