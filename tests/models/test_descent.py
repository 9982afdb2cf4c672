"""Stochastic gradient descent, also in parts, and how many images it holds at once."""

import gc

import pytest
import torch
import torch.nn.functional as F

from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import load_or_train_experts
from rdd_nb.models import descent, networks
from rdd_nb.models.descent import HELD_BYTES, SGD, images_at_once, loss_in_parts
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import _fit, train
from tests.evaluation.helpers import parameters, quadrants
from tests.helpers import rng


def watch_rates(monkeypatch):
    used = []

    class Watched(SGD):
        def step(self):
            used.append(self.lr)
            super().step()

    monkeypatch.setattr(descent, "SGD", Watched)
    return used


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_a_step_is_torchs_own_to_the_bit_and_needs_nothing_of_it(monkeypatch, momentum, decay):
    """With momentum begun anew, a schedule, and a parameter that has no gradient at first."""
    steps, draw, options = 12, rng(1), {"momentum": momentum, "weight_decay": decay}
    targets = torch.randn(steps, 7, generator=draw)
    start = [torch.randn(7, generator=draw), torch.randn(3, 2, generator=draw)]

    def loss(parameters, step):
        late = parameters[1].square().sum() if step > 2 else 0.0
        return (parameters[0] - targets[step]).square().sum() + late

    theirs = [p.clone().requires_grad_() for p in start]
    optimiser = torch.optim.SGD(theirs, lr=0.1, **options)
    schedule, rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps), []
    for step in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        if step == 7:
            optimiser.state.clear()
        optimiser.zero_grad()
        loss(theirs, step).backward()
        optimiser.step()
        schedule.step()

    ours, used, slower = [p.clone().requires_grad_() for p in start], watch_rates(monkeypatch), descent.cosine(steps)

    def before_step(step, sgd):
        slower(step, sgd)
        if step == 7:
            sgd.forget()

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", pytest.fail)
    descent.descend(ours, range(steps), lambda s: loss(ours, s), lr=0.1, before_step=before_step, **options)
    assert used == rates and all(map(torch.equal, ours, theirs))


