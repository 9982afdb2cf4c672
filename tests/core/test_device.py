"""Devices, the memory allocator, and work side by side."""

import sys
import threading
import time

import pytest
import torch

from rdd_nb.core.device import pick_device, side_by_side
from rdd_nb.core.errors import RddError
from tests.core.helpers import python


def test_devices(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(RddError, match=r"sees no CUDA here: use device=auto"):
        pick_device("cuda")
    with pytest.raises(RddError, match="unknown device 'gpu'"):
        pick_device("gpu")
    with pytest.raises(RddError, match="not supported"):
        pick_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda")
    with pytest.raises(RddError, match="cuda:0 to cuda:1"):
        pick_device("cuda:2")


KEPT = """
import torch, rdd_nb.core.device as m
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
def kept():
    before = resident()
    x = torch.ones(16_000_000)  # 64 MB: above what glibc ever keeps by itself
    del x
    return resident() - before
before = resident()
print(kept(), m.tune_allocator(), kept(), m.release_memory(), resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has mallopt")
def test_the_allocator_keeps_its_pages_and_gives_them_back_between_two_pieces_of_work():
    """Counted in bytes, not in seconds: a large tensor's memory is given back when it dies unless this is tuned."""
    plain, took, tuned, gave, left = python(KEPT).stdout.split()
    assert (took, gave) == ("True", "True")
    assert int(plain) < 16e6 and int(tuned) > 48e6 and int(left) < 16e6


def test_the_allocator_respects_the_environment_and_then_has_nothing_to_give_back():
    said = python("import rdd_nb.core.device as m; print(m.tune_allocator(), m.release_memory())", MALLOC_ARENA_MAX="2")
    assert said.stdout.split() == ["False", "False"]


CPU = torch.device("cpu")


def test_work_side_by_side_is_work_in_turn(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    met = threading.Barrier(2, timeout=300)  # each pair of items waits for one another: they run at the same time

    def work(item, check):
        met.wait()
        check()
        return item * 10

    assert side_by_side(work, range(6), CPU) == [0, 10, 20, 30, 40, 50]


def test_there_are_no_more_at_a_time_than_asked_for(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    now, most, lock = [0], [0], threading.Lock()

    def work(item, check):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return item

    for limit, expected in ((2, 2), (1, 1), (0, 1)):
        most[0] = 0
        assert side_by_side(work, range(6), CPU, limit) == list(range(6))
        assert most[0] == expected


def test_threads_are_shared_out_and_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for count, share in ((1, 4), (2, 2), (3, 1), (5, 1)):
            got = side_by_side(lambda item, check: torch.get_num_threads(), range(count), CPU)
            assert got == [share] * count, count
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("error", [RddError("the second one"), KeyboardInterrupt()])
def test_what_fails_ends_the_others_and_is_what_is_raised(monkeypatch, error):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    began, ended = threading.Event(), []

    def work(item, check):
        if item == 1:
            assert began.wait(30)
            raise error
        began.set()
        try:
            for _ in range(3000):
                time.sleep(0.01)
                check()
        finally:
            ended.append(item)

    with pytest.raises(type(error)):
        side_by_side(work, range(4), CPU)
    assert ended == [0], "the one that ran has ended, and those that waited have not begun"


def test_other_devices_and_single_threads_work_in_turn(monkeypatch):
    here = threading.current_thread()
    for threads, device in ((1, "cpu"), (8, "meta")):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        seen = side_by_side(lambda item, check: threading.current_thread(), range(3), torch.device(device))
        assert seen == [here] * 3
