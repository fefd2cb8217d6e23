"""Files are whole, whoever writes them at the same time; paths are what people mean."""

import os
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


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as thread:
        read = thread.submit(pipe.read_bytes)
        write_whole(pipe, b"lines")
        assert read.result() == b"lines"
    assert pipe.is_fifo()
