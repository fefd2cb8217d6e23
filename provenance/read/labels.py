"""Reads what a file claims in common words: made by AI, by whom, with what, from which file.

XMP, IPTC, EXIF, PNG texts, the Chinese AIGC label (GB 45438-2025). All of it is claimed: whoever
wrote the file wrote that. Absence says nothing.
"""

from collections.abc import Iterator

from provenance.read.found import (
    Carried,
    Claim,
    Found,
    Parent,
    Text,
    object_of,
    scalars,
    text_of,
)

# cv.iptc.org/newscodes/digitalsourcetype: what was made, what was changed by generative AI
_SOURCE_TYPES = {
    "trainedAlgorithmicMedia": "ai-generated",
    "trainedAlgorithmicData": "ai-generated",
    "compositeWithTrainedAlgorithmicMedia": "ai-edited",
    "compositeSynthetic": "ai-edited",
}
_CLAIMS = {
    "Iptc4xmpExt:AISystemUsed": "ai-system",
    "Iptc4xmpExt:AISystemVersionUsed": "ai-system-version",
    "Iptc4xmpExt:AIPromptInformation": "ai-prompt",
    "Iptc4xmpExt:AIPromptWriterName": "ai-prompt-writer",
    "xmp:CreatorTool": "software", "Software": "software", "Originating program": "software",
    "dc:creator": "creator", "Artist": "creator", "Author": "creator", "By-line": "creator",
    "dc:rights": "copyright", "Copyright": "copyright", "Copyright notice": "copyright",
    "photoshop:Credit": "credit", "Credit": "credit",
    "photoshop:Source": "source", "dc:source": "source",
    "plus:DataMining": "data-mining",
    "dcterms:provenance": "remote-manifest",
}  # fmt: skip
_AIGC = {
    "1": ("ai-generated", "is AI-made"), "AIGC": ("ai-generated", "is AI-made"),
    "2": ("ai-suspected", "is possibly AI-made"),
    "3": ("ai-suspected", "is suspected to be AI-made"),
}  # fmt: skip
MAX_CLAIM = 2_000  # characters


def read_labels(carried: Carried) -> Iterator[Found]:
    for text in carried.texts:
        if text.key == "Iptc4xmpExt:DigitalSourceType":
            yield _one(text, source_type_claim(text.text, text.where))
        elif (what := _CLAIMS.get(text.key)) and (value := text_of(text.text)):
            yield _one(text, Claim(what, value[:MAX_CLAIM], text.where))
    yield from _derived(carried)


def read_aigc(carried: Carried) -> Iterator[Found]:
    """The label of GB 45438-2025 in all its places, bare or wrapped in {"AIGC": …}."""
    for text in carried.under("TC260:AIGC", "AIGC", "UserComment", "ImageDescription"):
        values = text.object
        wrapped = "AIGC" in values
        values = object_of(values.get("AIGC")) if wrapped else values
        label = str(values.get("Label", "")).strip()
        if label and (wrapped or "AIGC" in text.key):
            what, said = _AIGC.get(label, ("aigc-label", "has an unknown label"))
            claims = [Claim(what, f"{said} (AIGC label {label[:20]})", text.where)]
            producer = text_of(values.get("ContentProducer") or values.get("ServiceProvider"))
            claims += [Claim("aigc-producer", producer, text.where)] if producer else []
            yield Found(None, text.where, text.text, settings=scalars(values), claims=tuple(claims))


def _one(text: Text, claim: Claim) -> Found:
    return Found(None, text.where, text.text, claims=(claim,))


def source_type_claim(uri: str, source: str) -> Claim:
    """What IPTC's digital source type says: its address, or the bare code, a common mistake."""
    code = uri.strip().rstrip("/").rpartition("/")[2][:100]
    return Claim(_SOURCE_TYPES.get(code, "digital-source-type"), code, source)


def _derived(carried: Carried) -> Iterator[Found]:
    for text in carried.under("stRef:documentID"):
        if uri := text_of(text.text):
            parent = Parent(uri[:MAX_CLAIM], "xmpMM:DerivedFrom")
            yield Found(None, text.where, text.text, parents=(parent,))
