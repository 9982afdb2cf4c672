"""Groups that were found, as pictures of their members."""

from rdd_nb.figures.discovery_figures import group_exemplars
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
