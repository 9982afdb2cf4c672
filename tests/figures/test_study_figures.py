"""What is drawn is what the tables say: dots, bars, lines and bands against numbers worked out here."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import results
from rdd_nb.figures import COLOURS, sensitivity_figures, study_figures

SIDES = {"coloured": ("on-colour", "off-colour"), "rotated": ("upright", "rotated"), "none": ()}


def rows(scenario, method, right, n=100):
    """``right[seed]``: for each group of ``SIDES`` (or each of two classes) how many of ``n`` both nets get right."""
    found = []
    for seed, groups in enumerate(right):
        names = SIDES[scenario.split()[0]]
        parts = [("minority" if names else "class", g, k) for g, k in zip(names or ("a", "b"), groups)]
        if names:
            parts += [("class", "a", groups[0]), ("class", "b", groups[1])]
        parts.append(("all", "all", sum(groups)))
        for partition, group, k in parts:
            size = 2 * n if partition == "all" else n
            found += [("made", scenario, method, seed, net, partition, group, size, k) for net in (0, 1)]
    return pd.DataFrame(found, columns=results.COLUMNS)


def small():
    """Two scenarios, three methods, three seeds; ``known`` is not there for ``none``."""
    return pd.concat(
        [
            rows("coloured", "plain", [(90, 20), (92, 22), (94, 18)]),
            rows("coloured", "robust", [(80, 60), (82, 58), (84, 62)]),
            rows("coloured", "known", [(78, 70), (80, 71), (82, 72)]),
            rows("none", "plain", [(70, 50), (72, 50), (50, 74)]),
            rows("none", "robust", [(60, 60), (61, 61), (62, 62)]),
        ],
        ignore_index=True,
    )


def t_interval(values):
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def lines(axes):
    """The lines that have a label, by label."""
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def is_drawn(figure):
    figure.canvas.draw()  # a layout that cannot be made complains here
    return isinstance(figure, Figure)


# --- names and sides ----------------------------------------------------------------------------------------------


def test_a_name_of_a_grid_is_taken_apart():
    assert study_figures.split_name("rotated fraction=0.05") == ("rotated", {"fraction": 0.05})
    assert study_figures.split_name("whole group DRO") == ("whole group DRO", {})
    assert study_figures.split_name("a b k=5 init=noise") == ("a b", {"k": 5.0, "init": "noise"})


def test_the_two_sides_are_the_minority_or_the_worst():
    said = study_figures.summary(small())
    assert [s.label for s in study_figures.sides(said, "coloured")] == ["on-colour", "off-colour"]
    assert [s.label for s in study_figures.sides(said, "none")] == ["all", "worst class"]
    with pytest.raises(RddError, match="colourd"):
        study_figures.sides(said, "colourd")


def test_hidden_strata_are_told_by_their_worst():
    table = rows("coloured", "plain", [(90, 20), (92, 22)]).replace(
        {"group": {"on-colour": "common strata", "off-colour": "rare strata"}}
    )
    said = study_figures.summary(table.assign(scenario="strata of mine"))
    assert [s.label for s in study_figures.sides(said, "strata of mine")] == ["all", "worst stratum"]


def test_the_worst_class_is_found_in_every_seed_anew():
    said = study_figures.summary(small())
    worst = said[(said["scenario"] == "none") & (said["method"] == "plain") & (said["partition"] == "worst")]
    assert worst["mean"].item() == pytest.approx(0.5)  # 50, 50, 50: of class b, b and a
    assert set(said.loc[said["scenario"] == "coloured", "partition"]) == {
        "minority",
        "class",
        "all",
        "balanced",
        "worst",
    }


# --- methods ------------------------------------------------------------------------------------------------------


def test_methods_are_drawn_where_their_means_are_with_their_intervals():
    figure = study_figures.methods_figure(small())
    assert is_drawn(figure)
    assert [axes.get_title() for axes in figure.axes] == ["coloured", "none"]
    coloured = figure.axes[0]
    assert [t.get_text() for t in coloured.get_yticklabels()] == ["plain", "robust", "known"]
    dots = lines(coloured)
    np.testing.assert_allclose(dots["on-colour"].get_xdata(), [92, 82, 80])
    np.testing.assert_allclose(dots["off-colour"].get_xdata(), [20, 60, 71])
    assert dots["off-colour"].get_color() == COLOURS["minority"]
    assert dots["off-colour"].get_marker() != dots["on-colour"].get_marker()
    gap, _, minority = coloured.collections
    np.testing.assert_allclose([s[:, 0] for s in gap.get_segments()], [[92, 20], [82, 60], [80, 71]])
    np.testing.assert_allclose(minority.get_segments()[0][:, 0], t_interval([20, 22, 18]))
    np.testing.assert_allclose(minority.get_segments()[0][:, 1], dots["off-colour"].get_ydata()[0])
    upright = [line.get_xdata()[0] for line in coloured.lines if len(set(line.get_xdata())) == 1]
    np.testing.assert_allclose(upright, [92, 20])  # plain's, through all rows


def test_a_method_that_a_scenario_lacks_leaves_its_row_empty():
    figure = study_figures.methods_figure(small(), scenarios=["none", "coloured"])
    dots = lines(figure.axes[0])
    np.testing.assert_allclose(dots["all"].get_xdata(), [61, 61, np.nan])
    np.testing.assert_allclose(dots["worst class"].get_xdata(), [50, 61, np.nan])


def test_one_seed_has_dots_and_no_intervals():
    figure = study_figures.methods_figure(small()[lambda t: t["seed"] == 0])
    assert is_drawn(figure)
    assert all(len(segment) == 0 for segment in figure.axes[0].collections[1].get_segments())
    np.testing.assert_allclose(lines(figure.axes[0])["off-colour"].get_xdata(), [20, 60, 70])


@pytest.mark.parametrize(
    "draw",
    [
        lambda t: study_figures.methods_figure(t, ["colored"]),
        lambda t: sensitivity_figures.selection_figure(t, scenarios=["colored"]),
        lambda t: study_figures.mechanism_figure(curves(), "colored"),
        lambda t: study_figures.mechanism_figure(curves(), "coloured", ["plian"]),
        lambda t: sensitivity_figures.sensitivity_figure(swept(), "tial"),
        lambda t: sensitivity_figures.sensitivity_figure(swept(), "tail", ["colored"]),
        lambda t: sensitivity_figures.sensitivity_figure(t, "tail"),
        lambda t: sensitivity_figures.selection_figure(t, "tail"),
        lambda t: study_figures.methods_figure(t[:0]),
    ],
)
def test_what_is_not_in_the_table_is_one_line(draw):
    with pytest.raises(RddError) as told:
        draw(small())
    assert "\n" not in str(told.value)


# --- mechanism ----------------------------------------------------------------------------------------------------


def curves(methods=("plain", "random", "robust", "known"), marked=True):
    found = []
    for k, method in enumerate(methods):
        for j, side in enumerate(("all", "on-colour", "off-colour") if marked else ("all",)):
            if side == "off-colour" and method != "random":
                found.append((method, "mass", side, np.nan, 0.1 + 0.2 * k, 0.05))
            found += [(method, "coverage", side, r, r / 2 + 0.01 * k + 0.1 * j, 0.02) for r in (0.5, 1.0)]
            found += [(method, "cvar", side, t, 1 / t + k + 10 * j, 0.5) for t in (0.1, 1.0)]
    table = pd.DataFrame(found, columns=["method", "quantity", "side", "x", "value", "sd"])
    return table.assign(study="made", scenario="coloured", seeds=3)


def test_the_mechanism_is_drawn_from_its_curves():
    figure = study_figures.mechanism_figure(curves(), "coloured")
    assert is_drawn(figure)
    mass, coverage, cvar = figure.axes
    np.testing.assert_allclose([bar.get_height() for bar in mass.patches], [10, 50, 70])
    assert [t.get_text() for t in mass.get_xticklabels()] == ["plain", "robust", "known"]
    assert "off-colour" in mass.get_ylabel()
    solid = lines(cvar)
    assert list(solid) == ["plain", "robust", "known"]  # random only when asked for
    np.testing.assert_allclose(solid["robust"].get_ydata(), [32, 23])
    np.testing.assert_allclose(solid["robust"].get_xdata(), [0.1, 1.0])
    assert cvar.get_xscale() == "log"
    np.testing.assert_allclose(lines(coverage)["known"].get_ydata(), [48, 73])
    faint = [line for line in coverage.lines if line.get_label().startswith("_")]
    np.testing.assert_allclose(faint[0].get_ydata(), [35, 60])
    assert all(line.get_alpha() < 0.5 for line in faint)
    band = coverage.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(45 - 2)  # plain's minority: 0.45, 0.7, ± one standard deviation
    assert band[:, 1].max() == pytest.approx(70 + 2)
    np.testing.assert_allclose(mass.patches[0].get_facecolor()[:3], [0.4] * 3, atol=0.01)


def test_methods_asked_for_are_drawn_and_each_looks_different():
    figure = study_figures.mechanism_figure(curves(), "coloured", ["known", "random"])
    solid = lines(figure.axes[2])
    assert list(solid) == ["known", "random"]
    assert solid["known"].get_color() != solid["random"].get_color()
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["known"]  # random matches nothing


def test_without_a_minority_the_mechanism_says_so():
    figure = study_figures.mechanism_figure(curves(marked=False), "coloured")
    assert is_drawn(figure)
    assert figure.axes[0].texts[0].get_text() == "no minority is marked"
    np.testing.assert_allclose(lines(figure.axes[2])["plain"].get_ydata(), [10, 1])


# --- sensitivity --------------------------------------------------------------------------------------------------


def swept():
    """``robust`` over three tails, out of order; ``plain`` beside it, and a scenario that sweeps nothing."""
    return pd.concat(
        [
            rows("coloured", "plain", [(90, 20), (92, 22)]),
            rows("coloured", "robust tail=0.8", [(80, 60), (82, 58)]),
            rows("coloured", "robust tail=0.2", [(70, 65), (72, 65)]),
            rows("coloured", "robust tail=1", [(85, 40), (87, 40)]),
            rows("none", "plain", [(70, 50), (72, 50)]),
        ],
        ignore_index=True,
    )


def test_a_swept_setting_is_a_line_in_order_and_plain_a_level():
    figure = sensitivity_figures.sensitivity_figure(swept(), "tail")
    assert is_drawn(figure)
    (axes,) = figure.axes
    drawn = lines(axes)
    assert list(drawn) == ["on-colour, robust", "on-colour, plain", "off-colour, robust", "off-colour, plain"]
    np.testing.assert_allclose(drawn["off-colour, robust"].get_xdata(), [0.2, 0.8, 1.0])
    np.testing.assert_allclose(drawn["off-colour, robust"].get_ydata(), [65, 59, 40])
    np.testing.assert_allclose(drawn["off-colour, plain"].get_ydata(), [21, 21])
    np.testing.assert_allclose(drawn["off-colour, plain"].get_xdata(), [0.2, 1.0])
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "tail"
    band = axes.collections[2].get_paths()[0].vertices
    at = band[np.isclose(band[:, 0], 0.8)][:, 1]
    np.testing.assert_allclose([at.min(), at.max()], t_interval([60, 58]))


def test_a_name_without_the_value_stands_at_its_default():
    table = pd.concat([swept(), rows("coloured", "robust", [(80, 57), (82, 57)])])
    drawn = lines(sensitivity_figures.sensitivity_figure(table, "tail", default=0.5).axes[0])
    np.testing.assert_allclose(drawn["off-colour, robust"].get_xdata(), [0.2, 0.5, 0.8, 1.0])
    np.testing.assert_allclose(drawn["off-colour, robust"].get_ydata(), [65, 57, 59, 40])
    np.testing.assert_allclose(drawn["off-colour, plain"].get_ydata(), [21, 21])  # still a level
    without = lines(sensitivity_figures.sensitivity_figure(table, "tail").axes[0])
    np.testing.assert_allclose(without["off-colour, robust"].get_ydata(), [65, 59, 40])


def test_a_swept_scenario_is_a_line_for_each_method_on_a_log_axis_where_it_is_wide():
    table = pd.concat(
        [
            rows(f"rotated fraction={f}", m, [(90, k), (90, k)])
            for m, ks in (("plain", (10, 20, 30)), ("robust", (40, 50, 60)), ("random", (1, 2, 3)))
            for f, k in zip((0.2, 0.05, 0.01), ks)
        ]
    )
    (axes,) = sensitivity_figures.sensitivity_figure(table, "fraction").axes
    assert axes.get_title() == "rotated"
    assert axes.get_xscale() == "log"
    drawn = lines(axes)
    np.testing.assert_allclose(drawn["rotated, plain"].get_xdata(), [0.01, 0.05, 0.2])
    np.testing.assert_allclose(drawn["rotated, plain"].get_ydata(), [30, 20, 10])
    np.testing.assert_allclose(drawn["rotated, robust"].get_ydata(), [60, 50, 40])
    assert not any("random" in name for name in drawn)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.01", "0.05", "0.2"]


def test_words_stand_in_the_tables_order():
    table = pd.concat([rows("coloured", f"robust init={w}", [(90, k)]) for w, k in (("real", 50), ("noise", 30))])
    figure = sensitivity_figures.sensitivity_figure(table, "init")
    assert is_drawn(figure)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["real", "noise"]
    off = lines(figure.axes[0])["off-colour, robust"]
    np.testing.assert_allclose(off.get_ydata(), [50, 30])
    assert off.get_linestyle() == "None"  # words have no order that a line could follow


# --- selection ----------------------------------------------------------------------------------------------------


def test_a_grid_is_a_trade_off_with_a_line_for_each_of_its_other_values():
    points = {(0.5, 0): (90, 50), (0, 0): (70, 70), (0.5, 0.25): (88, 52), (0, 0.25): (72, 68)}
    grid = [rows("coloured", f"robust group_power={p} max_weight={w}", [k, k]) for (p, w), k in points.items()]
    more = rows("coloured", "robust finer tail=1", [(86, 60), (86, 60)])
    table = pd.concat([rows("coloured", "plain", [(95, 20), (95, 20)]), *grid, more])
    figure = sensitivity_figures.selection_figure(table)
    assert is_drawn(figure)
    (axes,) = figure.axes
    drawn = lines(axes)
    assert set(drawn) == {"robust max_weight=0", "robust max_weight=0.25", "robust finer, by tail", "plain"}
    np.testing.assert_allclose(drawn["robust finer, by tail"].get_xydata(), [(86, 60)])
    np.testing.assert_allclose(drawn["robust max_weight=0"].get_xydata(), [(70, 70), (90, 50)])
    np.testing.assert_allclose(drawn["robust max_weight=0.25"].get_xydata(), [(72, 68), (88, 52)])
    np.testing.assert_allclose(drawn["plain"].get_xydata(), [(95, 20)])
    assert [t.get_text() for t in axes.texts] == ["0", "0.5", "0", "0.5", "1"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("on-colour, %", "off-colour, %")
    (other,) = sensitivity_figures.selection_figure(table, "max_weight").axes
    np.testing.assert_allclose(lines(other)["robust group_power=0"].get_xydata(), [(70, 70), (72, 68)])


def test_a_setting_with_fewer_seeds_is_shown_by_its_gain_on_plain_there():
    plain = rows("coloured", "plain", [(90, 20), (94, 40)])  # the second seed is easy
    late = rows("coloured", "robust group_power=0", [(80, 50), (84, 70)])
    late = late[late["seed"] == late["seed"].max()]
    (axes,) = sensitivity_figures.selection_figure(pd.concat([plain, late])).axes
    np.testing.assert_allclose(lines(axes)["robust"].get_xydata(), [(92 - 10, 30 + 30)])


def test_a_panel_never_blows_up_noise():
    grid = [rows("coloured", f"robust group_power={p}", [(80, 50 + i)]) for i, p in enumerate((0, 1))]
    (axes,) = sensitivity_figures.selection_figure(pd.concat(grid)).axes
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert high - low >= 9.99
