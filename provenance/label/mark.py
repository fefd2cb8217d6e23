"""A keyed, invisible mark of 48 bits in a picture's pixels, and how sure one is of having found it.

Spread spectrum (Cox et al., 1997) on the luminance at 320 x 320: signs drawn from the key on the
middle frequencies of its cosine transform, more in busy places than in plain ones. Each byte is one
of 256 sequences. The finder divides what it sees by how busy its surroundings are, so that the
plain places tell most. Knows nothing of what the payload means.
"""

import hashlib
import math
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.errors import CheckError, UsageError

PAYLOAD = 6  # bytes
PSNR = 40.5  # dB of a marked picture against its original; 43 where all is plain
SMALLEST = 128  # pixels a side
CHANCE = 1e-6  # a mark that is as likely as this in a picture without one is not told
_SIDE, _LOW, _HIGH = 320, 24, 145  # of the reduced picture; frequencies that carry the mark
_SYNC = 0.2  # share of them that carries no payload and tells where a part of a picture was
_CROPS = tuple(1 - 0.0125 * n for n in range(10))  # shares of width and height that are tried
_PLACES = 3  # likeliest places of a part that are looked at

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Mark:
    """`z` is the correlation in standard deviations of a picture without the mark.

    `chance` bounds how likely such a picture has so high a `z` for any of the 2^48 payloads:
    2^48 exp(-z^2 / 2) for each place looked at (Hoeffding's inequality: the key's signs are
    independent of the picture). `part` is the (left, top, right, bottom) that was left of the
    original, as shares of it.
    """

    payload: bytes
    z: float
    chance: float
    part: tuple[float, float, float, float] = (0, 0, 1, 1)


def mark_key(file: Path) -> bytes:
    """The key in the file, which is made, for its owner's eyes only, where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    if not file.exists():
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(os.urandom(32))
            os.fsync(out.fileno())
        try:
            os.link(part, file)  # whoever is first has made it
        except FileExistsError:
            pass
        finally:
            part.unlink()
    key = file.read_bytes()
    if len(key) != 32:
        raise CheckError(f"{file} holds {len(key)} bytes, a mark's key has 32; put it back")
    return key


def embed(image: Image.Image, key: bytes, payload: bytes) -> Image.Image:
    """The RGB picture with the mark, always the same for the same picture, key and payload."""
    import cv2

    if len(payload) != PAYLOAD:
        raise UsageError(f"a mark's payload is {PAYLOAD} bytes, got {len(payload)}")
    if min(image.size) < SMALLEST:
        raise UsageError(
            f"a mark needs {SMALLEST} pixels a side, got {image.width} x {image.height}"
        )
    plan = _plan(key)
    waves = np.zeros(_SIDE * _SIDE, np.float32)
    waves[plan.sync] = plan.sync_signs
    for group, byte in enumerate(payload):
        waves[plan.places[group]] = plan.signs[group, byte]
    pixels = np.asarray(image)
    room = _room(_luminance(pixels))
    small = np.multiply(cv2.idct(waves.reshape(_SIDE, _SIDE)), room)
    change = np.asarray(cv2.resize(small, image.size, interpolation=cv2.INTER_CUBIC), np.float32)
    strength = 255 / 10 ** (PSNR / 20) * min(1.0, max(0.75, float(room.mean())))
    change *= strength / math.sqrt(float(cv2.norm(change) ** 2) / change.size)
    np.clip(change, -3 * strength, 3 * strength, out=change)
    whole = cv2.merge([np.rint(change).astype(np.int16)] * 3)
    return Image.fromarray(cv2.add(pixels, whole, dtype=cv2.CV_8U))


def detect(
    image: Image.Image, key: bytes, *, parts: bool = False, most: float = CHANCE
) -> Mark | None:
    """The mark in an RGB picture, if it is not too likely (`most`) in one without.

    With `parts` also where edges were cut off, up to a tenth of the width and of the height;
    that takes seconds.
    """
    plan = _plan(key)
    small = _luminance(np.asarray(image))
    found = _read(_flattened(small), plan, 1)
    if found.chance > most and parts:
        places = _likely_places(small, plan)
        found = min((_read_part(small, place, plan) for place in places), key=lambda m: m.chance)
    return found if found.chance <= most else None


class _Plan(NamedTuple):
    """What a key decides: the places of the frequencies, and their signs as float32."""

    sync: NDArray[np.int64]  # (S,)
    sync_signs: Plane  # (S,)
    places: NDArray[np.int64]  # (PAYLOAD, N)
    signs: Plane  # (PAYLOAD, 256, N)


@lru_cache(maxsize=4)
def _plan(key: bytes) -> _Plan:
    """From SHAKE-256, which no upgrade changes."""
    across, down = np.meshgrid(np.arange(_SIDE), np.arange(_SIDE))
    radius = np.hypot(across, down)
    band = np.flatnonzero((radius >= _LOW) & (radius <= _HIGH) & (across > 0) & (down > 0))
    order = np.frombuffer(hashlib.shake_256(b"order" + key).digest(8 * len(band)), "<u8")
    band = band[np.argsort(order, kind="stable")]
    sync, rest = np.split(band, [int(len(band) * _SYNC)])
    each = len(rest) // PAYLOAD
    signs = _signs(b"signs" + key, PAYLOAD * 256 * each).reshape(PAYLOAD, 256, each)
    places = rest[: PAYLOAD * each].reshape(PAYLOAD, each)
    return _Plan(sync, _signs(b"sync" + key, len(sync)), places, signs)


def _signs(seed: bytes, count: int) -> Plane:
    bits = np.frombuffer(hashlib.shake_256(seed).digest(-(-count // 8)), np.uint8)
    return np.unpackbits(bits)[:count].astype(np.float32) * 2 - 1


def _luminance(pixels: NDArray[np.uint8]) -> Plane:
    """(_SIDE, _SIDE) of 0..255."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if min(grey.shape) > 4 * _SIDE:  # as floats it would take much memory
        grey = cv2.resize(grey, (4 * _SIDE, 4 * _SIDE), interpolation=cv2.INTER_AREA)
    return _resized(grey.astype(np.float32), _SIDE, _SIDE)


