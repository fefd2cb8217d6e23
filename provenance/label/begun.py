"""The file that painting began with (image to image): its labels and credentials are kept."""

from typing import Any

from provenance.images import read_stored
from provenance.label.credentials import FORMATS, read_credentials
from provenance.label.signing import Ingredient
from provenance.read import readings
from provenance.read.gather import gather

MAX_KEPT = 20  # claims


def claims_of(begun: bytes) -> list[dict[str, str]]:
    """What the file says of AI."""
    carried = gather(begun, read_stored(begun)).carried
    found = [claim for each in readings(carried) for claim in each.claims]
    told = [claim for claim in found if claim.what.startswith(("ai-", "aigc-", "made-with"))]
    return [
        {"what": claim.what, "value": str(claim.value)[:200], "source": claim.source[:100]}
        for claim in told[:MAX_KEPT]
    ]


def ingredient_of(begun: bytes, entry: dict[str, Any]) -> Ingredient:
    """The file as an ingredient: with its own credentials, broken ones too, where it has any."""
    kind = (read_stored(begun).format or "").upper()
    held = read_credentials(begun, kind)
    if held is None or held.outcome in ("none", "remote-only", "unreadable"):
        state = f"; its credentials: {held.outcome}" if held else ""
        return Ingredient({**entry, "description": f"began the painting{state}"})
    return Ingredient(entry, FORMATS[kind], begun)
