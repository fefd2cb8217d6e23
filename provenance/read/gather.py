"""A file's bytes and pixels → all that it carries, from every place where texts can lie.

Knows where texts lie and how they are encoded, not what they mean.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image

from provenance.images import IIM, XMP, read_stored
from provenance.read.bombs import is_sound
from provenance.read.containers import Part, parts, walked_kind
from provenance.read.exif import exif_texts, mended, parse_exif, quiet, user_comment
from provenance.read.found import Carried, Text
from provenance.read.stealth import stealth_texts
from provenance.read.xmp import iptc_texts, xmp_texts

MAX_SIGNED = 20_000_000  # pixels that a signature is verified over

_TIFF_XMP, _TIFF_IPTC = 700, 33723


@dataclass(frozen=True)
class Gathered:
    """`unread`: places that were too large. `credentials`: whether C2PA data is there, if known."""

    carried: Carried
    unread: tuple[str, ...] = ()
    credentials: bool | None = None


def gather(data: bytes, image: Image.Image | None) -> Gathered:
    """From the bytes, and from the decoded image where there is one (as stored, not converted)."""
    blocks = [_bounded(part) for part in parts(data)]
    texts = [text for part in blocks for text in _texts(part)]
    if image is not None:
        if not walked_kind(data):
            with quiet():
                texts += _decoder_texts(image, data)
        texts += [Text(f"{where} bits", "stealth", text) for where, text in stealth_texts(image)]
    return Gathered(
        Carried(tuple(texts), rgb=cache(lambda: _rgb(image))),
        tuple(f"{part.source} {part.key}".strip() for part in blocks if part.too_large),
        any(part.kind == "c2pa" for part in blocks) if walked_kind(data) else None,
    )


def gather_decoded(data: bytes, texts: Mapping[str, str]) -> Gathered:
    """From the bytes, and from what their decoder has found (`Picture.texts`) and will not again.

    The pixels are decoded once more only where a signature over them is verified.
    """
    gathered = gather(data, None)
    walked = walked_kind(data)
    more: list[Text] = []
    for key, text in texts.items() if not walked else ():
        if key == XMP:
            more += [Text("XMP", *each) for each in xmp_texts(text.encode("latin-1"))]
        elif key == IIM:
            more += [Text("IPTC", *each) for each in iptc_texts(text.encode("latin-1"))]
        elif key != "stealth":
            more.append(Text("", key, text))
    if "stealth" in texts:
        more.append(Text("pixel bits", "stealth", texts["stealth"]))
    return replace(
        gathered,
        carried=Carried((*gathered.carried.texts, *more), cache(lambda: _rgb(read_stored(data)))),
    )


def _bounded(part: Part) -> Part:
    """EXIF that would be read into more memory than it has bytes counts as too large."""
    if part.kind != "exif" or is_sound(part.data):
        return part
    return replace(part, data=b"", too_large=True)


def _texts(part: Part) -> Iterator[Text]:
    if part.too_large or part.kind == "c2pa":
        return
    if part.kind == "exif":
        yield from (Text("EXIF", key, text) for key, text in parse_exif(part.data).items())
    elif part.kind == "xmp":
        yield from (Text("XMP", key, text) for key, text in xmp_texts(part.data))
    elif part.kind == "iptc":
        yield from (Text("IPTC", key, text) for key, text in iptc_texts(part.data))
    else:
        yield Text(part.source, part.key, _decoded(part.data))


def _decoded(data: bytes) -> str:
    """UTF-8 where it is that; else Latin-1, as PNG says; comments may come as EXIF codes them."""
    if data.startswith((b"UNICODE\0", b"ASCII\0\0\0")):
        return user_comment(data)
    try:
        return data.decode().strip("\0")
    except UnicodeDecodeError:
        return data.decode("latin-1").strip("\0")


def _decoder_texts(image: Image.Image, data: bytes) -> Iterator[Text]:
    """What Pillow found in formats that are not walked here: TIFF, AVIF, HEIC and others."""
    kind = image.format or ""
    for key, value in image.info.items():
        if isinstance(value, str):
            yield Text(kind, str(key), mended(value))
    exif = image.getexif()
    is_tiff = data[:4] in (b"II*\0", b"MM\0*")  # EXIF is TIFF, but a loaded TIFF's file is closed
    for key, text in (parse_exif(data) if is_tiff else exif_texts(exif)).items():
        yield Text("EXIF", key, text)
    for packet in (image.info.get("xmp"), exif.get(_TIFF_XMP)):
        if isinstance(packet, bytes):
            yield from (Text("XMP", key, text) for key, text in xmp_texts(packet))
            break
    if isinstance(block := exif.get(_TIFF_IPTC), bytes):
        yield from (Text("IPTC", key, text) for key, text in iptc_texts(block))


def _rgb(image: Image.Image | None) -> bytes | None:
    """All pixels as R, G, B, row by row, whatever their alpha."""
    if image is None or image.mode not in ("RGB", "RGBA"):
        return None
    if image.width * image.height > MAX_SIGNED:
        return None
    return np.asarray(image)[..., :3].tobytes()
