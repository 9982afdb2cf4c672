"""What trained networks predict for each test sample."""

import pickle

import numpy as np
import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.evaluation.predictions import evaluate, predict
from rdd_nb.evaluation.scores import Scores
from rdd_nb.models import networks
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import train
from tests.evaluation.helpers import SMALL, as_synthetic, quadrants, untrained


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
