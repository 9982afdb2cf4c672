"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import Busy, atomic_write, awaited, locked
from tests.helpers import one_line


def test_atomic_write_replaces_whole_files(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, "é" * 1000)
    atomic_write(path, b"short")
    assert path.read_bytes() == b"short" and os.listdir(tmp_path) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()  # readable to others, as any other file of the user


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be replaced")
def test_a_reader_never_sees_a_part(tmp_path):
    path = atomic_write(tmp_path / "a.txt", "old" * 1000)
    with path.open() as reader:
        atomic_write(path, "new")
        assert reader.read() == "old" * 1000


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, number):
    path = atomic_write(tmp_path / "a.txt", "old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RddError, match="disk is full" if number == errno.ENOSPC else "Input/output") as caught:
        atomic_write(path, "new")
    assert "another folder" in one_line(caught)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_interruption_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_whoever_shares_a_folder_waits_for_its_turn(tmp_path):
    """Of two, the second comes in when the first has left, and not before."""
    inside, waiting, said = threading.Event(), threading.Event(), []

    def second():
        inside.wait(60)
        with pytest.raises(Busy), locked(tmp_path):
            raise AssertionError("the folder is held")
        waiting.set()
        with awaited(tmp_path):
            said.append("second")

    other = threading.Thread(target=second)
    other.start()
    with awaited(tmp_path):
        inside.set()
        assert waiting.wait(60)
        said.append("first")
    other.join(60)
    assert said == ["first", "second"]
