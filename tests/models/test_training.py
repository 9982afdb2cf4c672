"""The one trainer, written out by hand; all networks at once, side by side, in turn; group DRO."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset, statistics
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation.predictions import evaluate, predict
from rdd_nb.models import augmentation, descent, networks
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import _fit, balanced_order, train
from tests.evaluation.helpers import SMALL, as_synthetic, parameters, quadrants, same, untrained
from tests.helpers import rng
from tests.models.test_descent import watch_rates


def by_hand(data, protocol, seed=0, number=0):
    """Stochastic gradient descent with momentum and weight decay, written out; the learning rate by the reference."""
    net = networks.build(
        "convnet",
        data.shape,
        data.num_classes,
        width=protocol.width,
        depth=protocol.depth,
        seed=seed_of(seed, "evaluation", number),
    )
    draw = stream(seed, "evaluation", number, "batches")
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    images = data.normalised() if isinstance(data, ImageDataset) else data.images
    for epoch in range(protocol.epochs):
        rate = protocol.lr if epoch < protocol.epochs // 2 + 1 else protocol.lr / 10
        if epoch == protocol.epochs // 2 + 1:  # the reference makes a new optimiser here
            velocity = [torch.zeros_like(p) for p in net.parameters()]
        for part in torch.randperm(len(images), generator=draw).split(protocol.batch):
            x = augmentation.draw(protocol.augment, len(part), draw)(images[part])
            loss = F.cross_entropy(net(x), data.labels[part])
            for p, v, g in zip(net.parameters(), velocity, torch.autograd.grad(loss, list(net.parameters()))):
                v.mul_(protocol.momentum).add_(g + protocol.weight_decay * p.detach())
                p.data.sub_(rate * v)
    return net


@pytest.mark.parametrize(("epochs", "slow_from"), [(1, 1), (2, 2), (5, 3), (6, 4)])
def test_the_learning_rate_is_divided_by_ten_once_half_way(monkeypatch, epochs, slow_from):
    used = watch_rates(monkeypatch)
    train(as_synthetic(quadrants(12)), Protocol(epochs=epochs, lr=0.5, width=2, depth=1, batch=6), nets=1, device="cpu")
    assert used == pytest.approx([0.5 if e < slow_from else 0.05 for e in range(epochs) for _ in range(2)])


@pytest.mark.parametrize("protocol", [SMALL, Protocol(5, 0.1, 0.8, 0.05, 7, "color_flip_crop", width=4, depth=2)])
def test_training_is_descent_with_momentum_and_weight_decay(protocol):
    data = quadrants(18)
    for number, net in enumerate(train(data, protocol, nets=2, seed=3, device="cpu")):
        expected = parameters(by_hand(data, protocol, 3, number))
        torch.testing.assert_close(parameters(net), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["none", "color_crop_cutout_flip_scale_rotate"])
@pytest.mark.parametrize("made", ["images", "distilled"])
def test_all_nets_at_once_become_the_same_as_one_after_another(strategy, made):
    data = quadrants(20)
    if made == "distilled":
        data = as_synthetic(data.subset(torch.arange(18)))
    protocol = Protocol(5, 0.05, 0.9, 0.02, batch=8, augment=strategy, width=4, depth=2)  # the last batch is smaller
    apart = train(data, protocol, nets=3, seed=1, device="cpu")
    together = [
        networks.build("convnet", data.shape, 3, width=4, depth=2, seed=seed_of(1, "evaluation", i)) for i in range(3)
    ]
    start = [parameters(net) for net in together]
    seen = []
    _fit(together, range(3), data, protocol, 1, torch.device("cpu"), lambda *now: seen.append(now))
    for net, expected, before in zip(together, apart, start):
        torch.testing.assert_close(parameters(net), parameters(expected), rtol=1e-3, atol=2e-4)
        assert float((parameters(net) - before).abs().max()) > 0.01  # far more than they may differ
    assert seen == [(3 * epoch, 15) for epoch in range(1, 6)]


def test_a_net_depends_on_the_seed_and_its_number_alone():
    data = as_synthetic(quadrants(12))
    three, five = (train(data, SMALL, nets=n, seed=7, device="cpu") for n in (3, 5))
    assert all(same(a, b) for a, b in zip(three, five))
    assert not any(same(a, b) for i, a in enumerate(five) for b in five[:i])
    assert not same(three[0], train(data, SMALL, nets=1, seed=8, device="cpu")[0])


def test_training_ignores_and_keeps_the_global_random_state():
    data = as_synthetic(quadrants(12))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(data, SMALL, nets=1, device="cpu")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(first[0], train(data, SMALL, nets=1, device="cpu")[0])


def test_real_images_and_the_same_ones_distilled_give_the_same_nets():
    data, test = quadrants(12), quadrants(30, seed=1)
    a, b = (evaluate(d, test, nets=2, protocol=SMALL, device="cpu") for d in (data, as_synthetic(data)))
    np.testing.assert_allclose(a.losses, b.losses, rtol=1e-4, atol=1e-5)
    assert (a.predictions == b.predictions).all()


def test_a_set_of_several_formations_is_trained_on_decoded():
    data = quadrants(12)
    names = (data.class_names, data.mean, data.std)
    stored = SyntheticSet(data.normalised(torch.arange(6)), torch.arange(6) // 2, *names, ipc=2, formations=2)
    first, second = (train(made, SMALL, nets=2, device="cpu") for made in (stored, stored.decoded))
    assert all(same(a, b) for a, b in zip(first, second))
    assert not same(first[0], train(dataclasses.replace(stored, formations=1), SMALL, nets=1, device="cpu")[0])


def test_the_nets_come_back_in_evaluation_mode_with_the_network_asked_for():
    protocol = Protocol(epochs=1, network="convnet", width=6, depth=2, norm="batch")
    (net,) = train(quadrants(12), protocol, nets=1, device="cpu")
    assert not net.training and len(net.body) == 2 and net.body[0][0].out_channels == 6
    assert any(isinstance(m, nn.BatchNorm2d) and not m.training for m in net.modules())


def test_progress_counts_the_steps_of_every_net_pass_by_pass():
    seen = []
    train(quadrants(6), SMALL, nets=3, device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 24) for done in range(2, 25, 2)]  # two batches of at most 5


def test_how_many_images_go_through_a_net_together_depends_on_nothing_but_the_net(monkeypatch):
    """Neither on the threads nor on how many nets there are."""
    data, before, shown = as_synthetic(quadrants(30)), torch.get_num_threads(), []
    protocol = Protocol(epochs=2, width=8, depth=1, batch=9)
    net = networks.build("convnet", data.shape, 3, width=8, depth=1)
    monkeypatch.setattr(descent, "HELD_BYTES", 5 * descent.HELD_BYTES // descent.images_at_once(net, data.shape))
    forward = networks.Network.forward
    monkeypatch.setattr(networks.Network, "forward", lambda net, x: (shown.append(len(x)), forward(net, x))[1])
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            shown.clear()
            train(data, protocol, nets=2 * threads, device="cpu")
            assert set(shown) == {1, 3, 4, 5}  # batches of 9 and of 3; 1 when it is seen what an image takes
    finally:
        torch.set_num_threads(before)


def test_nets_side_by_side_are_those_trained_in_turn_to_the_bit():
    data, before = as_synthetic(quadrants(30)), torch.get_num_threads()
    protocol, found, seen = Protocol(epochs=6, width=8, depth=1, batch=9), [], []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            tell = (lambda *now: seen.append(now)) if threads > 1 else None
            found.append(train(data, protocol, nets=4, seed=2, device="cpu", progress=tell))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(same(a, b) for a, b in zip(*found))
    assert seen == [(done, 96) for done in range(4, 97, 4)], "counted over all nets, whoever is first"


def wild(epochs):
    return Protocol(epochs=epochs, lr=1e38, momentum=0.0, weight_decay=1e3, width=4, depth=1)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_diverging_net_is_an_error_even_in_its_last_step(epochs):
    with pytest.raises(RddError, match=r"diverged.*lower the protocol's lr"):
        evaluate(quadrants(6), quadrants(9), nets=1, protocol=wild(epochs), device="cpu")


def test_the_error_says_which_net_diverged_and_when():
    with pytest.raises(RddError, match="net 0 diverged in epoch 2 "):
        train(quadrants(6), wild(3), nets=1, device="cpu")
    nets = untrained(2)
    with torch.no_grad():
        nets[1].classifier.weight.fill_(torch.nan)
    with pytest.raises(RddError, match="net 1 diverged in epoch 1 "):
        _fit(nets, range(2), quadrants(6), SMALL, 0, torch.device("cpu"), lambda *_: None)
    with pytest.raises(RddError, match=r"net 1 .*not finite"):
        predict(nets, quadrants(6))


@pytest.mark.parametrize(("steps", "slow_from"), [(1, 1), (2, 2), (5, 3), (6, 4)])
def test_a_number_of_steps_replaces_the_epochs(monkeypatch, steps, slow_from):
    used = watch_rates(monkeypatch)
    seen = []
    protocol = Protocol(lr=0.5, width=2, depth=1, batch=8, steps=steps)
    train(quadrants(12), protocol, nets=1, device="cpu", progress=lambda *now: seen.append(now))
    assert used == pytest.approx([0.5 if s < slow_from else 0.05 for s in range(steps)])
    assert seen[-1] == (steps, steps)


def test_no_nets_is_an_error():
    with pytest.raises(RddError, match="nets=0"):
        train(quadrants(6), SMALL, nets=0)


DRO = Protocol(epochs=3, lr=0.05, width=4, depth=1, batch=7, objective="group-dro", group_step=0.5)


def test_group_dro_is_the_papers_algorithm_onbalanced_order_batches():
    """Written out with Python's own exponentials: q moves by the losses of the groups first, then the net by q."""
    data = quadrants(20, groups=True)
    pairs = [(int(c), int(g)) for c, g in zip(data.labels, data.groups)]
    known = sorted(set(pairs))
    cells = torch.tensor([known.index(pair) for pair in pairs])
    for number, trained in enumerate(train(data, DRO, nets=2, seed=3, device="cpu")):
        net = networks.build("convnet", data.shape, 3, width=4, depth=1, seed=seed_of(3, "evaluation", number))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        draw, q = stream(3, "evaluation", number, "batches"), np.full(len(known), 1 / len(known))
        for epoch in range(3):
            if epoch == 2:
                optimiser = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9, weight_decay=5e-4)
            for part in balanced_order(cells, draw).split(7):
                losses = F.cross_entropy(net(data.normalised(part)), data.labels[part], reduction="none")
                means = {k: losses[cells[part] == k].mean() for k in sorted(set(cells[part].tolist()))}
                held = sum(q[k] for k in means)
                moved = {k: q[k] * np.exp(0.5 * means[k].item()) for k in means}
                for k in means:
                    q[k] = held * moved[k] / sum(moved.values())
                optimiser.zero_grad()
                sum(q[k] / held * means[k] for k in means).backward()
                optimiser.step()
        torch.testing.assert_close(parameters(trained), parameters(net), rtol=1e-4, atol=1e-5)
        assert q.max() / q.min() > 1.2, "the weights have moved"


