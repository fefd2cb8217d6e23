"""Reads NovelAI, and verifies its Ed25519 signature over the pixels and the settings.

The signed message is what NovelAI's own nai_sig.py (novelai-image-metadata, MIT) builds: all RGB
bytes, then the comment's JSON without `signed_hash`. One changed pixel breaks it.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from provenance.read.found import (
    Carried,
    Claim,
    Found,
    Text,
    items_of,
    object_of,
    recipe_from,
    scalars,
    text_of,
)

PUBLIC_KEY = "Y2JcQAOhLwzwSDUJPNgL04nS0Tbqm7cSRc4xk0vRMic="
_TAKEN = ("prompt", "uc", "seed", "steps", "scale", "sampler", "noise_schedule", "width", "height",
          "signed_hash", "Description", "Software", "Source", "Comment")  # fmt: skip
MAX_VERIFIED = 3  # signatures: each is over all pixels
_SOURCE = re.compile(r"(.{1,200}?)\s{1,9}([0-9A-F]{6,64})")


def read_novelai(carried: Carried) -> Iterator[Found]:
    """From text chunks, and from the JSON that stealth info holds."""
    for number, (values, text) in enumerate(_told(carried)):
        if found := _found(values, text, carried, verify=number < MAX_VERIFIED):
            yield found


def _told(carried: Carried) -> Iterator[tuple[dict[str, Any], Text]]:
    if carried.first("Software") == "NovelAI" or carried.first("Title") == "AI generated image":
        for text in carried.under("Comment"):
            chunks = {each.key: each.text for each in carried.texts if each.source == text.source}
            yield chunks | {"Comment": text.text}, text
    for text in carried.under("stealth", "UserComment"):
        values = text.object
        if values.keys() & {"Software", "Source", "Description"}:
            yield values, text


def _found(values: dict[str, Any], text: Text, carried: Carried, *, verify: bool) -> Found | None:
    comment = object_of(values.get("Comment"))
    if not comment.keys() & {"seed", "steps", "uc", "scale"}:
        return None
    model, digest = _model(text_of(values.get("Source")) or "")
    return Found(
        tool="NovelAI",
        source=text.where,
        raw=text.text,
        recipe=recipe_from(
            _prompt(values, comment),
            negative=comment.get("uc"),
            model=model,
            model_hash=digest,
            seed=comment.get("seed"),
            steps=comment.get("steps"),
            guidance=comment.get("scale"),
            sampler=comment.get("sampler"),
            scheduler=comment.get("noise_schedule"),
            size=(comment.get("width"), comment.get("height")),
        ),
        settings=scalars(comment, without=_TAKEN) | scalars(values, without=_TAKEN),
        claims=tuple(_signature(values.get("Comment"), comment, text.where, carried, verify)),
    )


def _prompt(values: dict[str, Any], comment: dict[str, Any]) -> Any:
    """The description; version 4 models have their prompts by character in the comment too."""
    if prompt := values.get("Description") or comment.get("prompt"):
        return prompt
    caption = object_of(object_of(comment.get("v4_prompt")).get("caption"))
    parts = [caption.get("base_caption")]
    parts += [
        object_of(each).get("char_caption") for each in items_of(caption.get("char_captions"))
    ]
    return " | ".join(part for part in parts if isinstance(part, str) and part)


def _model(source: str) -> tuple[str | None, str | None]:
    """`Stable Diffusion 1D44365E`: a model's name and hash."""
    match = _SOURCE.fullmatch(source)
    return (match[1], match[2]) if match else (source or None, None)


def _signature(
    raw: Any, comment: dict[str, Any], where: str, carried: Carried, verify: bool
) -> Iterator[Claim]:
    signature = comment.get("signed_hash")
    if not isinstance(signature, str):
        return
    source = f"{where} signed_hash"
    if not verify:
        yield Claim("signature", f"NovelAI's, not verified: after {MAX_VERIFIED} others", source)
        return
    rgb = carried.rgb()
    if rgb is None:
        yield Claim("signature", "NovelAI's, not verified: no pixels", source)
    elif is_signed(rgb, comment, signature, raw if isinstance(raw, str) else None):
        yield Claim("made-by", "NovelAI", source, "signed")
        yield Claim("ai-generated", "NovelAI", source, "signed")
    else:
        yield Claim("signature", "does not fit these pixels and settings", source, "measured")


def is_signed(rgb: bytes, comment: dict[str, Any], signature: str, raw: str | None) -> bool:
    """Whether NovelAI's key signed these pixels with this comment."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(PUBLIC_KEY))
        signed = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    for text in _forms(comment, raw):
        try:
            key.verify(signed, rgb + text.encode("utf-8", "surrogatepass"))
            return True
        except InvalidSignature:
            continue
    return False


def _forms(comment: dict[str, Any], raw: str | None) -> set[str]:
    """The comment without its signature, as Python writes it, and as it stands in the file."""
    rest = {key: value for key, value in comment.items() if key != "signed_hash"}
    forms = {json.dumps(rest), json.dumps(rest, ensure_ascii=False)}
    if raw:
        member = r'"signed_hash":\s{0,4}"[A-Za-z0-9+/=]{1,200}"'
        forms.add(re.sub(rf",\s{{0,4}}{member}|{member},?\s{{0,4}}", "", raw, count=1))
    return forms
