"""Where a distillation starts, and how real images are drawn."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb import clustering
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.shares import group_weights, quotas, quotas_of_sets
from rdd_nb.core.errors import RddError
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import fingerprint, initial_state, sampling_weights, start_of
from tests.distillation.helpers import DATA, GROUPS, TINY, final


def test_initial_images_are_of_their_class_and_groups_are_dealt_evenly():
    for init in ("real", "medoids", "groups", "group-medoids"):
        state = initial_state(DATA, DistillConfig(init=init, ipc=4, group_power=0), GROUPS)
        real = DATA.normalised()
        found = torch.cdist(state.images.flatten(1), real.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").min(
            1
        )
        assert found.values.max() < 1e-3  # real images, all of them
        assert DATA.labels[found.indices].tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert len(found.indices.unique()) == 12
        if init in ("groups", "group-medoids"):
            assert GROUPS.ids[found.indices].view(3, 4).sum(1).tolist() == [2, 2, 2]


def test_what_the_trial_said_is_the_start_of_robust_matching_unless_another_is_asked_for():
    none = dataclasses.replace(GROUPS, learnable=torch.zeros(3, 2, dtype=torch.float64))
    said = [
        dataclasses.replace(GROUPS, start="group-medoids"),
        dataclasses.replace(none, start="medoids"),
        GROUPS,
        none,
        None,
    ]
    for objective, starts in (
        ("robust", ["group-medoids", "medoids", "groups", "real", "real"]),
        ("group", ["groups", "real", "groups", "real"]),  # FairDD's, as published
        ("erm", ["real"] * 5),
        ("density", ["real"] * 5),
    ):
        for groups, start in zip(said, starts):
            config = DistillConfig(objective=objective, ipc=4)
            assert start_of(config, groups) == start
            asked = initial_state(DATA, config.model_copy(update={"init": start}), groups)
            assert torch.equal(initial_state(DATA, config, groups).images, asked.images)
            assert start_of(config.model_copy(update={"init": "noise"}), groups) == "noise"
    told = [fingerprint(DATA, groups)["groups"] for groups in (said[0], GROUPS)]
    assert told[0].pop("start") == "group-medoids" and told[0] == told[1], "runs from before there was one stay known"
    for init in ("groups", "group-medoids"):
        with pytest.raises(RddError, match=f"init={init} spreads the first images over groups"):
            initial_state(DATA, DistillConfig(objective="erm", init=init, ipc=2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.floats(0, 1), st.data())
def test_quotas_are_the_shares_to_within_one_and_never_more_than_there_is(sizes, power, data):
    sizes = torch.tensor(sizes)
    if not sizes.sum():
        return
    total = data.draw(st.integers(1, int(sizes.sum())))
    shares = sizes.double() ** power * (sizes > 0)
    shares = shares / shares.sum()
    seed = data.draw(st.integers(0, 99))
    quota = quotas(shares, sizes, total, torch.Generator().manual_seed(seed))
    assert int(quota.sum()) == total and (quota <= sizes).all() and (quota >= 0).all()
    if (shares * total <= sizes - 1).all():  # nobody is too small: one draw, and each gets its share
        assert ((quota - shares * total).abs() < 1 + 1e-9).all()


def test_quotas_give_each_group_its_share_on_average():
    shares, sizes = torch.tensor([0.62, 0.3, 0.08], dtype=torch.float64), torch.tensor([100, 50, 20])
    drawn = torch.stack([quotas(shares, sizes, 4, torch.Generator().manual_seed(s)) for s in range(600)])
    torch.testing.assert_close(drawn.double().mean(0), 4 * shares, atol=0.06, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_quotas_of_many_sets_at_once_are_those_of_each_class_alone(classes, groups, most, seed):
    """To the number where no group is too small; else, too, all is given and nobody gives what it has not."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(0, 5, (classes, groups), generator=draw) * (torch.rand(classes, 1, generator=draw) < 0.8)
    shares = torch.rand(classes, groups, generator=draw, dtype=torch.float64) * (sizes > 0)
    shares /= shares.sum(1, keepdim=True).clamp_min(1e-12)
    totals = sizes.sum(1).clamp_max(most)
    for many in (sizes, 100 * sizes):
        draws, again = ([torch.Generator().manual_seed(100 * seed + s) for s in range(3)] for _ in range(2))
        drawn = quotas_of_sets(shares, many, totals, draws)
        assert torch.equal(drawn.sum(2), totals.expand(3, -1)) and (drawn <= many).all() and (drawn >= 0).all()
    for quota, draw in zip(drawn, again):
        each = zip(shares, many, totals.tolist())
        assert torch.equal(quota, torch.stack([quotas(share, size, total, draw) for share, size, total in each]))


