"""Text-to-image pipelines of a megabyte in the true formats, with seeded random weights."""

from pathlib import Path
from typing import Any

FAMILIES = ("sd15", "sdxl", "sd3", "flux", "pixart")

_CLIP_WORDS = 49408  # the vocabulary of CLIP, whose tokenizer is bundled


def clip_text(kind: str, *, seed: int, width: int = 32) -> Any:
    import torch
    import transformers as t

    torch.manual_seed(seed)
    config = t.CLIPTextConfig(
        hidden_size=width, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4,
        vocab_size=_CLIP_WORDS, projection_dim=width, max_position_embeddings=77,
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return _rough(getattr(t, kind)(config))


def t5(width: int = 32) -> tuple[Any, Any]:
    import torch
    import transformers as t

    torch.manual_seed(5)
    letters = [(each, -3.0) for each in "▁abcdefghijklmnopqrstuvwxyz,."]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    tokenizer = t.T5Tokenizer(vocab=vocab, extra_ids=0)
    config = t.T5Config(
        d_model=width, d_ff=64, d_kv=8, num_layers=2, num_heads=4, vocab_size=len(tokenizer),
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return _rough(t.T5EncoderModel(config)), tokenizer


def vae(channels: int, *, quant: bool = True, seed: int = 2) -> Any:
    import diffusers as d
    import torch

    torch.manual_seed(seed)
    made = d.AutoencoderKL(
        block_out_channels=(16, 32), norm_num_groups=8, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        use_quant_conv=quant, use_post_quant_conv=quant,
        shift_factor=None if quant else 0.1, scaling_factor=0.5, sample_size=64,
    )  # fmt: skip
    return _rough(made)


def unet(*, xl: bool) -> Any:
    import diffusers as d
    import torch

    torch.manual_seed(1)
    further: dict[str, Any] = {"cross_attention_dim": 32, "attention_head_dim": 4}
    if xl:
        further = {
            "cross_attention_dim": 80, "attention_head_dim": (2, 4), "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "transformer_layers_per_block": (1, 2), "projection_class_embeddings_input_dim": 96,
        }  # fmt: skip
    made = d.UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=2, norm_num_groups=8, sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **further,
    )  # fmt: skip
    return _rough(made)


def pipeline(family: str) -> Any:
    """The whole pipeline of the family; its native size is 64 pixels."""
    return globals()[f"_{family}"]()


def write(family: str, place: Path) -> Path:
    """A diffusers folder."""
    pipeline(family).save_pretrained(place)
    return place


def lora(file: Path, family: str, *, kohya: bool = False, seed: int = 0, rank: int = 4) -> Path:
    """A LoRA on the queries of the denoiser's attention, by the names of PEFT or of kohya."""
    import torch
    from safetensors.torch import save_file

    made = pipeline(family)
    part = "unet" if "unet" in made.components else "transformer"
    torch.manual_seed(seed)
    weights: dict[str, Any] = {}
    for name, module in getattr(made, part).named_modules():
        if not name.endswith(("to_q", "to_v")):
            continue
        down, up = torch.randn(rank, module.in_features), torch.randn(module.out_features, rank)
        if kohya:
            stem = f"lora_unet_{name.replace('.', '_')}"
            weights |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            weights[f"{stem}.alpha"] = torch.tensor(float(rank))
        else:
            weights |= {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up}
    save_file(weights, file)
    return file


def kohya_flux(file: Path) -> Path:
    """A LoRA for the tiny FLUX by kohya's names, which are those of the original checkpoint."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = {}
    for block in range(2):
        stem = f"lora_unet_double_blocks_{block}_img_attn_qkv"
        weights[f"{stem}.lora_down.weight"] = torch.randn(4, 32)
        weights[f"{stem}.lora_up.weight"] = torch.randn(96, 4)
        weights[f"{stem}.alpha"] = torch.tensor(4.0)
    save_file(weights, file)
    return file


def _sd15() -> Any:
    import diffusers as d

    from gen.single import clip_tokenizer

    return d.StableDiffusionPipeline(
        vae(4), clip_text("CLIPTextModel", seed=3), clip_tokenizer(), unet(xl=False),
        d.PNDMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
            skip_prk_steps=True, steps_offset=1,
        ),
        None, None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl() -> Any:
    import diffusers as d

    from gen.single import clip_tokenizer

    return d.StableDiffusionXLPipeline(
        vae(4), clip_text("CLIPTextModel", seed=3),
        clip_text("CLIPTextModelWithProjection", seed=4, width=48),
        clip_tokenizer(), clip_tokenizer("!"),
        unet(xl=True),
        d.EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
            timestep_spacing="leading", steps_offset=1,
        ),
        add_watermarker=False,
    )  # fmt: skip


def _sd3() -> Any:
    import diffusers as d
    import torch

    from gen.single import clip_tokenizer

    encoder, words = t5(80)
    first = clip_text("CLIPTextModelWithProjection", seed=3)
    torch.nn.init.eye_(first.text_projection.weight)  # single files have none
    torch.manual_seed(1)
    transformer = d.SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=80, caption_projection_dim=32,
        pooled_projection_dim=80, out_channels=4, pos_embed_max_size=96,
    )  # fmt: skip
    return d.StableDiffusion3Pipeline(
        _rough(transformer), d.FlowMatchEulerDiscreteScheduler(shift=3.0), vae(4, quant=False),
        first, clip_tokenizer(),
        clip_text("CLIPTextModelWithProjection", seed=4, width=48), clip_tokenizer("!"),
        encoder, words,
    )  # fmt: skip


def _flux() -> Any:
    import diffusers as d
    import torch

    from gen.single import clip_tokenizer

    encoder, words = t5()
    torch.manual_seed(1)
    transformer = d.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    scheduler = d.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return d.FluxPipeline(
        scheduler, vae(4, quant=False), clip_text("CLIPTextModel", seed=3), clip_tokenizer(),
        encoder, words, _rough(transformer),
    )  # fmt: skip


def _pixart() -> Any:
    import diffusers as d
    import torch

    encoder, words = t5()
    torch.manual_seed(1)
    transformer = d.PixArtTransformer2DModel(
        sample_size=32, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=4,
        caption_channels=32, in_channels=4, cross_attention_dim=32, out_channels=8,
        use_additional_conditions=False, norm_num_groups=1,
    )  # fmt: skip
    return d.PixArtSigmaPipeline(
        words, encoder, vae(4), _rough(transformer), d.DPMSolverMultistepScheduler()
    )


def _rough(model: Any) -> Any:
    """As models begin, all their pictures are alike: larger weights make them differ."""
    import torch

    for weights in model.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.15)
    return model.eval()
