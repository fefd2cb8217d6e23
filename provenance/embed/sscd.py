"""SSCD (Pizzi et al., CVPR 2022), a copy-detection descriptor, from the TorchScript file that its
authors publish.

TorchScript is code: a file is run only when its SHA-256 is the one that the user has stated.
Preprocessing is `skew_320` of SSCD's README, a square of 320 pixels. Its other choice, the short
side to 288, would make a strip of 1:200 57,600 pixels long.
"""

import hashlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from provenance.errors import MissingError, UsageError
from provenance.fingerprint import DescriptorSpec, Vector, unit_row

SIDE = 320
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
_PREPARED = 1  # version of what `prepared` does


class SSCDDescriptor:
    """A Descriptor; the file is checked at once and loaded when the first picture arrives.

    `dim` is 512 for all of SSCD's files but sscd_disc_large, which gives 1024.
    """

    def __init__(self, file: Path, sha256: str | None, dim: int = 512) -> None:
        self._file, self._sha256 = file, (sha256 or "").lower()
        self._confirmed()
        version = f"{_PREPARED}-{self._sha256[:12]}"
        self.spec = DescriptorSpec(f"sscd-{dim}", version, "cosine", dim)

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        """(dim,) float32 unit rows, one picture at a time."""
        return [unit_row(self.spec, self._run(self._net, prepared(each))) for each in images]

    def _run(self, net: Any, pixels: Any) -> Any:
        """The network as it was written: an optimised one may differ from call to call."""
        import torch

        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return net(pixels)[0].numpy()

    def _confirmed(self) -> bytes:
        """The file's bytes, which are those that the user has confirmed."""
        try:
            body = self._file.read_bytes()
        except OSError as error:
            raise MissingError(f"SSCD's file {self._file}: {error.strerror or error}") from None
        found = hashlib.sha256(body).hexdigest()
        if not self._sha256:
            raise UsageError(
                f"{self._file} is TorchScript, which is code: it is run only when you have "
                f"confirmed it. Its SHA-256 is {found}; if that is the file that you mean, "
                f"write sscd:{self._file}#sha256={found}"
            )
        if found != self._sha256:
            raise UsageError(
                f"{self._file} is not the file that you have confirmed: its SHA-256 is {found}, "
                f"the settings say {self._sha256}"
            )
        return body

    @cached_property
    def _net(self) -> Any:
        import torch

        try:
            net = torch.jit.load(io.BytesIO(self._confirmed()), "cpu").eval()  # type: ignore[no-untyped-call]
            (width,) = self._run(net, torch.zeros(1, 3, SIDE, SIDE)).shape
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{self._file} is no TorchScript file from pictures to vectors "
                f"({str(error).splitlines()[0]}); SSCD's end in .torchscript.pt"
            ) from None
        if width != self.spec.dim:
            raise UsageError(
                f"{self._file} gives {width} numbers, not {self.spec.dim}: "
                f"write sscd:{self._file}#sha256={self._sha256}&dim={width}"
            )
        return net


def prepared(image: Image.Image) -> Any:
    """(1, 3, SIDE, SIDE) float32: resized as PIL's bilinear does it, normalised."""
    import numpy as np
    import torch

    square = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return ((pixels - mean) / std)[None].contiguous()
