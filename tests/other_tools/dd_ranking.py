"""A distilled set in DD-Ranking's evaluators, on data of one's own: see docs/how-to/other-tools.md.

Run by hand where DD-Ranking 0.2.0 is installed, on a CPU some minutes: ``python tests/other_tools/dd_ranking.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import os
import tempfile
import time

import numpy as np
import torch

import rdd_nb as rdd
from rdd_nb.core.environment import torchvision
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.scenarios import scenario
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation.predictions import predict
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.soft_labels import taught
from rdd_nb.models.training import train

NAME = (
    "CIFAR10"  # one of the names that DD-Ranking knows; it decides how random images are drawn and real ones trained on
)
MODEL = "ConvNet-3"


class Real(torch.utils.data.Dataset):
    """Real images as DD-Ranking asks for them: normalised, each with its class, and all classes as `targets`."""

    def __init__(self, data: ImageDataset) -> None:
        self.images, self.targets = data.normalised(), data.labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], self.targets[index]


def own_data(splits: Splits):
    """In place of `ddranking.utils.get_dataset`, which knows five data sets: the ten values that it returns."""
    train, test = Real(splits.train), Real(splits.test)
    count, same = splits.train.num_classes, {k: k for k in range(splits.train.num_classes)}
    told = (3, splits.train.shape[1:], splits.train.mean, splits.train.std, count, train, test, test, same, same)
    return lambda *given: told


def by_class(synthetic: SyntheticSet) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Decoded images, classes, and logits of the soft labels, class after class, as DD-Ranking expects them."""
    whole = synthetic.decoded
    order = whole.labels.argsort(stable=True)
    soft = None if whole.soft_labels is None else whole.soft_labels[order].clamp_min(1e-12).log()
    return whole.images[order], whole.labels[order], soft


def hard_score(splits: Splits, synthetic: SyntheticSet, epochs: int) -> dict[str, float]:
    """DD-Ranking's label-robust score by hard labels."""
    from ddranking.metrics import hard_label

    hard_label.get_dataset = own_data(splits)
    hard_label.save_results = lambda *given: None  # it appends one list twice, and no table takes lists of two lengths
    images, labels, _ = by_class(synthetic)
    evaluator = hard_label.LabelRobustScoreHard(**_settings(synthetic, epochs), use_torchvision=False)
    return evaluator.compute_metrics(image_tensor=images, hard_labels=labels, syn_lr=0.01)


def soft_score(splits: Splits, synthetic: SyntheticSet, epochs: int) -> dict[str, float]:
    """DD-Ranking's label-robust score by the set's own soft labels (its mode S)."""
    from ddranking.metrics import soft_label
    from ddranking.utils import build_model

    class Repaired(soft_label.LabelRobustScoreSoft):
        """Labels random images in mode S: 0.2.0 passes one argument too few, and asks for a teacher it has not."""

        def _get_random_data_helper(self, eval_iter):
            drawn = (self.dst_train, self.class_to_indices, self.ipc, self.class_map, eval_iter, self.random_data_path)
            images, _ = soft_label.get_random_data_tensors(self.dataset, *drawn)
            with torch.no_grad():
                return None, images, torch.stack([teacher(images) for teacher in self.teacher_models]).mean(0)

    soft_label.get_dataset = own_data(splits)
    teacher = build_model(MODEL, splits.train.num_classes, splits.train.shape[1:], device="cpu")
    optimiser = torch.optim.SGD(teacher.parameters(), lr=0.01, momentum=0.9)
    pairs = torch.utils.data.DataLoader(Real(splits.train), 32, shuffle=True)
    for _ in range(epochs // 4):
        for images, labels in pairs:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(teacher(images), labels).backward()
            optimiser.step()
    os.makedirs(f"teachers/{NAME}/{MODEL}")
    torch.save(teacher.state_dict(), f"teachers/{NAME}/{MODEL}/ckpt_best.pt")
    images, _, soft = by_class(synthetic)
    labels = {"soft_label_mode": "S", "soft_label_criterion": "kl", "loss_fn_kwargs": {"temperature": 1.0}}
    teachers = {"teacher_dir": "teachers", "teacher_model_names": [MODEL]}
    evaluator = Repaired(**_settings(synthetic, epochs), **labels, **teachers)
    return evaluator.compute_metrics(image_tensor=images, soft_labels=soft, syn_lr=0.01)


def _settings(synthetic: SyntheticSet, epochs: int) -> dict:
    return {
        **{"dataset": NAME, "model_name": MODEL, "ipc": synthetic.decoded.ipc, "im_size": synthetic.shape[1:]},
        **{"num_eval": 1, "num_epochs": epochs, "step_size": epochs, "data_aug_func": None, "eval_full_data": True},
        **{"random_data_format": "tensor", "random_data_path": "random", "num_workers": 0, "device": "cpu"},
    }


def score_of(found: dict[str, float]) -> float:
    """The label-robust score, by the formula of its README with w = 1/2, of accuracies as fractions.

    The evaluators put accuracies in per cent into the exponential: what they return leaves 0 to 1 far behind.
    """
    alpha = (found["improvement_over_random_mean"] - found["hard_label_recovery_mean"]) / 200
    return float((np.exp(alpha) - np.exp(-1)) / (np.exp(1) - np.exp(-1)))


def same_accuracy(splits: Splits, synthetic: SyntheticSet) -> tuple[float, float]:
    """The accuracy in per cent of one and the same network, as DD-Ranking and as we measure it."""
    from ddranking.utils import validate

    nets = train(synthetic, Protocol(epochs=20, width=16), nets=1, device="cpu")
    loader = torch.utils.data.DataLoader(Real(splits.test), 50)
    return validate(nets[0], loader, device="cpu"), 100 * float(predict(nets, splits.test).accuracy[0])


def main() -> None:
    """Make a set, feed it, compare, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20, help="of each network; below 20 DD-Ranking tests none")
    epochs = parser.parse_args().epochs
    torchvision()  # ours, first: it also loads beside another build of torch
    splits = scenario(rdd.load("digits", size=32, sample=60), "coloured", seed=0)
    config = rdd.DistillConfig(ipc=2, width=16, iterations=20, objective="erm")
    synthetic = rdd.distill(splits.train, config, device="cpu").synthetic
    synthetic = taught(synthetic, train(splits.train, Protocol(epochs=20, width=16), nets=1, device="cpu"), 1.0)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # they write where they are run
        quiet = io.StringIO()
        for name, score in (("hard", hard_score), ("soft", soft_score)):
            began = time.perf_counter()
            with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
                found = score(splits, synthetic, epochs)
            told = {key: round(float(value), 3) for key, value in found.items() if key.endswith("mean")}
            print(
                f"{name} labels, {time.perf_counter() - began:.0f} s: {told}; score of fractions {score_of(found):.4f}"
            )
        with contextlib.redirect_stdout(quiet):
            theirs, ours = same_accuracy(splits, synthetic)
    print(f"ddranking {importlib.metadata.version('ddranking')}, torch {torch.__version__}, numpy {np.__version__}")
    print(f"one network's accuracy: DD-Ranking {theirs:.6f} %, ours {ours:.6f} %")
    assert abs(theirs - ours) < 1e-3


if __name__ == "__main__":
    main()
