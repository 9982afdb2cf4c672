import numpy as np
import pandas as pd
import pytest

import rdd_nb as rdd
from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import subgroups
from rdd_nb.figures import subgroup_figures

NAMES = ("many", "few")


def table(right, size, nets=1):
    names = [f"group {k}" for k in range(len(right))]
    rows = [{"net": i, "group": g, "n": n, "correct": r} for i in range(nets) for g, n, r in zip(names, size, right)]
    return rdd.group_table(pd.DataFrame(rows), "group")


def lollipop_figure(**options):
    full = table([9, 3, 0, 5], [10, 12, 0, 10])
    band = (np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7]))
    return subgroup_figures.lollipops({"all of them": full}, {"all of them": band}, **options)


def change_table(before, after, groups):
    return subgroups.compare_groups(after, before, groups)


def dumbbell_figure():
    groups = np.repeat(["a", "b"], 40)
    before = np.tile([1, 0], 40)
    after = np.where(groups == "b", 1, before)
    change = change_table(before, after, groups)
    accuracy = pd.DataFrame({"old": [0.5, 0.5], "new": [0.5, 1.0]}, index=["a", "b"])
    return subgroup_figures.paired_differences(accuracy, change)


def map_figure(counts=((20, 3), (0, 10))):
    counts = np.array(counts)
    accuracy = np.where(counts > 0, [[0.9, 0.5], [0.1, 0.2]], np.nan)
    change = np.where(counts > 0, [[-0.25, 0.001], [0.0, 0.4]], np.nan)
    return subgroup_figures.class_group_heat_map(accuracy, change, counts, ("bag", "boot"), ("red", "blue"))


def minimum_figure():
    sizes, numbers = np.array([5, 50]), np.array([1, 10])
    curve = np.array([0.4, 0.6])
    return subgroup_figures.worst_group_bias(sizes, {10: curve}, {10: curve + 0.01}, {"Wilson": curve}, numbers, 0.7)


def trust_figure():
    curve = (np.array([0.1, 1.0]), np.array([3.0, 1.0]))
    bins = (np.array([0.5, 0.9]), np.array([0.4, 0.6]))
    both = {side: curve for side in NAMES}, {side: bins for side in NAMES}
    return subgroup_figures.cvar_and_calibration(*({"old": part, "new": part} for part in both))


def coverage_figure():
    curve = (np.array([0.1, 0.5]), np.array([0.2, 0.9]))
    both = {name: {side: curve for side in NAMES} for name in ("old", "new")}
    points = {
        "many": (np.array([[0.9, 0.8]]), np.array([[0.9, 0.7]])),
        "few": (np.array([[0.1, 0.6], [0.2, 0.5]]), np.array([[0.0, 0.5], [0.1, 0.4]])),
    }
    return subgroup_figures.coverage_and_accuracy(both, points, 0.3, ("old", "new"))


def confusion_figure():
    matrix = np.array([[0.75, 0.25], [np.nan, np.nan]])
    images = np.zeros((3, 1, 8, 8), np.uint8)
    return subgroup_figures.confusion_matrices({"one": matrix, "two": matrix}, ("bag", "boot"), images, ["a", "b", "c"])


FIGURES = {
    "lollipops": lollipop_figure,
    "dumbbells": dumbbell_figure,
    "heat map": map_figure,
    "minimum": minimum_figure,
    "trust": trust_figure,
    "coverage": coverage_figure,
    "confusions": confusion_figure,
}


def test_groups_stand_from_the_worst_up_and_empty_ones_do_not_stand_at_all():
    (axes,) = lollipop_figure().axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["group 1 (12)", "group 3 (10)", "group 0 (10)"]
    dots = axes.collections[-1].get_offsets()
    assert np.allclose(dots, [[25, 0], [50, 1], [90, 2]])
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the worst on top"
    bands = [c.get_paths()[0].vertices for c in axes.collections[:3]]
    assert np.allclose([(b[:, 0].min(), b[:, 0].max()) for b in bands], [[10, 50], [20, 60], [30, 70]])


def test_only_the_worst_are_drawn_where_there_are_too_many():
    (axes,) = lollipop_figure(most=2).axes
    assert len(axes.get_yticklabels()) == 2
    assert axes.get_title() == "all of them: the worst 2 of 3"


