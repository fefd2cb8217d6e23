"""A file's bytes → the texts and metadata blocks in it, wherever they lie, also after the pixels.

Walks PNG, JPEG, WebP and GIF itself, by what the bytes are, not by the file's name: a decoder drops
repeated keys and stops at the first damage. Knows nothing of what the texts mean.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PARTS = 2_000
MAX_INFLATED = 4 * 2**20  # bytes of one compressed text
MAX_TOTAL = 8 * 2**20  # bytes of all
MAX_FRAMES = 20_000  # of a GIF that are walked over
FRAMES = "further frames"
_ROOM = 2**10  # bytes of a chunk beside its text


@dataclass(frozen=True)
class Part:
    """One block: `kind` is text, exif, xmp, iptc (IIM) or c2pa; `too_large` blocks have no data."""

    kind: str
    source: str
    key: str = ""
    data: bytes = b""
    too_large: bool = False


def parts(data: bytes) -> list[Part]:
    """The blocks in their order, as far as the file is whole and within all limits."""
    held: list[Part] = []
    further: dict[str, Part] = {}  # by kind: no number of blocks hides that there are credentials
    total = 0
    for part in _walk(data):
        if len(held) == MAX_PARTS or total > MAX_TOTAL:
            kind = part.kind if part.kind in ("c2pa", "exif") else "text"
            further.setdefault(kind, Part(kind, part.source, "further blocks", b"", kind != "c2pa"))
            continue
        part = _png_text(part) if part.kind == "png" else part
        total += MAX_INFLATED if part.too_large else len(part.data)
        held.append(
            part if total <= MAX_TOTAL else Part(part.kind, part.source, part.key, b"", True)
        )
    return [*held, *further.values()]


def walked_kind(data: bytes) -> str | None:
    """The format, where it is one that `parts` knows."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return "GIF" if data[:6] in (b"GIF87a", b"GIF89a") else None


def _walk(data: bytes) -> Iterator[Part]:
    walkers = {"PNG": _png, "JPEG": _jpeg, "WebP": _webp, "GIF": _gif}
    kind = walked_kind(data)
    if kind is not None:
        yield from walkers[kind](data)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its body begins, bytes of it) of each whole chunk."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length > len(data) - at - 12:
            return
        yield kind, at + 8, length
        at += 12 + length


def _png(data: bytes) -> Iterator[Part]:
    kinds = {b"tEXt": "png", b"zTXt": "png", b"iTXt": "png", b"eXIf": "exif", b"caBX": "c2pa"}
    for name, at, length in png_chunks(data):
        if name not in kinds:
            continue
        kind, source = kinds[name], f"PNG {name.decode()}"
        if kind == "c2pa":
            yield Part(kind, source)
        elif length > MAX_INFLATED + _ROOM:
            yield Part("text" if kind == "png" else kind, source, too_large=True)
        else:
            yield Part(kind, source, data=data[at : at + length])


def _png_text(chunk: Part) -> Part:
    key, _, rest = chunk.data.partition(b"\0")
    name, source = key.decode("latin-1"), chunk.source
    compressed = source == "PNG zTXt"
    if source == "PNG iTXt":
        compressed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    else:
        rest = rest[1:] if compressed else rest
    text = inflated(rest) if compressed else rest
    if text is None or len(text) > MAX_INFLATED:
        return Part("text", source, name, too_large=True)
    if name.startswith("Raw profile type "):
        return _profile(name.removeprefix("Raw profile type "), text) or Part(
            "text", source, name, text
        )
    return Part("xmp" if name == "XML:com.adobe.xmp" else "text", source, name, text)


def _profile(kind: str, text: bytes) -> Part | None:
    """ImageMagick's hex form of EXIF, XMP or IPTC: a line with the kind, one with the length."""
    try:
        body = bytes.fromhex(text.split(None, 2)[2].decode("ascii"))
    except (IndexError, ValueError):
        return None
    if kind == "exif" or (kind == "APP1" and body.startswith(b"Exif\0\0")):
        return Part("exif", "PNG raw profile", data=body)
    if kind == "xmp" or b"<x:xmpmeta" in body[:400]:
        return Part("xmp", "PNG raw profile", data=body[body.find(b"<") :])
    return Part("iptc", "PNG raw profile", data=body) if kind == "iptc" else None


