import numpy as np
import pandas as pd
import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.figures import distill_figures

LOSSES = [9.0, 7.0, 8.0, 5.0, 4.0, 5.0, 3.0, 4.0, 3.0, 2.0]
DISTANCES = {"own": {"first": 0.1, "last": 0.0}, "other": {"first": 1.0, "last": 0.3}}
GROUPS = np.array([1, 0, 1, 0])
ROWS = {"plain": np.full(4, 0.25), "robust": np.array([0.1, 0.2, 0.3, 0.4])}
MARKED = np.array([False, False, False, True])
NAMES = ("many", "few")
PARTS = {"data": 0.001, "network": 0.003}
DRIFT = {"resumed": np.zeros(2), "forgotten": np.array([0.5, 1.5])}
TABLE = pd.DataFrame({"group": ["all"], "accuracy": [0.7], "low": [0.6], "high": [0.75]})


def frames(ipc=2, classes=3):
    start = np.zeros((classes * ipc, 1, 4, 4), np.uint8)
    return {0: start, 7: start + np.uint8(10)}


def line(axes, label):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def test_no_pull_is_grey_and_the_largest_is_full():
    assert distill_figures.signed_as_grey(np.array([[[0.0, 3.0, -3.0, 1.5]]])).tolist() == [[[128, 255, 0, 191]]]
    assert distill_figures.signed_as_grey(np.zeros((1, 1, 2))).tolist() == [[[128, 128]]], (
        "nothing pulls: no division by 0"
    )


def test_pictures_stand_under_their_names():
    red = np.zeros((3, 2, 2), np.uint8)
    red[0] = 255
    figure = distill_figures.image_row({"grey": np.full((1, 2, 2), 7, np.uint8), "red": red}, "Two")
    assert [axes.get_title() for axes in figure.axes] == ["grey", "red"]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert (shown[0] == 7).all() and (shown[1] == [255, 0, 0]).all()


def test_each_layer_has_a_bar_for_each_set():
    (axes,) = distill_figures.layer_distances(DISTANCES).axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert heights == {"own": [0.1, 0.0], "other": [1.0, 0.3]}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["first", "last"]


def test_weights_are_multiples_of_the_plain_one_sorted_by_group():
    figure = distill_figures.sample_weights(ROWS, GROUPS, MARKED, NAMES, "A batch")
    top, bottom = figure.axes
    drawn = [sorted((bar.get_x(), bar.get_height()) for bars in a.containers for bar in bars) for a in (top, bottom)]
    assert np.allclose([h for _, h in drawn[0]], 1)
    assert np.allclose([h for _, h in drawn[1]], [1.6, 0.8, 1.2, 0.4]), "group 0, then group 1, the heaviest first"
    (few,) = bottom.containers[1]
    assert np.isclose(few.get_height(), 1.6), "the marked image is drawn in the second colour"
    assert bottom.get_title(loc="left") == "robust: 40% of the weight on few images"


def test_weights_without_marks_name_nobody():
    figure = distill_figures.sample_weights(ROWS, GROUPS, np.zeros(4, bool), NAMES, "A batch")
    assert figure.axes[0].get_title(loc="left") == "plain" and not figure.legends
    with pytest.raises(RddError, match="weights draws 4 images"):
        distill_figures.sample_weights({"plain": np.ones(3) / 3}, GROUPS, MARKED, NAMES, "A batch")


def test_the_loss_curve_holds_every_loss_and_their_running_mean():
    (axes,) = distill_figures.loss_curve(LOSSES, "gradient").axes
    assert line(axes, "one network, one batch")[1].tolist() == LOSSES
    where, mean = line(axes, "mean of the last 2")
    assert where.tolist() == list(range(2, 11)) and mean[0] == 8 and mean[-1] == 2.5
    assert axes.get_title().startswith("Gradient matching")
    assert distill_figures.loss_curve([1.0], "gradient").axes, "a run of one iteration"


def test_frames_say_how_far_the_images_have_moved():
    first, second = distill_figures.image_evolution(frames(), 2, ("cat", "dog"), each=1).axes
    assert first.get_title() == "start" and second.get_title() == "iteration 7\nmoved 10.0 of 255"
    assert [t.get_text() for t in first.get_yticklabels()] == ["cat", "dog"]
    assert np.asarray(first.images[0].get_array()).shape == (10, 4, 3), "one image each of two classes, and a gap"


def test_parts_of_an_iteration_are_milliseconds():
    left, right = distill_figures.throughput(np.array([100.0, 300.0, 200.0]), PARTS, 0.02).axes
    assert line(left, "each iteration")[1].tolist() == [100, 300, 200]
    assert "weights: 2.0%" in left.get_title()
    assert [bar.get_width() for bar in right.containers[0]] == [1.0, 3.0]
    assert [t.get_text() for t in right.texts] == ["25%", "75%"]


def test_every_continuation_begins_where_it_was_cut():
    (axes,) = distill_figures.resume_divergence(DRIFT, 5).axes
    where, how_far = line(axes, "forgotten")
    assert where.tolist() == [5, 6, 7] and how_far.tolist() == [0, 0.5, 1.5]
    assert line(axes, "resumed")[1].tolist() == [0, 0, 0]


def test_accuracies_are_drawn_in_per_cent_with_their_intervals():
    (axes,) = distill_figures.accuracies({"random": TABLE, "distilled": TABLE}).axes
    dots = [bars.lines[0].get_xdata()[0] for bars in axes.containers]
    assert np.allclose(dots, [70, 70])
    reach = axes.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert np.allclose(reach, [60, 75])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["random", "distilled"]


def test_plots_have_titles_and_named_axes():
    for figure in (
        distill_figures.layer_distances(DISTANCES),
        distill_figures.loss_curve(LOSSES, "distribution"),
        distill_figures.throughput(np.ones(3), PARTS, 0.1),
        distill_figures.resume_divergence(DRIFT, 5),
        distill_figures.accuracies({"random": TABLE}),
    ):
        for axes in figure.axes:
            assert axes.get_title() and axes.get_xlabel()
