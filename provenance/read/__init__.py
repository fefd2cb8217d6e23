"""What other tools wrote into a file, as a Recipe."""

from provenance.images import Picture
from provenance.read.infotext import parse_infotext
from provenance.recipe import Recipe


def recipe_of(picture: Picture) -> Recipe | None:
    """The recipe that the picture's file carries, or None."""
    for key in ("parameters", "UserComment", "comment"):
        if recipe := parse_infotext(picture.texts.get(key, "")):
            return recipe
    return None
