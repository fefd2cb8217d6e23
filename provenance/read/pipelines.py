"""Finds the open marks that image pipelines put into pixels: Stable Diffusion's, SDXL's, FLUX's.

They are written by the library invisible-watermark (MIT), method dwtDct: in the Haar means of the
blue difference, 4 x 4 at a time, the greatest value says one bit. The messages are public, so a
mark says what the pixels were made like, never by whom; few survive any JPEG, so its absence says
nothing.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.read.found import Claim

CHANCE = 1e-8  # of as many right bits by luck, for all the messages together
SMALLEST = 256  # pixels a side: the writers leave smaller pictures as they are
MAX_PIXELS = 20_000_000
_SCALE = 36.0
_MESSAGES = {
    "SDXL": f"{0b101100111110110010010000011110111011000110011110:b}",
    # 46 bits: its writer drops the zeros in front of the 48
    "FLUX": f"{0b001010101111111010000111100111001111010100101110:b}",
    "Stable Diffusion 1": f"{int.from_bytes(b'StableDiffusionV1'):0136b}",
    "Stable Diffusion 2": f"{int.from_bytes(b'SDV2'):032b}",
}


def pipeline_marks(image: Image.Image) -> Iterator[Claim]:
    """The marks that an RGB picture holds, with how many bits are right."""
    if min(image.size) < SMALLEST or image.width * image.height > MAX_PIXELS:
        return
    votes = _votes(np.asarray(image, np.float32))
    for name, message in _MESSAGES.items():
        wanted = np.array([bit == "1" for bit in message])
        right = max(_right(vote, wanted) for vote in votes)
        if _luck(right, len(wanted)) * len(votes) * len(_MESSAGES) <= CHANCE:
            value = f"{name}-like ({right} of {len(wanted)} bits)"
            yield Claim("pipeline-mark", value, "pixels, dwtDct", "measured")


def _votes(pixels: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """The bit of each block, in reading order; written from whole numbers, and from fractions.

    Where pixels come as fractions, OpenCV's blue difference is around 0.5 in place of 128.
    """
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    red, green, blue = (pixels[:height, :width, channel] for channel in range(3))
    difference = 0.492 * (blue - (0.299 * red + 0.587 * green + 0.114 * blue))
    whole = np.rint(difference + 128).clip(0, 255)
    return [_bits(whole), _bits(difference + 0.5)]


def _bits(plane: NDArray[np.float32]) -> NDArray[np.bool_]:
    rows, columns = plane.shape
    means = plane.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3)) / 2
    rows, columns = rows // 8, columns // 8
    blocks = means[: rows * 4, : columns * 4].reshape(rows, 4, columns, 4)
    blocks = np.abs(blocks.transpose(0, 2, 1, 3).reshape(-1, 16)[:, 1:])
    return np.asarray(blocks.max(axis=1) % _SCALE > _SCALE / 2)


def _right(votes: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> int:
    """How many of the message's bits the majority of their blocks says."""
    whole = len(votes) // len(wanted) * len(wanted)
    if not whole:
        return 0
    share = votes[:whole].reshape(-1, len(wanted)).mean(axis=0)
    return int(((share > 0.5) == wanted).sum())


def _luck(right: int, bits: int) -> float:
    """How likely a toss gets at least so many right."""
    return float(sum(math.comb(bits, n) for n in range(right, bits + 1)) / 2**bits)
