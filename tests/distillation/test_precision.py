"""bfloat16 where no gradient of the pixels passes: within stated tolerances of float32, and never by accident."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import rdd_nb as rdd
from rdd_nb.core.device import PRECISIONS, arithmetic
from rdd_nb.core.errors import RddError
from rdd_nb.distillation import matching, step
from rdd_nb.distillation.step import steps
from rdd_nb.evaluation.predictions import predict
from rdd_nb.experiments.study.plan import load_plan
from rdd_nb.models import networks
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import _fit, train
from tests.distillation.helpers import DATA, GROUPS, TINY, final

CPU = torch.device("cpu")
COSINE = 0.999  # what a gradient in bfloat16 must have with that in float32, and what the guide to speed promises


def cosine(a, b):
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), 0))


@pytest.fixture(scope="module")
def splits():
    return rdd.scenario(rdd.load("fashion-mnist-sample"), "coloured", bias=0.9, seed=0)


@pytest.mark.parametrize("width", [16, 64])
def test_a_networks_gradient_and_features_keep_their_direction(splits, width):
    net = networks.build("convnet", splits.train.shape, 10, width=width, seed=1)
    x, y = splits.train.normalised(torch.arange(128)), splits.train.labels[:128]
    weights = [p for p in net.parameters() if p.ndim > 1]
    gradients, features = {}, {}
    for precision in PRECISIONS:
        with arithmetic(precision, CPU):
            embedded, logits = net.embed(x), net(x)
        assert embedded.dtype == getattr(torch, precision) and logits.dtype == torch.float32
        found = torch.autograd.grad(F.cross_entropy(logits, y), weights)
        assert all(g.dtype == torch.float32 for g in found)
        gradients[precision] = torch.cat([g.flatten() for g in found])
        features[precision] = embedded.detach().float()
    assert not torch.equal(*gradients.values()), "or nothing was computed in bfloat16"
    assert cosine(*gradients.values()) > COSINE and cosine(*features.values()) > COSINE


def one_iteration(splits, precision, objective, **settings):
    groups = rdd.Groups(splits.train.minority.long(), 2, "known")
    fixed = {"ipc": 2, "batch_real": 64, "width": 32, "init": "real", "iterations": 1}
    config = rdd.DistillConfig(objective=objective, precision=precision, **{**fixed, **settings})
    return next(steps(splits.train, config, groups, device="cpu"))


@pytest.mark.parametrize(
    "objective, tail, least",
    [("erm", 1.0, COSINE), ("robust", 1.0, COSINE), ("robust", 0.8, 0.995)],  # rounding decides who is just in the tail
)
@pytest.mark.parametrize("kind", ["distribution", "gradient"])
def test_what_moves_the_pixels_keeps_its_direction(splits, kind, objective, tail, least):
    full, short = (one_iteration(splits, p, objective, matching=kind, tail=tail) for p in PRECISIONS)
    assert not torch.equal(full.momentum, short.momentum), "or nothing was computed in bfloat16"
    assert cosine(full.momentum, short.momentum) > least
    assert short.losses[0] == pytest.approx(full.losses[0], rel=0.01)


def test_with_more_images_a_class_a_match_of_gradients_magnifies_rounding(splits):
    settings = {"matching": "gradient", "ipc": 10, "seed": 2}
    full, short = (one_iteration(splits, p, "erm", **settings) for p in PRECISIONS)
    assert 0.997 < cosine(full.momentum, short.momentum) < 1, "the guide to speed says 0.9977 to 0.9996"


@pytest.mark.parametrize("inner", ["real", "synthetic"])
def test_the_training_between_matches_keeps_its_direction(splits, inner, monkeypatch):
    train_between, learnt = step._train_between, []

    def watched(problem, net, *rest):
        before = [p.detach().clone() for p in net.parameters()]
        train_between(problem, net, *rest)
        moved = [(p.detach() - q).flatten() for p, q in zip(net.parameters(), before) if p.ndim > 1]
        learnt.append(torch.cat(moved))

    monkeypatch.setattr(step, "_train_between", watched)
    states = [
        one_iteration(splits, precision, "erm", matching="gradient", width=16, outer=2, inner_data=inner, lr_img=1e-9)
        for precision in PRECISIONS
    ]
    assert len(learnt) == 2 and not torch.equal(*learnt) and cosine(*learnt) > COSINE
    assert cosine(*(state.momentum for state in states)) > 0.97, "after it, from networks that went apart"


def test_classes_all_at_once_keep_the_direction_too(splits):
    net = networks.build("convnet", splits.train.shape, 10, width=32, seed=1)
    real = splits.train.normalised(
        torch.stack([(splits.train.labels == c).nonzero()[:64, 0] for c in (0, 1)]).flatten()
    )
    real, labels = real.unflatten(0, (2, 64)), torch.tensor([0, 1])
    weigh = lambda losses: (torch.full((2, 1, 64), 1 / 64), torch.ones(2, 1))  # noqa: E731
    slopes = []
    for precision in PRECISIONS:
        made = torch.randn(2, 3, *splits.train.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = matching.gradient_losses(net, real, made, labels, weigh, precision)
        slopes.append(torch.autograd.grad(loss, made)[0])
    assert not torch.equal(*slopes) and cosine(*slopes) > COSINE


def test_double_precision_stays_double():
    net = networks.build("convnet", (1, 8, 8), 2, width=4, depth=1).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    weigh = lambda losses: (torch.full((1, 1, 3), 1 / 3, dtype=losses.dtype), torch.ones(1, 1, dtype=losses.dtype))  # noqa: E731
    assert matching.gradient_loss(net, x, x[:1], 0, weigh).dtype == torch.float64


@pytest.mark.parametrize("kind", ["distribution", "gradient"])
def test_a_distillation_in_bfloat16_repeats_to_the_bit_and_is_another(kind):
    config = rdd.DistillConfig(matching=kind, **TINY)
    short = config.model_copy(update={"precision": "bfloat16"})
    first = final(short)
    assert torch.equal(first, final(short)) and not torch.equal(first, final(config))
    assert first.dtype == torch.float32


def test_evaluation_networks_trained_in_bfloat16_say_nearly_the_same():
    digits = rdd.load("digits")
    few = dataclasses.replace(digits.train, images=digits.train.images[:400], labels=digits.train.labels[:400])
    protocol = Protocol(epochs=10, lr=0.03, width=8, depth=2, batch=64)
    scores = [
        predict(train(few, dataclasses.replace(protocol, precision=p), nets=2, device="cpu"), digits.test)
        for p in PRECISIONS
    ]
    full, short = (s.accuracy for s in scores)
    assert full.mean() > 0.7, "or they learnt nothing: chance is 0.1"
    assert abs(full - short).max() < 0.02
    assert (scores[0].predictions == scores[1].predictions).mean() > 0.95
    assert (scores[0].losses != scores[1].losses).any(), "or nothing was computed in bfloat16"


def test_evaluation_networks_in_bfloat16_all_at_once_or_one_after_another():
    protocol = Protocol(epochs=2, width=4, depth=2, batch=30, precision="bfloat16")
    nets = [[networks.build("convnet", DATA.shape, 3, width=4, depth=2, seed=i) for i in (0, 1)] for _ in range(3)]
    start = torch.cat([p.detach().flatten() for net in nets[2] for p in net.parameters()])
    _fit(nets[0], (0, 1), DATA, protocol, 0, CPU, lambda *_: None)
    for i in (0, 1):
        _fit([nets[1][i]], [i], DATA, protocol, 0, CPU, lambda *_: None)
    together, apart = (
        torch.cat([p.detach().flatten() for net in n for p in net.parameters()]) - start for n in nets[:2]
    )
    assert apart.abs().max() > 0.01 and cosine(together, apart) > COSINE


def test_predictions_and_weights_are_float32():
    made = rdd.distill(DATA, rdd.DistillConfig(precision="bfloat16", **TINY), GROUPS, progress=False).synthetic
    nets = train(made, Protocol(epochs=1, width=4, depth=2, precision="bfloat16"), nets=1, device="cpu")
    assert {p.dtype for net in nets for p in net.parameters()} == {torch.float32}
    x = DATA.normalised()
    with torch.no_grad():
        wanted = F.cross_entropy(nets[0](x), DATA.labels, reduction="none")
    torch.testing.assert_close(torch.from_numpy(predict(nets, DATA).losses[0]), wanted, rtol=1e-5, atol=1e-6)


def test_what_was_made_before_there_was_a_choice_is_known_by_the_same_settings():
    config, protocol = rdd.DistillConfig(), Protocol()
    assert "precision" not in config.model_dump(mode="json") and "precision" not in protocol.settings
    short = config.model_copy(update={"precision": "bfloat16"})
    assert short.model_dump(mode="json")["precision"] == "bfloat16"
    assert rdd.DistillConfig(**short.model_dump(mode="json")) == short
    assert dataclasses.replace(protocol, precision="bfloat16").settings["precision"] == "bfloat16"
    root = Path(__file__).parents[2] / "data"
    units = {unit.digest for unit in load_plan(root / "studies/quick.yaml").units}
    held = set(pd.read_csv(root / "results/study-runs.csv")["settings"])
    assert held and held <= units


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(RddError, match=r"unknown precision 'bfloat'.*bfloat16"):
        rdd.DistillConfig(precision="bfloat")
    with pytest.raises(RddError, match=r"unknown precision 'float33'.*float32"):
        Protocol(precision="float33")
