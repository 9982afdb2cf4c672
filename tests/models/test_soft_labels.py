"""Soft labels: what a teacher says of an image, kept with the set, and trained by."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import load_synthetic, save_synthetic
from rdd_nb.evaluation.predictions import predict
from rdd_nb.models.soft_labels import soft_labels, taught
from rdd_nb.models.training import train
from tests.evaluation.helpers import SMALL, as_synthetic, quadrants, same, untrained
from tests.helpers import made_set, one_line


def test_they_are_the_mean_of_the_teachers_probabilities():
    images, teachers = quadrants(7).normalised(), untrained(3)
    found = soft_labels(teachers, images, temperature=2.0)
    wanted = sum((net(images) / 2).softmax(1) for net in teachers) / 3
    torch.testing.assert_close(found, wanted.detach())
    flat, sharp = (soft_labels(teachers, images, t).max(1).values for t in (100.0, 0.01))
    assert float((flat - 1 / 3).abs().max()) < 0.01 < 0.3 < float(sharp.mean() - 1 / 3)


def test_parts_or_all_together(monkeypatch):
    images, teachers = quadrants(7).normalised(), untrained(1)
    whole = soft_labels(teachers, images)
    monkeypatch.setattr("rdd_nb.models.soft_labels._AT_A_TIME", 3)
    torch.testing.assert_close(soft_labels(teachers, images), whole)


@pytest.mark.parametrize(("teachers", "temperature"), [(0, 1.0), (1, 0.0), (1, -1.0), (1, float("nan"))])
def test_no_teacher_or_no_temperature_is_an_error(teachers, temperature):
    with pytest.raises(RddError) as caught:
        soft_labels(untrained(2)[:teachers], quadrants(3).normalised(), temperature)
    assert "above 0" in one_line(caught)


def test_each_decoded_image_gets_its_own_and_the_file_keeps_them(tmp_path):
    data = quadrants(12)
    stored = dataclasses.replace(as_synthetic(data), formations=2)
    made = taught(stored, untrained(2))
    assert made.soft_labels.shape == (48, 3) and torch.equal(made.images, stored.images)
    torch.testing.assert_close(made.soft_labels, soft_labels(untrained(2), stored.decoded.images))
    assert torch.equal(made.decoded.soft_labels, made.soft_labels) and made.meta["labels"] == "soft"
    read = load_synthetic(save_synthetic(tmp_path / "a.safetensors", made))
    assert torch.equal(read.soft_labels, made.soft_labels) and read.formations == 2
    assert torch.equal(read.as_tensor_dataset().tensors[1], made.soft_labels)
    header = safetensors.safe_open(tmp_path / "a.safetensors", "pt").metadata()
    assert header["parameterisation"] == "formations, soft labels", "a reader that knows none of them refuses it"
    save_synthetic(tmp_path / "b.safetensors", stored)
    assert safetensors.safe_open(tmp_path / "b.safetensors", "pt").metadata()["parameterisation"] == "formations"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (torch.full((5, 2), 0.5), "give float32 [6, 2]"),
        (torch.full((6, 2), 0.5, dtype=torch.float64), "float64"),
        (torch.full((6, 2), 0.6), "sum to 1"),
        (torch.tensor([[1.5, -0.5]] * 6), "at least 0"),
        (torch.full((6, 2), float("nan")), "sum to 1"),
    ],
)
def test_what_is_no_label_is_refused(wrong, says):
    with pytest.raises(RddError) as caught:
        made_set(soft_labels=wrong)
    assert says in one_line(caught)


@pytest.mark.parametrize("nets", [1, 2])
def test_labels_that_are_certain_train_as_classes_do(nets):
    made, test = as_synthetic(quadrants(12)), quadrants(30, seed=1)
    certain = dataclasses.replace(made, soft_labels=F.one_hot(made.labels, 3).float())
    a, b = (predict(train(each, SMALL, nets=nets, device="cpu"), test) for each in (made, certain))
    np.testing.assert_allclose(a.losses, b.losses, rtol=1e-4, atol=1e-5)


def test_networks_are_trained_by_the_labels_and_not_by_the_classes():
    made, test = as_synthetic(quadrants(30)), quadrants(60, seed=1)
    turned = dataclasses.replace(made, soft_labels=F.one_hot((made.labels + 1) % 3, 3).float())
    plain, other = (
        predict(train(each, dataclasses.replace(SMALL, epochs=20), nets=1, device="cpu"), test)
        for each in (made, turned)
    )
    shifted = (other.predictions[0] == (test.labels.numpy() + 1) % 3).mean()
    assert plain.correct.mean() > 0.6 and shifted > 0.6
    even = dataclasses.replace(made, soft_labels=torch.full((30, 3), 1 / 3))
    (net,) = train(even, SMALL, nets=1, device="cpu")
    assert float((net.requires_grad_(False)(test.normalised()).softmax(1) - 1 / 3).abs().mean()) < 0.1


def test_the_same_teacher_for_a_set_gives_the_same_nets():
    made = as_synthetic(quadrants(12))
    first, second = (train(taught(made, untrained(1)), SMALL, nets=1, device="cpu") for _ in range(2))
    assert same(first[0], second[0])
