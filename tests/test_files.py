"""Files are whole, whoever writes them at the same time; paths are what people mean."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provenance.errors import UsageError
from provenance.files import PARTS, given_path, write_whole


def test_several_may_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    bodies = [bytes([n]) * 50_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            list(pool.map(lambda body: write_whole(file, body), bodies))
            assert file.read_bytes() in bodies
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"x")
    assert not list(tmp_path.glob(PARTS))


def test_a_home_of_nobody_is_told() -> None:
    assert given_path("~").is_absolute()
    with pytest.raises(UsageError, match="no such home folder"):
        given_path("~nobody-of-this-name/x")
