"""A picture and the texts that go with it → a PNG, JPEG or WebP file. Knows nothing of signing."""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance.read.xmp import NAMESPACES

MIME = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
JPEG_ROOM = 65_000  # bytes of EXIF, and of XMP: a JPEG segment holds no more

_EXIF = b"Exif\0\0MM\0*\0\0\0\x08"
_EXIF_FOLDER, _USER_COMMENT, _DESCRIPTION = 0x8769, 0x9286, 0x010E
_ASCII, _LONG, _UNDEFINED = 2, 4, 7


@dataclass(frozen=True)
class Texts:
    """What is written: `parameters` is A1111's infotext, `own` what Firsthand says (JSON).

    `xmp` are properties by their usual names; `aigc` is the second form of GB 45438-2025 (JSON).
    """

    parameters: str
    own: str
    xmp: Mapping[str, str]
    aigc: str | None = None


def encoded(image: Image.Image, form: str, quality: int, texts: Texts) -> bytes:
    """The file's bytes. `form` is png, jpeg or webp; `quality` is 1..100, for the last two.

    PNG has text chunks. In JPEG and WebP the infotext is EXIF's user comment, as A1111 writes it,
    which leaves the image description for the second form of AIGC, and XMP for Firsthand's own.
    """
    out = io.BytesIO()
    if form == "png":
        image.save(out, "PNG", pnginfo=_chunks(texts))
    else:
        packet = xmp_packet({**texts.xmp, "firsthand:record": texts.own})
        image.save(out, form.upper(), quality=quality, exif=exif_block(texts), xmp=packet)
    return out.getvalue()


def _chunks(texts: Texts) -> PngInfo:
    info = PngInfo()
    info.add_text("parameters", texts.parameters)  # iTXt by itself where Latin-1 is not enough
    info.add_itxt("firsthand", texts.own)
    if texts.xmp:
        info.add_itxt("XML:com.adobe.xmp", xmp_packet(texts.xmp).decode())
    if texts.aigc:
        info.add_text("AIGC", texts.aigc)
    return info


def exif_block(texts: Texts) -> bytes:
    """An EXIF block, written here because Pillow gives user comments the type of plain bytes."""
    first = [(_DESCRIPTION, _ASCII, texts.aigc.encode() + b"\0")] if texts.aigc else []
    if not texts.parameters:
        return _EXIF + _folder(first, 8)
    after = len(_folder([*first, (_EXIF_FOLDER, _LONG, bytes(4))], 8)) + 8
    first.append((_EXIF_FOLDER, _LONG, struct.pack(">I", after)))
    comment = (_USER_COMMENT, _UNDEFINED, user_comment(texts.parameters))
    return _EXIF + _folder(first, 8) + _folder([comment], after)


def _folder(entries: Sequence[tuple[int, int, bytes]], at: int) -> bytes:
    """A TIFF image file directory of (tag, type, value) that lies at this offset, big-endian."""
    table, values = struct.pack(">H", len(entries)), b""
    begin = at + 2 + 12 * len(entries) + 4
    for tag, kind, body in entries:
        short = len(body) <= 4
        value = body.ljust(4, b"\0") if short else struct.pack(">I", begin + len(values))
        table += struct.pack(">HHI", tag, kind, 1 if kind == _LONG else len(body)) + value
        values += b"" if short else body + bytes(len(body) % 2)
    return table + bytes(4) + values


def user_comment(text: str) -> bytes:
    """As piexif.helper.UserComment.dump(text, "unicode"), which A1111 uses."""
    return b"UNICODE\0" + text.encode("utf-16-be")


def xmp_packet(properties: Mapping[str, str]) -> bytes:
    """An XMP packet (UTF-8) with simple properties, such as {"xmp:CreatorTool": "…"}."""
    uris = {prefix: uri for uri, prefix in NAMESPACES.items()}
    used = sorted({name.partition(":")[0] for name in properties})
    spaces = " ".join(f'xmlns:{prefix}="{uris[prefix]}"' for prefix in used)
    body = "".join(f"<{k}>{escape(_printable(v))}</{k}>" for k, v in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces}>{body}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def _printable(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff"))
