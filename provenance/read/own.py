"""Reads what Firsthand itself writes beside its infotext: the recipe and the verdict, as JSON."""

from collections.abc import Iterator

from provenance.errors import UsageError
from provenance.read.found import Carried, Claim, Found, object_of, text_of
from provenance.recipe import Recipe

KEY = "firsthand"


def read_own(carried: Carried) -> Iterator[Found]:
    for text in carried.under(KEY):
        values = text.object
        decision = text_of(values.get("decision"))
        if not decision:
            continue
        try:
            recipe = Recipe.from_json(object_of(values.get("recipe")))
        except UsageError:
            recipe = None
        claim = Claim("verdict", decision[:100], text.where)
        yield Found("Firsthand", text.where, text.text, recipe, claims=(claim,))
