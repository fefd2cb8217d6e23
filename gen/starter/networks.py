"""The starter's networks before training: tokenizer, text encoder, denoiser, sampler."""

from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.schedulers import DPMSolverMultistepScheduler
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from gen.starter import scenes
from gen.starter.autoencoder import PATCH

LATENT_SIDE = scenes.SIZE // PATCH
MAX_TOKENS = 40
TEXT_WIDTH = 256
_VOCABULARY = 2000
_SPECIAL = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<pad>"}


def new_tokenizer(captions: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: known words and Chinese characters are one token each.

    Any other text still has tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Prepend(" ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = list(_SPECIAL.values())
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in special[:2]],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **_SPECIAL
    )


def tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Tensor:
    """(N, MAX_TOKENS) int64."""
    encoded = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


def new_text_encoder(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=3 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet(
    latent_channels: int, widths: tuple[int, ...] = (128, 192, 256)
) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=32,
        norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Second-order DPM-Solver++ over the straight path that `Flow` learns."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0, steps_offset=1
    )


class Flow(nn.Module):
    """The networks that are trained together, in one module: one checkpoint, one average."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, latent_channels: int) -> None:
        super().__init__()
        self.text_encoder = new_text_encoder(tokenizer)
        self.unet = new_unet(latent_channels).to(memory_format=torch.channels_last)
        self.unet.set_attn_processor(AttnProcessor())  # plain products train four times faster

    def take(self, folder: Path) -> None:
        """Sets the weights to those of a model folder of the same shapes."""
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        self.unet.load_state_dict(unet.state_dict())
        text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
        self.text_encoder.load_state_dict(text_encoder.state_dict())

    def forward(self, noisy: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """The velocity (noise - clean) of (N, channels, h, w) latents at (N,) times in 0..1.

        `text` (M, MAX_TOKENS): each row of it is that of N / M latents, in order.
        """
        encoded = self.text_encoder(text)[0].repeat_interleave(len(noisy) // len(text), 0)
        velocity: Tensor = self.unet(noisy, time * 1000, encoded).sample
        return velocity
