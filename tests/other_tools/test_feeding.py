"""What the scripts beside this give other tools, without these tools."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import rdd_nb as rdd
from rdd_nb.data.dataset import Splits
from rdd_nb.evaluation.scores import Scores
from tests.helpers import made_set, rng
from tests.other_tools.dd_ranking import by_class, own_data, score_of
from tests.other_tools.subpopbench import Answers, probabilities


def scored(classes: int) -> tuple[torch.Tensor, Scores]:
    """Two networks' probabilities, some of them near 1, and what scores keep of them."""
    logits = 6 * torch.randn(2, 300, classes, generator=rng(0), dtype=torch.float64)
    labels = torch.randint(classes, (300,), generator=rng(1))
    found = logits.softmax(-1)
    losses = torch.nn.functional.cross_entropy(logits.mT, labels.expand(2, -1), reduction="none")
    kept = (found.argmax(-1).to(torch.int16), losses.float(), found.amax(-1).float())
    groups = torch.arange(300) % 3
    names = tuple(map(str, range(classes)))
    return found, Scores(*(each.numpy() for each in kept), labels.numpy(), names, groups.numpy(), ("a", "b", "c"))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_come_back_from_scores(classes):
    found, scores = scored(classes)
    for net in (0, 1):
        again, wanted = probabilities(scores, net), found[net].numpy()
        np.testing.assert_allclose(again.sum(1), 1, atol=1e-6)
        rows = np.arange(300)
        for column in (scores.labels, scores.predictions[net]):
            np.testing.assert_allclose(again[rows, column], wanted[rows, column], rtol=1e-5)
        if classes == 2:
            np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-12)
        assert (again.argmax(1) == scores.predictions[net]).all()
        answers = Answers(scores, net)
        (_, numbers, labels, groups), *rest = answers
        assert not rest and (labels.numpy() == scores.labels).all() and (groups.numpy() == scores.groups).all()
        np.testing.assert_allclose(answers.predict(numbers).softmax(1).numpy(), again, atol=1e-6)


def test_images_go_class_by_class_with_their_own_labels():
    soft = torch.rand(24, 2, generator=rng(0)).softmax(1)
    images = torch.randn(6, 1, 8, 8, generator=rng(1))
    made = made_set(images=images, formations=2, soft_labels=soft)  # of the classes 0, 1, 0, 1, 0, 1
    given, labels, logits = by_class(made)
    assert labels.tolist() == [0] * 12 + [1] * 12
    whole = made.decoded
    for image, told in zip(given, logits):
        place = next(i for i, other in enumerate(whole.images) if torch.equal(image, other))
        torch.testing.assert_close(told.softmax(0), soft[place])
    assert by_class(dataclasses.replace(made, soft_labels=None))[2] is None


def test_own_data_are_what_get_dataset_returns():
    train = rdd.load("digits").train
    told = own_data(Splits(train, train, "digits"))("CIFAR10", "anywhere", None, False, None, "cpu")
    channels, size, mean, _, count, real, _, _, same, _ = told
    assert (channels, tuple(size), count, same[3]) == (3, (28, 28), 10, 3) and mean == train.mean
    image, label = real[5]
    assert torch.equal(image, train.normalised()[5]) and type(label) is int and label == real.targets[5]


def test_the_score_is_1_for_all_that_can_be_gained_and_0_for_all_that_can_be_lost():
    for gain, lost, wanted in ((100, -100, 1), (-100, 100, 0), (0, 0, (1 - np.exp(-1)) / (np.e - np.exp(-1)))):
        found = score_of({"improvement_over_random_mean": gain, "hard_label_recovery_mean": lost})
        assert found == pytest.approx(wanted)
