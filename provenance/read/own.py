"""Reads what Firsthand itself writes beside its infotext: recipe and verdict, as JSON.

In PNG it is a text chunk, in JPEG and WebP a property in XMP.
"""

from collections.abc import Iterator

from provenance.errors import UsageError
from provenance.read.found import Carried, Claim, Found, Parent, object_of, text_of
from provenance.recipe import Recipe

KEYS = ("firsthand", "firsthand:record")


def read_own(carried: Carried) -> Iterator[Found]:
    for text in carried.under(*KEYS):
        values = text.object
        decision = text_of(values.get("decision"))
        if not decision:
            continue
        try:
            recipe = Recipe.from_json(object_of(values.get("recipe")))
        except UsageError:
            recipe = None
        claim = Claim("verdict", decision[:100], text.where)
        parents = tuple(_begun(recipe)) if recipe else ()
        yield Found("Firsthand", text.where, text.text, recipe, claims=(claim,), parents=parents)


def _begun(recipe: Recipe) -> Iterator[Parent]:
    if recipe.init_hash:
        name = recipe.init or f"the picture {recipe.init_hash}"
        yield Parent(name, f"image to image, pixels {recipe.init_hash[:16]}")
