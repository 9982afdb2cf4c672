"""Trajectory matching: its gradients, its memory, and whom it follows."""

import dataclasses
import json
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.nn.utils import vector_to_parameters

from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.formations import decode
from rdd_nb.distillation import matching
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import expert_bytes, expert_key, load_or_train_experts
from rdd_nb.distillation.initialization import initial_state
from rdd_nb.distillation.loop import distill, expect_room
from rdd_nb.distillation.matching import trajectory
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.distillation.step import steps
from rdd_nb.distillation.trajectory_step import Students
from rdd_nb.models import descent, networks
from tests.distillation.helpers import DATA, GROUPS

SMALL = {
    **{"matching": "trajectory", "ipc": 2, "width": 4, "depth": 2, "iterations": 3, "checkpoint_every": 1},
    **{"num_experts": 2, "expert_epochs": 3, "match_epochs": 1, "batch_net": 16, "lr_net": 0.05},
    **{"student_steps": 3, "student_batch": 3, "augment": "flip_crop"},
}


def problem(soft: bool = False, steps: int = 4):
    """A small student in double precision."""
    draw = torch.Generator().manual_seed(0)
    net = networks.build("convnet", (1, 8, 8), 3, width=4, depth=2).double()
    start = matching.flat_parameters(net)
    target = start + 0.05 * torch.randn(start.shape, generator=draw, dtype=torch.float64)
    images = torch.randn(6, 1, 8, 8, generator=draw, dtype=torch.float64)
    labels = torch.arange(3).repeat_interleave(2)
    if soft:
        labels = (3 * F.one_hot(labels, 3).double() + torch.randn(6, 3, generator=draw, dtype=torch.float64)).softmax(1)
    batches = [(torch.randperm(6, generator=draw)[:4], lambda x: 1.1 * x.flip(3)) for _ in range(steps)]
    return net, start, target, images, labels, batches, torch.tensor(0.3, dtype=torch.float64)


def unrolled(net, start, target, images, labels, batches, step):
    """The same loss, with the graph of all steps kept: the reference."""
    wanted = [images.clone().requires_grad_(), step.clone().requires_grad_()]
    if labels.is_floating_point():
        wanted.append(labels.clone().requires_grad_())
    names, shapes = zip(*((name, p.shape) for name, p in net.named_parameters()))
    theta = start
    for chosen, transform in batches:
        theta = theta.requires_grad_() if theta is start else theta
        parts = [t.view(s) for t, s in zip(theta.split([s.numel() for s in shapes]), shapes)]
        said = functional_call(net, dict(zip(names, parts)), (transform(wanted[0][chosen]),))
        loss = F.cross_entropy(said, (wanted[2] if len(wanted) == 3 else labels)[chosen])
        theta = theta - wanted[1] * torch.autograd.grad(loss, theta, create_graph=True)[0]
    loss = (theta - target).square().sum() / (start - target).square().sum()
    return loss, torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize("soft", [False, True])
def test_the_gradients_are_those_of_the_whole_unrolled_training(soft):
    given = problem(soft)
    found = matching.match_trajectory(*given)
    loss, (images, step, *labels) = unrolled(*given)
    torch.testing.assert_close(found.loss, loss.detach())
    torch.testing.assert_close(found.images, images)
    torch.testing.assert_close(found.step, step)
    assert (found.labels is None) != soft
    if soft:
        torch.testing.assert_close(found.labels, labels[0])
    assert images.abs().max() > 1e-4  # there is something to compare


def test_a_student_that_stands_still_has_loss_one_and_one_that_arrives_none():
    net, start, target, images, labels, batches, step = problem()
    still = matching.match_trajectory(net, start, target, images, labels, batches, torch.zeros_like(step))
    assert float(still.loss) == pytest.approx(1)
    end = matching.student_path(net, start, images, labels, batches, step)[-1]
    there = matching.match_trajectory(net, start, end, images, labels, batches, step)
    assert float(there.loss) == 0
    assert there.images.abs().max() == 0