def inflated(data: bytes, window: int = zlib.MAX_WBITS) -> bytes | None:
    """The bytes that were compressed, as far as they go; None when more than MAX_INFLATED."""
    stream = zlib.decompressobj(window)
    try:
        out = stream.decompress(data, MAX_INFLATED)
    except zlib.error:
        return b""
    return None if stream.unconsumed_tail else out


_XMP, _PHOTOSHOP = b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"


def _jpeg(data: bytes) -> Iterator[Part]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # fill, or no length
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xDA, 0xD9):
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if part := _segment(marker, body):
            yield part
        at += 2 + max(2, length)


def _segment(marker: int, body: bytes) -> Part | None:
    if marker == 0xFE:
        return Part("text", "JPEG", "comment", body)
    if marker == 0xE1 and body.startswith(b"Exif\0"):
        return Part("exif", "JPEG APP1", data=body)
    if marker == 0xE1 and body.startswith(_XMP):
        return Part("xmp", "JPEG APP1", data=body[len(_XMP) :])
    if marker == 0xED and body.startswith(_PHOTOSHOP):
        return Part("iptc", "JPEG APP13", data=body[len(_PHOTOSHOP) :])
    if marker == 0xEB and body[:2] == b"JP" and b"jumb" in body[:32]:
        return Part("c2pa", "JPEG APP11")
    if 0xE0 <= marker <= 0xEF and body.startswith(b"AIGC{"):
        return Part("text", f"JPEG APP{marker - 0xE0}", "AIGC", body[4:])
    return None


def _webp(data: bytes) -> Iterator[Part]:
    at, kinds = 12, {b"EXIF": "exif", b"XMP ": "xmp", b"C2PA": "c2pa"}
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if length > len(data) - at - 8:
            return
        if name in kinds:
            body = b"" if name == b"C2PA" else data[at + 8 : at + 8 + length]
            yield Part(kinds[name], f"WebP {name.decode().strip()}", data=body)
        at += 8 + length + (length & 1)


_XMP_TRAILER = bytes((1, *range(255, -1, -1), 0))  # ends the packet for those that read blocks


def _gif(data: bytes) -> Iterator[Part]:
    at, frames = 13 + _table(data, 10), 0
    while at + 2 <= len(data):
        if data[at] == 0x2C and at + 10 < len(data):
            frames += 1
            if frames > MAX_FRAMES:
                yield Part("text", "GIF", FRAMES, too_large=True)
                if b"C2PA_GIF" in data[at:]:
                    yield Part("c2pa", "GIF C2PA")
                return
            at = _blocks(data, at + 11 + _table(data, at + 9))[1]
        elif data[at] == 0x21:
            label = data[at + 1]
            body, end = _blocks(data, at + 2)
            if label == 0xFE:
                yield Part("text", "GIF", "comment", body)
            elif label == 0xFF and body.startswith(b"XMP DataXMP"):
                packet = data[at + 14 : end].removesuffix(_XMP_TRAILER)  # not split into blocks
                yield Part("xmp", "GIF XMP", data=packet[: packet.rfind(b">") + 1])
            elif label == 0xFF and body.startswith(b"C2PA_GIF"):
                yield Part("c2pa", "GIF C2PA")
            at = end
        else:
            return


def _table(data: bytes, at: int) -> int:
    """Bytes of the colour table that the flags at this place announce."""
    flags = data[at] if at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(data: bytes, at: int) -> tuple[bytes, int]:
    """What the sub-blocks from here on hold (within limits), and where they end."""
    held: list[bytes] = []
    size = 0
    while at < len(data) and data[at]:
        block = data[at + 1 : at + 1 + data[at]]
        size += len(block)
        if size <= MAX_INFLATED:
            held.append(block)
        at += 1 + data[at]
    return b"".join(held), at + 1
