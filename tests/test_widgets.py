"""The explorers, driven from Python: what they compute, that the picture follows, and that no error is lost."""

import numpy as np
import pytest
import torch

from rdd_nb import risk
from rdd_nb.errors import RddError
from rdd_nb.widgets import TailExplorer


def shown(explorer):
    """The picture, checked to be one."""
    png = explorer.picture.value
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return png


def losses(n=50):
    return torch.empty(n).exponential_(generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------------------ the tail


@pytest.mark.parametrize("tail", [0.01, 0.13, 0.5, 1.0])
def test_the_tail_slider_sets_every_number(tail):
    x = losses()
    explorer = TailExplorer(x, tail=0.2)
    before = shown(explorer)
    explorer.tail.value = tail
    state = explorer.state
    assert shown(explorer) != before
    assert state.cvar == pytest.approx(risk.cvar(x, tail).item())
    assert state.mean == pytest.approx(x.mean().item())
    np.testing.assert_allclose(state.weights, risk.cvar_weights(x.sort(descending=True).values, tail), atol=1e-6)
    assert state.curve.min() == pytest.approx(state.cvar), "the least value of the curve is CVaR"
    assert state.curve[state.etas == state.threshold] == pytest.approx(state.cvar), "and η is where it lies"
    assert state.threshold == x.sort(descending=True).values[int(np.ceil(tail * 50 - 1e-9)) - 1]
    assert f"{tail:.0%}" in explorer.words and f"{state.cvar:.3g}" in explorer.words
    explorer.check()


def test_the_tail_says_who_sits_in_it():
    x = torch.tensor([1.0, 9.0, 2.0, 8.0, 3.0, 4.0, 5.0, 6.0])
    groups = ["many", "few", "many", "few", "many", "many", "many", "many"]
    explorer = TailExplorer(x, tail=0.25, groups=groups)
    assert explorer.state.group_names == ("few", "many")
    np.testing.assert_allclose(explorer.state.tail_shares, [1, 0])
    np.testing.assert_allclose(explorer.state.shares, [0.25, 0.75])
    assert "few 100% (25%)" in explorer.words
    explorer.tail.value = 1.0
    np.testing.assert_allclose(explorer.state.tail_shares, explorer.state.shares)


def test_the_same_choice_gives_the_same_bytes():
    explorer = TailExplorer(losses(), tail=0.2)
    before = shown(explorer)
    explorer.tail.value = 0.9
    explorer.tail.value = 0.2
    assert shown(explorer) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"losses": torch.ones(2, 3)}, r"losses \[N\]"),
        ({"losses": [1.0, float("nan")]}, "not finite"),
        ({"losses": [1.0, 2.0], "tail": 0.0}, "tail=0.0"),
        ({"losses": [1.0, 2.0], "groups": ["a"]}, "one for each loss"),
    ],
)
def test_the_tail_explorer_refuses(arguments, says):
    with pytest.raises(RddError, match=says):
        TailExplorer(**arguments)


# -------------------------------------------------------------------------------------------------- what all have alike


def test_an_error_in_a_callback_is_shown_kept_and_raised(monkeypatch):
    explorer = TailExplorer(losses())
    before = shown(explorer)

    def broken(tail):
        raise RuntimeError("the <curve> broke\nsecond line")

    monkeypatch.setattr(explorer, "compute", broken)
    with pytest.raises(RuntimeError, match="broke"):
        explorer.tail.value = 0.5
    assert [type(e) for e in explorer.errors] == [RuntimeError]
    assert explorer.words == "This did not work: RuntimeError: the <curve> broke"
    assert "rdd-error" in explorer.caption.value and "&lt;curve&gt;" in explorer.caption.value
    assert shown(explorer) == before, "the last good picture stays"
    (told,) = next(w for w in explorer.panel().children if hasattr(w, "outputs")).outputs
    assert told["output_type"] == "error" and told["ename"] == "RuntimeError"
    with pytest.raises(RuntimeError, match="broke"):
        explorer.check()


def test_no_explorer_knows_pyplot():
    from pathlib import Path

    for path in Path(__file__).parents[1].glob("rdd_nb/widgets*.py"):
        assert "pyplot" not in path.read_text(encoding="utf-8"), path.name
