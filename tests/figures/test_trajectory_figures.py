import numpy as np

from rdd_nb.figures import trajectory_figures


def line(axes, label):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def test_a_plane_keeps_what_lies_in_it_and_says_how_much_that_is():
    draw = np.random.default_rng(0)
    axes, _ = np.linalg.qr(draw.normal(size=(500, 3)))
    flat = np.array([[0.0, 0, 0], [3, 4, 0], [6, 0, 0], [6, -2, 0]])
    found, shown = trajectory_figures.in_a_plane({"a": flat[:2] @ axes.T, "b": flat[2:] @ axes.T})
    points = np.concatenate(list(found.values()))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert np.allclose(apart, np.linalg.norm(flat[:, None] - flat[None], axis=2)), "distances in the plane are true"
    assert np.isclose(shown, 1)
    assert (points[0] == 0).all()
    bent = flat.copy()
    bent[3, 2] = 5.0
    _, shown = trajectory_figures.in_a_plane({"a": bent @ axes.T})
    assert 0.5 < shown < 0.95
    same, shown = trajectory_figures.in_a_plane({"a": np.ones((3, 4))})
    assert (same["a"] == 0).all() and shown == 0, "nothing moved: no division by 0"


def test_each_path_is_drawn_with_its_steps():
    paths = {"expert": np.eye(3, 5), "student": np.eye(2, 5)}
    figure, shown = trajectory_figures.paths_in_a_plane(paths, ["an epoch", "a step"], "Paths")
    (axes,) = figure.axes
    assert len(line(axes, "expert (a mark an epoch)")[0]) == 3
    assert len(line(axes, "student (a mark a step)")[0]) == 2
    assert axes.get_title() == "Paths" and 0 < shown <= 1


def test_experts_have_a_panel_for_each_side_with_accuracy_from_nought():
    given = {"many": {"plain": [0.1, 0.9], "robust": [0.1, 0.8]}, "few": {"plain": [0.1, 0.2], "robust": [0.1, 0.6]}}
    figure = trajectory_figures.expert_accuracies(given)
    assert [axes.get_title() for axes in figure.axes] == ["many images", "few images"]
    assert np.allclose(line(figure.axes[1], "robust"), ([0, 1], [10, 60]))
    assert all(axes.get_ylim() == (0, 100) for axes in figure.axes)


def test_a_front_is_a_line_through_the_settings_of_a_matching():
    given = {"coloured": {"distribution": [("plain", 0.99, 0.2), ("robust", 0.93, 0.6)], "trajectory": []}}
    (axes,) = trajectory_figures.fronts(given).axes
    assert np.allclose(line(axes, "distribution"), ([99, 93], [20, 60]))
    assert len(axes.lines) == 1, "a matching that was not measured is left out"
    assert [text.get_text() for text in axes.texts] == ["plain"]
