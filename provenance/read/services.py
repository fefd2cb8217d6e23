"""Reads the marks by which services' files can be told: Grok, Ideogram, Reve, ByteDance's apps.

They name the service and give no recipe. None is proof: each can be copied into any file.
"""

import re
from collections.abc import Iterator

from provenance.read.found import Carried, Claim, Found, Text, object_of

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NAMES = {
    ("Make", "ideogram ai"): "Ideogram",
    ("Software", "reve.com"): "Reve",
    ("xmp:CreatorTool", "reve.com"): "Reve",
}
MAX_NAME = 200  # characters


def read_services(carried: Carried) -> Iterator[Found]:
    for text in carried.texts:
        words = text.text[:MAX_NAME].lower()
        for (key, name), tool in _NAMES.items():
            if text.key == key and name in words:
                yield _by(tool, text)
        if text.key in ("ImageDescription", "UserComment"):
            yield from _described(text, carried)


def _described(text: Text, carried: Carried) -> Iterator[Found]:
    """Grok signs with a key that is not public; ByteDance's apps say `aigc_type` 1."""
    artist = (carried.first("Artist") or "").strip()
    if text.text.startswith("Signature: ") and _UUID.fullmatch(artist):
        claim = Claim("signature", "Grok's, which nobody else can verify", text.where)
        yield Found("Grok", text.where, text.text, claims=(claim,))
    info = object_of(text.object.get("aigc_info"))
    if str(info.get("aigc_type")) == "1":
        claim = Claim("ai-generated", "aigc_type 1", text.where)
        yield Found(None, text.where, text.text, claims=(claim,))


def _by(tool: str, text: Text) -> Found:
    return Found(tool, text.where, text.text, claims=(Claim("ai-generated", tool, text.where),))
