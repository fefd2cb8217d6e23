"""Image to image: the picture that painting begins with."""

import hashlib
from pathlib import Path
from typing import Any

from PIL import Image

from provenance.errors import DecodeError, MissingError, UsageError
from provenance.files import given_path
from provenance.images import read_file, read_picture
from provenance.recipe import Recipe


class Initials:
    """Finds init images, knows them by the hash of their pixels, makes the pipeline for them."""

    def __init__(self, text_to_image: Any) -> None:
        self._text_to_image = text_to_image
        self._made: Any = None
        self._files: dict[str, Path] = {}

    def make(self) -> Any:
        """The family's image-to-image pipeline, over the same components."""
        if self._made is None:
            from diffusers import AutoPipelineForImage2Image

            kind = type(self._text_to_image).__name__
            try:
                self._made = AutoPipelineForImage2Image.from_pipe(self._text_to_image)
            except ValueError:
                raise UsageError(f"diffusers has no image-to-image pipeline for {kind}") from None
            self._made.set_progress_bar_config(disable=True)
        return self._made

    def completed(self, recipe: Recipe) -> tuple[str | None, str | None]:
        """The init image's file name and the hash of its pixels."""
        if recipe.init is None and recipe.init_hash is None:
            return None, None
        if recipe.init_hash in self._files:
            return recipe.init and Path(recipe.init).name, recipe.init_hash
        if recipe.init is None:
            raise MissingError(
                f"the recipe begins with the picture {recipe.init_hash}; give it with --init"
            )
        path = given_path(recipe.init)
        if not path.is_file():
            raise MissingError(f"no such init image: {recipe.init}")
        try:
            made = _pixel_hash(_read(path))
        except DecodeError as error:
            raise DecodeError(f"the picture to begin with, {path.name}: {error}") from None
        if recipe.init_hash and not made.startswith(recipe.init_hash.lower()):
            raise UsageError(f"the recipe asks for init image {recipe.init_hash}; {path} is {made}")
        self.make()
        self._files[made] = path.resolve()
        return path.name, made

    def data(self, recipe: Recipe) -> bytes | None:
        """The bytes of the file that the recipe's init image is in."""
        if not recipe.init_hash:
            return None
        data = read_file(self._files[recipe.init_hash])
        if _pixel_hash(_read(data)) != recipe.init_hash:
            raise UsageError(f"the init image {recipe.init} has changed; give it again")
        return data

    def arguments(self, recipe: Recipe, count: int) -> dict[str, Any]:
        """The pipeline's arguments for so many pictures from the init image, at their size."""
        if not recipe.init_hash:
            return {}
        image = _read(self._files[recipe.init_hash])
        if _pixel_hash(image) != recipe.init_hash:
            raise UsageError(f"the init image {recipe.init} has changed; give it again")
        size = recipe.width or image.width, recipe.height or image.height
        resized = image.resize(size, Image.Resampling.LANCZOS)
        return {"image": [resized] * count, "strength": recipe.strength}


def _read(source: Path | bytes) -> Image.Image:
    return read_picture(source).image.convert("RGB")


def _pixel_hash(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
