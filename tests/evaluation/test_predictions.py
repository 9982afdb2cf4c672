"""rdd_nb.evaluation.predictions and the scores: what trained nets say of each test sample."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation.predictions import evaluate, predict
from rdd_nb.evaluation.scores import Scores
from rdd_nb.models import networks
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import train
from tests.helpers import rng

SMALL = Protocol(epochs=4, width=4, depth=1, batch=5)


def quadrants(count, seed=0, noise=80, groups=False, channels=1):
    """Images of 8 × 8 whose class (of three) is the quadrant that is brighter; an odd place in it is group "odd"."""
    labels = torch.arange(count) % 3
    pixels = 20 + noise * torch.rand(count, channels, 8, 8, generator=rng(seed))
    for label in range(3):
        i, j = (4 * k for k in divmod(label, 2))
        pixels[labels == label, :, i : i + 4, j : j + 4] += 60
    images = pixels.to(torch.uint8)
    extra = {}
    if groups:
        extra = {
            "groups": torch.arange(count) // 3 % 2,
            "group_names": ("even", "odd"),
            "minority": torch.arange(count) % 5 == 0,
            "minority_names": ("often", "seldom"),
        }
    return ImageDataset(images, labels, ("a", "b", "c"), *statistics(images), name="quadrants", **extra)


def as_synthetic(data):
    return SyntheticSet(
        data.normalised(), data.labels, data.class_names, data.mean, data.std, ipc=int(data.class_counts[0])
    )


def parameters(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def same(a, b):
    return torch.equal(parameters(a), parameters(b))


def test_trained_nets_know_an_easy_set():
    test = quadrants(90, seed=1)
    protocol = Protocol(epochs=40, lr=0.05, width=8, depth=1)
    scores = evaluate(quadrants(15), test, nets=2, protocol=protocol, device="cpu")
    assert scores.accuracy.shape == (2,) and scores.accuracy.min() > 0.9
    wrong = ImageDataset(test.images, test.labels.roll(1), test.class_names, test.mean, test.std)
    assert evaluate(quadrants(15), wrong, nets=1, protocol=protocol, device="cpu").accuracy[0] < 0.2


def test_classes_and_shapes_must_fit():
    data = quadrants(6)
    other = ImageDataset(data.images, data.labels, ("b", "a", "c"), data.mean, data.std)
    with pytest.raises(RddError, match="trained on classes a, b, c, tested on b, a, c"):
        evaluate(data, other, nets=1, protocol=SMALL)
    with pytest.raises(RddError, match=r"1 channels, tested on 3"):
        evaluate(as_synthetic(data), quadrants(6, channels=3), nets=1, protocol=SMALL)
    small = ImageDataset(data.images[..., :4, :4], data.labels, data.class_names, data.mean, data.std)
    with pytest.raises(RddError, match=r"images of \(1, 8, 8\), tested on \(1, 4, 4\)"):
        evaluate(data, small, nets=1, protocol=SMALL)
    two = ImageDataset(data.images, data.labels % 2, ("a", "b"), data.mean, data.std)
    with pytest.raises(RddError, match="3 logits, the test set has 2 classes"):
        predict(untrained(1), two)


def test_predict_looks_in_evaluation_mode_and_puts_the_mode_back():
    net = networks.build("convnet", (1, 8, 8), 3, width=4, depth=1, norm="batch")
    test = quadrants(12)
    running = net.body[0][1].running_mean.clone()
    assert predict([net], test).accuracy.shape == (1,)
    assert net.training and torch.equal(net.body[0][1].running_mean, running)
    np.testing.assert_allclose(predict([net], test).losses, predict([net], test, batch=5).losses, rtol=1e-5)


def test_the_test_set_is_seen_in_the_units_of_the_training_set():
    data, test = as_synthetic(quadrants(12)), quadrants(30, seed=1, groups=True)
    foreign = test.with_statistics((0.9,), (3.0,))
    ours = test.with_statistics(data.mean, data.std)
    a, b = (evaluate(data, t, nets=1, protocol=SMALL, device="cpu") for t in (foreign, ours))
    assert np.array_equal(a.losses, b.losses) and a.group_names == ("even", "odd")
    (net,) = train(data, SMALL, nets=1, device="cpu")
    assert not np.array_equal(predict([net], foreign).losses, b.losses)


# --- scores -------------------------------------------------------------------------------------------------------


def untrained(count=2):
    return [networks.build("convnet", (1, 8, 8), 3, width=4, depth=1, seed=i).eval() for i in range(count)]


@pytest.fixture(scope="module")
def scores():
    return predict(untrained(), quadrants(61, groups=True))


@pytest.mark.parametrize("batch", [7, 512])
def test_predictions_losses_and_confidence_are_those_of_the_nets(batch):
    test, nets = quadrants(31, groups=True), untrained(3)
    found = predict(nets, test, batch=batch)
    for i, net in enumerate(nets):
        p = net(test.normalised()).softmax(1).detach()
        nats = -p[torch.arange(31), test.labels].log()
        np.testing.assert_array_equal(found.predictions[i], p.argmax(1))
        np.testing.assert_allclose(found.losses[i], nats, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.confidence[i], p.max(1).values, rtol=1e-5)
        assert found.accuracy[i] == pytest.approx(float((p.argmax(1) == test.labels).float().mean()))
    assert found.losses.dtype == found.confidence.dtype == np.float32 and found.predictions.dtype == np.int16
    assert (found.labels == test.labels.numpy()).all() and (found.groups == test.groups.numpy()).all()
    assert (found.minority == test.minority.numpy()).all() and found.class_names == test.class_names


NAMES = {
    "all": ["all"],
    "class": ["a", "b", "c"],
    "group": ["even", "odd"],
    "minority": ["often", "seldom"],
    "class-group": ["a / even", "a / odd", "b / even", "b / odd", "c / even", "c / odd"],
}


@pytest.mark.parametrize("by", NAMES)
def test_tables_count_each_group_of_each_net(scores, by):
    table = scores.table(by)
    assert list(table.columns) == ["net", "group", "n", "correct"]
    assert list(table["group"]) == NAMES[by] * 2 and list(table["net"]) == sorted([0, 1] * len(NAMES[by]))
    sums = table.groupby("net")[["n", "correct"]].sum()
    assert (sums["n"] == 61).all() and (sums["correct"] == scores.correct.sum(1)).all()
    belongs = {
        "all": lambda j: "all",
        "class": lambda j: "abc"[scores.labels[j]],
        "group": lambda j: scores.group_names[scores.groups[j]],
        "minority": lambda j: "seldom" if scores.minority[j] else "often",
        "class-group": lambda j: f"{'abc'[scores.labels[j]]} / {scores.group_names[scores.groups[j]]}",
    }[by]
    for row in table.itertuples():
        mine = [j for j in range(61) if belongs(j) == row.group]
        assert row.n == len(mine) and row.correct == sum(scores.correct[row.net, j] for j in mine)


def test_a_table_of_your_own_groups_keeps_the_empty_ones(scores):
    ids = np.where(np.arange(61) < 20, 0, 2)
    table = scores.table_of(ids, ("first", "none", "rest"))
    assert list(table["n"]) == [20, 0, 41] * 2 and list(table["correct"])[1::3] == [0, 0]
    assert list(table["correct"])[::3] == [int(c[:20].sum()) for c in scores.correct]


def test_ids_that_fit_no_name_are_refused(scores):
    for ids in (np.full(61, 2), np.full(61, -1), np.zeros(60, dtype=int), np.zeros(61)):
        with pytest.raises(RddError, match="group ids"):
            scores.table_of(ids, ("a", "b"))


def test_class_accuracy_is_that_of_the_class_table(scores):
    table = scores.table("class")
    np.testing.assert_allclose(scores.class_accuracy.flatten(), table["correct"] / table["n"])
    lonely = predict(untrained(1), quadrants(9).subset(torch.tensor([0, 2, 3])))
    assert np.isnan(lonely.class_accuracy).tolist() == [[False, True, False]]


def test_scores_that_do_not_fit_together_are_refused(scores):
    with pytest.raises(RddError, match=r"each be \[nets, N\]"):
        dataclasses.replace(scores, losses=scores.losses[:, 1:])
    with pytest.raises(RddError, match=r"groups must be \[61\]"):
        dataclasses.replace(scores, groups=scores.groups[1:])


def test_tables_without_groups_or_of_an_unknown_kind_are_refused(scores):
    bare = predict(untrained(1), quadrants(9))
    for by in ("group", "minority", "class-group"):
        with pytest.raises(RddError, match="names no groups"):
            bare.table(by)
    assert bare.groups is None and bare.minority is None and len(bare.table("class")) == 3
    with pytest.raises(RddError, match="did you mean 'minority'"):
        scores.table("minorty")


def test_scores_come_back_from_disk(scores, tmp_path):
    for kept in (scores, predict(untrained(1), quadrants(9))):
        path = kept.save(tmp_path / "scores.npz")
        back = Scores.load(path)
        for name, value in vars(kept).items():
            found = getattr(back, name)
            if isinstance(value, np.ndarray):
                assert found.dtype == value.dtype and np.array_equal(found, value), name
            else:
                assert found == value, name
        by = "class" if kept.groups is None else "class-group"
        pd.testing.assert_frame_equal(back.table(by), kept.table(by))


def _explode():
    raise AssertionError("a pickle was run")


class Bomb:
    def __reduce__(self):
        return (_explode, ())


def test_foreign_damaged_and_pickled_files_are_refused(scores, tmp_path):
    path = tmp_path / "scores.npz"
    whole = scores.save(path).read_bytes()
    bad = {
        "empty": b"",
        "text": b"net,group,n,correct\n",
        "pickle": pickle.dumps(Bomb()),
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:400] + bytes(b ^ 255 for b in whole[400:600]) + whole[600:],
    }
    for content in bad.values():
        path.write_bytes(content)
        with pytest.raises(RddError, match="holds no scores"):
            Scores.load(path)
    np.savez(path, predictions=np.array([Bomb()], dtype=object), losses=np.zeros(3))
    with pytest.raises(RddError, match="holds no scores"):
        Scores.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(RddError, match="holds no scores"):
        Scores.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RddError, match="holds no scores"):
        Scores.load(path)
    with pytest.raises(RddError, match=r"absent\.npz does not exist"):
        Scores.load(tmp_path / "absent.npz")