def test_the_first_steps_of_a_student_are_those_of_gradient_descent():
    net, start, _, images, labels, batches, step = problem()
    path = matching.student_path(net, start, images, labels, batches[:2], step)
    torch.nn.utils.vector_to_parameters(start.clone(), net.parameters())
    descent = torch.optim.SGD(net.parameters(), lr=float(step))
    for index, (chosen, transform) in enumerate(batches[:2]):
        descent.zero_grad()
        F.cross_entropy(net(transform(images[chosen])), labels[chosen]).backward()
        descent.step()
        torch.testing.assert_close(path[index + 1], matching.flat_parameters(net))


def test_an_expert_that_did_not_move_and_running_statistics_are_refused():
    net, start, _, images, labels, batches, step = problem()
    with pytest.raises(RddError, match="did not move"):
        matching.match_trajectory(net, start, start, images, labels, batches, step)
    batch = networks.build("convnet", (1, 8, 8), 3, width=4, depth=2, norm="batch").double()
    with pytest.raises(RddError, match="running statistics"):
        matching.student_path(batch, matching.flat_parameters(batch), images, labels, batches, step)


@pytest.mark.parametrize("double", [False, True])
def test_graphs_that_are_kept_and_those_computed_anew_give_the_same_bits(monkeypatch, double):
    given = problem(soft=True)
    if not double:
        given = (given[0].float(), *(x.float() if isinstance(x, torch.Tensor) else x for x in given[1:]))
    net, calls, found = given[0], [0], []
    net.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    for at_once, forwards in ((4, 7), (8, 6), (12, 5), (400, 4)):  # of 4 steps on 4 images, 1, 2, 3 and all are kept
        monkeypatch.setattr(trajectory, "images_at_once", lambda *_, held=at_once, **__: held)
        calls[0] = 0
        found.append(matching.match_trajectory(*given))
        assert calls[0] == forwards
    for other in found[1:]:
        assert all(map(torch.equal, dataclasses.astuple(found[0]), dataclasses.astuple(other)))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_batch_taken_in_parts_has_the_gradients_of_the_whole(at_once, soft):
    given = problem(soft=soft)
    whole, parts = (dataclasses.astuple(matching.match_trajectory(*given, at_once=many)) for many in (400, at_once))
    for one, other in zip(whole, parts):
        assert other is None if one is None else torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    net, start, _, images, labels, batches, step = given
    path = matching.student_path(net, start, images, labels, batches, step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "images_at_once", lambda *_, **__: at_once)
        again = matching.student_path(net, start, images, labels, batches, step)
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(path, again))


def test_a_batch_taken_in_parts_holds_the_graph_of_one_of_them():
    """Batches of 4; but for the weights, the augmentation of the batch and the loss, which are small."""
    given = problem(steps=3)
    held = [held_at_most((*given, many)) for many in (4, 2)]
    assert held[1] < 0.7 * held[0]


