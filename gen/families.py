"""What is usual for a family of models: steps, guidance, sizes, presets. A table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from provenance.errors import UsageError

Size = tuple[int, int]


@dataclass(frozen=True)
class Family:
    """`side` is the native size in pixels, for which the presets are given as (width, height).

    `guides_by` is the argument that the recipe's guidance goes to; `negatives` says whether a
    negative prompt has an effect, `tokens` how long a prompt its T5 reads at most. `cache` is the
    threshold of first-block caching that is usual, where the family's pipeline takes it.
    """

    name: str
    pipelines: tuple[str, ...]
    steps: int
    guidance: float
    side: int
    presets: dict[str, Size]
    guides_by: str = "guidance_scale"
    negatives: bool = True
    tokens: int = 512
    cache: float | None = None


_MEGAPIXEL = {
    "square": (1024, 1024),
    "portrait": (832, 1216),
    "landscape": (1216, 832),
    "tall": (768, 1344),
    "wide": (1344, 768),
}
_SMALL = {
    "square": (512, 512),
    "portrait": (512, 768),
    "landscape": (768, 512),
    "tall": (512, 896),
    "wide": (896, 512),
}
PRESETS = tuple(_SMALL)
STARTER = Family("starter", (), 8, 4.0, 512, _SMALL)
FAMILIES = (
    Family("SD", ("StableDiffusionPipeline",), 25, 7.5, 512, _SMALL),
    Family("SDXL", ("StableDiffusionXLPipeline", "KolorsPipeline"), 30, 5.0, 1024, _MEGAPIXEL),
    Family("SD3", ("StableDiffusion3Pipeline",), 28, 5.0, 1024, _MEGAPIXEL),
    Family("FLUX", ("FluxPipeline",), 28, 3.5, 1024, _MEGAPIXEL, negatives=False,
           cache=0.08),
    Family("PixArt", ("PixArtAlphaPipeline", "PixArtSigmaPipeline"), 20, 4.5, 1024, _MEGAPIXEL,
           tokens=300),
    Family("Hunyuan", ("HunyuanDiTPipeline",), 30, 5.0, 1024, _MEGAPIXEL),
    Family("Qwen", ("QwenImagePipeline",), 40, 4.0, 1024, _MEGAPIXEL, "true_cfg_scale",
           cache=0.08),
    Family("Z-Image", ("ZImagePipeline",), 30, 5.0, 1024, _MEGAPIXEL),
)  # fmt: skip
_OTHER = Family("other", (), 28, 5.0, 1024, _MEGAPIXEL)


QUALITIES = {"fast": 0.5, "balanced": 1.0, "best": 2.0}
"""Presets: the share of the family's usual steps. `fast` caches the first block where it can."""


@dataclass(frozen=True)
class FewSteps:
    """What a LoRA that distils a model to few steps is made for, by its publisher's word.

    `sampler` and `spacing` are for models that predict noise; flow models keep their own. Guidance
    of 1 is none.
    """

    named: str
    steps: int  # where the LoRA's name does not say
    sampler: str
    spacing: str | None = None
    guidance: float = 1.0


_FEW_STEPS = (
    FewSteps("lcm", 4, "LCM"),
    FewSteps("lightning", 4, "Euler", "SGM Uniform"),
    FewSteps("hyper", 8, "DDIM", "SGM Uniform"),
    FewSteps("dmd2", 4, "LCM"),
    FewSteps("turbo", 8, "Euler", "SGM Uniform"),
)


def few_steps(loras: Iterable[str]) -> FewSteps | None:
    """By the LoRAs' names, such as `sdxl_lightning_4step_lora` or `Hyper-SD15-8steps-lora`."""
    for name in loras:
        for kind in _FEW_STEPS:
            if re.search(rf"(?<![a-z]){kind.named}(?![a-z])", name.lower()):
                said = re.search(r"(\d+)[ _-]?steps?(?![a-z])", name.lower())
                return replace(kind, steps=int(said[1])) if said else kind
    return None


def steps(kind: Family, usual: int, quality: str) -> int:
    """Models that are distilled to a few steps keep them; the starter has few and is not."""
    if usual < 10 and kind is not STARTER:
        return usual
    return round(usual * QUALITIES[quality])


def family(pipeline: str) -> Family:
    """By diffusers' name of the pipeline."""
    return next((each for each in FAMILIES if pipeline in each.pipelines), _OTHER)


def preset(pipeline: str, name: str, side: int, step: int = 16) -> Size:
    """The preset's size for a model of this native side, in multiples of `step`."""
    kind = family(pipeline)
    if name not in kind.presets:
        raise UsageError(
            f"a size is WxH in pixels, such as 128x128, or one of {', '.join(kind.presets)}; "
            f"got {name!r}"
        )
    width, height = (round(edge * side / kind.side / step) * step for edge in kind.presets[name])
    return max(width, step), max(height, step)
