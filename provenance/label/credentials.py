"""Content Credentials (C2PA) of a file → one of seven outcomes, and what its manifests claim.

All network is off: no remote manifest, no OCSP, no identity is fetched. The outcome is judged by
the validation codes, not by the library's one-word state, which says Invalid of what has merely
expired.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from provenance.errors import UsageError
from provenance.read.found import Claim, Found, Parent, Strength, items_of, object_of, text_of
from provenance.read.labels import source_type_claim

# The outcomes are none, trusted, unknown-signer, expired-signer, broken, remote-only, unreadable.
FORMATS = {
    "PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "WEBP": "image/webp",
    "GIF": "image/gif", "TIFF": "image/tiff", "AVIF": "image/avif", "HEIF": "image/heif",
    "JXL": "image/jxl",
}  # fmt: skip
OFFLINE: dict[str, Any] = {
    "version": 1,
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "allow_redirects": False,
        "decode_identity_assertions": False,
    },
}
_WITHIN = "self#jumbf=/c2pa"
_SOFT = ("signingCredential.untrusted", "signingCredential.expired")
VERDICT = "firsthand.verdict"
"""The label of the assertion in which Firsthand signs what its check said."""

MAX_MANIFESTS = 50


@dataclass(frozen=True)
class Credentials:
    """`signer` and `verdict` are known only where the outcome is trusted; else they are claims."""

    outcome: str
    signer: str | None = None
    found: tuple[Found, ...] = ()
    verdict: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "signer": self.signer, "verdict": self.verdict}


def read_credentials(data: bytes, kind: str, anchors: str = "") -> Credentials | None:
    """What the manifests say; None for a format that holds none. `anchors` are trusted roots (PEM).

    `kind` is Pillow's word for the format. Raises UsageError where the anchors are not PEM.
    """
    import c2pa

    if kind not in FORMATS:
        return None
    context = _context(anchors)
    try:
        with c2pa.Reader(FORMATS[kind], io.BytesIO(data), context=context) as reader:
            results, told = reader.get_validation_results() or {}, json.loads(reader.json())
    except c2pa.C2paError as error:
        return Credentials(_failed(str(error)))
    outcome = _outcome(object_of(results.get("activeManifest")))
    manifests, active = object_of(told.get("manifests")), str(told.get("active_manifest"))
    signed = [active] if outcome == "trusted" else []
    if signed and _all_sound(results, manifests):
        signed += manifests.keys()
    found = tuple(_found(manifests, signed))
    if not signed:
        return Credentials(outcome, found=found)
    manifest = object_of(manifests.get(active))
    return Credentials(outcome, _signer(manifest), found, _verdict(manifest))


def _all_sound(results: dict[str, Any], manifests: dict[str, Any]) -> bool:
    """Whether every ingredient's own manifest is intact, by a signer who is trusted now.

    What was found when it was made an ingredient is recorded with it; what is found otherwise now
    is in the deltas.
    """
    deltas = {
        str(delta.get("ingredientAssertionURI")): object_of(delta.get("validationDeltas"))
        for delta in map(object_of, items_of(results.get("ingredientDeltas")))
    }
    return all(
        _sound(
            ingredient, deltas.get(f"{_WITHIN}/{name}/c2pa.assertions/{ingredient.get('label')}")
        )
        for name, manifest in manifests.items()
        for ingredient in map(object_of, items_of(object_of(manifest).get("ingredients")))
        if ingredient.get("active_manifest")
    )


def _sound(ingredient: dict[str, Any], delta: dict[str, Any] | None) -> bool:
    recorded = object_of(object_of(ingredient.get("validation_results")).get("activeManifest"))
    now = delta or {}
    broken = _codes(recorded, "failure") - set(_SOFT) or _codes(now, "failure")
    passed = _codes(recorded, "success") | _codes(now, "success")
    return not broken and "signingCredential.trusted" in passed


def _verdict(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """What Firsthand's check said, where the manifest is Firsthand's."""
    for assertion in map(object_of, items_of(manifest.get("assertions"))):
        if assertion.get("label") == VERDICT:
            return object_of(assertion.get("data"))
    return None


@lru_cache(maxsize=4)
def _context(anchors: str) -> Any:
    import c2pa

    trust = {"trust": {"user_anchors": anchors}} if anchors else {}
    try:
        return c2pa.Context.from_dict(OFFLINE | trust)
    except c2pa.C2paError as error:
        raise UsageError(f"trusted certificates must be PEM: {error}") from None


def _failed(message: str) -> str:
    if message.startswith("ManifestNotFound"):
        return "none"
    return "remote-only" if message.startswith("Remote") else "unreadable"


def _outcome(results: dict[str, Any]) -> str:
    failed, passed = _codes(results, "failure"), _codes(results, "success")
    if any(code not in _SOFT and not code.startswith("cawg.") for code in failed):
        return "broken"
    if "claimSignature.validated" not in passed:
        return "unreadable"
    if "signingCredential.expired" in failed:
        return "expired-signer"
    trusted = "signingCredential.trusted" in passed and not failed & set(_SOFT)
    return "trusted" if trusted else "unknown-signer"


def _codes(results: dict[str, Any], kind: str) -> set[str]:
    return {str(object_of(each).get("code")) for each in items_of(results.get(kind))}


def _found(manifests: dict[str, Any], signed: list[str]) -> list[Found]:
    """An account of each manifest: those that tell of the making come first."""
    each = [(name, object_of(manifest)) for name, manifest in manifests.items()][:MAX_MANIFESTS]
    told = [_account(n, manifest, "signed" if n in signed else "claimed") for n, manifest in each]
    return sorted(told, key=lambda found: not any(c.what == "ai-generated" for c in found.claims))


def _account(name: str, manifest: dict[str, Any], strength: Strength) -> Found:
    source = f"C2PA {name[:100]}"
    generator = _generator(manifest)
    claims = [Claim("made-with", generator, source, strength)] if generator else []
    if signer := _signer(manifest):
        claims.append(Claim("signer", signer, source, strength))
    for assertion in map(object_of, items_of(manifest.get("assertions"))):
        claims += _claims(str(assertion.get("label")), object_of(assertion.get("data")), source)
    ingredients = map(object_of, items_of(manifest.get("ingredients")))
    return Found(
        tool=generator,
        source=source,
        raw=json.dumps(manifest, ensure_ascii=False),
        claims=tuple(Claim(c.what, c.value, c.source, strength) for c in claims),
        parents=tuple(_parents(ingredients)),
    )


def _claims(label: str, data: dict[str, Any], source: str) -> Iterator[Claim]:
    if label.startswith("c2pa.actions"):
        for action in map(object_of, items_of(data.get("actions"))[:100]):
            if uri := text_of(action.get("digitalSourceType")):
                yield source_type_claim(uri, source)
            if agent := _name(action.get("softwareAgent")):
                yield Claim("software-agent", agent, source)
    elif label == VERDICT and (decision := text_of(data.get("decision"))):
        yield Claim("verdict", decision[:100], source)
    elif label == "c2pa.ai_generated_content" and (model := text_of(data.get("model"))):
        yield Claim("ai-system", model, source)


def _parents(ingredients: Any) -> Iterator[Parent]:
    for ingredient in ingredients:
        if title := text_of(ingredient.get("title")):
            why = f"C2PA ingredient ({ingredient.get('relationship', 'unknown')})"
            said = text_of(ingredient.get("description"))
            yield Parent(title, f"{why}: {said[:300]}" if said else why)


def _generator(manifest: dict[str, Any]) -> str | None:
    info = items_of(manifest.get("claim_generator_info"))
    return _name(info[0] if info else manifest.get("claim_generator"))


def _name(value: Any) -> str | None:
    """A name, with its version, as text or as {"name", "version"}."""
    parts = [value] if isinstance(value, str) else [object_of(value).get(k) for k in _NAMED]
    return " ".join(text for part in parts if (text := text_of(part))) or None


_NAMED = ("name", "version")


def _signer(manifest: dict[str, Any]) -> str | None:
    info = object_of(manifest.get("signature_info"))
    names = [text_of(info.get(key)) for key in ("issuer", "common_name")]
    return ", ".join(name for name in names if name) or None