def held_at_most(given):
    """Bytes that the graphs of a match save, each storage once, at the moment when it is most."""
    saved, most = Counter(), [0]

    class Held:
        def __init__(self, tensor):
            self.tensor = tensor.detach()  # the tensor itself would hold its graph for ever
            self.of = (tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
            saved[self.of] += 1
            most[0] = max(most[0], sum(size for _, size in saved))

        def __del__(self):
            saved[self.of] -= 1
            if not saved[self.of]:
                del saved[self.of]

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        matching.match_trajectory(*given)
    return most[0]


def test_no_more_graphs_are_kept_than_the_memory_bears_however_many_steps_there_are(monkeypatch):
    held = {}
    for graphs in (1, 3):
        monkeypatch.setattr(trajectory, "images_at_once", lambda *_, graphs=graphs, **__: graphs * 4)
        held[graphs] = [held_at_most(problem(steps=steps)) for steps in (3, 30)]
        assert held[graphs][0] == held[graphs][1]
    assert held[3][0] == pytest.approx(3 * held[1][0], rel=0.15)


@pytest.mark.parametrize("matched", ["gradient", "trajectory"])
@pytest.mark.parametrize("network", sorted(networks.available()))
def test_every_network_can_be_matched_by_second_derivatives(network, matched):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=draw)
    data = ImageDataset(images, torch.arange(40) % 2, ("a", "b"), mean=(0.5,) * 3, std=(0.2,) * 3)
    options = SMALL if matched == "trajectory" else {"matching": "gradient", "ipc": 2, "iterations": 1, "batch_real": 4}
    config = DistillConfig(**{**options, "network": network, "width": 8, "norm": "group", "objective": "erm"})
    began, made = initial_state(data, config), list(steps(data, config, device="cpu"))[-1]
    assert (made.stored - began.stored).abs().max() > 0


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("name", ["convnet", "alexnet", "vgg11", "resnet18"])
def test_the_graph_of_a_step_takes_what_was_reckoned_with(name, norm):
    """But for the weights, which are saved once a step, and the loss, which is small."""
    draw = torch.Generator().manual_seed(0)
    net = networks.build(name, (3, 32, 32), 10, width=16, norm=norm)
    images, start = torch.randn(20, 3, 32, 32, generator=draw), matching.flat_parameters(net)
    labels, batch = torch.arange(10).repeat_interleave(2), (torch.arange(20), lambda x: x + 0)
    one = 20 * descent.HELD_BYTES / descent.images_at_once(net, (3, 32, 32), twice=True)
    held = held_at_most((net, start, start + 0.01, images, labels, [batch], torch.tensor(0.1)))
    assert 0.7 * one < held < 1.2 * one + 4 * 4 * len(start)


def test_no_steps_leave_a_student_where_it_stands():
    net, start, target, images, labels, _, step = problem()
    found = matching.match_trajectory(net, start, target, images, labels, [], step)
    assert float(found.loss) == pytest.approx(1) and found.images.abs().max() == 0


