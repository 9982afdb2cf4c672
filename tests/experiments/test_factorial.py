import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.experiments.study import factorial


def study_table(seeds=(0, 1), nets=2):
    """Every run has 20 majority and 10 minority images; the counts say which run it is."""
    rows = []
    methods = ["plain", *(f"robust tail={t:g} ipc={i}" for t in (0.2, 1.0) for i in (1, 10))]
    for (k, method), seed, net in itertools.product(enumerate(methods), seeds, range(nets)):
        for group, n, right in (("on", 20, 10 + k + seed + net), ("off", 10, k + seed)):
            rows.append(["s", "coloured", method, seed, net, "minority", group, n, right])
        rows.append(["s", "coloured", method, seed, net, "all", "all", 30, 0])
    columns = ["study", "scenario", "method", "seed", "net", "partition", "group", "n", "correct"]
    return pd.DataFrame(rows, columns=columns)


def test_outcomes_have_a_row_a_net_with_its_setting_and_both_sides():
    runs = factorial.outcomes(study_table(), share=0.1)
    assert list(runs.columns) == ["way", "tail", "ipc", "seed", "net", "majority", "minority", "mean", "worst"]
    assert len(runs) == 5 * 2 * 2
    (plain,) = runs[(runs["way"] == "plain") & (runs["seed"] == 1) & (runs["net"] == 1)].to_dict("records")
    assert np.isnan(plain["tail"]) and np.isnan(plain["ipc"])
    assert (plain["majority"], plain["minority"], plain["worst"]) == (0.6, 0.1, 0.1)
    assert plain["mean"] == pytest.approx(0.9 * 0.6 + 0.1 * 0.1)
    last = runs[(runs["way"] == "robust") & (runs["tail"] == 1) & (runs["ipc"] == 10)]
    assert last["minority"].tolist() == [0.4, 0.4, 0.5, 0.5]


@pytest.mark.parametrize(
    "table, share, match",
    [
        (study_table(), 1.0, "share=1.0 must lie between"),
        (pd.concat([study_table(), study_table().assign(scenario="none")]), 0.1, "2 scenarios"),
        (study_table()[lambda t: t["partition"] == "all"], 0.1, "0 sides"),
    ],
)
def test_tables_without_two_sides_of_one_scenario_are_refused(table, share, match):
    with pytest.raises(RddError, match=match):
        factorial.outcomes(table, share)


def robust(**options):
    runs = factorial.outcomes(study_table(**options), 0.1)
    return runs[runs["way"] == "robust"]


def test_a_grid_has_every_run_in_its_place():
    runs = robust().sample(frac=1, random_state=0)
    full = factorial.grid(runs, ["ipc", "tail"], "minority")
    assert full.levels == {"ipc": (1, 10), "tail": (0.2, 1.0)} and full.seeds == (0, 1)
    assert full.values.shape == (2, 2, 2, 2)
    for i, t, seed in itertools.product((0, 1), repeat=3):
        assert full.by_seed[i, t, seed] == pytest.approx((1 + 2 * t + i + seed) / 10)
    assert full.names[1] == {"ipc": 1, "tail": 1.0}
    assert np.array_equal(full.flat[1], full.values[0, 1])


def test_a_grid_with_holes_or_doubles_is_refused():
    runs = robust()
    with pytest.raises(RddError, match="2 of 16 combinations"):
        factorial.grid(runs.iloc[2:], ["ipc", "tail"], "mean")
    with pytest.raises(RddError, match="twice"):
        factorial.grid(runs, ["ipc"], "mean")
    with pytest.raises(RddError, match="did you mean 'minority'"):
        factorial.grid(runs, ["ipc", "tail"], "minorty")


