"""What soft labels bring: the same teacher for every set, and the numbers of networks trained by hand."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F

from rdd_nb.clustering import coresets
from rdd_nb.clustering.coresets import coreset
from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import Splits
from rdd_nb.evaluation.label_effects import label_effects
from rdd_nb.evaluation.predictions import evaluate, predict
from rdd_nb.models.autoencoder import train_autoencoder
from rdd_nb.models.soft_labels import taught
from rdd_nb.models.training import train
from tests.evaluation.helpers import SMALL, quadrants

TEACHER = dataclasses.replace(SMALL, steps=30)


def parts(groups):
    train_on, test = quadrants(90, groups=groups), quadrants(60, seed=1, groups=groups)
    return Splits(train_on, test.with_statistics(train_on.mean, train_on.std), "quadrants")


PARTS = parts(groups=True)


def test_every_number_is_that_of_networks_trained_by_hand():
    made = coreset(PARTS.train, "medoids", 2, seed=3)
    words = []
    told = {"nets": 2, "seed": 0, "device": "cpu"}
    table = label_effects(made, PARTS, SMALL, teacher=TEACHER, temperature=2.0, progress=words.append, **told)
    teachers = train(PARTS.train, TEACHER, nets=1, seed=seed_of(0, "teacher"), device="cpu")
    random = coreset(PARTS.train, "random", 2, seed=0)
    wanted = {
        ("teacher", "hard"): predict(teachers, PARTS.test),
        ("distilled", "hard"): evaluate(made, PARTS.test, protocol=SMALL, **told),
        ("random", "hard"): evaluate(random, PARTS.test, protocol=SMALL, **told),
        ("random", "soft"): evaluate(taught(random, teachers, 2.0), PARTS.test, protocol=SMALL, **told),
        ("distilled", "soft"): evaluate(taught(made, teachers, 2.0), PARTS.test, protocol=SMALL, **told),
    }
    found = table.set_index(["images", "labels", "group"])["accuracy"]
    for (images, labels), scores in wanted.items():
        assert found[images, labels, "all"] == pytest.approx(scores.accuracy.mean())
        few = scores.correct[:, scores.minority].mean()
        assert found[images, labels, "seldom"] == pytest.approx(few)
    assert set(table["images"]) == {"teacher", "distilled", "random", "medoids", "group-balanced"}
    assert words[0] == "teacher" and len(words) == 9 and "group-balanced, soft labels" in words


def test_learnt_labels_stand_beside_the_teachers_and_formations_are_kept():
    labels = torch.arange(3).repeat_interleave(8)
    made = coreset(PARTS.train, "random", 2, seed=0, formations=2)
    learnt = dataclasses.replace(made, soft_labels=F.one_hot((labels + 1) % 3, 3).float())
    table = label_effects(learnt, parts(groups=False), SMALL, teacher=TEACHER, nets=1, device="cpu")
    found = table.set_index(["images", "labels", "group"])["accuracy"]
    assert set(table["images"]) == {"teacher", "distilled", "random", "medoids"}, "no groups are named"
    assert found["distilled", "hard", "all"] == found["random", "hard", "all"], "the same images, in as many formations"
    assert found["distilled", "learnt", "all"] != found["distilled", "hard", "all"]
    assert set(table["group"]) == {"all", "a", "b", "c"}


def test_real_images_are_kept_as_codes_where_the_distilled_ones_are(monkeypatch):
    monkeypatch.setattr(coresets, "train_autoencoder", functools.partial(train_autoencoder, steps=50))
    made = coreset(PARTS.train, "random", 2, seed=0, latents=2)
    table = label_effects(made, parts(groups=False), SMALL, teacher=TEACHER, nets=1, device="cpu")
    found = table.set_index(["images", "labels", "group"])["accuracy"]
    kept = coreset(PARTS.train, "random", 4, seed=0, latents=1, decoder=made.latents.decoder)
    scores = evaluate(kept, PARTS.test, protocol=SMALL, nets=1, device="cpu")
    assert found["random", "hard", "all"] == pytest.approx(scores.accuracy.mean())
    assert kept.latents.decoder.digest == made.latents.decoder.digest
