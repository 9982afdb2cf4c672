import numpy as np
import pandas as pd
import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.figures import robustness_figures

SETS = ["plain", "robust"]
WAYS = {"chosen and shown": np.array([0.0, 0.02]), "honest": np.array([0.0, 0.01])}


def metrics(values, width=0.05):
    rows = [{"set": s, "metric": m, "value": v, "low": v - width, "high": v + width} for (s, m), v in values.items()]
    return pd.DataFrame(rows)


def evaluation_figure():
    first = metrics({("plain", "Acc"): 0.7, ("plain", "Blur"): 0.5, ("robust", "Acc"): 0.6, ("robust", "Blur"): 0.4})
    second = metrics({("plain", "Acc"): 0.8, ("robust", "Acc"): 0.9, ("plain", "Elsewhere"): 0.1}, width=np.nan)
    return robustness_figures.evaluation_table({"here": first, "there": second})


def severity_figure():
    rows = [
        {"set": s, "kind": k, "severity": x, "value": v}
        for k in ("noise", "blur")
        for s, values in (("plain", (0.9, 0.5)), ("robust", (0.8, 0.7)))
        for x, v in zip((1.0, 0.0), reversed(values))
    ]
    return robustness_figures.severity_curves(pd.DataFrame(rows), chance=0.25)


def architecture_tables():
    table = pd.DataFrame([[0.7, 0.8], [0.3, 0.1]], ["convnet", "vit"], SETS)
    return {"one rate": {"home": table, "away": table / 2}, "own rate": {"home": table, "away": table / 10}}


def architectures_figure():
    return robustness_figures.cross_architecture(architecture_tables(), chance=0.1)


def protocols_figure():
    table = pd.DataFrame([[0.7, 0.8], [0.3, 0.1], [0.5, 0.5]], ["as above", "longer", "wider"], SETS)
    parts = {
        "home": {"methods": 0.01, "protocols": 0.05, "nets": np.nan},
        "away": {"methods": 0.12, "protocols": 0.02, "nets": 0.01},
    }
    return robustness_figures.protocol_effects({"home": table, "away": table / 2}, parts)


def selection_figure():
    return robustness_figures.selection_on_test_set(
        np.array([1, 4]), WAYS, {way: 0.5 + 10 * y for way, y in WAYS.items()}
    )


FIGURES = {
    "evaluation_table": evaluation_figure,
    "severity_curves": severity_figure,
    "cross_architecture": architectures_figure,
    "protocol_effects": protocols_figure,
    "selection_on_test_set": selection_figure,
}


def line(axes, label):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def test_a_mark_stands_in_the_row_of_its_metric_between_the_ends_of_its_interval():
    left, right = evaluation_figure().axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["Acc", "Blur"]
    x, y = line(left, "robust")
    assert x.tolist() == [60, 40] and np.round(y).tolist() == [0, 1]
    assert (line(left, "plain")[1] < y).all(), "sets of a row do not lie upon each other"
    ends = [path.vertices[:, 0].tolist() for c in left.collections for path in c.get_paths()]
    assert np.allclose(sorted(ends), [[35, 45], [45, 55], [55, 65], [65, 75]])
    assert line(right, "plain")[0].tolist() == [80], "what the first table does not have is left out"


def test_curves_run_from_weak_to_strong_in_per_cent():
    noise, blur = severity_figure().axes
    assert (noise.get_title(), blur.get_title()) == ("noise", "blur")
    x, y = line(noise, "plain")
    assert x.tolist() == [0, 1] and np.allclose(y, [90, 50])
    assert line(blur, "guessing")[1].tolist() == [25, 25]


def test_architectures_have_a_row_and_every_way_a_column():
    grid = architectures_figure().axes
    assert [a.get_title() for a in grid] == ["home: one rate", "home: own rate", "away: one rate", "away: own rate"]
    assert [t.get_text() for t in grid[0].get_yticklabels()] == ["convnet", "vit"]
    assert np.allclose(line(grid[0], "robust")[0], [80, 10]) and np.allclose(line(grid[3], "plain")[0], [7, 3])
    one_side = {way: {"all": by["home"]} for way, by in architecture_tables().items()}
    titles = [a.get_title() for a in robustness_figures.cross_architecture(one_side, 0.1).axes]
    assert titles == ["one rate", "own rate"]


def test_protocols_stand_beside_the_sources_of_variation():
    home, away, bars = protocols_figure().axes
    assert [t.get_text() for t in home.get_yticklabels()] == ["as above", "longer", "wider"]
    assert np.allclose(line(away, "robust")[0], [40, 5, 25])
    widths = [p.get_width() for p in bars.patches]
    assert np.allclose(widths, [1, 5, 0, 12, 2, 1]) and [t.get_text() for t in bars.texts][:2] == ["1.0", "5.0"]
    assert bars.get_xlim()[1] > 12, "nothing is cut off"


def test_a_lead_of_a_point_is_0_01_and_wins_are_shares():
    left, right = selection_figure().axes
    assert line(left, "honest")[1].tolist() == [0, 1] and line(right, "honest")[1].tolist() == [50, 60]
    with pytest.raises(RddError, match="same ways"):
        robustness_figures.selection_on_test_set(np.array([1, 4]), WAYS, {"another": np.zeros(2)})


def test_sets_keep_the_colours_of_the_study_and_others_get_their_own():
    from rdd_nb.figures import study_figures

    left, _ = evaluation_figure().axes
    for name in SETS:
        (mark,) = (d for d in left.lines if d.get_label() == name)
        assert mark.get_color() == study_figures.METHODS[name][0]
    names = ["plain", "mine", "yours"]
    table = metrics({(name, "Acc"): 0.5 for name in names})
    (axes,) = robustness_figures.evaluation_table({"all": table}).axes
    looks = {(d.get_color(), d.get_marker()) for d in axes.lines if d.get_label() in names}
    assert len(looks) == 3
    with pytest.raises(RddError, match="told apart"):
        robustness_figures.evaluation_table({"all": metrics({(str(k), "Acc"): 0.5 for k in range(9)})})


@pytest.mark.parametrize("make", FIGURES.values(), ids=list(FIGURES))
def test_all_have_titles_and_named_axes_and_can_be_drawn(make, tmp_path):
    figure = make()
    figure.savefig(tmp_path / "figure.png")
    assert all(axes.get_title() for axes in figure.axes) and figure.axes[-1].get_xlabel()


def test_every_figure_is_tried():
    assert list(FIGURES) and sorted(FIGURES) == sorted(robustness_figures.__all__)


def test_noise_alone_is_a_line_over_the_interaction():
    table = pd.DataFrame([[0.7, 0.8], [0.3, 0.1]], ["as above", "longer"], SETS)
    parts = {"home": {"methods": 0.01, "both": 0.03}, "away": {"methods": 0.12, "both": 0.05}}
    figure = robustness_figures.protocol_effects({"home": table, "away": table}, parts, {"home": 0.02, "away": np.nan})
    (marks,) = (c for c in figure.axes[-1].collections if c.get_label() == "noise alone")
    (path,) = marks.get_segments()
    assert path[:, 0].tolist() == [2, 2] and 0.5 < path[:, 1].mean() < 1, "in the row of `both`, over home's bar"