def test_sampling_weights_say_what_each_objective_draws():
    plain = sampling_weights(DATA, DistillConfig(objective="erm"), GROUPS)
    assert torch.equal(plain, torch.ones(len(DATA)))
    for power in (0.0, 0.5, 1.0):
        drawn = sampling_weights(DATA, DistillConfig(objective="robust", group_power=power), GROUPS)
        assert torch.equal(drawn, group_weights(GROUPS, DATA.labels, DATA.num_classes, power))
    assert sampling_weights(DATA, DistillConfig(objective="density")).std() > 0


def test_power_one_draws_and_weighs_as_plain_matching_does():
    """With the mean over groups alone, a tail of 1 and groups at their natural sizes, R2 is plain matching."""
    shared = {**TINY, "batch_real": 30, "init": "real", "group_power": 1.0, "max_weight": 0, "tail": 1.0}
    robust = final(DistillConfig(objective="robust", **shared))
    raised = final(DistillConfig(objective="robust", **{**shared, "group_power": 0.0}))
    plain = final(DistillConfig(objective="erm", **shared))
    torch.testing.assert_close(robust, plain, atol=1e-3, rtol=0)  # each batch is the whole class, in some order
    assert (raised - plain).norm() > 1


def test_init_auto_follows_the_objective():
    robust, plain = (DistillConfig(objective=o, ipc=4) for o in ("robust", "erm"))
    assert torch.equal(
        initial_state(DATA, robust, GROUPS).images,
        initial_state(DATA, robust.model_copy(update={"init": "groups"}), GROUPS).images,
    )
    assert torch.equal(
        initial_state(DATA, plain, GROUPS).images,
        initial_state(DATA, plain.model_copy(update={"init": "real"}), GROUPS).images,
    )


def test_what_does_not_fit_the_data_says_so():
    with pytest.raises(RddError, match="ipc=31 is more than class 'a' has"):
        final(DistillConfig(**{**TINY, "ipc": 31}))
    with pytest.raises(RddError, match="no groups were given"):
        final(DistillConfig(objective="group", **TINY), None)
    with pytest.raises(RddError, match="init=groups"):
        final(DistillConfig(init="groups", **TINY), None)
    with pytest.raises(RddError, match="groups name 5 samples"):
        final(DistillConfig(**TINY), Groups(torch.zeros(5, dtype=torch.int64), 1, "x"))
    with pytest.raises(RddError, match="names no groups"):
        clustering.known_groups(DATA)


def test_a_run_is_known_by_its_groups_and_by_how_far_they_are_raised():
    data, groups = DATA, Groups(DATA.labels * 0, 1, "one")
    ones = torch.ones(data.num_classes, groups.num_groups, dtype=torch.float64)
    told = [fingerprint(data, g) for g in (None, groups, dataclasses.replace(groups, learnable=ones))]
    assert told[0]["groups"] is None and told[1]["digest"] == told[2]["digest"]
    assert told[1]["groups"]["digest"] != told[2]["groups"]["digest"]
    assert told[2] == fingerprint(data, dataclasses.replace(groups, learnable=ones.clone()))
