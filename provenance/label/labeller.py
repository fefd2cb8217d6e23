"""Labeller: picture, recipe and verdict → the file that may leave, with all that it says of itself.

In this order: invisible mark → visible label → encoding, with the texts → signature → record.

The check is of the picture before anything is done to its pixels; verdict and signature name that
picture by its content hash, and say what was done since. What travels has the fingerprint of the
labelled picture, which is close to it.
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from provenance.fingerprint import content_hash
from provenance.label.begun import ingredient_of
from provenance.label.encode import MIME, SUFFIX, encoded
from provenance.label.manifest import init_entry, manifest, reference_entries
from provenance.label.profiles import Style
from provenance.label.signing import Ingredient, Signer
from provenance.label.texts import agent, texts_of, writable
from provenance.label.visible import put_label
from provenance.recipe import Recipe
from provenance.verdict import Verdict


@dataclass(frozen=True)
class Labelled:
    """A whole signed file. `labels` says what was written, and what could not be."""

    data: bytes
    suffix: str
    labels: dict[str, Any] = field(default_factory=dict)


def _no_init(recipe: Recipe) -> bytes | None:
    return None


@dataclass(frozen=True)
class Labeller:
    """`init` gives the bytes of the file that a recipe begins with; `cite` names near references.

    `mark` puts an invisible mark on; `record` is told of the signed file. Raises CheckError where
    the file cannot be signed: no signature, no picture. Errors of the others are passed on.
    """

    style: Style
    signer: Signer
    init: Callable[[Recipe], bytes | None] = _no_init
    cite: bool = False
    mark: Callable[[Image.Image, Recipe], Image.Image] | None = None
    record: Callable[[Labelled, Recipe, Verdict], None] | None = None

    def __call__(self, image: Image.Image, recipe: Recipe, verdict: Verdict) -> Labelled:
        style, when = self.style, datetime.now(UTC)
        content, begun = content_hash(image), self.init(recipe)
        picture, changes = self._changed(image, recipe)
        told = verdict if self.cite else verdict.without_names()
        texts, notes = texts_of(style, recipe, told, when, content, changes, begun)
        data = encoded(picture, style.form, style.quality, texts)
        said = manifest(recipe, told, agent(), when, content, changes)
        said["label"] = f"urn:c2pa:{uuid.uuid4()}"
        near = reference_entries(verdict) if self.cite else []
        made_from = [Ingredient(writable(entry)) for entry in near]
        if begun:
            made_from.append(ingredient_of(begun, writable(init_entry(recipe))))
        data, missed = self.signer.sign(data, MIME[style.form], writable(said), made_from)
        labels = {
            "profile": style.profile.name,
            "visible": style.drawn,
            "content": content,
            "manifest": said["label"],
            "signer": self.signer.credential.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "notes": [*notes, *([missed] if missed else [])],
        }
        made = Labelled(data, SUFFIX[style.form], labels)
        if self.record:
            self.record(made, recipe, verdict)
        return made

    def _changed(self, image: Image.Image, recipe: Recipe) -> tuple[Image.Image, dict[str, str]]:
        changes = {}
        if self.mark:
            image = self.mark(image, recipe)
            changes["c2pa.watermarked.unbound"] = "invisible mark"
        if self.style.drawn:
            image = put_label(image, self.style.drawn)
            changes["c2pa.addedText"] = f"visible label: {self.style.drawn}"
        return image, changes
