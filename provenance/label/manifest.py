"""What a picture's Content Credentials say: how it was made, and what the check said of it.

C2PA 2.3. Knows nothing of files and keys.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from provenance.label.credentials import VERDICT
from provenance.match import Match
from provenance.recipe import Recipe
from provenance.verdict import REVIEW_SCORE, Verdict

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

Changes = Mapping[str, str]
"""What was done to the pixels after the check: C2PA's word for the action, and ours."""

_INIT = "init"
_MATCHES = 3


def source_type(recipe: Recipe) -> str:
    """IPTC's digital source type: made by a model, or edited by it."""
    return EDITED if recipe.init_hash else GENERATED


def manifest(
    recipe: Recipe,
    verdict: Verdict,
    agent: dict[str, str],
    when: datetime,
    content: str,
    changes: Changes,
) -> dict[str, Any]:
    """The manifest's definition, without ingredients.

    `content` is the content hash of the picture that was checked, `changes` what was done to its
    pixels afterwards; `when` in UTC.
    """
    at = f"{when:%Y-%m-%dT%H:%M:%SZ}"
    actions = _actions(recipe, agent, at)
    actions += [
        {"action": action, "description": words, "softwareAgent": agent, "when": at}
        for action, words in changes.items()
    ]
    return {
        "claim_generator_info": [agent],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": VERDICT, "data": _verdict(verdict, content, changes)},
        ],
    }


def reference_entries(verdict: Verdict) -> list[dict[str, Any]]:
    """The references that the picture came too close to, as ingredients."""
    close = [match for match in verdict.matches if match.score >= REVIEW_SCORE]
    return [_reference(number, match) for number, match in enumerate(close[:_MATCHES])]


def init_entry(recipe: Recipe) -> dict[str, Any]:
    """The picture that painting began with, as an ingredient."""
    return {
        "title": recipe.init or "init picture",
        "relationship": "parentOf",
        "label": _INIT,
        "instance_id": _INIT,
    }


def _actions(recipe: Recipe, agent: dict[str, str], when: str) -> list[dict[str, Any]]:
    model = {"firsthand.model": recipe.model, "firsthand.model_hash": recipe.model_hash}
    made = {
        "when": when,
        "softwareAgent": agent,
        "digitalSourceType": source_type(recipe),
        "parameters": {name: value for name, value in model.items() if value},
    }
    if not recipe.init_hash:
        return [{"action": "c2pa.created", **made}]
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_INIT]}}
    return [opened, {"action": "c2pa.edited", **made}]


def _verdict(verdict: Verdict, content: str, changes: Changes) -> dict[str, Any]:
    """The verdict without the references' addresses, which may be private."""
    chances = [match.chance for match in verdict.matches if match.chance is not None]
    return {
        "decision": str(verdict.decision),
        "reasons": list(verdict.reasons),
        "policy": verdict.policy,
        "library": {"version": verdict.library_version, "references": verdict.references},
        "nearest": [_distances(match) for match in verdict.matches[:_MATCHES]],
        "chance": min(chances, default=None),
        "checked": checked(content, changes),
    }


def _distances(match: Match) -> dict[str, Any]:
    told = ("score", "similarity", "overlap", "chance", "why")
    return {name: value for name, value in match.to_json().items() if name in told}


def checked(content: str, changes: Changes) -> dict[str, Any]:
    """Which picture the verdict is on, and what was done to it since (compression apart)."""
    return {"alg": "blake3", "content": content, "since": list(changes.values())}


def _reference(number: int, match: Match) -> dict[str, Any]:
    """C2PA has no relationship for what was merely found near; the weakest, and words, must do."""
    uri = match.reference.uri
    return {
        "title": match.reference.name,
        "relationship": "inputTo",
        "instance_id": f"reference-{number}",
        "label": f"reference-{number}",
        **({"informational_URI": uri} if uri.startswith(("http://", "https://")) else {}),
        "description": f"found near by the check (score {match.score:.2f}), not known to be used",
    }
