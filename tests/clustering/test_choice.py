"""Which groups are raised, how far and from which start, by what the trials said."""

from dataclasses import replace

import torch

from rdd_nb.clustering.choice import UNRAISED, _payer, _report, _Way, at_price
from rdd_nb.clustering.groups import Benefit, Groups, Trial


def test_a_price_that_would_raise_something_is_told():
    """Three ways: one free and too small, one that costs a third of what it brings, one that costs more than that."""
    ways = [
        Trial("mine", how, Benefit(*numbers, 0.2), True, False)
        for how, numbers in (("a little", (0.9, 0.5)), ("much", (6, -2)), ("too much", (7, -6.5)))
    ]
    assert [at_price(ways, price) for price in (0.1, 0.36, 0.38, 1)] == [None, None, ways[1], ways[1]]
    said = _report(ways, 0.1).splitlines()[0]
    assert said.startswith("Nothing is raised: ") and "at a price of at most 0.1 points" in said
    assert said.endswith(
        "At a price of 0.5 it would be mine, much, from random images of each group: +6.0 where small groups count "
        "more, -2.0 in accuracy."
    )
    assert "would be" not in _report(ways[:1], 0.1)
    assert _report(ways, 0.38).splitlines()[-2:] == [
        "| 0 to 0.25 | nothing | – | – | – | – |",
        "| 0.38 to 1 | mine | much | random images of each group | +6.0 | -2.0 |",
    ]


def test_of_ways_that_bring_the_small_as_much_the_one_that_brings_all_most():
    """The dearest brings the small 0.3 more than the next, within its error of 0.5, and the third 0.7 less."""
    ways = [
        Trial("mine", how, Benefit(*numbers), True, False)
        for how, numbers in (("1", (4.0, 1.0, 0.5)), ("0.8", (3.7, 2.0, 0.5)), ("0.6", (3.3, 2.6, 0.5)))
    ]
    assert at_price(ways, 0.1) is ways[1]
    sure = [replace(way, benefit=replace(way.benefit, error=0.2)) for way in ways]
    assert at_price(sure, 0.1) is sure[0]


def test_another_start_alone_is_taken_where_no_raising_brings_more_and_need_not_serve_the_small_first():
    start = Trial("mine", UNRAISED, Benefit(2.0, 2.5, 0.4), True, False, "medoids")
    raised = Trial("mine", "strength 1", Benefit(2.0, 2.5, 0.4), True, False, "medoids")
    assert at_price([raised], 0.1) is None, "it is not the small that it is good for"
    assert at_price([start, raised], 0.1) is start
    better = replace(raised, benefit=Benefit(5.0, 2.0, 0.4))
    assert at_price([start, better], 0.1) is better
    for weak in (Benefit(0.8, 0.9, 0.1), Benefit(2.0, 2.5, 1.2), Benefit(4.0, -1.0, 0.4)):
        assert at_price([replace(start, benefit=weak)], 0.1) is None, "a point, two errors, and nobody harmed"
    said = _report([start, raised], 0.1).splitlines()[0]
    assert said == (
        "Nothing is raised: on held-out training images no grouping brought as much as medoids of each class alone, "
        "which changed the accuracy in which small groups count more by +2.0 points, and the accuracy by +2.5. "
        "Robust matching is plain matching from there."
    )
    assert "| any | nothing | medoids of each class | +2.0 | +2.5 |" in _report([start, raised], 0.1)
    assert _report([start, better], 0.1).startswith("Raised: mine, strength 1, from medoids of each class. On held-out")


def test_the_report_names_the_class_that_pays_most():
    groups = Groups(torch.zeros(1, dtype=torch.int64), 1, "mine")
    ways = [
        _Way(groups, "", "groups", Benefit(9, 1, 1), torch.tensor(c)) for c in ([1.0, -4.2, -3], [1.0, torch.nan, -0.4])
    ]
    told = [_payer(way, ("boot", "shirt", "bag")) for way in (*ways, None)]
    assert told == [" The class that pays most, shirt, loses 4.2.", "", ""]
