"""Small real files that carry texts, in the true formats: what the tests of the readers read."""

import gzip
import io
import struct
import zlib

import numpy as np
from PIL import Image

EXIF_FOLDER, USER_COMMENT = 0x8769, 0x9286


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def text_chunk(key: str, text: str, kind: str = "tEXt") -> bytes:
    name = key.encode("latin-1") + b"\0"
    if kind == "tEXt":
        return chunk(b"tEXt", name + text.encode())
    packed = zlib.compress(text.encode())
    if kind == "zTXt":
        return chunk(b"zTXt", name + b"\0" + packed)
    return chunk(b"iTXt", name + b"\1\0\0\0" + packed)


def png(texts: dict[str, str] | None = None, *, kind: str = "tEXt", late: bool = False,
        extra: bytes = b"", image: Image.Image | None = None) -> bytes:  # fmt: skip
    """A PNG with text chunks before its pixels, or after them (`late`)."""
    out = io.BytesIO()
    (image or Image.new("RGB", (24, 16), (200, 30, 40))).save(out, "PNG")
    whole = out.getvalue()
    added = b"".join(text_chunk(key, text, kind) for key, text in (texts or {}).items()) + extra
    at = whole.index(b"IEND") - 4 if late else 33
    return whole[:at] + added + whole[at:]


def with_exif(kind: str, *, comment: bytes | str | None = None, **tags: str) -> bytes:
    """A JPEG or WebP whose EXIF has a user comment, and other tags by their hex numbers."""
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[int(tag.removeprefix("t"), 16)] = value
    if comment is not None:
        exif.get_ifd(EXIF_FOLDER)[USER_COMMENT] = comment
    out = io.BytesIO()
    Image.new("RGB", (24, 16), (200, 30, 40)).save(out, kind, exif=exif)
    return out.getvalue()


def wide_comment(text: str, order: str = "utf-16-be") -> bytes:
    return b"UNICODE\0" + text.encode(order)


def hidden(text: str, *, where: str = "alpha", packed: bool = True,
           image: Image.Image | None = None) -> Image.Image:  # fmt: skip
    """The picture with stealth info in the lowest bits of alpha or of red, green and blue."""
    base = image or Image.new("RGB", (64, 48), (90, 120, 150))
    pixels = np.asarray(base.convert("RGBA" if where == "alpha" else "RGB")).copy()
    body = gzip.compress(text.encode(), mtime=0) if packed else text.encode()
    name = f"stealth_{'png' if where == 'alpha' else 'rgb'}{'comp' if packed else 'info'}"
    data = name.encode() + struct.pack(">I", len(body) * 8) + body
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    part = pixels[..., 3:] if where == "alpha" else pixels
    columns = part.transpose(1, 0, 2).copy()  # (width, height, channels): column by column
    flat = columns.reshape(-1)
    flat[: len(bits)] = flat[: len(bits)] & 0xFE | bits
    part[...] = columns.transpose(1, 0, 2)
    return Image.fromarray(pixels)


def xmp(attributes: str = "", elements: str = "") -> str:
    """A packet with properties in both of RDF's forms."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" '
        'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" '
        'xmlns:stRef="http://ns.adobe.com/xap/1.0/sType/ResourceRef#" '
        f"{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    )
