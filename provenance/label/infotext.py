"""A recipe as A1111 "infotext", the one-line form that most tools read."""

import json
from collections.abc import Sequence

from provenance.recipe import Lora, Part, Recipe

SOFTWARE = "Firsthand"


def infotext(recipe: Recipe) -> str:
    """Prompt, negative prompt and parameters, as AUTOMATIC1111's create_infotext writes them."""
    pairs = {
        "Steps": recipe.steps,
        "Sampler": recipe.sampler,
        "Schedule type": recipe.scheduler,
        "CFG scale": None if recipe.guidance is None else f"{recipe.guidance:g}",
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}" if recipe.width and recipe.height else None,
        "Model hash": (recipe.model_hash or "")[:10] or None,
        "Model": recipe.model,
        "Denoising strength": None if recipe.strength is None else f"{recipe.strength:g}",
        "Init image hash": recipe.init_hash,
        "VAE hash": recipe.vae and recipe.vae.hash,
        "VAE": recipe.vae and recipe.vae.name,
        "Lora hashes": _hashes(recipe.loras),
        "TI hashes": _hashes(recipe.embeddings),
        "Version": SOFTWARE,
    }
    line = ", ".join(f"{key}: {_quoted(str(v))}" for key, v in pairs.items() if v is not None)
    negative = [f"Negative prompt: {recipe.negative}"] if recipe.negative else []
    loras = "".join(f" <lora:{lora.name}:{lora.weight:g}>" for lora in recipe.loras)
    return "\n".join([recipe.prompt + loras, *negative, line])


def _hashes(parts: Sequence[Lora | Part]) -> str | None:
    return ", ".join(f"{each.name}: {each.hash}" for each in parts if each.hash) or None


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value
