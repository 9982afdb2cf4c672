"""The script that waits for a graphics card does its work: rehearsed on the CPU."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rdd_nb.distillation import step
from rdd_nb.experiments.doctor import Ceilings

SCRIPT = Path(__file__).parents[1] / "gpu" / "measure.py"


@pytest.fixture(scope="module")
def measure():
    held = list(sys.path)
    spec = importlib.util.spec_from_file_location("measure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = held


def test_busy_time_is_counted_once(measure):
    assert measure.covered([(5, 6), (0, 4), (1, 2), (3, 4.5)]) == 5.5 and measure.covered([]) == 0


def test_a_budget_holds_within_and_not_after(measure):
    before = dict(step.GRAPH_BYTES)
    with pytest.raises(KeyError), measure._budget(torch.device("cpu"), 7):
        assert step.GRAPH_BYTES["cpu"] == 7
        raise KeyError
    assert before == step.GRAPH_BYTES


def test_what_disagrees_fails_by_name_and_number(measure, monkeypatch):
    asked = argparse.Namespace(card=torch.device("cpu"), device="cpu", small=True)
    monkeypatch.setattr(measure, "_moved", lambda asked, data, config, groups: torch.randn(100))
    with pytest.raises(AssertionError, match="classes at once and apart: "):
        measure.agreement(asked)


def test_a_rehearsal_keeps_what_it_found_and_says_what_failed(measure, monkeypatch, tmp_path):
    def done(folder, *words):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(tmp_path / folder), "--device", "cpu", *words])
        measure.main()

    done("a", "--small", "agreement", "new", "bench")
    found = json.loads((tmp_path / "a" / "gpu.json").read_text())
    assert found["machine"]["processor"] and found["small"] and found["ceilings"]["gflops"] > 0
    assert found["agreement"]["classes at once and apart"] > 0.999 and "would run" in found["bench"]
    assert {"trajectory, 2 steps", "gradient, formations 2", "discovery", "2 networks of 300 steps"} <= set(
        found["new"]
    )
    monkeypatch.setattr(measure, "ceilings", lambda card: Ceilings(1.0, 1.0, 1.0))
    with pytest.raises(SystemExit) as ended:  # with a text, which Python writes to stderr, and status 1
        done("b", "--small", "--minutes", "0", "agreement", "new", "bench")
    assert "not done: agreement, new, bench" in ended.value.code
    assert json.loads((tmp_path / "b" / "gpu.json").read_text())["bench"]["not begun"]


def test_as_a_process_it_begins_and_says_what_it_can_do(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, "bnch"], capture_output=True, text=True)
    assert done.returncode == 2 and "no step 'bnch': there are agreement, " in done.stderr
