"""XMP → its properties by their usual names, and IPTC-IIM likewise.

Knows nothing of what they mean. XML is read by defusedxml: no DTD, no entities, nothing external.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

MAX_PACKET = 2 * 2**20  # bytes
MAX_PROPERTIES = 500

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
NAMESPACES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.useplus.org/ldf/xmp/1.0/": "plus",
    "urn:firsthand:ns:1.0/": "firsthand",
}


def xmp_texts(packet: bytes) -> Iterator[tuple[str, str]]:
    """(name, text) of each property: attributes and elements alike, list items in lines."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    start, end = packet.find(b"<"), packet.rfind(b">")
    if start < 0 or len(packet) > MAX_PACKET:
        return
    try:
        root = fromstring(packet[start : end + 1], forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return
    count = 0
    for description in root.iter(f"{_RDF}Description"):
        for name, text in _properties(description):
            count += 1
            if count > MAX_PROPERTIES:
                return
            yield name, text


def _properties(description: Element) -> Iterator[tuple[str, str]]:
    yield from _attributes(description)
    for child in description:
        name = _name(child.tag)
        if name and (text := _text(child)):
            yield name, text
        if name == "xmpMM:DerivedFrom":
            yield from _attributes(child)
            for part in child:
                if (inner := _name(part.tag)) and part.text:
                    yield inner, part.text.strip()


def _attributes(element: Element) -> Iterator[tuple[str, str]]:
    for tag, value in element.attrib.items():
        if name := _name(tag):
            yield name, value


def _text(element: Element) -> str:
    if resource := element.get(f"{_RDF}resource"):
        return resource
    listed = [item for box in element for item in box if item.tag == f"{_RDF}li"]
    items = [item.text or item.get(f"{_RDF}resource") or "" for item in listed]
    return "\n".join(items[:100]).strip() or (element.text or "").strip()


def _name(tag: object) -> str | None:
    """`{namespace}local` as `prefix:local`; None outside the known namespaces."""
    namespace, _, local = str(tag).removeprefix("{").rpartition("}")
    return f"{NAMESPACES[namespace]}:{local}" if namespace in NAMESPACES else None


_IIM = {
    5: "Title", 65: "Originating program", 80: "By-line", 105: "Headline", 110: "Credit",
    115: "Source", 116: "Copyright notice", 120: "Caption",
}  # fmt: skip


def iptc_texts(block: bytes) -> Iterator[tuple[str, str]]:
    """(name, text) of the data sets of record 2, in Photoshop's resource blocks or bare."""
    at = block.find(b"\x1c\x02")
    count = 0
    while 0 <= at <= len(block) - 5 and block[at] == 0x1C and count < MAX_PROPERTIES:
        record, kind = block[at + 1], block[at + 2]
        length = int.from_bytes(block[at + 3 : at + 5], "big")
        if length > 0x7FFF:  # extended lengths are for pictures in pictures
            return
        if record == 2 and kind in _IIM:
            yield _IIM[kind], _decoded(block[at + 5 : at + 5 + length])
        at += 5 + length
        count += 1


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
