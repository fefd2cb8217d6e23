"""Weight files: which formats are loaded, what is wrong with a broken one, and what they hash to.

Knows nothing of what the weights are for.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from provenance.errors import MissingError, UsageError
from provenance.files import write_whole

SAFE = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
LOAD_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError, IndexError,
    SafetensorError,
)  # fmt: skip
"""What the libraries raise for weights that do not fit or are damaged."""
MAX_HEADER = 100_000_000  # bytes; what safetensors itself reads


@dataclass(frozen=True)
class FileHash:
    """`sha256` and `autov3` are 64 hex digits; `autov3` leaves the safetensors header out.

    AutoV2 is the first 10 digits of `sha256`; community sites show 12 digits of AutoV3.
    """

    sha256: str
    autov3: str | None

    @property
    def autov2(self) -> str:
        return self.sha256[:10]


class HashStore:
    """Hashes of files, computed once: kept by path, size and time of change in a JSON file."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, dict[str, Any]] = {}
        if file and file.is_file():
            with suppress(ValueError, OSError, RecursionError):
                known = json.loads(file.read_text("utf-8"))
                self._known = known if isinstance(known, dict) else {}

    def of(self, path: Path) -> FileHash:
        key, state = str(path.resolve()), path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        kept = self._known.get(key)
        if isinstance(kept, dict) and kept.get("stamp") == stamp and len(kept) == 3:
            return FileHash(str(kept["sha256"]), kept["autov3"])
        made = hash_file(path)
        self._known[key] = {"stamp": stamp, **asdict(made)}
        if self._file:
            with suppress(OSError):  # on a read-only place it is computed again
                write_whole(self._file, json.dumps(self._known, indent=1).encode())
        return made

    def of_folder(self, folder: Path, weights: Iterable[Path]) -> str:
        """SHA-256 over "SHA-256  relative path" of every weight file, in order."""
        digest = hashlib.sha256()
        for path in weights:
            line = f"{self.of(path).sha256}  {path.relative_to(folder).as_posix()}\n"
            digest.update(line.encode())
        return digest.hexdigest()


def hash_file(path: Path) -> FileHash:
    """Both hashes in one pass."""
    header = 0
    if path.suffix.lower() == SAFE:
        with suppress(UsageError):  # whoever loads it is told
            header = _header_size(path)
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        whole.update(file.read(header))
        while block := file.read(2**22):
            whole.update(block)
            tensors.update(block)
    return FileHash(whole.hexdigest(), tensors.hexdigest() if header else None)


def autov1(path: Path) -> str:
    """A1111's first hash of a file: 8 hex digits, of 64 KiB in its middle."""
    with path.open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def require_loadable(path: Path, *, unsafe_pickle: bool = False) -> Path:
    """The file itself when its format may be loaded and, for safetensors, its header is sound."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise MissingError(f"no such file: {path}")
    if suffix == SAFE:
        if path.suffix != SAFE:  # the libraries go by the ending as it is written
            raise UsageError(f"rename {path.name}: its name must end in {SAFE}")
        read_header(path)
    elif suffix not in PICKLES:
        raise UsageError(f"weights are {SAFE} files, got {path.name}")
    elif not unsafe_pickle:
        raise UsageError(
            f"{path.name} is a pickle, a format that can run a stranger's code when it is loaded; "
            f"take the same weights as {SAFE}, or say --unsafe-pickle if you trust who made it"
        )
    return path


def read_header(path: Path) -> dict[str, Any]:
    """Tensor names → dtype, shape, data_offsets; the file's remarks under `__metadata__`."""
    size = _header_size(path)
    with path.open("rb") as file:
        text = file.read(size)[8:]
    try:
        header = dict(json.loads(text))
        said = header.get("__metadata__", {})
        ends = [_end(entry) for name, entry in header.items() if name != "__metadata__"]
        if not isinstance(said, dict) or not all(isinstance(each, str) for each in said.values()):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"{path} is not a sound safetensors file: its header is damaged") from None
    held = path.stat().st_size - size
    if not ends:
        raise UsageError(f"{path} is a safetensors file without a tensor")
    if max(ends) != held:
        raise UsageError(
            f"{path} is not a sound safetensors file: its header tells of {max(ends):,} bytes of "
            f"weights, there are {held:,}; fetch it again"
        )
    return header


def _end(entry: Any) -> int:
    """Where a tensor ends; ValueError, TypeError or KeyError for what describes none."""
    start, end = entry["data_offsets"]
    numbers = (start, end, *entry["shape"])
    if not isinstance(entry["dtype"], str) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError
    return int(end)


def _header_size(path: Path) -> int:
    """Bytes before the first weight: eight for the length, then the JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, path.stat().st_size - 8):
        raise UsageError(f"{path} is not a sound safetensors file: it is cut short or another kind")
    return 8 + length
