"""A single checkpoint file → a diffusers pipeline.

The configuration comes from the folder that the user names, else from our table of layouts
(`gen/layouts/`), else from the hub. What the file leaves out (FLUX files often hold the
transformer alone) is taken from that folder, if its weights are there.
"""

import gzip
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gen.hub import config_folder
from gen.models import ModelSpec
from gen.weights import LOAD_ERRORS, SAFE, read_header
from provenance.errors import MissingError, UsageError

LAYOUTS = Path(__file__).parent / "layouts"

_T5_KEYS = ("text_encoders.t5xxl.",)
_CLIP_KEYS = {
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l."),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g."),
    "text_encoder_3": _T5_KEYS,
    "vae": ("first_stage_model.", "vae."),
}
Shapes = Mapping[str, tuple[int, ...]]
_EDM = {"edm_mean", "edm_std", "edm_vpred.sigma_max"}  # another noise schedule than SDXL's
_SCALES = (".scale_weight", ".weight_scale", "scaled_fp8")


def layout(shapes: Shapes) -> str | None:
    """The layout in our table that has these tensors, known by names and by widths."""

    def shape(name: str) -> tuple[int, ...]:
        return shapes.get(f"model.diffusion_model.{name}", shapes.get(name, ()))

    if shape("input_blocks.0.0.weight") == (320, 4, 3, 3):
        if "conditioner.embedders.1.model.positional_embedding" in shapes:
            return None if _EDM & shapes.keys() else "sdxl"
        clip = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
        return "sd15" if clip in shapes else None
    wide = shape("joint_blocks.0.x_block.mlp.fc1.weight")
    if wide == (9728, 2432):
        return "sd35-large"
    if wide == (6144, 1536):
        return "sd35-medium" if shape("joint_blocks.0.x_block.attn2.qkv.weight") else "sd3"
    if shape("img_in.weight") == (3072, 64) and shape("double_blocks.18.img_attn.qkv.weight"):
        return "flux-dev" if shape("guidance_in.in_layer.weight") else "flux-schnell"
    return None


def _marked(shapes: Shapes) -> dict[str, Any]:
    """What empty tensors say of how a model was trained: by velocity, to a signal of zero."""
    said: dict[str, Any] = {"prediction_type": "v_prediction"} if "v_pred" in shapes else {}
    if "ztsnr" in shapes:
        said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return said


@contextmanager
def configured(spec: ModelSpec) -> Iterator[Path]:
    """The folder with the configuration of a single file, for as long as it is needed."""
    if spec.config:
        yield spec.config
        return
    known = layout(_shapes(spec))
    if known is None:
        yield _from_hub(spec)
        return
    parts = json.loads((LAYOUTS / f"{known}.json").read_text("utf-8"))
    parts["scheduler"] |= _marked(_shapes(spec))
    with tempfile.TemporaryDirectory() as made:
        for name, values in parts.items():
            _write(Path(made), name, values)
        yield Path(made)


def load_single(spec: ModelSpec, folder: Path, dtype: Any) -> Any:
    """The pipeline, with `folder` as its configuration."""
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    if any(name.endswith(_SCALES) for name in _shapes(spec)):
        raise UsageError(
            f"{spec.file} holds scaled fp8 weights, which diffusers would read without their "
            "scales; take the plain fp8, fp16 or bf16 file of the same model"
        )
    listing = json.loads((folder / "model_index.json").read_text("utf-8"))
    kind: Any = getattr(diffusers, str(listing["_class_name"]), None)
    if not hasattr(kind, "from_single_file"):
        raise UsageError(f"{listing['_class_name']} is not loaded from single files by diffusers")
    given = _components(spec, listing, folder, dtype)
    try:
        return kind.from_single_file(
            str(spec.file), config=str(folder), local_files_only=True, torch_dtype=dtype, **given
        )
    except (*LOAD_ERRORS, SingleFileComponentError) as error:
        told = str(error).strip().split("\n")[0][:300]
        raise UsageError(
            f"{spec.file} does not load as {listing['_class_name']}: {told}; "
            "name the configuration that it was made for with --config FOLDER"
        ) from error


