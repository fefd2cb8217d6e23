"""Writing files so that nobody ever sees half of one; reading paths that people give."""

import os
import secrets
from pathlib import Path

from provenance.errors import UsageError

PARTS = ".firsthand-*.part"
"""What a kill may leave of files that were being written."""


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Writes aside in the same folder, flushes to disk, renames; several may do so at once.

    `mode` are the permissions that the file has from its first moment, less the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(PARTS.replace("*", secrets.token_hex(6)))
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def given_path(text: str | Path) -> Path:
    """A path as people write it: `~` is their home. Raises UsageError for a home of nobody."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"{text}: there is no such home folder") from None