def test_the_parts_of_a_loss_have_the_gradient_of_the_whole():
    draw = rng(0)
    weight = torch.randn(4, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    x, y = torch.randn(11, 4, generator=draw, dtype=torch.float64), torch.arange(11) % 3

    def losses_of(part):
        return F.cross_entropy(x[part] @ weight, y[part], reduction="none")

    def weigh(losses):
        assert len(losses) == 11 and not losses.requires_grad  # of all of them, whatever fits at once
        return losses / losses.sum()

    whole = losses_of(slice(None))
    for weights, weighing in ((torch.full((11,), 1 / 11), None), ((whole / whole.sum()).detach(), weigh)):
        expected = torch.autograd.grad((weights * whole).sum(), weight, retain_graph=True)[0]
        for at_once in (1, 3, 11, 50):
            parts = list(loss_in_parts(losses_of, 11, at_once, weighing))
            assert len(parts) == -(-11 // at_once)
            torch.testing.assert_close(sum(torch.autograd.grad(part, weight)[0] for part in parts), expected)


def test_each_part_is_differentiated_before_the_next_is_computed():
    weight, said = torch.ones((), requires_grad=True), []

    def loss(batch):
        for part in batch:
            said.append(None if weight.grad is None else float(weight.grad))
            yield part * weight

    descent.descend([weight], [[1.0, 2.0, 4.0]], loss, lr=0.5, after_step=lambda step, value: said.append(float(value)))
    assert said == [None, 1.0, 3.0, 7.0]  # what had been summed before each part, and then the loss
    assert float(weight.detach()) == 1 - 0.5 * 7


@pytest.mark.parametrize("objective", ["erm", "group-dro"])
def test_a_network_becomes_the_same_however_many_images_go_through_it_at_once(monkeypatch, objective):
    data = quadrants(24)
    two = {"groups": data.labels % 2, "group_names": ("a", "b")}
    data = ImageDataset(data.images, data.labels, data.class_names, mean=data.mean, std=data.std, **two)
    protocol = Protocol(4, 0.05, batch=10, width=4, depth=2, augment="color_flip", objective=objective)
    whole = train(data, protocol, nets=2, seed=1, device="cpu")
    shown = []
    forward = networks.Network.forward
    monkeypatch.setattr(networks.Network, "forward", lambda net, x: (shown.append(len(x)), forward(net, x))[1])
    for held, batches in ((HELD_BYTES, {10, 4}), (1, {1})):
        monkeypatch.setattr(descent, "HELD_BYTES", held)
        shown.clear()
        nets = train(data, protocol, nets=2, seed=1, device="cpu")
        assert set(shown) == batches | {1}  # 1 when it is seen what an image takes
        for net, expected in zip(nets, whole):
            torch.testing.assert_close(parameters(net), parameters(expected), rtol=1e-3, atol=2e-5)
    batched = [
        networks.build("convnet", data.shape, 3, width=4, depth=2, seed=seed_of(1, "evaluation", i)) for i in range(2)
    ]
    _fit(batched, range(2), data, protocol, 1, torch.device("cpu"), lambda *now: None)
    for net, expected in zip(batched, whole):
        torch.testing.assert_close(parameters(net), parameters(expected), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("objective", ["erm", "robust", "cvar", "group-dro"])
def test_an_expert_becomes_the_same_however_many_images_go_through_it_at_once(monkeypatch, objective):
    data = quadrants(24)
    config = DistillConfig(matching="trajectory", objective="erm", expert_objective=objective, num_experts=1, width=4,
                           depth=2, expert_epochs=3, match_epochs=1, batch_net=10)  # fmt: skip
    whole = load_or_train_experts(data, config, device="cpu").paths[0]
    monkeypatch.setattr(descent, "HELD_BYTES", 1)
    apart = load_or_train_experts(data, config, device="cpu").paths[0]
    torch.testing.assert_close(apart, whole, rtol=1e-3, atol=2e-5)
    assert float((apart[-1] - apart[0]).abs().max()) > 0.01


def held_by(net, images):
    """What the graph of so many images keeps, by PyTorch's own record of what it saved, without the weights."""
    kept, own = {}, {p.untyped_storage().data_ptr() for p in net.parameters()}

    def walk(node, seen):
        if node is None or node in seen:
            return
        seen.add(node)
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        saved += list(getattr(node, "saved_tensors", ()))
        for tensor in saved:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        for after, _ in node.next_functions:
            walk(after, seen)

    walk(net(images).grad_fn, set())
    return sum(kept.values())


@pytest.mark.parametrize("name", ["convnet", "alexnet", "vgg11", "resnet18", "vit"])
def test_what_is_held_of_one_image_is_what_the_graph_keeps(name):
    net = networks.build(name, (3, 32, 32), 10, width=16)
    count = HELD_BYTES // held_by(net, torch.zeros(1, 3, 32, 32))
    assert images_at_once(net, (3, 32, 32)) == pytest.approx(count, rel=0.02)
    assert images_at_once(net, (3, 32, 32), nets=4) == pytest.approx(count / 4, rel=0.02)


@pytest.mark.parametrize("name", ["convnet", "resnet18", "vit"])
@pytest.mark.parametrize("twice", [False, True])
def test_to_count_what_is_held_leaves_nothing_behind(name, twice):
    """A graph that holds what its own hooks have packed would never be freed: no reference counter sees the circle."""
    net = networks.build(name, (3, 32, 32), 10, width=8)
    images_at_once(net, (3, 32, 32), twice=twice)
    alive = []
    for times in (1, 10):
        for _ in range(times):
            images_at_once(net, (3, 32, 32), twice=twice)
        gc.collect()
        alive.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
    assert alive[0] == alive[1]


def test_batches_of_the_papers_size_are_one_part_and_batchnorm_is_never_divided(monkeypatch):
    """So nothing of the reference protocol moved, not a bit, when large images came to go through in parts."""
    for shape in ((1, 28, 28), (3, 32, 32)):
        net = networks.build("convnet", shape, 10, width=128)
        assert images_at_once(net, shape) >= Protocol().batch
    monkeypatch.setattr(descent, "HELD_BYTES", 1)
    assert images_at_once(networks.build("convnet", (3, 32, 32), 10, norm="batch"), (3, 32, 32)) >= 10**6