def test_a_band_for_other_groups_is_refused():
    with pytest.raises(RddError, match="3 groups with samples and a null band"):
        subgroup_figures.lollipops({"a": table([9, 3, 0, 5], [10, 12, 0, 10])}, {"a": (np.zeros(4), np.ones(4))})


def test_a_difference_is_filled_where_holms_p_is_small():
    left, right = dumbbell_figure().axes
    before, after = left.lines
    assert before.get_xdata().tolist() == [50, 50] and after.get_xdata().tolist() == [50, 100]
    small, large = right.lines[:2]
    assert (small.get_label(), small.get_xdata().tolist()) == ("Holm's p at most 0.05", [50])
    assert (large.get_label(), large.get_xdata().tolist()) == ("above 0.05", [0])
    assert large.get_markerfacecolor() == "white" != small.get_markerfacecolor()


def test_cells_with_few_images_are_hatched_and_empty_ones_crossed():
    left, right = map_figure().axes[:2]
    for axes in (left, right):
        assert sorted(p.get_xy() for p in axes.patches) == [(-0.5, 0.5), (0.5, -0.5)]
        assert [(d.get_xdata()[0], d.get_ydata()[0]) for d in axes.lines] == [(0, 1)]
        assert np.ma.filled(axes.images[0].get_array(), np.nan)[0, 0] in (90, -25)
    assert [t.get_text() for t in left.texts] == ["90\n(20)", "50\n(3)", "20\n(10)"], "counts where they differ"
    assert [t.get_text() for t in right.texts] == ["−25", "0", "40"]
    low, high = right.images[0].get_clim()
    assert low == -high, "no change lies in the middle of the colours"


def test_counts_that_are_all_alike_are_told_once():
    left, _ = map_figure(((20, 20), (20, 20))).axes[:2]
    assert left.get_xlabel() == "group (each cell 20 test images)"
    assert "90" in [t.get_text() for t in left.texts]


def test_the_minimum_has_lines_from_the_formula_and_markers_from_simulation():
    left, right = minimum_figure().axes
    assert left.lines[0].get_ydata()[0] == 70
    assert left.lines[1].get_ydata().tolist() == [40, 60] and np.allclose(left.lines[2].get_ydata(), [41, 61])
    assert left.lines[2].get_linestyle() == "None"
    assert right.lines[0].get_ydata().tolist() == [40, 60]


@pytest.mark.parametrize("make", [trust_figure, coverage_figure])
def test_the_first_set_is_dashed_and_hollow(make):
    left = make().axes[0]
    looks = {d.get_label(): (d.get_linestyle(), d.get_color()) for d in left.lines if ": " in d.get_label()}
    assert {k: v[0] for k, v in looks.items()} == {
        f"{s}: {n}": d for n, d in (("old", "--"), ("new", "-")) for s in NAMES
    }
    assert looks["many: old"][1] == looks["many: new"][1] != looks["few: new"][1]


def test_confidence_and_accuracy_are_drawn_in_per_cent():
    right = trust_figure().axes[1]
    (line,) = (d for d in right.lines if d.get_label() == "few: new")
    assert line.get_xdata().tolist() == [50, 90] and line.get_ydata().tolist() == [40, 60]


def test_an_arrow_leads_from_the_first_set_to_the_second():
    right = coverage_figure().axes[1]
    ends = sorted((tuple(map(float, t.xyann)), tuple(map(float, t.xy))) for t in right.texts)
    assert ends == [((10, 0), (60, 50)), ((20, 10), (50, 40)), ((90, 90), (80, 70))]


def test_a_confusion_is_shown_in_per_cent_with_a_word_below_each_image():
    figure = confusion_figure()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["one", "two"]
    shown = np.ma.filled(panels[0].images[0].get_array(), np.nan)
    assert shown[0].tolist() == [75, 25] and np.isnan(shown[1]).all()
    assert [t.get_text() for axes in figure.axes for t in axes.texts] == ["a", "b", "c"]


@pytest.mark.parametrize("make", FIGURES.values(), ids=list(FIGURES))
def test_all_have_titles_and_named_axes_and_can_be_drawn(make, tmp_path):
    figure = make()
    figure.savefig(tmp_path / "figure.png")
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert titled and all(axes.get_xlabel() for axes in titled)


def test_every_figure_is_tried():
    assert len(FIGURES) == len(subgroup_figures.__all__)
