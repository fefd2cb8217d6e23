"""SDXL and FLUX with random weights, whole or tiny: the time that a step takes is the same."""

import json
from pathlib import Path
from typing import Any

from gen.single import LAYOUTS, clip_tokenizer

ARCHITECTURES = {"sdxl": "sdxl", "flux": "flux-dev"}
_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "projection_dim": 32,
}  # fmt: skip
_TINY: dict[str, dict[str, dict[str, Any]]] = {
    "sdxl": {
        "unet": {
            "block_out_channels": (32, 64, 64), "attention_head_dim": (1, 2, 2), "sample_size": 16,
            "cross_attention_dim": 64, "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 80, "transformer_layers_per_block": (1, 1, 2),
        },
        "text_encoder": _TEXT, "text_encoder_2": _TEXT,
    },
    "flux": {
        "transformer": {
            "num_layers": 2, "num_single_layers": 4, "num_attention_heads": 2,
            "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12), "joint_attention_dim": 32,
            "pooled_projection_dim": 32,
        },
        "text_encoder": _TEXT,
        "text_encoder_2": {
            "d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2,
        },
    },
}  # fmt: skip
_TINY_VAE = {"block_out_channels": (16, 16, 32, 32), "norm_num_groups": 8}


def write(name: str, folder: Path, *, tiny: bool) -> None:
    """A diffusers folder, in bfloat16 unless it is tiny."""
    import diffusers
    import torch
    import transformers

    layout = json.loads((LAYOUTS / f"{ARCHITECTURES[name]}.json").read_text("utf-8"))
    shrunk = {**_TINY[name], "vae": _TINY_VAE} if tiny else {}
    torch.manual_seed(0)
    parts: dict[str, Any] = {}
    for part, value in layout["model_index"].items():
        if part.startswith("_") or not isinstance(value, list) or value[0] is None:
            continue
        config = {**layout.get(part, {}), **shrunk.get(part, {})}
        if part.startswith("tokenizer"):
            parts[part] = clip_tokenizer() if value[1].startswith("CLIP") else _letters()
        elif value[0] == "diffusers":
            kind: Any = getattr(diffusers, value[1])
            parts[part] = kind.from_config(config)
        else:
            kind = getattr(transformers, value[1])
            parts[part] = kind(kind.config_class(**config))
    pipeline = getattr(diffusers, layout["model_index"]["_class_name"])(**parts)
    if not tiny:
        pipeline.to(torch.bfloat16)
    pipeline.save_pretrained(folder)


def _letters() -> Any:
    """A T5 tokenizer of letters: its text is of no account here."""
    from transformers import T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(each, -3.0) for each in "▁abcdefghijklmnopqrstuvwxyz"]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0)
