import numpy as np
import pandas as pd
import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.figures import ablation_figures


def one_at_a_time_figure():
    rows = [
        (factor, level, side, value + 0.1 * k, value + 0.1 * k - 0.05, value + 0.1 * k + 0.02)
        for factor, levels in (("power", (0.0, 0.3, 1.0)), ("ipc", (1, 10)))
        for k, level in enumerate(levels)
        for side, value in (("many", 0.7), ("few", 0.2))
    ]
    said = pd.DataFrame(rows, columns=["factor", "level", "side", "value", "low", "high"])
    return ablation_figures.one_factor_at_a_time(said.iloc[::-1], {"power": 0.3, "ipc": 10})


def tried_figure():
    tails = pd.Index([0.2, 1.0], name="tail")
    one = pd.DataFrame([[0.2, np.nan], [0.4, 0.6]], index=tails, columns=pd.Index([0.0, 0.5], name="power"))
    two = pd.DataFrame([[0.1, 0.3, 0.5]] * 2, index=tails, columns=pd.Index([0.0, 0.5, 1.0], name="power"))
    return ablation_figures.search_heat_maps({"a cross": one, "a grid": two}, "accuracy in %")


def interaction_figure():
    lines = pd.DataFrame(
        [(name, level, v, v - 0.1, v + 0.05) for name, v in (("ipc 1", 0.2), ("ipc 10", 0.5)) for level in (1.0, 0.0)],
        columns=["line", "level", "value", "low", "high"],
    )
    gaps = pd.DataFrame(
        [("power × ipc", 0, 0.1, 0.05, 0.35), ("power × ipc", 1, 0.3, 0.05, 0.35), ("tail × ipc", 0, 0.0, -0.1, 0.1)],
        columns=["contrast", "seed", "value", "low", "high"],
    )
    return ablation_figures.interaction_plot(lines, gaps, "power", "accuracy of few")


def seeds_figure():
    n = np.array([2, 4, 8])
    curves = {"main": (n, 0.1 / n), "interaction": (n, 0.2 / n)}
    return ablation_figures.seeds_needed(curves, curves, {"main": (np.array([0.01, 0.1]), np.array([100, 3]))})


def sources_figure():
    parts = {"few": {"setting": 0.1, "seed": 0.02}, "mean": {"setting": 0.05, "seed": 0.01}}
    return ablation_figures.variance_components(
        parts, {"3 seeds": (np.array([1, 2, 10]), np.array([0.05, 0.04, 0.03]))}
    )


def pareto_points(kinds=("ipc 10", "ipc 10", "ipc 1")):
    columns = ["label", "kind", "worst", "mean", "front", "often"]
    rows = zip("abc", kinds, (0.2, 0.6, 0.1), (0.9, 0.8, 0.3), (True, True, False), (0.4, 0.9, 0.0))
    return pd.DataFrame(rows, columns=columns)


def pareto_figure():
    return ablation_figures.pareto_front(pareto_points(), star=(0.15, 0.85))


def winners_figure():
    x = np.array([1, 2, 3])
    lines = {"claimed": (x, 0.6 / x), "held": (x, 0.5 + 0 * x)}
    return ablation_figures.winners_curse(lines, {"1 seed": (x, 0.01 * x)})


FIGURES = {
    "one at a time": one_at_a_time_figure,
    "tried": tried_figure,
    "interaction": interaction_figure,
    "seeds": seeds_figure,
    "sources": sources_figure,
    "pareto": pareto_figure,
    "winners": winners_figure,
}


