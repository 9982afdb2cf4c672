"""Processes and what they run on."""

from __future__ import annotations

import sys

from rdd_nb.core import processes


def test_memory_of_a_container_is_what_its_limit_leaves(tmp_path):
    assert processes._left_in_group(tmp_path) == sys.maxsize
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 50\nactive_file 50\n")
    assert processes._left_in_group(tmp_path) == sys.maxsize
    (tmp_path / "memory.max").write_text("1000\n")
    assert processes._left_in_group(tmp_path) == 1000 - 300 + 50
    (tmp_path / "memory.current").write_text("2000\n")
    assert processes._left_in_group(tmp_path) == 0


def test_memory_of_an_older_kernel(tmp_path):
    part = tmp_path / "memory"
    part.mkdir()
    (part / "memory.limit_in_bytes").write_text("1000")
    (part / "memory.usage_in_bytes").write_text("400")
    (part / "memory.stat").write_text("cache 90\ntotal_inactive_file 100\n")
    assert processes._left_in_group(tmp_path) == 700


def test_memory_is_some_of_the_machine():
    import psutil

    assert 0 < processes.memory() <= psutil.virtual_memory().total
