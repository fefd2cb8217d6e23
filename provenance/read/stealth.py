"""Texts in the lowest bits of alpha or of red, green and blue ("stealth info").

The form is of sd-webui-stealth-pnginfo, as Forge (modules/stealth_infotext.py) and NovelAI write
it: 15 letters that name the kind, 32 bits for the length in bits, then UTF-8 or gzip; column by
column, the highest bit of a byte first. Knows nothing of what the text means.
"""

import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from provenance.read.containers import MAX_INFLATED, inflated

_HEAD = 15 + 4  # bytes
_KINDS = {
    b"stealth_pnginfo": "alpha", b"stealth_pngcomp": "alpha",
    b"stealth_rgbinfo": "RGB", b"stealth_rgbcomp": "RGB",
}  # fmt: skip
_GZIP = 16 + zlib.MAX_WBITS


def stealth_texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    """(where, text) for each text hidden in the picture; nearly free where there is none."""
    for where in _channels(image):
        head = _read(image, where, 0, _HEAD)
        if _KINDS.get(head[:15]) == where:
            bits = int.from_bytes(head[15:], "big")
            if text := _body(image, where, bits // 8, compressed=head[:15].endswith(b"comp")):
                yield where, text


def _channels(image: Image.Image) -> tuple[str, ...]:
    return {"RGBA": ("alpha", "RGB"), "RGB": ("RGB",)}.get(image.mode, ())


def _body(image: Image.Image, where: str, length: int, *, compressed: bool) -> str:
    room = image.width * image.height * (1 if where == "alpha" else 3) // 8 - _HEAD
    if not 0 < length <= min(room, MAX_INFLATED):
        return ""
    body = _read(image, where, _HEAD, length)
    plain = inflated(body, _GZIP) if compressed else body
    return (plain or b"").decode("utf-8", "replace")


def _read(image: Image.Image, where: str, start: int, length: int) -> bytes:
    """`length` bytes from byte `start` on; fewer where the picture is smaller."""
    column = image.height * (1 if where == "alpha" else 3)  # bits
    first, last = start * 8 // column, -(-(start + length) * 8 // column)
    box = image.crop((first, 0, min(last, image.width), image.height))
    pixels = np.asarray(box)  # (height, columns, channels) uint8
    chosen = pixels[..., 3:4] if where == "alpha" else pixels[..., :3]
    bits = (chosen & 1).transpose(1, 0, 2).reshape(-1)[start * 8 - first * column :]
    return np.packbits(bits[: length * 8]).tobytes()
