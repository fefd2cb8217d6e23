"""What other tools wrote into a file, as Recipes and claims.

Each reader is a function from all that the file carries to what its tool wrote, in each place. None
runs, unpickles or follows anything that it reads.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provenance.read.apps import read_draw_things, read_easy_diffusion
from provenance.read.civitai import read_civitai
from provenance.read.comfy import read_comfy
from provenance.read.described import read_midjourney, read_openai
from provenance.read.fooocus import read_fooocus
from provenance.read.found import Carried, Found, Reader, Text
from provenance.read.infotext import read_infotext
from provenance.read.invoke import read_invoke
from provenance.read.labels import read_aigc, read_labels
from provenance.read.novelai import read_novelai
from provenance.read.own import read_own
from provenance.read.services import read_services
from provenance.read.swarm import read_swarm
from provenance.recipe import Recipe

if TYPE_CHECKING:
    from provenance.images import Picture

# Those that know one tool's own form come before those of forms that many tools write: the first to
# find something says what made the picture.
READERS: tuple[Reader, ...] = (
    read_own,
    read_swarm,
    read_fooocus,
    read_novelai,
    read_invoke,
    read_easy_diffusion,
    read_draw_things,
    read_civitai,
    read_comfy,
    read_infotext,
    read_midjourney,
    read_openai,
    read_services,
    read_aigc,
    read_labels,
)


def readings(carried: Carried) -> Iterator[Found]:
    """All that any reader finds, in the order of the readers."""
    for reader in READERS:
        yield from reader(carried)


def recipe_of(picture: "Picture") -> Recipe | None:
    """The recipe that the picture's file carries, or None."""
    if not picture.texts:
        return None
    carried = Carried(tuple(Text("", key, text) for key, text in picture.texts.items()))
    return main_recipe(list(readings(carried)))


def main_recipe(found: list[Found]) -> Recipe | None:
    """The first; infotext beside a ComfyUI graph tells more (hashes, the prompt as it was run)."""
    recipes = [each.recipe for each in found if each.recipe and each.tool != "ComfyUI"]
    recipes += [each.recipe for each in found if each.recipe and each.tool == "ComfyUI"]
    return recipes[0] if recipes else None