def drawn(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_each_factor_has_its_levels_in_order_and_its_base_marked():
    power, ipc = one_at_a_time_figure().axes
    assert [t.get_text() for t in power.get_xticklabels()] == ["0", "0.3", "1"]
    assert [t.get_text() for t in ipc.get_xticklabels()] == ["1", "10"]
    lines = {c.get_label(): c for c in power.containers}
    assert np.allclose(lines["few"][0].get_ydata(), [20, 30, 40])
    low, high = lines["few"][1]
    assert np.allclose(low.get_ydata(), [15, 25, 35]) and np.allclose(high.get_ydata(), [22, 32, 42])
    for axes, at in ((power, 1), (ipc, 1)):
        (stripe,) = axes.patches
        assert stripe.get_x() + stripe.get_width() / 2 == pytest.approx(at)


def test_what_nobody_tried_is_crossed_and_what_was_tried_says_its_number():
    cross, whole = tried_figure().axes[:2]
    assert [t.get_text() for t in cross.texts] == ["20", "40", "60"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in cross.lines] == [(1, 0)]
    assert [t.get_text() for t in whole.texts] == ["10", "30", "50"] * 2 and not whole.lines
    assert cross.images[0].get_clim() == whole.images[0].get_clim() == (10, 60)
    assert (cross.get_xlabel(), cross.get_ylabel()) == ("power", "tail")


def test_an_interaction_is_drawn_as_lines_and_as_differences_of_differences():
    left, right = interaction_figure().axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["0", "1"]
    assert {c.get_label(): c[0].get_ydata().tolist() for c in left.containers} == {
        "ipc 1": [20, 20],
        "ipc 10": [50, 50],
    }
    dots = [line for line in right.lines if line.get_marker() == "o"]
    means = [line for line in right.lines if line.get_marker() == "s"]
    assert [np.round(d.get_xdata()).tolist() for d in dots] == [[10, 30], [0]]
    assert [float(m.get_xdata()[0]) for m in means] == pytest.approx([20, 0])
    ends = [c.get_segments()[0][:, 0] for c in right.collections]
    assert np.allclose(ends, [[5, 35], [-10, 10]])


def test_promised_widths_are_lines_and_found_ones_markers():
    left, right = seeds_figure().axes
    lines = drawn(left)
    assert np.allclose(lines["main, promised"].get_ydata(), [5, 2.5, 1.25])
    assert lines["interaction, found"].get_linestyle() == "None"
    assert np.allclose(drawn(right)["main"].get_xdata(), [1, 10])


def test_components_are_bars_and_widths_a_line():
    left, right = sources_figure().axes
    bars = {c.get_label(): [p.get_width() for p in c] for c in left.containers}
    assert bars["setting"] == pytest.approx([10, 5]) and bars["seed"] == pytest.approx([2, 1])
    assert [t.get_text().strip() for t in left.texts] == ["10.0", "5.0", "2.0", "1.0"]
    assert np.allclose(drawn(right)["3 seeds"].get_ydata(), [5, 4, 3])


def test_the_front_is_filled_and_the_most_frequent_stand_on_top():
    left, right = pareto_figure().axes
    lines = drawn(left)
    assert lines["Pareto front"].get_xdata().tolist() == pytest.approx([20, 60])
    assert lines["ipc 10"].get_markerfacecolor() != "white" == lines["ipc 1"].get_markerfacecolor()
    assert (lines["plain"].get_xdata()[0], lines["plain"].get_ydata()[0]) == (15, 85)
    assert [t.get_text() for t in right.get_yticklabels()] == ["b", "a", "c"]
    assert [float(line.get_xdata()[0]) for line in right.lines] == pytest.approx([90, 40, 0])


def test_five_kinds_cannot_be_told_apart():
    many = pd.concat([pareto_points((f"{k}", f"{k}", f"{k}")) for k in range(5)])
    with pytest.raises(RddError, match="at most 4"):
        ablation_figures.pareto_front(many)
    lines = pd.DataFrame({"line": list("abcde"), "level": 0.0, "value": 0.0, "low": 0.0, "high": 0.0})
    with pytest.raises(RddError, match="at most 4"):
        ablation_figures.interaction_plot(lines, lines.iloc[:0].assign(contrast=""), "power", "accuracy")


def test_winners_are_drawn_in_per_cent():
    left, right = winners_figure().axes
    assert np.allclose(drawn(left)["claimed"].get_ydata(), [60, 30, 20])
    assert np.allclose(drawn(right)["1 seed"].get_ydata(), [1, 2, 3])


@pytest.mark.parametrize("make", FIGURES.values(), ids=list(FIGURES))
def test_all_have_titles_and_named_axes_and_can_be_drawn(make, tmp_path):
    figure = make()
    figure.savefig(tmp_path / "figure.png")
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert titled and all(axes.get_xlabel() for axes in titled)


def test_every_figure_is_tried():
    assert len(FIGURES) == len(ablation_figures.__all__)


def test_a_negative_component_has_no_bar_and_says_so_and_intervals_are_lines():
    parts = {"few": {"setting": 0.1, "seed": -0.02}}
    ends = {"few": {"setting": (0.08, 0.15), "seed": (0.0, 0.01)}}
    widths = {"3 seeds": (np.array([1, 2]), np.array([0.05, 0.04]))}
    left = ablation_figures.variance_components(parts, widths, ends).axes[0]
    assert [p.get_width() for p in left.patches] == [10, 0]
    assert [t.get_text().strip() for t in left.texts] == ["10.0", "below 0"]
    assert [c.get_segments()[0][:, 0].round(6).tolist() for c in left.collections] == [[8, 15], [0, 1]]
    assert "intervals" in left.get_xlabel()


def test_an_interaction_plot_does_not_claim_that_there_is_none():
    assert not any("no interaction" in axes.get_title() for axes in interaction_figure().axes)
