"""Groups that were found, as pictures of their members, and what raising them buys and costs."""

import pandas as pd

from rdd_nb.figures.discovery_figures import fronts, group_exemplars
from tests.figures.helpers import grey, picture


def chosen():
    parts = {("near", "typical"): [grey(1, 2), grey(3)], ("random", "unbiased"): [grey(4), grey()]}
    return group_exemplars(parts, ["first", "second"], columns=2)


def test_exemplars_of_groups_stand_in_their_row_and_what_is_missing_is_white():
    near, random = chosen().axes
    middles = [
        [int(picture(axes)[6 * row + 1, 6 * k + 1, 0]) for row in (0, 1) for k in (0, 1)] for axes in (near, random)
    ]
    assert middles == [[1, 2, 3, 255], [4, 255, 255, 255]]
    assert [t.get_text() for t in near.get_yticklabels()] == ["first", "second"] and not random.get_yticklabels()
    assert (near.get_title(), random.get_xlabel()) == ("near", "unbiased")


def test_every_panel_says_what_its_images_tell():
    for axes in chosen().axes:
        assert axes.get_title() and axes.get_xlabel()


def test_a_front_runs_from_nothing_through_the_means_of_seeds():
    rows = [
        (name, seed, way, strength, rare + seed, -strength)
        for name in ("clothes", "numerals")
        for way, rare in (("found", 10), ("known", 20))
        for strength in (1.0, 0.5)
        for seed in (0, 2)
    ]
    figure = fronts(pd.DataFrame(rows, columns=["set", "seed", "groups", "strength", "rare", "others"]))
    assert [axes.get_title() for axes in figure.axes] == ["clothes", "numerals"]
    for axes in figure.axes:
        found, known = axes.get_lines()
        assert found.get_xydata().tolist() == [[0, 0], [0.5, 11], [1, 11]]
        assert known.get_xydata().tolist() == [[0, 0], [0.5, 21], [1, 21]]
        assert found.get_color() != known.get_color() and found.get_marker() != known.get_marker()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["found", "known"]