@pytest.mark.parametrize("objective", ["erm", "robust", "group", "density"])
def test_a_distillation_moves_images_and_step_and_repeats_to_the_bit(objective):
    config = DistillConfig(objective=objective, **SMALL)
    first, again = (list(steps(DATA, config, GROUPS, device="cpu"))[-1] for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert first.step_sizes == again.step_sizes
    assert len(set(first.step_sizes)) == config.iterations
    other = list(steps(DATA, config.model_copy(update={"seed": 1}), GROUPS, device="cpu"))[-1]
    assert not torch.equal(first.images, other.images)


def test_a_state_taken_up_again_ends_with_the_same_bits():
    config = DistillConfig(objective="robust", **SMALL)
    states = list(steps(DATA, config, GROUPS, device="cpu"))
    again = list(steps(DATA, config, GROUPS, states[0], device="cpu"))[-1]
    assert torch.equal(states[-1].images, again.images)
    assert states[-1].step_sizes == again.step_sizes


@pytest.mark.parametrize("formations", [1, 2])
def test_labels_begin_as_what_the_experts_say_and_are_learnt_with_the_images(tmp_path, formations):
    config = DistillConfig(objective="erm", learn_labels=True, formations=formations, **SMALL)
    experts = load_or_train_experts(DATA, config, device="cpu")
    stay = config.model_copy(update={"lr_label": 0.0, "iterations": 1})
    (first,) = steps(DATA, stay, device="cpu", experts=experts)
    nets = [networks.build("convnet", DATA.shape, 3, width=4, depth=2) for _ in experts.paths]
    for net, path in zip(nets, experts.paths):
        vector_to_parameters(path[-1], net.parameters())
    images = decode(initial_state(DATA, config).images, formations)
    wanted = sum(net(images).softmax(1) for net in nets).detach() / len(nets)
    torch.testing.assert_close(first.labels.softmax(1), wanted, atol=1e-3, rtol=1e-3)
    states = list(steps(DATA, config, device="cpu", experts=experts))
    assert not torch.equal(states[0].labels, states[1].labels)
    again = list(steps(DATA, config, None, states[0], device="cpu", experts=experts))[-1]
    assert torch.equal(again.labels, states[-1].labels) and torch.equal(again.images, states[-1].images)
    run = distill(DATA, config, out=tmp_path / "run", progress=False, device="cpu")
    assert torch.equal(run.synthetic.soft_labels, states[-1].labels.softmax(1))
    assert torch.equal(RunFolder(tmp_path / "run").load_synthetic().soft_labels, run.synthetic.soft_labels)
    assert not torch.equal(run.synthetic.images, distill(DATA, stay, progress=False, device="cpu").synthetic.images)


def test_labels_go_down_their_slope_with_momentum():
    config = DistillConfig(objective="erm", learn_labels=True, **{**SMALL, "iterations": 2, "lr_label": 4.0})
    experts = load_or_train_experts(DATA, config, device="cpu")
    students = Students(DATA, config, experts, torch.device("cpu"))
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slope = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((leaf.softmax(1) * slope).sum(), leaf)
    state = initial_state(DATA, config)
    first = students._learnt(state, logits, slope)
    torch.testing.assert_close(first["labels"], logits - 4.0 * wanted)
    second = students._learnt(dataclasses.replace(state, label_momentum=first["label_momentum"]), logits, slope)
    torch.testing.assert_close(second["label_momentum"], (1 + config.momentum_img) * wanted)
    assert students._learnt(state, None, None) == {}


def test_a_checkpoint_without_the_labels_that_are_learnt_is_refused(tmp_path):
    config = DistillConfig(objective="erm", learn_labels=True, **SMALL)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr("rdd_nb.distillation.loop.steps", interrupted)
        distill(DATA, config, out=run.path, progress=False, device="cpu")
    held = run.load_checkpoint()
    assert held["labels"].shape == (6, 3)
    for wrong in (None, held["labels"][:5], held["labels"].double()):
        run.save_checkpoint({**held, "labels": wrong})
        with pytest.raises(RddError, match="is no checkpoint of this run"):
            distill(DATA, config, out=run.path, progress=False, device="cpu")
    run.save_checkpoint(held)
    whole = distill(DATA, config, progress=False, device="cpu").synthetic
    assert torch.equal(distill(DATA, config, out=run.path, progress=False, device="cpu").synthetic.images, whole.images)


def interrupted(*arguments):
    """The steps, stopped after the first as by Ctrl-C."""
    yield next(steps(*arguments))
    raise KeyboardInterrupt


def test_the_step_size_follows_its_slope(monkeypatch):
    """Its logarithm goes down the slope, with momentum, by no more than half at once; lr_step=0 keeps it."""
    slope = 2.0

    def match(net, start, target, images, labels, batches, step, at_once):
        return matching.TrajectoryMatch(torch.tensor(1.0), torch.zeros_like(images), None, torch.tensor(slope))

    monkeypatch.setattr(matching, "match_trajectory", match)
    config = DistillConfig(**{**SMALL, "lr_step": 0.1, "student_lr": 0.5, "momentum_img": 0.5})
    first, second, _ = (state.step_sizes[-1] for state in steps(DATA, config, device="cpu"))
    assert math.log(first / 0.5) == pytest.approx(-0.1 * 2 * 0.5)
    assert math.log(second / first) == pytest.approx(-0.1 * (0.5 * 2 * 0.5 + 2 * first))
    slope = -1e9
    assert next(steps(DATA, config, device="cpu")).step_sizes == (pytest.approx(0.75),)
    kept = list(steps(DATA, config.model_copy(update={"lr_step": 0.0}), device="cpu"))[-1]
    assert kept.step_sizes == (0.5, 0.5, 0.5)


def test_the_loss_falls():
    config = DistillConfig(
        **{**SMALL, "objective": "erm", "iterations": 60, "augment": "none", "student_steps": 8, "init": "noise"},
        lr_img=30,
        max_start_epoch=0,
    )
    history = distill(DATA, config, progress=False, device="cpu").history
    assert history.loss[-10:].mean() < 0.9 * history.loss[:10].mean()


@pytest.mark.parametrize("kind", ["erm", "robust", "cvar", "group-dro"])
def test_experts_are_made_once_and_gone_on_with_to_the_same_bits(tmp_path, monkeypatch, kind):
    config = DistillConfig(expert_objective=kind, **SMALL)
    fresh = load_or_train_experts(DATA, config, GROUPS, device="cpu")
    assert [p.shape[0] for p in fresh.paths] == [4, 4]
    assert not torch.equal(fresh.paths[0], fresh.paths[1])
    monkeypatch.setattr("rdd_nb.distillation.experts.SAVE_EVERY", -1)

    def stop(done, total):
        assert total == 6
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_train_experts(DATA, config, GROUPS, out=tmp_path, device="cpu", progress=stop)
    seen = []
    again = load_or_train_experts(
        DATA, config, GROUPS, out=tmp_path, device="cpu", progress=lambda done, total: seen.append(done)
    )
    assert seen[:2] == [3, 4]  # the first was whole, the second had one epoch
    assert all(torch.equal(a, b) for a, b in zip(fresh.paths, again.paths))
    files = sorted(p.name for p in tmp_path.glob("experts-*/[!.]*"))
    assert files == ["expert-000.safetensors", "expert-001.safetensors", "manifest.json"]
    size = sum(p.stat().st_size for p in tmp_path.glob("experts-*/expert-*"))
    assert 0 <= size - expert_bytes(DATA, config) < 2000


def test_experts_are_shared_by_what_decides_them():
    def key(groups=GROUPS, **changed):
        return expert_key(DATA, DistillConfig(**{**SMALL, **changed}), groups)[0]

    assert key() == key(student_steps=7, lr_img=3.0, iterations=9, ipc=1)
    assert key(expert_objective="erm") == key(None, expert_objective="erm")  # plain experts see no groups
    different = [
        key(),
        key(None),
        key(seed=1),
        key(expert_epochs=4),
        key(expert_objective="cvar"),
        key(objective="erm"),
    ]
    different += [key(group_power=0.0), key(expert_objective="group-dro")]
    assert len(set(different)) == len(different)
    assert key(expert_objective="robust", tail=0.5) == key(expert_objective="robust", tail=0.2)
    assert key(expert_objective="cvar", tail=0.5) != key(expert_objective="cvar", tail=0.2)


def test_a_foreign_or_damaged_expert_is_named(tmp_path):
    config = DistillConfig(**SMALL)
    load_or_train_experts(DATA, config, GROUPS, out=tmp_path, device="cpu")
    (first, _) = sorted(tmp_path.glob("experts-*/expert-*"))
    whole = first.read_bytes()
    first.write_bytes(whole[:50])
    with pytest.raises(RddError, match="is truncated or no safetensors file"):
        load_or_train_experts(DATA, config, GROUPS, out=tmp_path, device="cpu")
    other = config.model_copy(update={"seed": 5})
    load_or_train_experts(DATA, other, GROUPS, out=tmp_path, device="cpu")
    key, _ = expert_key(DATA, other, GROUPS)
    first.write_bytes((tmp_path / f"experts-{key}" / first.name).read_bytes())
    with pytest.raises(RddError, match="no expert of these data and settings"):
        load_or_train_experts(DATA, config, GROUPS, out=tmp_path, device="cpu")
    assert json.loads((first.parent / "manifest.json").read_text())["settings"]["seed"] == 0


def test_robust_experts_draw_the_rare_group_and_group_dro_all_pairs_alike():
    from rdd_nb.distillation.experts import _network, _Training

    rare = GROUPS.ids.bool()
    for kind, low, high in (("erm", 0.15, 0.25), ("robust", 0.45, 0.55), ("group-dro", 0.45, 0.55)):
        config = DistillConfig(**SMALL, expert_objective=kind, group_power=0.0)
        training = _Training(_network(DATA, config, 0), DATA, config, GROUPS, 0, torch.device("cpu"))
        drawn = torch.cat([part for e in range(60) for part, _ in training._batches(torch.Generator().manual_seed(e))])
        assert low < float(rare[drawn].float().mean()) < high, kind


def test_experts_are_trained_in_the_precision_that_is_asked_for():
    """In short numbers a network ends near the one of full ones, and not at it."""
    config = DistillConfig(**SMALL)
    full, short = (
        load_or_train_experts(DATA, config.model_copy(update={"precision": precision}), device="cpu").paths[0]
        for precision in ("float32", "bfloat16")
    )
    assert torch.equal(full[0], short[0])
    apart, way = (full[-1] - short[-1]).norm(), (full[-1] - full[0]).norm()
    assert 0 < apart < 0.3 * way


def test_the_folder_of_the_experts_is_tried_where_it_is(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(Folder, "probe", lambda self, size=0: tried.append((self.path.name, size)))
    config, size = DistillConfig(**SMALL), expert_bytes(DATA, DistillConfig(**SMALL))
    expect_room(RunFolder(tmp_path / "run"), DATA, config, {}, tmp_path / "kept")
    expect_room(RunFolder(tmp_path / "run"), DATA, config, {})
    assert [name for name, _ in tried] == ["run", "kept", "run", "run"]
    assert tried[1][1] == tried[3][1] == size
    tried.clear()
    expect_room(RunFolder(tmp_path / "run"), DATA, DistillConfig(ipc=2), {}, tmp_path / "kept")
    assert len(tried) == 1, "other matchings have no experts"


def test_what_the_experts_took_stands_beside_what_the_students_took(tmp_path):
    run = distill(DATA, DistillConfig(**SMALL), GROUPS, out=tmp_path / "run", progress=False, device="cpu")
    told = RunFolder.open(run.path).metrics
    assert told["expert_seconds"] > 0 and told["seconds"] == pytest.approx(run.history.seconds.sum())
    other = DistillConfig(ipc=2, iterations=1, width=4, depth=2, batch_real=4)
    plain = distill(DATA, other, GROUPS, out=tmp_path / "plain", progress=False, device="cpu")
    assert "expert_seconds" not in RunFolder.open(plain.path).metrics


def test_settings_that_do_not_fit_are_one_line():
    for wrong, said in (
        ({"outer": 2}, "outer=1"),
        ({"max_start_epoch": 3}, "beyond the experts' last epoch"),
        ({"max_start_epoch": 1, "first_max_start_epoch": 2}, "first_max_start_epoch=2 is above"),
        ({"norm": "batch"}, "running statistics"),
        ({"matching": "distribution", "learn_labels": True}, "only matching=trajectory learns labels"),
    ):
        with pytest.raises(RddError, match=said) as error:
            DistillConfig(**{**SMALL, **wrong})
        assert "\n" not in str(error.value)
    with pytest.raises(RddError, match="no longer finite at iteration 1: lower lr_img"):
        list(steps(DATA, DistillConfig(**{**SMALL, "student_lr": 1e30}), device="cpu"))
    with pytest.raises(RddError, match="expert 0 diverged in epoch 1: lower lr_net"):
        load_or_train_experts(DATA, DistillConfig(**{**SMALL, "lr_net": 1e30}), device="cpu")


def test_configs_of_other_matchings_say_nothing_of_trajectories():
    told = DistillConfig(matching="distribution").model_dump(mode="json")
    assert "lr_img" in told and "num_experts" not in told and "student_steps" not in told
    told = DistillConfig(**SMALL).model_dump(mode="json")
    assert told["num_experts"] == 2 and "learn_labels" not in told, "runs from before there was the choice stay known"
    learns = DistillConfig(**SMALL, learn_labels=True)
    assert DistillConfig(**learns.model_dump(mode="json")) == learns
    assert DistillConfig(**told) == DistillConfig(**SMALL)
