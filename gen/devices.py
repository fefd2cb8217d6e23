"""Where painting happens: what is there, and one policy for dtype, offload and batch.

`found` looks at the machine; all else is a function of what it found.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from gen.families import QUALITIES
from provenance.errors import MissingError, UsageError
from provenance.threads import cores

GIB = 2**30
OFFLOADS = ("none", "model", "group", "sequential")
"""From the fastest to the one that needs the least memory."""
DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = ("fp8", "int8")
SMALL = 256 * 2**20  # bytes of weights up to which one core is best left alone with a picture
_ROOM = 3 * GIB  # beside the weights: the activations of one picture of a megapixel, its decoding
_PICTURE = 2 * GIB  # each further one
_MOST = 8
_EACH_CORE = 4
_KINDS = {"cuda": "CUDA", "rocm": "ROCm", "mps": "MPS", "xpu": "XPU", "npu": "Ascend NPU"}


@dataclass(frozen=True)
class Device:
    """`place` is torch's name for it, `kind` one of cuda, rocm, mps, xpu, npu, cpu.

    `free` is in bytes of its own memory, which for the CPU is not asked about.
    """

    kind: str
    place: str
    name: str
    free: int = 0
    bfloat16: bool = False


@dataclass(frozen=True)
class Engine:
    """How the user wants a model to be run; None is chosen by the device.

    `attention` is a backend by diffusers' name; `weights` is how the denoiser's are kept: fp8
    (as stored; computing is in `dtype`) or int8 (torchao).
    """

    device: str | None = None
    dtype: str | None = None
    offload: str | None = None
    batch: int | None = None
    compile: bool = False
    attention: str | None = None
    weights: str | None = None
    preset: str = "balanced"


@dataclass(frozen=True)
class Plan:
    """How a model is run. `batch` is how many pictures are painted at once, at most.

    With `one_core_each`, every core paints pictures of its own by one thread.
    """

    device: Device
    dtype: str
    offload: str
    batch: int
    why: str
    one_core_each: bool = False

    def __str__(self) -> str:
        at_once = "1 picture at a time" if self.batch == 1 else f"up to {self.batch} at once"
        offload = "no offload" if self.offload == "none" else f"{self.offload} offload"
        where = self.device.name
        if self.device.kind != "cpu":
            where += f" ({_KINDS[self.device.kind]}, {self.device.place})"
        return f"painting on {where}, {self.dtype}, {offload}, {at_once}: {self.why}"

    def relieved(self) -> "Plan":
        """With less need of memory: half the batch, then more offload; MissingError at the end."""
        if self.batch > 1:
            return replace(self, batch=self.batch // 2, why="memory ran out with more")
        further = OFFLOADS[OFFLOADS.index(self.offload) + 1 :]
        if self.device.kind == "cpu" or not further:
            raise MissingError(
                f"{self.device.name} has too little memory for one picture with "
                f"{self.offload} offload; a smaller --size, --weights fp8, a smaller model, or "
                "ending what else uses its memory would help"
            )
        return replace(self, offload=further[0], why="memory ran out with less offload")


def found(asked: str | None) -> Device:
    """The device of this name (torch's: cuda, cuda:1, mps, xpu, npu, cpu), or the best there is."""
    import torch

    if find_spec("torch_npu"):
        __import__("torch_npu")  # makes torch.npu
    there = [kind for kind in ("cuda", "npu", "xpu", "mps") if _available(torch, kind)]
    kind, _, index = (asked or next(iter(there), "cpu")).partition(":")
    if kind == "cpu":
        return Device("cpu", "cpu", f"the CPU ({cores()} {'core' if cores() == 1 else 'cores'})")
    if kind not in there or (index and not index.isdecimal()):
        raise UsageError(f"no device {asked!r} here; there is {', '.join([*there, 'cpu'])}")
    if kind == "mps":
        return _mps(torch)
    module, number = getattr(torch, kind), int(index or 0)
    if number >= module.device_count():
        raise UsageError(f"no device {asked!r} here; {kind} has {module.device_count()}")
    rocm = kind == "cuda" and torch.version.hip
    return Device(
        "rocm" if rocm else kind, f"{kind}:{number}", module.get_device_name(number),
        module.mem_get_info(number)[0], _bfloat16(kind, module),
    )  # fmt: skip


def plan(device: Device, dtype: str, sizes: Sequence[int], engine: Engine) -> Plan:
    """For a model whose components have `sizes` bytes of weights, loaded in `dtype`."""
    if device.kind == "cpu":
        return _on_cpu(device, dtype, sum(sizes), engine)
    fits = {
        "none": sum(sizes) + _ROOM,
        "model": max(sizes, default=0) + _ROOM,
        "group": max(sizes, default=0) // 8 + _ROOM,
        "sequential": 0,
    }
    offload = engine.offload or next(how for how in OFFLOADS if fits[how] <= device.free)
    why = f"weights of {_gib(sum(sizes))}, {_gib(device.free)} free"
    spare = (device.free - fits[offload]) // _PICTURE
    batch = engine.batch or max(1, min(_MOST, 1 + spare))
    return Plan(device, dtype, offload, batch, why)


def dtype_for(device: Device, engine: Engine) -> str:
    """What models are loaded in: on a CPU what every other machine has too."""
    if engine.dtype:
        return engine.dtype
    if device.kind == "cpu":
        return "float32"
    return "bfloat16" if device.bfloat16 else "float16"


def checked(engine: Engine) -> Engine:
    """The options themselves; UsageError for what is none."""
    for name, value, known in (
        ("dtype", engine.dtype, DTYPES),
        ("offload", engine.offload, OFFLOADS),
        ("weights", engine.weights, WEIGHTS),
        ("preset", engine.preset, tuple(QUALITIES)),
    ):
        if value is not None and value not in known:
            raise UsageError(f"{name} is one of {', '.join(known)}; got {value!r}")
    if engine.batch is not None and engine.batch < 1:
        raise UsageError(f"batch is a number from 1, got {engine.batch}")
    return engine


def out_of_memory(error: BaseException) -> bool:
    """Torch has a class of its own for some devices and words for the others."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in words or "can't allocate memory" in words
    )


def _on_cpu(device: Device, dtype: str, weights: int, engine: Engine) -> Plan:
    if engine.offload not in (None, "none"):
        raise UsageError(f"offload {engine.offload} is for accelerators; painting is on the CPU")
    if weights > SMALL or engine.weights or engine.compile or engine.attention:
        # The last bits depend on the batch when threads share the work, and some attentions are
        # chosen by a switch that is one for all threads.
        batch = engine.batch or 1
        return Plan(device, dtype, "none", batch, "no accelerator is used")
    batch = engine.batch or _EACH_CORE * cores()
    return Plan(device, dtype, "none", batch, "a small model, one thread a core", True)


def _available(torch: Any, kind: str) -> bool:
    module = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
    return bool(module and module.is_available())


def _bfloat16(kind: str, module: Any) -> bool:
    """Natively: CUDA and XPU would say so of cards that emulate it."""
    native = {} if kind == "npu" else {"including_emulation": False}
    return bool(module.is_bf16_supported(**native))


def _mps(torch: Any) -> Device:
    free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    new = sys.platform == "darwin" and torch.backends.mps.is_macos_or_newer(14, 0)
    return Device("mps", "mps", "Apple GPU", free, new)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
