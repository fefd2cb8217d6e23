"""Writing files so that nobody ever sees half of one."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes aside in the same folder, flushes to disk, renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