def test_seeds_drop_out_of_a_difference_of_differences():
    draw = np.random.default_rng(0)
    rows = [
        (s, net, a, b, 10 * s + a * s + b + a * b * (2 + s) + noise)
        for s, a, b in itertools.product((1, 2, 3), (0, 1), (0.2, 1.0))
        for net, noise in enumerate(draw.permutation([-1, 0, 1]))
    ]
    table = pd.DataFrame(rows, columns=["seed", "net", "a", "b", "y"])
    found = factorial.difference_of_differences(table, "a", "b", "y")
    assert found.index.tolist() == [1, 2, 3]
    assert np.allclose(found, 0.8 * (2 + np.array([1, 2, 3])))
    assert factorial.difference_of_differences(table.iloc[3:], "a", "b", "y").index.tolist() == [2, 3]
    with pytest.raises(RddError, match="b has 1 levels"):
        factorial.difference_of_differences(table[table["b"] == 1], "a", "b", "y")


def test_components_are_found_again_in_simulated_data():
    draw, sizes = np.random.default_rng(1), (30, 500, 4)
    sd = {"setting": 3.0, "seed": 2.0, "start": 1.5, "pairing": 1.0, "net": 0.5}
    shapes = ((sizes[0], 1, 1), (1, sizes[1], 1), (1, *sizes[1:]), (*sizes[:2], 1), sizes)
    drawn = {name: draw.normal(0, s, shape) for (name, s), shape in zip(sd.items(), shapes)}
    values = sum(drawn.values())
    found = factorial.components(values)
    for name, effects in drawn.items():
        assert getattr(found, name) == pytest.approx(effects.var(ddof=1), rel=0.1), name
    pairs = itertools.combinations(values.mean(2), 2)
    spread = np.mean([(a - b).var(ddof=1) for a, b in pairs])
    assert found.difference(1, 4) == pytest.approx(spread), "the mean over all pairs is the same number"
    assert found.difference(10, 4) == pytest.approx(spread / 10)


def test_components_below_zero_are_zero_and_single_replicates_are_refused():
    alike = np.tile([[[0.0, 1.0]]], (3, 3, 1))
    assert factorial.components(alike) == (0, 0, 0.5, 0, 0), "starts that differ, and nothing else"
    with pytest.raises(RddError, match="at least two of each"):
        factorial.components(np.zeros((3, 3, 1)))


points = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12)


@given(points)
def test_a_front_is_what_the_definition_says(rows):
    on = factorial.front(rows)

    def dominates(p, q):
        return all(a >= b for a, b in zip(p, q)) and any(a > b for a, b in zip(p, q))

    assert on.tolist() == [not any(dominates(q, p) for q in rows) for p in rows]
    assert on.any()


def test_fronts_of_many_draws_at_once_and_points_that_were_not_measured():
    draws = np.random.default_rng(0).normal(size=(5, 7, 2))
    assert np.array_equal(factorial.front(draws), [factorial.front(d) for d in draws])
    assert factorial.front([[1, np.nan], [0, 0]]).tolist() == [False, True]


def test_the_front_of_noise_has_as_many_points_as_the_harmonic_number():
    sizes = factorial.front(np.random.default_rng(0).normal(size=(2000, 24, 2))).sum(1)
    assert sizes.mean() == pytest.approx((1 / np.arange(1, 25)).sum(), abs=0.15)


def test_a_winner_among_equals_claims_what_luck_gave():
    draw = np.random.default_rng(0)
    found = [factorial.chosen(draw.normal(0, 1, (10, 6)), 2) for _ in range(300)]
    claimed, honest = (np.mean([f[name] for f in found]) for name in ("claimed", "honest"))
    assert claimed == pytest.approx(1.539 / np.sqrt(2), abs=0.05), "the expected maximum of ten normals"
    assert abs(honest) < 0.05


def test_a_winner_that_is_better_by_far_holds_what_it_claims():
    found = factorial.chosen([[0.9, 0.8, 1.0], [0.1, 0.2, 0.1]], 2)
    assert found["claimed"] == pytest.approx(0.9) == found["honest"] == found["reachable"]
    for count in (0, 3):
        with pytest.raises(RddError, match=f"count is {count} of 3"):
            factorial.chosen(np.zeros((2, 3)), count)
