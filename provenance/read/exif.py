"""EXIF → its texts by the names of their tags. Knows nothing of what they mean."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from PIL import Image

_EXIF_FOLDER = 0x8769
_NAMES = {
    0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software",
    0x013B: "Artist", 0x8298: "Copyright", 0x9C9B: "XPTitle", 0x9C9C: "XPComment",
    0x9C9E: "XPKeywords", 0x9286: "UserComment", 0x927C: "MakerNote",
}  # fmt: skip
_WIDE = {0x9C9B, 0x9C9C, 0x9C9E}  # UTF-16-LE, as Windows writes them
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError,
           AttributeError, EOFError, RuntimeError, MemoryError, struct.error)  # fmt: skip
MAX_NOTE = 100_000  # bytes; longer maker notes are cameras' own


def exif_texts(exif: Image.Exif) -> dict[str, str]:
    """The texts of an EXIF block that is read already."""
    return dict(_texts(exif)) if len(exif) else {}


def parse_exif(data: bytes) -> dict[str, str]:
    """The texts of an EXIF block in bytes, with or without its `Exif` prefix, as far as whole."""
    exif = Image.Exif()
    with quiet():
        exif.load(data)
        return exif_texts(exif)
    return {}


@contextmanager
def quiet() -> Iterator[None]:
    """What damaged metadata makes Pillow raise or warn of, swallowed."""
    with warnings.catch_warnings(), suppress(*_ERRORS):
        warnings.simplefilter("ignore")
        yield


def mended(text: str) -> str:
    """UTF-8 that was taken for Latin-1, as many writers make readers take it."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def user_comment(value: bytes) -> str:
    """EXIF UserComment in whichever UTF-16 byte order gives more ASCII: tools write both."""
    body = value[8:]
    if value.startswith(b"UNICODE\0"):
        body = body[: len(body) & ~1]
        readings = [body.decode(order, "replace") for order in ("utf-16-be", "utf-16-le")]
        best = max(readings, key=lambda text: sum("\0" < c < "\x80" for c in text))
        return best.strip("\0\ufeff\ufffe")
    if value.startswith((b"ASCII\0\0\0", b"\0" * 8)):
        value = body
    return value.decode("utf-8", "replace").strip("\0")


def _texts(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    for folder in (exif, exif.get_ifd(_EXIF_FOLDER)):
        for tag, name in _NAMES.items():
            if text := _text(tag, folder.get(tag)):
                yield name, text


def _text(tag: int, value: Any) -> str:
    if isinstance(value, tuple) and tag in _WIDE:
        value = bytes(byte for byte in value if isinstance(byte, int) and 0 <= byte < 256)
    if isinstance(value, str):
        return mended(value).strip("\0")
    if not isinstance(value, bytes) or (tag == 0x927C and len(value) > MAX_NOTE):
        return ""
    if tag == 0x9286:
        return user_comment(value)
    if tag in _WIDE:
        return value[: len(value) & ~1].decode("utf-16-le", "replace").strip("\0")
    try:
        return value.decode().strip("\0")
    except UnicodeError:
        return ""
