import numpy as np
import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.figures import released_code_figures

COSINES = {"same": np.ones(3), "other": np.array([0.2, 0.4, 0.6])}
LENGTHS = {"same": np.full(3, 2.0), "other": np.array([10.0, 20.0, 30.0])}
TAILS = np.array([0.1, 0.5, 1.0])
COUNTS, EXACT, PADDED = np.array([1, 4]), np.array([2.0, 1.0]), np.array([0.0, 0.5])
CHOSEN = {"by one": (0.8, 0.75, 0.7), "by two": (0.78, 0.76, np.nan)}


def line(axes, label):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def padded():
    return released_code_figures.padding_bias(np.array([1, 2]), {"exact": np.ones(2)}, COUNTS, EXACT, PADDED, 1)


def chosen():
    gain = {"accuracy": np.array([0.0, 0.01])}
    return released_code_figures.best_of_k(np.array([1, 2]), gain, {"accuracy": np.array([0.0, 0.02])}, CHOSEN, 0.72)


def test_every_batch_is_a_dot_in_the_row_of_its_objective():
    left, right = released_code_figures.gradient_alignment(COSINES, LENGTHS).axes
    for axes, given in ((left, COSINES), (right, LENGTHS)):
        dots = [d for d in axes.lines if d.get_marker() in ("o", "D")]
        assert [d.get_xdata().tolist() for d in dots] == [v.tolist() for v in given.values()]
        assert [set(d.get_ydata()) for d in dots] == [{0}, {1}]
        bars = [d.get_xdata()[0] for d in axes.lines if d.get_marker() == "|"]
        assert np.allclose(bars, [v.mean() for v in given.values()])
    assert [d.get_marker() for d in left.lines if d.get_marker() in ("o", "D")] == ["o", "D"], "the plain one is marked"
    assert [t.get_text() for t in left.get_yticklabels()] == ["same", "other"]


def test_gradients_that_point_backwards_are_not_cut_off():
    left, _ = released_code_figures.gradient_alignment({"back": np.array([-0.5])}, {"back": np.ones(1)}).axes
    assert left.get_xlim()[0] < -0.5


def test_gradients_need_both_for_each():
    with pytest.raises(RddError, match="same objectives"):
        released_code_figures.gradient_alignment(COSINES, {"same": np.ones(3)})


def test_both_ends_are_drawn_and_shares_are_per_cent():
    risks, heard = {"up": np.array([3.0, 2.0, 1.0])}, {"up": np.array([0.9, 0.4, 0.1])}
    left, right = released_code_figures.upper_and_lower_tail(TAILS, risks, heard, 0.1, "rare").axes
    assert line(left, "up")[1].tolist() == [3, 2, 1]
    assert np.allclose(line(right, "up")[1], [90, 40, 10]) and np.allclose(line(right, "share of the data")[1], 10)
    assert "rare" in right.get_title() and left.get_xscale() == "log"


def test_padding_draws_each_cell_twice_and_joins_the_two():
    left, right = padded().axes
    assert line(left, "exact")[1].tolist() == [1, 1]
    assert line(right, "exact CVaR of a cell")[1].tolist() == EXACT.tolist()
    assert line(right, "from the padded table")[1].tolist() == PADDED.tolist()
    joins = [d for d in right.lines if len(d.get_xdata()) == 2 and d.get_marker() == "None"]
    assert [(d.get_xdata()[0], *d.get_ydata()) for d in joins] == [(1, 0.0, 2.0), (4, 0.5, 1.0)]
    assert "up to 1 samples: only zeros kept" in [t.get_text() for t in right.get_legend().get_texts()]


def test_no_band_where_nothing_is_silent():
    _, right = released_code_figures.padding_bias(np.array([1]), {"exact": np.ones(1)}, COUNTS, EXACT, PADDED, 0).axes
    assert not right.patches


def test_selection_is_drawn_in_points_and_per_cent():
    left, right = chosen().axes
    assert np.allclose(line(left, "accuracy")[1], [0, 1])
    assert any(np.allclose(d.get_ydata(), [0, 2]) for d in left.lines if len(d.get_ydata()) == 2)
    dots = [(d.get_xdata()[0], d.get_ydata()[0]) for d in right.lines if d.get_marker() in ("o", "D", "s")]
    assert np.allclose(dots[:3], [(80, 0), (75, 0), (70, 0)])
    assert np.allclose(line(right, "the average candidate")[0], 72)
    assert [t.get_text() for t in right.get_yticklabels()] == list(CHOSEN)


def test_verdicts_stand_in_their_cells():
    passed = np.array([[True, False, True]])
    (axes,) = released_code_figures.pass_fail_table(passed, ["a test"], ["one", "two", "three"]).axes
    assert [(t.get_position(), t.get_text()[2:]) for t in axes.texts] == [
        *(((0, 0), "passes"), ((1, 0), "fails"), ((2, 0), "passes"))
    ]


@pytest.mark.parametrize("passed", [np.ones((2, 2), bool), np.ones((1, 2))], ids=["shape", "kind"])
def test_verdicts_refuse_what_is_no_table(passed):
    with pytest.raises(RddError, match="verdicts are"):
        released_code_figures.pass_fail_table(passed, ["a test"], ["one", "two"])


def test_all_have_titles_and_named_axes():
    for figure in (
        released_code_figures.gradient_alignment(COSINES, LENGTHS),
        released_code_figures.upper_and_lower_tail(TAILS, {"a": TAILS}, {"a": TAILS}, 0.1, "rare"),
        padded(),
        chosen(),
        released_code_figures.pass_fail_table(np.ones((1, 1), bool), ["a test"], ["one"]),
    ):
        for axes in figure.axes:
            assert axes.get_title() and axes.get_xlabel()