def _resized(plane: Plane, width: int, height: int) -> Plane:
    import cv2

    smaller = width < plane.shape[1] and height < plane.shape[0]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(plane, (width, height), interpolation=way), np.float32)


def _room(small: Plane) -> Plane:
    """How much change each place bears, relative to the others: more where it is busy."""
    import cv2

    busy = cv2.blur(np.abs(small - cv2.GaussianBlur(small, (0, 0), 4)), (9, 9))
    return np.asarray(np.clip(0.6 + busy / 20, 0.6, 1.6), np.float32)


def _flattened(small: Plane) -> Plane:
    """The picture's middle frequencies, steep ones raised, in units of their surroundings'."""
    import cv2

    waves = cv2.dct(small) * _weights()
    band = cv2.idct(waves)
    around = np.sqrt(cv2.blur(band * band, (17, 17))) + 0.15
    return np.asarray(np.clip(band / around, -2.5, 2.5), np.float32)


@lru_cache(maxsize=1)
def _weights() -> Plane:
    at = np.arange(_SIDE)
    radius = np.hypot(at[:, None], at)
    inside = (radius >= 0.7 * _LOW) & (radius <= 1.2 * _HIGH)
    return np.where(inside, radius / _HIGH, 0).astype(np.float32)


def _read(flat: Plane, plan: _Plan, looked: int) -> Mark:
    """The likeliest payload. Of flat pictures, which have nothing to read, `z` is 0."""
    import cv2

    seen = cv2.dct(flat).ravel()[plan.places]  # (PAYLOAD, N)
    sums = np.einsum("gbn,gn->gb", plan.signs, seen)
    length = float(np.linalg.norm(seen))
    z = float(sums.max(axis=1).sum()) / length if length > 1e-3 else 0.0
    exponent = 8 * PAYLOAD * math.log(2) + math.log(looked) - z * z / 2
    return Mark(bytes(sums.argmax(axis=1).tolist()), z, math.exp(min(0.0, exponent)))


class _Place(NamedTuple):
    """Where a part lies in the whole, in pixels of the reduced whole; how well that fits."""

    fit: float
    left: int
    top: int
    width: int
    height: int


def _likely_places(small: Plane, plan: _Plan) -> list[_Place]:
    """By the frequencies without payload, whose pattern is known: correlation at all shifts."""
    import cv2

    waves = np.zeros(_SIDE * _SIDE, np.float32)
    waves[plan.sync] = plan.sync_signs
    pattern = np.conj(np.fft.rfft2(cv2.idct(waves.reshape(_SIDE, _SIDE))))
    found = []
    for across, down in product(_CROPS, _CROPS):
        width, height = round(_SIDE * across), round(_SIDE * down)
        flat = _flattened_part(small, _Place(0, 0, 0, width, height))
        fits = np.fft.irfft2(np.conj(np.fft.rfft2(flat) * pattern), (_SIDE, _SIDE))
        fits = fits[: _SIDE - height + 1, : _SIDE - width + 1]
        top, left = np.unravel_index(int(fits.argmax()), fits.shape)
        fit = float(fits[top, left] / max(1e-6, float(np.linalg.norm(flat))))  # of flat ones: 0
        found.append(_Place(fit, int(left), int(top), width, height))
    return sorted(found, reverse=True)[:_PLACES]


def _flattened_part(small: Plane, place: _Place) -> Plane:
    """The part where it lies in the whole; zero around it."""
    import cv2

    part = _resized(small, place.width, place.height)
    below, beside = _SIDE - place.top - place.height, _SIDE - place.left - place.width
    edges = (place.top, below, place.left, beside)
    whole = np.asarray(cv2.copyMakeBorder(part, *edges, cv2.BORDER_REFLECT_101), np.float32)
    flat = _flattened(whole)
    inside = np.s_[place.top : _SIDE - below, place.left : _SIDE - beside]
    alone = np.zeros_like(flat)
    alone[inside] = flat[inside]
    return alone


def _read_part(small: Plane, place: _Place, plan: _Plan) -> Mark:
    found = _read(_flattened_part(small, place), plan, 1 + _PLACES)
    edges = (place.left, place.top, place.left + place.width, place.top + place.height)
    left, top, right, bottom = (edge / _SIDE for edge in edges)
    return replace(found, part=(left, top, right, bottom))
