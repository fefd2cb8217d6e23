"""Writing files so that nobody ever sees half of one; reading paths that people give."""

import fcntl
import os
import secrets
import stat
from pathlib import Path
from typing import IO, Any

from provenance.errors import CheckError, UsageError

PARTS = ".firsthand-*.part"
"""What a kill may leave of files that were being written."""


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Writes aside in the same folder, flushes to disk, renames; several may do so at once.

    `mode` are the permissions that a new file has from its first moment, less the umask; one that
    was there keeps those of its own that are among them. A link is followed; a
    pipe or a device is written to as it is.
    """
    if _is_stream(path):
        with path.open("ab") as stream:
            stream.write(data)
        return
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(PARTS.replace("*", secrets.token_hex(6)))
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if path.is_file():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode) & mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def lock(file: IO[Any], taken: str) -> None:
    """Locks an open file for this process until it is closed.

    Raises UsageError, in the words `taken` where another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(taken) from None
    except OSError as error:  # some network file systems
        raise UsageError(f"{file.name} cannot be locked: {error.strerror}") from None


def _is_stream(path: Path) -> bool:
    """Whether this is a pipe, a device or, as /dev/stdout, another name for what is open."""
    if not path.exists() or path.is_dir():
        return False
    return not path.is_file() or Path("/dev") in path.absolute().parents


def given_path(text: str | Path) -> Path:
    """A path as people write it: `~` is their home. Raises UsageError for a home of nobody."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"{text}: there is no such home folder") from None


def read_only_uri(path: Path, mend: str) -> str | None:
    """What SQLite opens to read a file as it is, unlocked; None where it can write beside it.

    Raises CheckError where the last changes lie in another file, which the command `mend` brings
    into it where it can be written.
    """
    if os.access(path.parent, os.W_OK):
        return None
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise CheckError(
            f"{path} is on a read-only place and its last changes are still in {wal.name}: "
            f"open it once where it can be written, with: {mend}"
        )
    return f"{path.absolute().as_uri()}?mode=ro&immutable=1"
