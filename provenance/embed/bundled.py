"""The descriptor that ships with Firsthand, with its exact preprocessing."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.errors import MissingError
from provenance.fingerprint import DescriptorSpec, Vector

if TYPE_CHECKING:
    from provenance.embed.net import CopyNet

WEIGHTS = Path(__file__).with_name("weights.safetensors")
SPEC = DescriptorSpec("firsthand-256", "1", "cosine", 256)


class BundledDescriptor:
    """A Descriptor; its network loads when the first picture arrives."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self.spec = SPEC
        self._weights = weights

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        """(256,) float32 unit rows.

        One picture at a time: in a batch the sums' order, and so the last bits, would differ.
        """
        import torch

        rows: list[Vector] = []
        with torch.inference_mode():
            for image in images:
                pixels = torch.from_numpy(prepared(image)).float() / 255
                rows.append(self._net(pixels.permute(2, 0, 1)[None])[0].numpy())
        return rows

    @cached_property
    def _net(self) -> "CopyNet":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from provenance.embed.net import CopyNet

        net = CopyNet()
        try:
            halves = load_file(self._weights)
            net.load_state_dict({name: value.float() for name, value in halves.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise MissingError(
                f"the descriptor's weights {self._weights} cannot be loaded "
                f"({str(error).splitlines()[0]}); install Firsthand again"
            ) from None
        return net.eval()


def prepared(image: Image.Image) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3) uint8: the whole picture, squeezed to a square."""
    from provenance.embed.net import SIDE

    square = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(square)
