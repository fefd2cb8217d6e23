"""A learned descriptor by the words that the settings use for it."""

import re
from pathlib import Path

from provenance.embed.pretrained import FAMILIES, PretrainedDescriptor
from provenance.embed.sscd import SSCDDescriptor
from provenance.errors import UsageError
from provenance.fingerprint import Descriptor

FORMS = (
    "sscd:FILE#sha256=HEX (for sscd_disc_large: #sha256=HEX&dim=1024), "
    f"or {', '.join(f'{family}:FOLDER-OR-HUB-ID' for family in FAMILIES)}"
)


def named(words: str) -> Descriptor:
    """Such as `dinov2:facebook/dinov2-small`; raises UsageError for words of another form."""
    kind, _, rest = words.partition(":")
    if kind in FAMILIES and rest:
        return PretrainedDescriptor(kind, rest)
    file, _, options = rest.partition("#")
    known = re.fullmatch(r"(?:sha256=([0-9a-fA-F]{64}))?(?:&?dim=([1-9]\d{0,4}))?", options)
    if kind != "sscd" or not file or not known:
        raise UsageError(f"no descriptor {words!r}; a descriptor is named {FORMS}")
    sha256, dim = known.groups()
    return SSCDDescriptor(Path(file), sha256, int(dim or 512))