def test_batches_for_group_dro_hold_every_group_alike():
    cells = torch.tensor([0] * 50 + [1] * 7 + [2] + [3] * 20)
    order = balanced_order(cells, rng())
    assert order.shape == (78,), "a pass is as long as a plain one"
    met = cells[order]
    for start in range(0, 76, 4):
        assert sorted(met[start : start + 4].tolist()) == [0, 1, 2, 3], "round after round of all"
    assert (order[met == 2] == 57).all() and len(order[met == 0].unique()) > 10
    again = torch.cat([balanced_order(cells, rng(s)) for s in range(200)])
    share = torch.bincount(again, minlength=78)[50:57] / (again >= 50).logical_and(again < 57).sum()
    assert float((share - 1 / 7).abs().max()) < 0.02, "each member alike"


def test_group_dro_of_all_nets_at_once_is_that_of_one_after_another():
    data = quadrants(20, groups=True)
    apart = train(data, DRO, nets=2, seed=1, device="cpu")
    together = [
        networks.build("convnet", data.shape, 3, width=4, depth=1, seed=seed_of(1, "evaluation", i)) for i in range(2)
    ]
    _fit(together, range(2), data, DRO, 1, torch.device("cpu"), lambda *now: None)
    for net, expected in zip(together, apart):
        torch.testing.assert_close(parameters(net), parameters(expected), rtol=1e-3, atol=2e-4)


