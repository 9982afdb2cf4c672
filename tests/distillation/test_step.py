"""One iteration: what reaches the images."""

import pytest
import torch

from rdd_nb.clustering.coresets import coreset, select
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError
from rdd_nb.data.formations import encode
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import initial_state
from rdd_nb.distillation.loop import distill
from rdd_nb.distillation.sampling import Sampler
from rdd_nb.distillation.step import steps
from tests.distillation.helpers import DATA, GROUPS, TINY, final
from tests.helpers import one_line


@pytest.mark.parametrize("matching", ["distribution", "gradient"])
@pytest.mark.parametrize("objective", ["erm", "robust", "group", "density"])
def test_every_objective_moves_the_images_and_repeats_to_the_bit(matching, objective):
    config = DistillConfig(matching=matching, objective=objective, **TINY)
    first = final(config)
    assert torch.equal(first, final(config))
    assert not torch.equal(first, initial_state(DATA, config, GROUPS).images)
    assert not torch.equal(first, final(config.model_copy(update={"seed": 1})))


FORMED = {**TINY, "formations": 2}
SHORT_TRAJECTORY = {"num_experts": 1, "expert_epochs": 2, "match_epochs": 1, "student_steps": 3, "student_batch": 10}


@pytest.mark.parametrize(
    ("matching", "settings"),
    [
        *((matching, {}) for matching in ("distribution", "gradient", "trajectory")),
        *((matching, {"objective": "robust"}) for matching in ("distribution", "gradient", "trajectory")),
        *((matching, {"outer": 2, "inner_data": "synthetic"}) for matching in ("distribution", "gradient")),
    ],
)
def test_every_matching_takes_several_formations_an_image(tmp_path, matching, settings):
    more = SHORT_TRAJECTORY if matching == "trajectory" else {}
    config = DistillConfig(matching=matching, **{**FORMED, "objective": "erm", **more, **settings})
    run = distill(DATA, config, GROUPS, out=tmp_path / "a", progress=False, device="cpu")
    made = run.synthetic
    assert made.images.shape == (3 * 2, 1, 8, 8) and made.decoded.images.shape == (3 * 8, 1, 8, 8)
    start = initial_state(DATA, config, GROUPS).images
    assert all(not torch.equal(a, b) for a, b in zip(made.images, start)), "each stored image moves"
    again = distill(DATA, config, GROUPS, out=tmp_path / "b", progress=False, device="cpu").synthetic
    assert torch.equal(made.images, again.images) and (again.formations, again.ipc) == (2, 2)
    first = next(steps(DATA, config, GROUPS, device="cpu"))
    assert torch.equal(list(steps(DATA, config, GROUPS, first, device="cpu"))[-1].images, made.images)


def test_formations_start_from_as_many_real_images_as_they_hold():
    config = DistillConfig(**{**FORMED, "objective": "erm"})
    chosen = select(DATA, "random", 8, seed=0)
    assert torch.equal(initial_state(DATA, config).images, encode(DATA.normalised(chosen), 2))
    assert torch.equal(coreset(DATA, "random", 2, seed=0, formations=2).images, initial_state(DATA, config).images)
    assert len(coreset(DATA, "balanced", 2, groups=GROUPS, seed=0, formations=2).decoded.images) == 24


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"ipc": 8}, "ipc=32 is more than class"), ({"formations": 3}, "formations=3 makes parts of 2 × 2 pixels")],
)
def test_formations_that_do_not_fit_the_data_are_refused(tmp_path, settings, says):
    config = DistillConfig(**{**FORMED, **settings})
    for attempt in (
        lambda: distill(DATA, config, GROUPS, out=tmp_path / "run", progress=False),
        lambda: coreset(DATA, "random", config.ipc, formations=config.formations),
    ):
        with pytest.raises(RddError) as caught:
            attempt()
        assert says in one_line(caught)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("matching", ["distribution", "gradient"])
def test_the_tail_reaches_the_images(matching):
    """The test the released code would fail: its robust loss left the gradient untouched."""
    low, high = (final(DistillConfig(matching=matching, tail=t, **TINY)) for t in (0.1, 1.0))
    assert not torch.equal(low, high)


def test_a_robust_reference_reaches_the_images_and_a_tail_of_one_without_max_does_too():
    common = {**TINY, "objective": "erm", "outer": 3, "inner": 1, "batch_net": 16}
    plain = final(DistillConfig(reference="erm", **common))
    robust = final(DistillConfig(reference="robust", tail=0.2, **common))
    other = final(DistillConfig(reference="robust", tail=1.0, **common))
    assert not torch.equal(plain, robust)
    assert not torch.equal(robust, other)


def test_without_groups_the_robust_objective_uses_the_cells_of_the_synthetic_set():
    for matching in ("distribution", "gradient"):
        config = DistillConfig(matching=matching, tail=0.3, init="real", **TINY)
        assert not torch.equal(final(config, None), final(config.model_copy(update={"objective": "erm"}), None))


def test_one_group_and_a_whole_tail_are_plain_matching():
    """With nothing to be robust against, the robust objective is the plain one."""
    one = Groups(torch.zeros(len(DATA), dtype=torch.int64), 1, "one")
    plain = final(DistillConfig(objective="erm", init="real", **TINY), one)
    for objective in ("robust", "group"):
        robust = final(DistillConfig(objective=objective, tail=1.0, init="real", **TINY), one)
        torch.testing.assert_close(robust, plain, atol=1e-4, rtol=1e-4)


