"""What a file says in words: infotext, Firsthand's own record, XMP, the AIGC label.

Knows nothing of file formats but how much a JPEG holds.
"""

import json
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from provenance.label.begun import claims_of
from provenance.label.encode import JPEG_ROOM, Texts, exif_block, xmp_packet
from provenance.label.infotext import SOFTWARE, infotext
from provenance.label.manifest import Changes, checked, source_type
from provenance.label.profiles import Style
from provenance.recipe import Recipe
from provenance.verdict import Verdict


@cache
def _version() -> str:
    return version("firsthand")


def agent() -> dict[str, str]:
    """The software that painted, by name and version."""
    return {"name": SOFTWARE, "version": _version()}


def texts_of(
    style: Style, recipe: Recipe, verdict: Verdict, when: datetime, content: str,
    changes: Changes, begun: bytes | None,
) -> tuple[Texts, list[str]]:  # fmt: skip
    """All texts, and what had to be left out of them."""
    record = own_record(recipe, verdict, content, changes)
    if begun:
        record["init"] = {"claims": claims_of(begun)}
    properties = {k: _utf8(v) for k, v in _properties(style, recipe, content, when).items()}
    aigc = json.dumps({"AIGC": _aigc(style, content)}) if style.profile.aigc else None
    texts = Texts(_utf8(infotext(recipe)), _json(record), properties, aigc)
    return _fitting(texts, record) if style.form == "jpeg" else (texts, [])


def _fitting(texts: Texts, record: dict[str, Any]) -> tuple[Texts, list[str]]:
    parameters, own = texts.parameters, texts.own
    if len(exif_block(texts)) > JPEG_ROOM:
        parameters = ""
    if len(xmp_packet({**texts.xmp, "firsthand:record": own})) > JPEG_ROOM:
        own = _json({name: value for name, value in record.items() if name != "recipe"})
    if (parameters, own) == (texts.parameters, texts.own):
        return texts, []
    note = "the recipe is too long for JPEG and in part left out; PNG and WebP hold it"
    return Texts(parameters, own, texts.xmp, texts.aigc), [note]


def own_record(recipe: Recipe, verdict: Verdict, content: str, changes: Changes) -> dict[str, Any]:
    """What the file says of its check: the verdict without the references' addresses."""
    nearest = max((match.score for match in verdict.matches), default=0.0)
    return {
        "decision": str(verdict.decision),
        "reasons": list(verdict.reasons),
        "nearest_score": round(nearest, 4),
        "policy": verdict.policy,
        "library": {"version": verdict.library_version, "references": verdict.references},
        "checked": checked(content, changes),
        "recipe": recipe.to_json(),
    }


def _properties(style: Style, recipe: Recipe, content: str, when: datetime) -> dict[str, str]:
    """The profile's XMP properties."""
    made_with = agent()
    found: dict[str, str] = {}
    if style.profile.iptc:
        hashed = f" [{recipe.model_hash}]" if recipe.model_hash else ""
        found |= {
            "xmp:CreatorTool": " ".join(made_with.values()),
            "Iptc4xmpExt:DigitalSourceType": source_type(recipe),
            "Iptc4xmpExt:AISystemUsed": f"{SOFTWARE}: {recipe.model or 'unnamed model'}{hashed}",
            "Iptc4xmpExt:AISystemVersionUsed": made_with["version"],
        }
        if style.prompt:
            found["Iptc4xmpExt:AIPromptInformation"] = recipe.prompt
    if style.profile.identity:
        found |= {
            "photoshop:Credit": style.provider,
            "xmp:CreateDate": f"{when:%Y-%m-%dT%H:%M:%SZ}",
            "xmpMM:DocumentID": f"urn:firsthand:{content}",
        }
    if style.profile.aigc:
        found["TC260:AIGC"] = _json(_aigc(style, content))
    return found


def _aigc(style: Style, content: str) -> dict[str, str]:
    """GB 45438-2025, annex E: 1 is "made by AI"; who passes it on fills in the propagator's."""
    return {
        "Label": "1",
        "ContentProducer": style.provider,
        "ProduceID": content,
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }


def _json(value: Any) -> str:
    return _utf8(json.dumps(value, ensure_ascii=False))


def writable(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of which every text can be written as UTF-8."""
    made: dict[str, Any] = json.loads(_json(value))
    return made


def _utf8(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()
