"""Models of a few kilobytes in the formats of the real ones, with seeded random weights."""

import hashlib
from pathlib import Path
from typing import Any

FAMILIES = ("dinov2", "clip", "siglip")


def sscd(file: Path, *, width: int = 512, seed: int = 0) -> str:
    """Words for the settings that name a TorchScript file of SSCD's form, written here."""
    import torch
    from torch.nn import AdaptiveAvgPool2d, Flatten, Linear, Sequential

    torch.manual_seed(seed)
    net = Sequential(AdaptiveAvgPool2d(4), Flatten(), Linear(48, width, bias=False)).eval()
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 64, 64)), file)  # type: ignore[no-untyped-call]
    return f"sscd:{file}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}"


def folder(family: str, place: Path, *, seed: int = 0) -> str:
    """Words for the settings that name a model folder of this family, written here."""
    import torch
    import transformers as t
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.manual_seed(seed)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    vision = {**small, "image_size": 32, "patch_size": 8}
    text = {**small, "vocab_size": 16, "bos_token_id": 0, "eos_token_id": 1}
    if family == "dinov2":
        model = t.Dinov2Model(t.Dinov2Config(**{**vision, "patch_size": 14, "image_size": 28}))
        processor = t.BitImageProcessorPil(
            size={"shortest_edge": 64},
            crop_size={"height": 56, "width": 56},
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
    elif family == "clip":
        config = t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        model = t.CLIPModel(config)
        processor = t.CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        )
    else:
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
        processor = t.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    for name, weights in model.named_parameters():  # as they begin, all pictures are alike
        if weights.ndim > 1 and "position" not in name:
            torch.nn.init.normal_(weights, std=0.5)
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return f"{family}:{place}"
