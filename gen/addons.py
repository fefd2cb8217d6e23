"""What is put on top of a loaded model: another VAE, textual inversions, LoRAs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gen.loading import decode_one_by_one
from gen.models import ModelSpec
from gen.shelf import Shelf
from gen.weights import LOAD_ERRORS, SAFE
from provenance.errors import MissingError, UsageError
from provenance.recipe import Lora, Part


@dataclass(frozen=True)
class Addons:
    """What a painter is loaded with, as the user names it."""

    vae: str | None = None
    embeddings: tuple[str, ...] = ()
    shelf: Shelf = field(default_factory=Shelf)


def put_vae(pipeline: Any, name: str, shelf: Shelf) -> Part:
    """Replaces the decoder; a file is read with the configuration of the model's own."""
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    path = shelf.find("vae", name)
    own = pipeline.vae
    try:
        if path.is_dir():
            made = type(own).from_pretrained(path, torch_dtype=own.dtype, use_safetensors=True)
        else:
            made = _vae_file(path, own)
    except (*LOAD_ERRORS, SingleFileComponentError) as error:
        raise _unfit(path, "VAE", pipeline, error) from error
    channels = made.config.latent_channels, own.config.latent_channels
    if channels[0] != channels[1]:
        raise UsageError(f"{path} has {channels[0]} latent channels, the model needs {channels[1]}")
    pipeline.register_modules(vae=made.eval().to(own.device))
    decode_one_by_one(pipeline)
    return Part(path.stem if path.is_file() else path.name, shelf.hash(path).autov2)


def _vae_file(path: Path, own: Any) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        own.save_config(folder)
        return type(own).from_single_file(
            str(path), config=folder, torch_dtype=own.dtype, local_files_only=True
        )


def put_embedding(pipeline: Any, name: str, shelf: Shelf) -> Part:
    """Makes the file's stem a word of the prompt."""
    path = shelf.find("embeddings", name)
    if path.is_dir():
        raise UsageError(f"a textual inversion is a file; {path} is a folder")
    if not hasattr(pipeline, "load_textual_inversion"):
        raise UsageError(f"{type(pipeline).__name__} takes no textual inversions")
    try:
        for weights, encoder, tokenizer in _embedding_parts(pipeline, path):
            pipeline.load_textual_inversion(
                weights, token=path.stem, text_encoder=encoder, tokenizer=tokenizer
            )
    except LOAD_ERRORS as error:
        raise _unfit(path, "textual inversion", pipeline, error) from error
    return Part(path.stem, shelf.hash(path).autov2)


def _embedding_parts(pipeline: Any, path: Path) -> list[tuple[Any, Any, Any]]:
    """SDXL's files hold one tensor for each of its two encoders."""
    if path.suffix.lower() != SAFE:
        return [(str(path), pipeline.text_encoder, pipeline.tokenizer)]
    from safetensors.torch import load_file

    weights = load_file(path)
    if "clip_g" in weights:
        return [
            (weights["clip_l"], pipeline.text_encoder, pipeline.tokenizer),
            (weights["clip_g"], pipeline.text_encoder_2, pipeline.tokenizer_2),
        ]
    tensor = weights.get("emb_params", next(iter(weights.values())))
    wide = pipeline.text_encoder.get_input_embeddings().weight.shape[-1]
    if tensor.shape[-1] != wide:
        raise ValueError(f"its vectors are {tensor.shape[-1]} wide, the model's {wide}")
    return [(tensor, pipeline.text_encoder, pipeline.tokenizer)]


class Loras:
    """The LoRAs of a pipeline: finds their files, puts on those that a recipe asks for."""

    def __init__(self, pipeline: Any, spec: ModelSpec, shelf: Shelf) -> None:
        self._pipeline, self._spec, self._shelf = pipeline, spec, shelf
        self._files: dict[str, Path] = {}
        self._on: tuple[Lora, ...] = ()

    def completed(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        """With their hashes (AutoV3, 12 digits), named by their files' stems."""
        if loras and not hasattr(self._pipeline, "load_lora_weights"):
            raise UsageError(f"{self._spec.name} takes no LoRAs; leave them out")
        return tuple(map(self._completed, loras))

    def put_on(self, loras: tuple[Lora, ...]) -> bool:
        """Exactly these; nothing is left of the last picture's. Returns whether they are others."""
        changed = loras != self._on
        if [lora.hash for lora in loras] != [lora.hash for lora in self._on]:
            if self._on:
                self._pipeline.unload_lora_weights()
            self._on = ()
            try:
                for number, lora in enumerate(loras):
                    self._load(self._files[lora.hash or ""], f"lora{number}")
            except BaseException:
                self._pipeline.unload_lora_weights()
                raise
        if loras:
            names = [f"lora{number}" for number in range(len(loras))]
            self._pipeline.set_adapters(names, [lora.weight for lora in loras])
        self._on = loras
        return changed

    def _completed(self, lora: Lora) -> Lora:
        known = lora.hash in self._files
        path = self._files[lora.hash or ""] if known else self._shelf.find("loras", lora.name)
        if path.is_dir():
            raise UsageError(f"a LoRA is a file; {path} is a folder")
        made = self._shelf.hashes.of(path)
        mark = (made.autov3 or made.sha256)[:12]
        if lora.hash and mark != lora.hash.lower()[:12] and made.autov2 != lora.hash.lower()[:10]:
            raise UsageError(f"the recipe asks for LoRA {lora.name} {lora.hash}; {path} is {mark}")
        self._files[mark] = path
        return Lora(path.stem, lora.weight, mark)

    def _load(self, path: Path, name: str) -> None:
        def put() -> None:
            self._pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=name,
                use_safetensors=path.suffix.lower() == SAFE, local_files_only=True,
            )  # fmt: skip

        try:
            _quietly(put)
        except LOAD_ERRORS as error:
            raise _unfit(path, "LoRA", self._pipeline, error) from error
        put_on = self._pipeline.get_list_adapters()
        if not any(name in names for names in put_on.values()):
            raise UsageError(f"{path} fits no layer of {self._spec.name}: it is for another family")


def _quietly(act: Callable[[], None]) -> None:
    """Without diffusers' advice on how to call it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        act()


def _unfit(path: Path, what: str, pipeline: Any, error: Exception) -> UsageError:
    if isinstance(error, MissingError | UsageError):
        return UsageError(str(error))
    told = " ".join(str(error).split())[:200]
    return UsageError(
        f"{path} does not fit {type(pipeline).__name__} as a {what}: {told}; "
        "take one that was made for this family"
    )
