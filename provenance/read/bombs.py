"""What a small file can hold that costs a decoder minutes or gigabytes, told from its bytes.

Scans of a JPEG, each a pass over all pixels; comments of a GIF, copied again with every further
one; directories of EXIF and TIFF whose values lie on each other, each copied by itself.
"""

import re
import struct
from collections.abc import Iterator

from provenance.read.containers import FRAMES, MAX_FRAMES, Part, parts, walked_kind

MAX_SCANS = 100  # a progressive JPEG has about ten
MAX_COMMENTS = 2**20  # bytes
MAX_EXIF = 4 * 2**20  # bytes
MAX_PICTURES = 1000  # that are counted
_PREFIX = b"Exif\0\0"
_ROOM = 2**16  # bytes by which values may lie on each other

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # none of these is in the coded pixels
_START_OF_SCAN, _END = 0xDA, 0xD9
_INNER = (0x8769, 0x8825, 0xA005)  # EXIF's, GPS's and interoperability's directories
_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip


def found(data: bytes) -> str | None:
    """What a file holds too much of to be decoded, in words."""
    kind = walked_kind(data)
    if kind == "JPEG" and (scans := _scans(data)) > MAX_SCANS:
        return f"a JPEG of {scans:,} scans; at most {MAX_SCANS} are decoded"
    blocks = parts(data)
    comments = [part for part in blocks if part.source == "GIF"]
    if any(part.key == FRAMES for part in comments):
        return f"a GIF with more than {MAX_FRAMES:,} frames"
    if any(part.too_large for part in comments) or sum(map(_size, comments)) > MAX_COMMENTS:
        return f"a GIF with more than {MAX_COMMENTS:,} bytes of comments"
    if any(part.too_large or not is_sound(part.data) for part in blocks if part.kind == "exif"):
        return "EXIF that is larger than its block"
    if is_tiff(data) and _overlaps(data):
        return "a TIFF whose directory is larger than the file"
    return None


def is_sound(exif: bytes) -> bool:
    """Whether an EXIF block, with or without its `Exif` prefix, is as large as what it holds."""
    block = exif
    while block.startswith(_PREFIX):  # as Pillow does
        block = block[len(_PREFIX) :]
    return len(block) <= MAX_EXIF and not _overlaps(block)


def is_tiff(data: bytes) -> bool:
    """By all headers that Pillow takes, wrong ones too."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")


def pages(tiff: bytes) -> int:
    """How many pictures a TIFF has, MAX_PICTURES at most: Pillow's count takes the square of it."""
    seen: set[int] = set()
    reader = _Reader(tiff)
    at = reader.first
    while at and at not in seen and len(seen) < MAX_PICTURES:
        seen.add(at)
        at = reader.next(at)
    return max(1, len(seen))


def _size(part: Part) -> int:
    return len(part.data)


def _scans(data: bytes) -> int:
    """Of the first picture: what is after its end, as in MPO, is not asked."""
    count, at = 0, 2
    while match := _MARKER.search(data, at):
        kind, at = match[0][1], match.end()
        if kind == _END:
            break
        count += kind == _START_OF_SCAN
        if kind not in (0x01, 0xD8) and at + 2 <= len(data):
            at += int.from_bytes(data[at : at + 2], "big")
    return count


def _overlaps(block: bytes) -> bool:
    """Whether the first directory, those in it and their values claim far more bytes than it has.

    Ends as soon as they do: directories that lie on each other are not all walked.
    """
    reader, most = _Reader(block), 2 * len(block) + _ROOM
    total, todo, seen = 0, [reader.first], set[int]()
    while todo:
        at = todo.pop()
        if not at or at in seen:
            continue
        seen.add(at)
        for tag, size, value in reader.entries(at):
            total += size + reader.entry
            if total > most:
                return True
            if tag in _INNER:
                todo.append(value)
    return False


class _Reader:
    """The directories of a TIFF or BigTIFF block, as far as they are whole."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        order = "<" if block[:2] == b"II" else ">"
        big = is_tiff(block) and block[2:3] == b"+"  # as Pillow: not in the other byte order
        self._count, self._next = struct.Struct(order + "HQ"[big]), struct.Struct(order + "IQ"[big])
        self._entry = struct.Struct(order + ("HHII", "HHQQ")[big])
        self.entry = self._entry.size
        self.first = self._at(self._next, 8 if big else 4) if is_tiff(block) else 0

    def entries(self, at: int) -> Iterator[tuple[int, int, int]]:
        """(tag, bytes of its value, the value or where it lies) of the directory at this place."""
        at, count = at + self._count.size, self._at(self._count, at)
        whole = max(0, len(self._block) - at) // self._entry.size
        for number in range(min(count, whole)):
            tag, kind, length, value = self._entry.unpack_from(
                self._block, at + number * self._entry.size
            )
            yield tag, length * _UNITS.get(kind, 1), value

    def next(self, at: int) -> int:
        """Where the directory after this one is; 0 after the last."""
        count = self._at(self._count, at)
        return self._at(self._next, at + self._count.size + count * self._entry.size)

    def _at(self, number: struct.Struct, at: int) -> int:
        if at + number.size > len(self._block):
            return 0
        return int(number.unpack_from(self._block, at)[0])
