"""Folders that may come from strangers: what is opened in them, and what is not."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import zipfile

import numpy as np
import pytest

from rdd_nb.core import folders
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder, parse_arrays, parse_json, put_files, read_regular
from tests.helpers import one_line

posix = pytest.mark.skipif(os.name == "nt", reason="no pipes in folders")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "", ".", "a/..", "..", "x\0y", "//x"])
def test_a_name_cannot_lead_out(tmp_path, name):
    folder = Folder(tmp_path / "own")
    (tmp_path / "x").write_text("a neighbour's")
    for use in (folder.read, folder.has, folder.part, folder.remove, lambda n: folder.write(n, "mine"), folder.fresh):
        with pytest.raises(RddError, match="leads out of") as caught:
            use(name)
        one_line(caught)
    assert (tmp_path / "x").read_text() == "a neighbour's" and not (tmp_path / "own").exists()


@posix
@pytest.mark.parametrize("use", ["read", "write", "fresh", "remove", "make", "part", "names", "has"])
def test_links_below_a_folder_are_not_followed(tmp_path, use):
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    theirs.mkdir()
    own.mkdir()
    (theirs / "a.txt").write_text("theirs")
    (own / "sub").symlink_to(theirs, target_is_directory=True)
    (own / "a.txt").symlink_to(theirs / "a.txt")
    folder = Folder(own)
    calls = {
        "read": lambda: folder.read("sub/a.txt"),
        "write": lambda: folder.write("sub/a.txt", "mine"),
        "fresh": lambda: folder.fresh("sub/a.txt"),
        "remove": lambda: folder.remove("sub/a.txt"),
        "make": lambda: folder.make("sub/deeper"),
        "part": lambda: folder.part("sub"),
        "names": lambda: folder.names("sub"),
        "has": lambda: folder.has("sub/a.txt"),
    }
    with pytest.raises(RddError, match="sub is a link, which is not followed") as caught:
        calls[use]()
    one_line(caught)
    with pytest.raises(RddError, match=r"a\.txt is a link, which is not followed"):
        folder.read("a.txt")
    assert not folder.has("a.txt") and folder.there("a.txt") and folder.names() == []
    folder.write("a.txt", "mine")  # takes the link's place
    with folder.fresh("a.txt") as file:
        file.write(b"log")
    assert folder.read("a.txt") == b"log"
    folder.clear()
    assert os.listdir(own) == [] and (theirs / "a.txt").read_text() == "theirs" and os.listdir(theirs) == ["a.txt"]


@posix
def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "disk", target_is_directory=True)
    Folder(tmp_path / "own").write("figures/a.txt", "x")
    assert (tmp_path / "disk" / "figures" / "a.txt").read_text() == "x"


@posix
def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        for name, kind in {"pipe": "a pipe", "folder": "a folder", "socket": "no regular file"}.items():
            with pytest.raises(RddError, match=kind) as caught:
                Folder(tmp_path).read(name)
            one_line(caught)
            assert not Folder(tmp_path).has(name)
    with pytest.raises(RddError, match="a device, no regular file"):
        read_regular("/dev/zero")
    with pytest.raises(FileNotFoundError):
        Folder(tmp_path).read("absent")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    assert len(read_regular(tmp_path / "a", largest=1000)) == 1000
    with pytest.raises(RddError, match="larger than"):
        read_regular(tmp_path / "a", largest=999)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not whole JSON"),
        ('{"a": 1', "not whole JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
        ('{"a": ' + "9" * 5000 + "}", "not whole JSON"),
        (b"\xff\xfe{", "not whole JSON"),
    ],
)
def test_json_that_is_none_is_one_line(text, says):
    with pytest.raises(RddError, match=f"x.json is {says}.*mend it so") as caught:
        parse_json(text, "x.json", "mend it so")
    one_line(caught)
    assert parse_json('{"a": [1]}', "x.json", "") == {"a": [1]}


def test_arrays_are_bounded_before_they_inflate(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.zeros(1_000_000, np.uint8), b=np.arange(3))
    held = parse_arrays(buffer.getvalue(), "x.npz", "numbers", "mend it so")
    assert held["b"].tolist() == [0, 1, 2] and held["a"].shape == (1_000_000,)
    monkeypatch.setattr(folders, "LARGEST_ARRAYS", 100_000)
    with pytest.raises(RddError, match=r"would need 0\.0 GB of memory"):
        parse_arrays(buffer.getvalue(), "x.npz", "numbers", "mend it so")


def test_what_holds_no_arrays_is_one_line():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{"an": "object"}], dtype=object))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8', ")
    whole = io.BytesIO()
    np.savez(whole, a=np.arange(100))
    for data in (b"", b"a,b\n", buffer.getvalue(), other.getvalue(), whole.getvalue()[:300]):
        with pytest.raises(RddError, match=r"x\.npz holds no numbers") as caught:
            parse_arrays(data, "x.npz", "numbers", "mend it so")
        one_line(caught)


def test_a_probe_leaves_nothing_and_tells_of_a_full_disk(tmp_path, monkeypatch):
    folder = Folder(tmp_path / "new")
    folder.probe(3_000_000)
    assert os.listdir(folder.path) == []

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RddError, match="the disk is full") as caught:
        folder.probe(10)
    one_line(caught)
    assert os.listdir(folder.path) == []


def test_put_files_cleans_up_after_a_killed_one_and_leaves_what_is_not_ours(tmp_path):
    dead = 2**22 + 1  # no process has such a number
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / f".000.png.{dead}.0123abcd.tmp").write_text("half")
    (tmp_path / "cat" / ".mine.tmp").write_text("not ours")
    (tmp_path / "cat" / f".b.png.{os.getpid()}.0123abcd.tmp").write_text("of a process that lives")
    put_files(tmp_path, {"cat/000.png": b"x", "metadata.csv": "a\n"})
    assert sorted(os.listdir(tmp_path / "cat")) == [f".b.png.{os.getpid()}.0123abcd.tmp", ".mine.tmp", "000.png"]
    with pytest.raises(RddError, match="differs"):
        put_files(tmp_path, {"cat/000.png": b"y", "other.txt": "new"})
    assert not (tmp_path / "other.txt").exists()


@posix
def test_put_files_never_writes_through_a_link_or_waits_for_a_pipe(tmp_path):
    (tmp_path / "theirs").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "cat").symlink_to(tmp_path / "theirs", target_is_directory=True)
    with pytest.raises(RddError, match="is a link"):
        put_files(out, {"cat/000.png": b"x"}, force=True)
    os.mkfifo(out / "README.md")
    with pytest.raises(RddError, match="a pipe"):
        put_files(out, {"README.md": "x"})
    assert os.listdir(tmp_path / "theirs") == []


def test_json_of_a_folder_says_where(tmp_path):
    folder = Folder(tmp_path)
    folder.write("a.json", json.dumps({"é": 1}))
    assert folder.json("a.json", "") == {"é": 1}
    with pytest.raises(RddError, match=r"cannot read .*b\.json \(No such file or directory\): mend it so"):
        folder.json("b.json", "mend it so")
