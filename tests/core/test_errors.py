"""One line that names the nearest known name."""

from rdd_nb.core.errors import unknown


def test_unknown_names_the_nearest_only_when_one_is_near():
    assert "did you mean" not in str(unknown("dataset", "zzz", ["digits"]))
    assert str(unknown("dataset", "digit", ["digits"], "the list")).startswith(
        "unknown dataset 'digit' in the list: did"
    )
