"""The original checkpoint layouts: what diffusers' converters read, written by inverting them."""

import re
from pathlib import Path
from typing import Any

from tests import tiny_pipelines

Weights = dict[str, Any]

_UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn": "attn",
    "final_layer_norm": "ln_final", "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
}  # fmt: skip
_SD3 = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
    "transformer_blocks.": "joint_blocks.", "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip


def write(family: str, file: Path) -> Path:
    """A checkpoint of the tiny pipeline of this family in its original layout."""
    from safetensors.torch import save_file

    weights = {"sd15": _sd15, "sdxl": _sdxl, "sd3": _sd3}[family](tiny_pipelines.pipeline(family))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: each.contiguous() for name, each in weights.items()}, file)
    return file


def vae(model: Any, prefix: str = "") -> Weights:
    """A VAE's weights as original files have them."""
    levels = len(model.config.block_out_channels)

    def renamed(name: str) -> str:
        name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        up = re.match(r"decoder\.up_blocks\.(\d)\.", name)
        if up:
            at = levels - 1 - int(up[1])
            name = name.replace(f"up_blocks.{up[1]}.resnets", f"up.{at}.block")
            name = name.replace(f"up_blocks.{up[1]}.upsamplers.0", f"up.{at}.upsample")
        name = re.sub(
            r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name
        )
        name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
        name = re.sub(r"to_([qkv])\.", r"\1.", name).replace("to_out.0", "proj_out")
        return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")

    made = {}
    for name, weight in model.state_dict().items():
        attention = "attentions" in name and weight.ndim == 2
        made[prefix + renamed(name)] = weight[:, :, None, None] if attention else weight
    return made


def _sd15(pipeline: Any) -> Weights:
    return {
        **_unet(pipeline.unet),
        **vae(pipeline.vae, "first_stage_model."),
        **_clip(pipeline.text_encoder, "cond_stage_model.transformer."),
    }


def _sdxl(pipeline: Any) -> Weights:
    return {
        **_unet(pipeline.unet),
        **vae(pipeline.vae, "first_stage_model."),
        **_clip(pipeline.text_encoder, "conditioner.embedders.0.transformer."),
        **_open_clip(pipeline.text_encoder_2, "conditioner.embedders.1.model."),
    }


def _sd3(pipeline: Any) -> Weights:
    t5 = pipeline.text_encoder_3.state_dict()
    first = _clip(pipeline.text_encoder, "text_encoders.clip_l.transformer.")
    return {
        **_transformer(pipeline.transformer),
        **vae(pipeline.vae, "first_stage_model."),
        **{name: weight for name, weight in first.items() if "text_projection" not in name},
        **_clip(pipeline.text_encoder_2, "text_encoders.clip_g.transformer."),
        **{f"text_encoders.t5xxl.transformer.{k}": v.clone() for k, v in t5.items()},
    }


def _unet(model: Any) -> Weights:
    each = model.config.layers_per_block + 1
    made = {}
    for name, weight in model.state_dict().items():
        stem, _, end = name.rpartition(".")
        if stem in _UNET:
            made[f"model.diffusion_model.{_UNET[stem]}.{end}"] = weight
            continue
        found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
        if found is None:
            _, kind, at, rest = name.split(".", 3)
            number = 2 * int(at) + (kind == "attentions")
            place = f"middle_block.{number}"
        else:
            side, block, kind, at, rest = found.groups()
            attends = "CrossAttn" in model.config[f"{side}_block_types"][int(block)]
            place = _place(side, int(block), kind, int(at), each, attends)
        if kind == "resnets":
            part, _, end = rest.partition(".")
            rest = f"{_RESNET[part]}.{end}"
        if kind == "downsamplers":
            rest = rest.replace("conv", "op")
        made[f"model.diffusion_model.{place}.{rest}"] = weight
    return made


def _place(side: str, block: int, kind: str, at: int, each: int, attends: bool) -> str:
    if side == "down":
        number = 1 + block * each + (each - 1 if kind == "downsamplers" else at)
        return f"input_blocks.{number}.{int(kind == 'attentions')}"
    number = block * each + (each - 1 if kind == "upsamplers" else at)
    place = {"resnets": 0, "attentions": 1, "upsamplers": 1 + attends}[kind]
    return f"output_blocks.{number}.{place}"


def _clip(model: Any, prefix: str) -> Weights:
    made = {}
    for name, weight in model.state_dict().items():
        bare = name.startswith(("text_model.", "text_projection"))
        made[f"{prefix}{'' if bare else 'text_model.'}{name}"] = weight
    return made


def _open_clip(model: Any, prefix: str) -> Weights:
    import torch

    state = {k.removeprefix("text_model."): v for k, v in model.state_dict().items()}
    made: Weights = {}
    for name, weight in state.items():
        if ".self_attn.k_proj" in name or ".self_attn.v_proj" in name:
            continue
        if ".self_attn.q_proj" in name:
            weight = torch.cat([state[name.replace("q_proj", f"{each}_proj")] for each in "qkv"])
            name = name.replace("q_proj.", "in_proj_")
        if name == "text_projection.weight":
            name, weight = "text_projection", weight.T
        for new, old in _OPEN_CLIP.items():
            name = name.replace(new, old)
        made[prefix + name] = weight
    return made


def _transformer(model: Any) -> Weights:
    import torch

    state = model.state_dict()
    last = f"transformer_blocks.{model.config.num_layers - 1}.norm1_context"
    made: Weights = {"pos_embed": state.pop("pos_embed.pos_embed")}
    for name, weight in state.items():
        if re.search(r"attn\.(to_[kv]|add_[kv]_proj)\.", name):
            continue
        if name.startswith((last, "norm_out")):  # the original has the shift before the scale
            scale, shift = weight.chunk(2)
            weight = torch.cat([shift, scale])
        query = re.search(r"attn\.(to_q|add_q_proj)\.", name)
        if query:
            weight = torch.cat(
                [state[name.replace(query[1], query[1].replace("q", each))] for each in "qkv"]
            )
            block = "x_block" if query[1] == "to_q" else "context_block"
            name = name.replace(f"attn.{query[1]}", f"{block}.attn.qkv")
        for new, old in sorted(_SD3.items(), key=lambda pair: -len(pair[0])):
            if old not in name:
                name = name.replace(new, old)
        made[f"model.diffusion_model.{name}"] = weight
    made["model.diffusion_model.pos_embed"] = made.pop("pos_embed")
    return made
