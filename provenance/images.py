"""Bytes or a path → one upright RGB picture within limits, or DecodeError.

Knows nothing of what the picture is compared with.
"""

import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.IcoImagePlugin import IcoImageFile
from PIL.PngImagePlugin import iTXt

from provenance.errors import DecodeError
from provenance.read import bombs
from provenance.read.containers import png_chunks, walked_kind
from provenance.read.exif import exif_texts, mended
from provenance.read.stealth import stealth_texts

S = TypeVar("S")
T = TypeVar("T")

MAX_PIXELS = 80_000_000  # under Pillow's own warning at 89 million
MAX_BYTES = 512 * 2**20
MAX_RATIO = 200  # longest side : shortest side
# Others, such as EPS, hand what they read to further programs, or are no pictures of the web.
_FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM",
    "TGA",
)  # fmt: skip

XMP, IIM = "XMP packet", "IIM block"
_STRIP = 256  # rows

# What a hostile file can make Pillow's decoders raise.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    EOFError, MemoryError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `image` is upright RGB; `frames` counts the file's frames.

    `texts` holds what the file's text chunks, comments and EXIF user comment say, by their keys;
    under the keys XMP and IIM are such blocks, as Latin-1, where only the decoder finds them.
    """

    image: Image.Image
    frames: int = 1
    texts: dict[str, str] = field(default_factory=dict)


def read_picture(source: Path | bytes) -> Picture:
    """Decodes the first frame. Transparency is laid on white, EXIF orientation is applied."""
    return _guarded(source if isinstance(source, bytes) else read_file(source), _decode)


def read_stored(data: bytes) -> Image.Image:
    """The first frame as it is stored, to the bit: its own mode, its own orientation."""
    return _guarded(data, _opened)


def upright(stored: Image.Image) -> Image.Image:
    """A stored picture as `read_picture` gives it; the stored one is turned too."""
    return _guarded(stored, _upright)


def _guarded(given: S, decode: Callable[[S], T]) -> T:
    if given == b"":
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF, odd palettes: not what is asked here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return decode(given)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(_too_large()) from None
    except UnidentifiedImageError:
        raise DecodeError(
            "not an image in a format that can be read (such as PNG, JPEG, WebP, AVIF, TIFF)"
        ) from None
    except _DECODER_ERRORS as error:
        raise DecodeError(f"damaged image: {str(error) or type(error).__name__}") from None


def on_white(image: Image.Image) -> Image.Image:
    """RGB, 8 bits a channel, with transparency laid on white."""
    if image.mode.startswith(("I", "F")):
        return _from_deep(image)
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        return image.convert("RGB")
    made = Image.new("RGB", image.size)
    for top, foot in _strips(image):
        layer = image.crop((0, top, image.width, foot)).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        made.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, top))
    return made


def read_file(path: Path) -> bytes:
    """A regular file's bytes, within limits."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            closed = not os.access(path, os.R_OK | os.X_OK)
            raise DecodeError("not a file, but a folder" + " that cannot be looked into" * closed)
        if not stat.S_ISREG(kind):
            raise DecodeError("not a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise DecodeError(f"{size:,} bytes; at most {MAX_BYTES:,} are read")
            return file.read(size)  # and no more, should it grow meanwhile
    except OSError as error:
        raise DecodeError(f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a name that no file can have
        raise DecodeError(f"cannot be read: {error}") from None


def _opened(data: bytes) -> Image.Image:
    if too_much := bombs.found(data):
        raise DecodeError(f"too much to decode: {too_much}")
    Image.init()
    opened = _open(data)
    _require_sound_exif(opened)
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise DecodeError(_too_large(width, height))
    if max(width, height) > MAX_RATIO * min(width, height):
        raise DecodeError(f"{width} x {height} pixels: longer than {MAX_RATIO} times its width")
    opened.load()
    _require_sound_exif(opened)  # there may be more of it after a PNG's pixels
    return opened


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=[each for each in _FORMATS if each in Image.OPEN])


def _require_sound_exif(opened: Image.Image) -> None:
    """Of what Pillow will load, in whichever form it is kept."""
    exif = opened.info.get("exif")
    if exif is None and (profile := opened.info.get("Raw profile type exif")):
        exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    if not bombs.is_sound(exif or b""):
        raise DecodeError("too much to decode: EXIF that is larger than its block")


def _decode(data: bytes) -> Picture:
    with _opened(data) as opened:
        frames = _frames(opened, data)
        texts = _texts(opened, walked=walked_kind(data) is not None)
        return Picture(_upright(opened), frames, texts)


def _frames(opened: Image.Image, data: bytes) -> int:
    """How many pictures the file shows; a photo's smaller previews are none."""
    if opened.format == "MPO":
        return sum(size == opened.size for size in _sizes(data))
    if opened.format == "TIFF":
        return bombs.pages(data)
    if isinstance(opened, IcoImageFile):
        return len(opened.ico.sizes())
    counted = int(getattr(opened, "n_frames", 1))
    if opened.format == "PNG" and counted == 1:  # Pillow shows no animation that has an error
        counted += any(kind == b"fdAT" for kind, *_ in png_chunks(data))
    return counted


def _sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Of the pictures in an MPO: a photo and its previews, or the two of a stereo camera."""
    with _open(data) as again, suppress(*_DECODER_ERRORS):  # further ones that nobody can show
        for number in range(min(int(getattr(again, "n_frames", 1)), bombs.MAX_PICTURES)):
            again.seek(number)
            yield again.size


def _upright(opened: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(opened, in_place=True)
    plain = opened.mode == "RGB" and "transparency" not in opened.info
    return opened if plain else on_white(opened)


def _too_large(width: int = 0, height: int = 0) -> str:
    given = f"{width:,} x {height:,} pixels" if width else "too many pixels"
    return f"{given}; at most {MAX_PIXELS:,} pixels are decoded"


def _from_deep(image: Image.Image) -> Image.Image:
    """16- and 32-bit grey: integers by their upper byte, floats from their own range."""
    values = np.asarray(image)
    made = np.empty(values.shape, np.uint8)
    strips = [(np.s_[top:foot], values[top:foot]) for top, foot in _strips(image)]
    if image.mode == "F":
        low = min(float(_finite(strip).min()) for _, strip in strips)
        high = max(float(_finite(strip).max()) for _, strip in strips)
        for place, strip in strips:
            made[place] = (_finite(strip) - low) / ((high - low) or 1.0) * 255
        return Image.fromarray(made).convert("RGB")
    largest = int(values.max())  # under 256: eight bits in a larger box, as Pillow itself makes
    for place, strip in strips:
        if largest > 65535:
            made[place] = np.clip(strip / 2**23 * 255, 0, 255)
        else:
            made[place] = np.clip(strip // 257 if largest > 255 else strip, 0, 255)
    return Image.fromarray(made).convert("RGB")


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)


def _strips(image: Image.Image) -> Iterator[tuple[int, int]]:
    """The first and the last row of each: what is worked out for a whole picture takes memory."""
    for top in range(0, image.height, _STRIP):
        yield top, min(image.height, top + _STRIP)


_LOSSLESS = ("PNG", "WEBP")  # where the lowest bits may hold text


def _texts(opened: Image.Image, *, walked: bool) -> dict[str, str]:
    """What the decoder has found; blocks (XMP, IIM) of formats that are not `walked`, too."""
    found = {
        str(key): value if isinstance(value, iTXt) else mended(value)
        for key, value in opened.info.items()
        if isinstance(value, str)
    }
    if isinstance(comment := opened.info.get("comment"), bytes):
        found["comment"] = comment.decode("utf-8", "replace")
    exif = opened.getexif()
    found |= exif_texts(exif)
    if not walked:
        tags = getattr(opened, "tag_v2", exif)
        for key, block in ((XMP, opened.info.get("xmp") or tags.get(700)), (IIM, tags.get(33723))):
            if isinstance(block, bytes):
                found[key] = block.decode("latin-1")
    if opened.format in _LOSSLESS:
        for _, text in stealth_texts(opened):
            found["stealth"] = text
    return found
