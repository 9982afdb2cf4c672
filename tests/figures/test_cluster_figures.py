import numpy as np
import pandas as pd
import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.figures import cluster_figures
from tests.figures.helpers import grey, picture

NAMES = ("many", "few")
FEW = np.arange(8) % 4 == 0
IDS = np.array([0, 0, 0, 0, 2, 2, 2, 1])  # of them few: one of four, one of three, none of one
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [4.0, 4.0], [5.0, 4.0], [4.0, 5.0], [2.0, 0.0], [0.0, 2.0]])


def line(axes, label):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def frames(axes):
    """Column and row of each framed image of a sheet of images of 4 pixels."""
    return sorted((round((p.get_x() + 1.5) / 6), round((p.get_y() + 1.5) / 6)) for p in axes.patches)


def cells():
    rows = [grey(10, 20, 30), grey(40, 50)]
    framed = [np.array([False, True, False]), np.array([True, False])]
    return cluster_figures.voronoi_cells(
        POINTS, np.array([[0.0, 0.0], [4.0, 4.0]]), FEW, rows, framed, ["3 (33%)", "2 (50%)"]
    )


def found(**changed):
    tables = {"pixels": np.array([[1, 1], [8, 0], [0, 0]])}
    mass = {"pixels": np.array([0.4, 0.1]), "known groups": np.array([0.5, 0.1])}
    given = {"tables": tables, "group_names": ("red", "blue"), "powers": np.array([0.0, 1.0]), "mass": mass}
    return cluster_figures.cluster_composition(**{**given, "share": 0.1, "chosen": 0.3, **changed})


def exemplars(kinds=("near", "far")):
    shares = {kind: (np.array([0.1, 0.5]), np.array([k, 1.0])) for k, kind in enumerate(kinds)}
    framed = np.array([[False, False], [True, False]])
    return cluster_figures.exemplars(np.stack([grey(1, 2), grey(3, 4)]), framed, "A cluster", shares, "few")


def curves():
    side = ["all", "all", "many", "many", "few", "few"]
    share = [0.5, 0.9, 0.6, 1.0, 0.1, 0.4]
    return pd.DataFrame({"side": side, "radius": [0.5, 1.0] * 3, "share": share})


def test_cells_divide_the_plane_half_way_between_the_centres():
    left = cells().axes[0]
    assert line(left, "rare real")[0].tolist() == POINTS[FEW, 0].tolist()
    assert len(line(left, "common real")[0]) == (~FEW).sum()
    border = np.concatenate([p.vertices for c in left.collections for p in c.get_paths()])
    assert len(border) and np.allclose(border.sum(1), 4, atol=1e-6)  # x + y = 4


def test_rows_of_cells_may_differ_in_length_and_are_framed_where_they_are_asked_to():
    right = cells().axes[1]
    drawn = picture(right)[::6, ::6, 0]
    assert drawn.tolist() == [[10, 20, 30], [40, 50, 255]]
    assert frames(right) == [(0, 1), (1, 0)]
    assert [t.get_text() for t in right.get_yticklabels()] == ["3 (33%)", "2 (50%)"]


def test_spaces_show_who_is_in_each_cluster_the_largest_first():
    figure = cluster_figures.clustering_spaces({"pixels": (POINTS, 0.5)}, {"pixels": IDS}, FEW, NAMES)
    top, bottom = figure.axes
    few, others = ([bar.get_height() for bar in bars] for bars in bottom.containers)
    assert np.allclose(few, [25, 100 / 3, 0]) and np.allclose(others, [75, 200 / 3, 100])
    assert [t.get_text() for t in bottom.get_xticklabels()] == ["4", "3", "1"]
    assert [len(drawn.get_xdata()) for drawn in top.lines] == [6, 2, 3]  # many, few, centres
    centre = np.stack([top.lines[2].get_xdata(), top.lines[2].get_ydata()], 1)
    np.testing.assert_allclose(centre[0], POINTS[:4].mean(0))
    assert "50% of variance" in top.get_title() and "3 clusters" in bottom.get_xlabel()
    assert figure.legends[0].get_texts()[0].get_text() == "many"


