"""A checked picture as PNG bytes: its pixels, its recipe and its verdict, all in one file."""

import io
import json
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance.label.infotext import infotext
from provenance.recipe import Recipe
from provenance.verdict import Verdict

VERDICT_KEY = "firsthand"


def labelled_png(image: Image.Image, recipe: Recipe, verdict: Verdict) -> bytes:
    """PNG with a `parameters` text (A1111 infotext) and a `firsthand` text (JSON verdict)."""
    info = PngInfo()
    info.add_text("parameters", infotext(recipe))  # iTXt by itself where Latin-1 is not enough
    info.add_itxt(VERDICT_KEY, json.dumps(verdict_record(recipe, verdict), ensure_ascii=False))
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def verdict_record(recipe: Recipe, verdict: Verdict) -> dict[str, Any]:
    """What the file says of its check: the verdict without the references' addresses."""
    nearest = max((match.score for match in verdict.matches), default=0.0)
    return {
        "decision": str(verdict.decision),
        "reasons": list(verdict.reasons),
        "nearest_score": round(nearest, 4),
        "policy": verdict.policy,
        "library": {"version": verdict.library_version, "references": verdict.references},
        "recipe": recipe.to_json(),
    }
