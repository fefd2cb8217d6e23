"""The descriptor that ships with Firsthand, with its exact preprocessing."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
SPEC = DescriptorSpec("firsthand-256", "2", "cosine", 256)
WINDOWS = (
    (0.0, 0.0, 1.0, 1.0),
    *((x, y, x + 0.5, y + 0.5) for y in (0.0, 0.25, 0.5) for x in (0.0, 0.25, 0.5)),
)
"""The whole picture, then nine parts of half its width and height."""
_NEIGHBOURS, _STRENGTH = 10, 0.35  # of the background, and how much of their mean is taken off


class BundledDescriptor:
    """A Descriptor; its network loads when the first picture arrives."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self.spec = SPEC
        self._weights = weights

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        """(10, 256) float32 unit rows each: of the whole picture and of nine parts of it.

        One picture at a time, by one thread: the sums' order, and so the last bits, would differ.
        """
        return [self._thread.submit(self._described, image).result() for image in images]

    def _described(self, image: Image.Image) -> Vector:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(prepared(image)).float() / 255
            found = self._net(pixels.permute(2, 0, 1)[None], WINDOWS)[0].numpy()
        return normalized(found, self._background)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        """Its own: how many threads torch takes is a setting of each, but for the new ones."""
        import torch

        before = torch.get_num_threads()
        thread = ThreadPoolExecutor(1)
        thread.submit(torch.get_num_threads).result()  # from here on it is not new to torch
        thread.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(before)  # here, and for new threads
        return thread

    @property
    def _net(self) -> "CopyNet":
        return self._loaded[0]

    @property
    def _background(self) -> NDArray[np.float32]:
        return self._loaded[1]

    @cached_property
    def _loaded(self) -> tuple["CopyNet", NDArray[np.float32]]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from provenance.embed.net import CopyNet

        net = CopyNet()
        try:
            held = {name: value.float() for name, value in load_file(self._weights).items()}
            background = held.pop("background").numpy()
            net.load_state_dict(held)
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise MissingError(
                f"the descriptor's weights {self._weights} cannot be loaded "
                f"({str(error).splitlines()[0]}); install Firsthand again"
            ) from None
        return net.eval(), background


def normalized(rows: NDArray[np.float32], background: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows (K, dim) with what they share with their neighbours in the background taken off.

    What resembles many pictures no longer resembles all of them: score normalisation on both sides,
    by subtraction (Yokoo, 2021, "Contrastive learning with large memory bank and negative embedding
    subtraction").
    """
    near = np.argpartition(-(rows @ background.T), _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    apart = rows - _STRENGTH * background[near].mean(axis=1)
    unit: NDArray[np.float32] = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    return unit


def prepared(image: Image.Image) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3) uint8: the whole picture, squeezed to a square."""
    from provenance.embed.net import SIDE

    square = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(square)