def clip_tokenizer(pad: str = "<|endoftext|>") -> Any:
    """CLIP's tokenizer from its merges, which OpenAI published under the MIT licence."""
    from transformers import CLIPTokenizer

    lines = gzip.decompress((LAYOUTS / "clip_merges.txt.gz").read_bytes()).decode().split("\n")
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    bytes_ = [chr(code) for code in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = [*bytes_, *(f"{each}</w>" for each in bytes_), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)


def _components(
    spec: ModelSpec, listing: dict[str, Any], folder: Path, dtype: Any
) -> dict[str, Any]:
    """What is not in the file: tokenizers, and parts whose weights lie in the folder."""
    names = set(_shapes(spec)) if spec.file and spec.file.suffix == SAFE else None
    given: dict[str, Any] = {}
    for name, value in listing.items():
        if name.startswith("_") or not isinstance(value, list) or value[0] is None:
            continue
        if name.startswith("tokenizer") and not (folder / name).is_dir():
            given[name] = _tokenizer(name, value[1])
        elif names is not None and name in _CLIP_KEYS and not _holds(names, name, value[1]):
            given[name] = _from_folder(name, value, folder, dtype)
    _without_t5(spec, given, listing)
    return given


def _tokenizer(name: str, kind: str) -> Any:
    if not kind.startswith("CLIP"):
        return None
    return clip_tokenizer("!" if name == "tokenizer_2" else "<|endoftext|>")


def _holds(names: set[str], component: str, kind: str) -> bool:
    keys = _T5_KEYS if kind.startswith("T5") else _CLIP_KEYS[component]
    return any(name.startswith(keys) for name in names)


def _from_folder(name: str, value: list[str], folder: Path, dtype: Any) -> Any:
    import diffusers
    import transformers

    if not list((folder / name).glob(f"*{SAFE}")):
        return None
    kind = getattr({"diffusers": diffusers, "transformers": transformers}[value[0]], value[1])
    return kind.from_pretrained(folder / name, torch_dtype=dtype, use_safetensors=True)


def _without_t5(spec: ModelSpec, given: dict[str, Any], listing: dict[str, Any]) -> None:
    """SD3 works without its third encoder; whatever else is lacking is an error."""
    if (
        listing["_class_name"].startswith("StableDiffusion3")
        and given.get("text_encoder_3", 0) is None
    ):
        given["tokenizer_3"] = None
    lacking = [
        name for name, part in given.items()
        if part is None and not (name.endswith("_3") and given.get("text_encoder_3", 0) is None)
    ]  # fmt: skip
    if lacking:
        raise MissingError(
            f"{spec.file} does not hold its {', '.join(lacking)}; give a diffusers folder of the "
            f"same family that has {'it' if len(lacking) == 1 else 'them'}, with --config FOLDER"
        )


def _shapes(spec: ModelSpec) -> Shapes:
    if spec.file is None or spec.file.suffix.lower() != SAFE:
        return {}
    header = read_header(spec.file)
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name[:2] != "__"}


def _from_hub(spec: ModelSpec) -> Path:
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    shapes = {name: SimpleNamespace(shape=shape) for name, shape in _shapes(spec).items()}
    guess = str(fetch_diffusers_config(shapes)["pretrained_model_name_or_path"])
    try:
        return config_folder(guess)
    except MissingError:
        raise MissingError(
            f"{spec.file} has a layout that is not in our table (SD 1.5, SDXL, SD 3, SD 3.5, "
            f"FLUX.1) and its configuration (perhaps {guess}) is not in the hub's cache; name the "
            "configuration with --config FOLDER"
        ) from None


def _write(folder: Path, name: str, values: dict[str, Any]) -> None:
    files = {"model_index": "model_index.json", "scheduler": "scheduler/scheduler_config.json"}
    path = folder / files.get(name, f"{name}/config.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values), "utf-8")
