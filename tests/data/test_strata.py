"""Strata: the known tables fit the known data, one's own are read, and each mistake is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.data import sources, strata
from rdd_nb.data.strata import sort_classes

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            sources.FASHION,
            {"tops": [0, 2, 4, 6], "dresses and trousers": [1, 3], "shoes": [5, 7, 9], "bags": [8]},
        ),
        (sources.DIGITS, {"below five": [0, 1, 2, 3, 4], "five and above": [5, 6, 7, 8, 9]}),
        (CIFAR10, {"animals": [2, 3, 4, 5, 6, 7], "vehicles": [0, 1, 8, 9]}),
        (tuple(name.upper() for name in CIFAR10), {"animals": [2, 3, 4, 5, 6, 7], "vehicles": [0, 1, 8, 9]}),
    ],
)
def test_the_known_tables(names, expected):
    found = sort_classes(names, "auto", "demo")
    assert {coarse: sorted(fine) for coarse, fine in found.items()} == expected
    assert list(found) == list(expected), "coarse classes keep the table's order"


def test_case_counts_only_where_names_differ_in_nothing_else():
    assert sort_classes(("a", "A", "b"), "x: A, B; y: a", "demo") == {"x": [1, 2], "y": [0]}


WORDS = st.text("abcdefgh -/'", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(WORDS, min_size=3, max_size=8, unique=True), st.data())
def test_any_table_is_read_as_it_was_written(names, data):
    cut = data.draw(st.integers(1, len(names) - 1))
    order = data.draw(st.permutations(range(len(names))))
    space = data.draw(st.sampled_from(["", " ", "  "]))
    parts = {"first": list(order[:cut]), "second one": list(order[cut:])}
    text = ";".join(
        f"{space}{coarse}{space}:" + ",".join(space + names[i] for i in fine) for coarse, fine in parts.items()
    )
    assert sort_classes(names, text, "demo") == parts


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("auto", "no known table of strata fits the classes of demo: give one, such as strata='tops: "),
        ("a: coat, shirts; b: boot", "unknown class 'shirts' in the strata of demo: did you mean 'shirt'?"),
        ("a: coat, shirt; b: boot, coat", "strata name 'coat' twice: put each class into one coarse class"),
        ("a: coat; b: boot", "strata leave out 'shirt': put each class of demo into one coarse class"),
        ("a: coat, shirt, boot", "strata have one coarse class, 'a': name two or more"),
        ("a: coat; b: shirt; c: boot", "strata have one class in each coarse class, so that none is hidden"),
        ("a: coat, shirt; a: boot", "strata name the coarse class 'a' twice"),
        ("a: coat, shirt; b: boot;", "strata must read 'coarse: fine, fine; coarse: fine', but '' does not"),
        ("a: coat,, shirt; b: boot", "but 'a: coat,, shirt' does not"),
        ("coat, shirt", "but 'coat, shirt' does not"),
        (": coat, shirt", "but ': coat, shirt' does not"),
        ("a: coat, b: shirt; c: boot", "but 'a: coat, b: shirt' does not"),
        (None, "but 'None' does not"),
        ("", "but '' does not"),
    ],
)
def test_mistakes_are_told_in_one_line(table, words):
    with pytest.raises(RddError) as caught:
        sort_classes(("coat", "shirt", "boot"), table, "demo")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_known_table_hides_something():
    for table in strata.TABLES:
        names = [fine for fines in strata._parse(table).values() for fine in fines]
        assert len(names) == len(set(names)) == 10
        assert sort_classes(names, table, "demo") == sort_classes(names, "auto", "demo")