def test_the_matching_loss_falls():
    config = DistillConfig(
        objective="erm",
        lr_img=3.0,
        **{**TINY, "iterations": 150, "batch_real": 20, "ipc": 5},
        init="noise",
        augment="none",
    )
    history = distill(DATA, config, progress=False, device="cpu").history
    assert history.loss[-10:].mean() < 0.5 * history.loss[:10].mean()
    assert history.iteration.tolist() == list(range(1, 151))


def test_groups_decide_how_much_of_the_minority_is_matched():
    """Mass of the rare group in what is drawn: its share for erm, one of two groups at power 0, between them at 0.3."""
    from rdd_nb.distillation.step import _Problem

    rare = GROUPS.ids.bool()
    raised = 1 / (1 + 4**0.3)  # a fifth, to the power 0.3
    for objective, power, share in (("erm", 0, 0.2), ("group", 0, 0.5), ("robust", 0, 0.5), ("robust", 0.3, raised)):
        config = DistillConfig(objective=objective, group_power=power, **TINY)
        problem = _Problem(DATA, config, GROUPS, torch.device("cpu"))
        drawn = torch.cat([problem.sampler.draw(10, torch.Generator().manual_seed(s)).flatten() for s in range(200)])
        assert abs(float(rare[drawn].float().mean()) - share) < 0.02


def test_the_sampler_stays_in_its_class_and_follows_the_probabilities():
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    mass = torch.tensor([1.0, 1.0, 2.0, 0.0, 3.0, 0.0, 1.0])
    sampler = Sampler(
        labels, 2, mass, torch.randperm(7, generator=torch.Generator().manual_seed(1)), torch.device("cpu")
    )
    drawn = torch.stack([sampler.draw(4, torch.Generator().manual_seed(s)) for s in range(500)])
    assert all((labels[drawn[:, c]] == c).all() for c in (0, 1))
    share = torch.bincount(drawn[:, 0].flatten(), minlength=7) / drawn[:, 0].numel()
    torch.testing.assert_close(share, torch.tensor([0.25, 0, 0.5, 0, 0, 0, 0.25]), atol=0.02, rtol=0)
    share = torch.bincount(drawn[:, 1].flatten(), minlength=7) / drawn[:, 1].numel()
    torch.testing.assert_close(share, torch.tensor([0, 0.25, 0, 0, 0.75, 0, 0]), atol=0.02, rtol=0)


def test_a_state_can_be_taken_up_anywhere():
    config = DistillConfig(objective="group", **TINY)
    states = list(steps(DATA, config, GROUPS, device="cpu"))
    again = list(steps(DATA, config, GROUPS, states[1], device="cpu"))
    assert torch.equal(states[-1].images, again[-1].images)
    assert torch.equal(states[-1].momentum, again[-1].momentum)


@pytest.mark.parametrize("matched", ["erm", "robust"])
def test_real_images_in_parts_or_all_together(monkeypatch, matched):
    """What fits the cache goes through the network together; the images that come out are the same up to rounding."""
    import rdd_nb.distillation.step as module

    config = DistillConfig(objective=matched, **TINY)
    whole = final(config)
    monkeypatch.setitem(module.MAP_BYTES, "cpu", 5 * 4 * 8 * 8 * 4)  # five images of 8 pixels at width 4
    assert module._at_a_time(config, torch.zeros(1, 1, 8, 8)) == 5
    torch.testing.assert_close(final(config), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "objective, groups",
    [("erm", None), ("robust", None), ("robust", GROUPS), ("group", GROUPS)],
    ids=["erm", "cells", "robust", "group"],
)
def test_means_are_matched_of_some_classes_at_a_time_where_there_are_many(monkeypatch, objective, groups):
    import rdd_nb.distillation.step as module

    config, seen = DistillConfig(objective=objective, outer=2, **TINY), []
    whole, one = final(config, groups), module.matching.distribution_loss
    monkeypatch.setattr(module, "images_at_once", lambda *a: 2 * config.ipc)  # what a network may hold
    monkeypatch.setattr(module.matching, "distribution_loss", lambda *a: seen.append(len(a[0])) or one(*a))
    torch.testing.assert_close(final(config, groups), whole, rtol=1e-4, atol=1e-5)
    assert seen == [2, 1] * (config.outer * config.num_iterations)
    seen.clear()
    final(config.model_copy(update={"norm": "batch"}), groups)
    assert set(seen) == {3}, "BatchNorm's statistics are those of all classes"


@pytest.mark.parametrize(
    "objective, groups",
    [("erm", None), ("robust", None), ("robust", GROUPS), ("group", GROUPS)],
    ids=["erm", "cells", "robust", "group"],
)
def test_classes_together_or_one_after_another(monkeypatch, objective, groups):
    """What a card does, on the CPU: two of the three classes at a time, then the third."""
    import rdd_nb.distillation.step as module

    config = DistillConfig(objective=objective, matching="gradient", outer=2, **TINY)
    apart, seen = final(config, groups), []
    monkeypatch.setitem(module.GRAPH_BYTES, "cpu", 2 * config.batch_real * config.width * 8 * 8 * 4)
    many = module.matching.gradient_losses
    monkeypatch.setattr(module.matching, "gradient_losses", lambda *a: seen.append(a[3].tolist()) or many(*a))
    torch.testing.assert_close(final(config, groups), apart, rtol=1e-3, atol=1e-4)
    assert seen == [[0, 1]] * (config.outer * config.num_iterations)
    seen.clear()
    final(config.model_copy(update={"norm": "batch", "iterations": 1}), groups)
    assert not seen, "running statistics want one class after another"
