"""What makes a loaded denoiser faster or smaller: compiling, attention, kept weights, caching."""

from importlib.util import find_spec
from typing import Any

from gen.devices import Engine
from provenance.errors import MissingError, UsageError


def keep_small(denoiser: Any, weights: str, dtype: str) -> None:
    """Keeps weights in 8 bits: fp8 is cast for each layer, int8 is torchao's weight-only kind."""
    import torch

    if weights == "fp8":
        denoiser.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=getattr(torch, dtype)
        )
        return
    if not find_spec("torchao"):
        raise MissingError("int8 weights need torchao: pip install 'firsthand[int8]'")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(denoiser, Int8WeightOnlyConfig())


def widen_adapters(denoiser: Any, dtype: str) -> None:
    """LoRAs take on the type of the weights that they are put on; there is no reckoning in fp8."""
    import torch

    for name, parameter in denoiser.named_parameters():
        if "lora_" in name and parameter.dtype == torch.float8_e4m3fn:
            parameter.data = parameter.data.to(getattr(torch, dtype))


def quicken(denoiser: Any, engine: Engine) -> None:
    """Sets the attention backend, and has the blocks that repeat compiled when they first run."""
    if engine.attention:
        _attend(denoiser, engine.attention)
    if engine.compile:
        if getattr(denoiser, "_repeated_blocks", None):
            denoiser.compile_repeated_blocks()
        else:
            denoiser.compile()


def cache(denoiser: Any, threshold: float | None) -> None:
    """First-block caching, as diffusers has it from ParaAttention; None turns it off.

    A step whose first block changes by less than this share of it takes the other blocks' change
    from the step before.
    """
    from diffusers import FirstBlockCacheConfig

    if getattr(denoiser, "is_cache_enabled", False):
        denoiser.disable_cache()
    if threshold is not None:
        denoiser.enable_cache(FirstBlockCacheConfig(threshold=threshold))


def _attend(denoiser: Any, backend: str) -> None:
    processors = [getattr(module, "processor", None) for module in denoiser.modules()]
    if not any(hasattr(each, "_attention_backend") for each in processors):
        raise UsageError(f"{type(denoiser).__name__} has one attention only; leave it out")
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    others, _ = Registry.get_active_backend()
    try:
        denoiser.set_attention_backend(backend)
        Registry.set_active_backend(others)  # it is set for models that are not asked about too
    except ValueError as error:
        raise UsageError(f"no attention {backend!r}: {error}") from None
    except (ImportError, RuntimeError) as error:
        raise MissingError(f"attention {backend!r} does not run here: {error}") from None