def test_group_dro_serves_a_group_that_plain_training_gives_up():
    """A shortcut (the brightness of a corner) holds for 95 % of each class and misleads for the rest."""
    labels, odd = torch.arange(240) % 2, torch.arange(240) // 2 % 20 == 0
    pixels = 20 + 60 * torch.rand(240, 1, 8, 8, generator=rng())
    pixels[labels == 1, :, :4, :4] += 15  # the rule, faint
    pixels[(labels == 1) ^ odd, :, 4:, 4:] += 150  # the shortcut, plain to see
    data = ImageDataset(
        *(pixels.to(torch.uint8), labels, ("a", "b"), *statistics(pixels.to(torch.uint8))),
        groups=odd.long(),
        group_names=("usual", "odd"),
    )
    settings = {"epochs": 10, "lr": 0.02, "width": 8, "depth": 1, "batch": 32}
    worst = {}
    for objective in ("erm", "group-dro"):
        protocol = Protocol(**settings, objective=objective)
        table = evaluate(data, data, nets=1, protocol=protocol, device="cpu").table("group")
        worst[objective] = float((table["correct"] / table["n"]).min())
    assert worst["group-dro"] > worst["erm"] + 0.3


def test_group_dro_needs_names_of_groups():
    for data, what in ((as_synthetic(quadrants(12)), "a distilled set"), (quadrants(12), "dataset 'quadrants'")):
        with pytest.raises(RddError, match=f"objective=group-dro needs groups, and {what} names none"):
            train(data, DRO, nets=1, device="cpu")
    with pytest.raises(RddError, match="did you mean 'group-dro'"):
        Protocol(objective="group_dro")
    with pytest.raises(RddError, match="group_step"):
        Protocol(group_step=-1.0)
