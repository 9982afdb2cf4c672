"""Our scores in SubpopBench's metrics, and whether what both define is the same: see docs/how-to/other-tools.md.

Run by hand, with netcal and a scikit-learn before 1.5 installed, on a clone of https://github.com/YyzHarry/SubpopBench:
``python tests/other_tools/subpopbench.py CLONE``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import math
import types
import warnings
from pathlib import Path

import numpy as np
import torch

import rdd_nb as rdd
from rdd_nb.clustering.coresets import coreset
from rdd_nb.data.scenarios import scenario
from rdd_nb.evaluation.predictions import evaluate
from rdd_nb.evaluation.scores import Scores
from rdd_nb.evaluation.subgroups import gap, recall_range, worst_group
from rdd_nb.models.protocol import Protocol


def probabilities(scores: Scores, net: int) -> np.ndarray:
    """The probabilities that one network gave, ``[N, K]``, as far as scores keep them.

    Of two classes they are those. Of more, the predicted and the true class have theirs, and the others share what is
    left: enough for accuracies, calibration and log-losses, and not for AUROC.
    """
    rows, classes = np.arange(len(scores.labels)), len(scores.class_names)
    wrong, losses = ~scores.correct[net], scores.losses[net].astype(float)
    left = -np.expm1(-losses)  # all but the true class's, exact also where that is near 1
    if classes == 2:
        table = np.repeat(left[:, None], 2, 1)
    else:
        first = scores.confidence[net].astype(float)
        left = np.where(wrong, np.maximum(left - first, 0) / (classes - 2), left / (classes - 1))
        table = np.repeat(left[:, None], classes, 1)
        table[rows[wrong], scores.predictions[net][wrong]] = first[wrong]
    table[rows, scores.labels] = np.exp(-losses)
    return table


class Answers:
    """One network's answers, as the algorithm and the loader that `eval_metrics` asks: an image is its number here."""

    def __init__(self, scores: Scores, net: int) -> None:
        self.logits = torch.from_numpy(probabilities(scores, net)).clamp_min(1e-30).log()
        self.labels, self.groups = torch.from_numpy(scores.labels), torch.from_numpy(scores.groups)
        self.dataset = types.SimpleNamespace(num_labels=len(scores.class_names))

    def eval(self) -> None:
        """Nothing to switch."""

    def predict(self, numbers: torch.Tensor) -> torch.Tensor:
        """Logits of some images."""
        return self.logits[numbers]

    def __iter__(self):
        every = torch.arange(len(self.labels))
        yield every, every, self.labels, self.groups


def metrics_of(clone: Path, scores: Scores, net: int) -> dict:
    """What SubpopBench's `eval_metrics` says of one network."""
    spec = importlib.util.spec_from_file_location("eval_helper", clone / "subpopbench" / "utils" / "eval_helper.py")
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    answers = Answers(scores, net)
    return helper.eval_metrics(answers, answers, "cpu")


def pairs(theirs: dict, scores: Scores, net: int):
    """Name, SubpopBench's number, ours: of everything that both define."""
    one = {name: getattr(scores, name)[[net]] for name in ("predictions", "losses", "confidence")}
    own = Scores(**{**vars(scores), **one})
    yield "accuracy", theirs["overall"]["accuracy"], own.accuracy[0]
    yield "balanced accuracy", theirs["overall"]["balanced_acc"], own.class_accuracy.mean()
    clipped = np.clip(own.losses.astype(float), 0, -math.log(1e-6))
    yield "log-loss (BCE)", theirs["overall"]["BCE"], clipped.mean()
    for label, recall in enumerate(own.class_accuracy[0]):
        yield f"recall of class {label}", theirs["per_class"][label]["recall"], recall
    both = own.table("class-group").assign(accuracy=lambda t: t["correct"] / t["n"])
    for code, row in enumerate(both.itertuples()):
        label, group = divmod(code, len(scores.group_names))
        if row.n:
            told = theirs["per_group"][f"y={label},a={group}"]
            yield f"accuracy of y={label},a={group}", told["accuracy"], row.accuracy
            yield f"images of y={label},a={group}", told["n_samples"], row.n
    for group, row in enumerate(own.table("group").itertuples()):
        yield f"accuracy of a={group}", theirs["per_attribute"][group]["accuracy"], row.correct / row.n
    yield "worst group", theirs["min_group"]["accuracy"], worst_group(own, "class-group").value
    yield "worst attribute", theirs["min_attr"]["accuracy"], worst_group(own, "group").value
    yield "adjusted accuracy", theirs["adjusted_accuracy"], both["accuracy"].mean()
    most = theirs["max_group"]["accuracy"] - theirs["min_group"]["accuracy"]
    yield "gap", most, gap(both["correct"], both["n"])
    per_class = [
        np.ptp([theirs["per_group"][f"y={y},a={a}"]["accuracy"] for a in range(len(scores.group_names))
                if f"y={y},a={a}" in theirs["per_group"]])
        for y in range(len(scores.class_names))
    ]  # fmt: skip
    yield "DEO_M", max(per_class), recall_range(own.labels, own.predictions, own.groups).maximum


def main() -> None:
    """Score a small set on two data sets, ask SubpopBench about each network, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    clone = parser.parse_args().clone
    warnings.simplefilter("ignore")
    for name in ("scikit-learn", "netcal", "numpy", "torch"):
        print(name, importlib.metadata.version(name))
    for told, wanted in (("two classes", {"only_classes": ["3", "8"]}), ("ten classes", {})):
        splits = scenario(rdd.load("digits", **wanted), "coloured", seed=0)
        scores = evaluate(
            coreset(splits.train, "random", 20), splits.test, protocol=Protocol(epochs=100, width=16), nets=3
        )
        for net in range(3):
            theirs = metrics_of(clone, scores, net)
            found = list(pairs(theirs, scores, net))
            worst = max(abs(a - b) for _, a, b in found)
            print(f"{told}, network {net}: {len(found)} numbers of both, largest difference {worst:.2g}")
            assert worst < 1e-9, max(found, key=lambda each: abs(each[1] - each[2]))
            kept = {"ECE": theirs["overall"]["ECE"], "F1": theirs["overall"]["macro_avg"]["f1-score"]}
            kept["precision"] = theirs["overall"]["macro_avg"]["precision"]
            kept |= {"AUROC": theirs["overall"]["AUROC"]} if len(scores.class_names) == 2 else {}
            print("   theirs alone: " + ", ".join(f"{name} {value:.4f}" for name, value in kept.items()))
            some = ("accuracy", "balanced accuracy", "worst group", "adjusted accuracy", "gap")
            print("   of both: " + ", ".join(f"{name} {a:.4f}" for name, a, _ in found if name in some))


if __name__ == "__main__":
    main()
