"""Which groups are raised, and how far, by what the trials said."""

import torch

from rdd_nb.clustering.choice import _payer, _report, _Way, at_price
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
        "At a price of 0.5 it would be mine, much: +6.0 where small groups count more, -2.0 in accuracy."
    )
    assert "would be" not in _report(ways[:1], 0.1)
    assert _report(ways, 0.38).splitlines()[-2:] == [
        "| 0 to 0.25 | nothing | – | – | – |",
        "| 0.38 to 1 | mine | much | +6.0 | -2.0 |",
    ]


def test_the_report_names_the_class_that_pays_most():
    groups = Groups(torch.zeros(1, dtype=torch.int64), 1, "mine")
    ways = [_Way(groups, "", Benefit(9, 1, 1), torch.tensor(c)) for c in ([1.0, -4.2, -3], [1.0, torch.nan, -0.4])]
    told = [_payer(way, ("boot", "shirt", "bag")) for way in (*ways, None)]
    assert told == [" The class that pays most, shirt, loses 4.2.", "", ""]