def test_found_shows_per_cent_of_each_cluster_without_the_empty_ones():
    left, right = found().axes
    assert picture(left).tolist() == [[100, 0], [50, 50]]
    assert [t.get_text() for t in left.texts] == ["all", "50", "50"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["8", "2"]
    assert line(right, "known groups")[1].tolist() == [50, 10]
    assert right.lines[-1].get_ydata()[0] == 10  # the dot: the share in the data


def test_found_refuses_a_table_of_other_groups():
    with pytest.raises(RddError, match=r"'pixels'.*needs 3 columns"):
        found(group_names=("red", "blue", "green"))


def test_stability_stands_at_the_means_and_reaches_from_least_to_most():
    seen = {"a": {"pixels": ([0.5, 0.9, 0.7], [0.2, 0.3])}, "b": {"pixels": ([0.4], [0.1, 0.1])}}
    first, second = cluster_figures.stability_and_mass(seen, {"a": 0.1, "b": 0.05}).axes
    ((marker, _, bars),) = first.containers
    assert np.allclose(marker.get_xydata(), [[0.7, 25]])
    across, up = (bar.get_segments()[0] for bar in bars)
    assert np.allclose(across[:, 0], [0.5, 0.9]) and np.allclose(up[:, 1], [20, 30])
    dashed = [drawn for drawn in second.lines if drawn.get_linestyle() == "--"]
    assert dashed[0].get_ydata()[0] == pytest.approx(5)


def test_a_space_has_the_same_colour_in_every_figure():
    agreed = cluster_figures.stability_and_mass(
        {"a": {"style": ([0.5], [0.1]), "pixels": ([0.5], [0.2])}}, {"a": 0.1}
    ).axes[0]
    colours = {c.get_label(): c[0].get_color() for c in agreed.containers}
    (drawn,) = (one for one in found().axes[1].lines if one.get_label() == "pixels")
    assert colours["pixels"] == drawn.get_color() != colours["style"]


def test_exemplars_are_framed_in_their_row_and_compared_with_the_truth():
    sheet, near, far = exemplars().axes
    assert frames(sheet) == [(0, 1)]
    assert [t.get_text() for t in sheet.get_yticklabels()] == ["near", "far"]
    assert line(near, "a cluster")[0].tolist() == [10, 50] and line(near, "a cluster")[1].tolist() == [0, 100]
    assert line(far, "mean")[1].tolist() == [100]


def test_exemplars_refuse_rows_without_a_kind():
    with pytest.raises(RddError, match=r"2 rows .* not 1"):
        exemplars(("near",))


def test_coverage_is_drawn_side_by_side_in_per_cent():
    many, few = cluster_figures.coverage_curves({"random": curves()}, NAMES).axes
    assert line(many, "random")[1].tolist() == [60, 100] and line(few, "random")[1].tolist() == [10, 40]
    assert line(few, "random")[0].tolist() == [0.5, 1]
    (legend,) = many.figure.legends
    many.figure.draw_without_rendering()
    below = min(axes.get_tightbbox().y0 for axes in (many, few))
    assert legend.get_window_extent().y1 <= below and not few.get_legend(), "it hides no curve"


def tried(**more):
    parts, learnable, kind = np.array([0.9, 0.05, 0.05]), np.array([1.0, 0.8, 0.1]), np.array([0, 1, 2])
    matched = {"as in the data": (0.8, 0.1, 0.1), "all raised": (0.3, 0.2, 0.5)}
    return cluster_figures.learnability(parts, learnable, kind, ("many", "few", "wrong"), matched, **more)


def test_what_groups_count_for_stands_beside_their_part_in_the_data():
    dots = tried(raised=True).axes[0]
    assert np.ravel(line(dots, "mostly few")).tolist() == [0.05, 0.8] and dots.get_yscale() == "log"
    assert [row.tolist() for row in line(dots, "as in the data")] == [[0.05, 1], [0.05, 1]]
    assert "part of what is matched" in dots.get_ylabel()


def test_tried_groups_stand_at_their_part_and_bars_fill_the_whole():
    dots, bars = tried().axes
    said = [np.ravel(line(dots, f"mostly {kind}")).tolist() for kind in ("many", "few", "wrong")]
    assert said == [[0.9, 1.0], [0.05, 0.8], [0.05, 0.1]]
    ends = [(round(b.get_x(), 6), round(b.get_x() + b.get_width(), 6)) for b in bars.patches]
    assert ends == [(0, 80), (0, 30), (80, 90), (30, 50), (90, 100), (50, 100)]


def test_all_have_titles_and_named_axes():
    for figure in (
        cells(),
        cluster_figures.clustering_spaces({"pixels": (POINTS, 0.5)}, {"pixels": IDS}, FEW, NAMES),
        found(),
        cluster_figures.stability_and_mass({"a": {"pixels": ([0.5], [0.1])}}, {"a": 0.1}),
        exemplars(),
        tried(),
        cluster_figures.coverage_curves({"random": curves()}, NAMES),
    ):
        for axes in figure.axes:
            assert axes.get_xlabel()
            assert axes.get_title() or not axes.get_subplotspec().is_first_row(), "one below shares the title above it"
