"""A dataset card for a distilled set: what it is, how it was made, whom it serves, what it is not fit for, and whose.

:func:`card` writes it as Markdown with a YAML head, as Hugging Face reads it from a ``README.md``. All that it says
comes from the run folder; what the run does not know is said to be unknown.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import pandas as pd
from ruamel.yaml import YAML

from rdd_nb.core.escaping import code_block, markdown, terminal
from rdd_nb.core.version import __version__
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.run_contents import Evaluation, contents
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.scores import Scores, scores_of
from rdd_nb.evaluation.subgroups import worst_group
from rdd_nb.reporting.export import group_tables, rounding, table_of
from rdd_nb.reporting.report import command_of, limits_of, trained_how

__all__ = ["SOURCES", "Origin", "about", "card", "size_category"]


class Origin(NamedTuple):
    """Whose the real images are."""

    licence: str  #: as Hugging Face abbreviates it; "unknown" where nobody states one
    terms: str  #: the same in words
    citation: str


FASHION = Origin(
    "mit",
    "The real images are Fashion-MNIST, MIT licence, copyright 2017 Zalando SE; the licence asks that this notice goes "
    "with copies.",
    "Han Xiao, Kashif Rasul, Roland Vollgraf: *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
    "Algorithms*, 2017, [arXiv 1708.07747](https://arxiv.org/abs/1708.07747).",
)
CIFAR = Origin(
    "unknown",
    "The real images are CIFAR's, for which no licence is stated; ask its authors before you use them for more than "
    "research.",
    "Alex Krizhevsky: *Learning Multiple Layers of Features from Tiny Images*, technical report, University of "
    "Toronto, 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>.",
)
#: The licences of the data sets that :func:`rdd_nb.data.loading.load` knows, by name.
SOURCES = {
    "fashion-mnist": FASHION,
    "fashion-mnist-sample": FASHION,
    "digits": Origin(
        "cc-by-4.0",
        "The real images are scikit-learn's copy of the test set of *Optical Recognition of Handwritten Digits*, UCI "
        "Machine Learning Repository, CC BY 4.0.",
        "E. Alpaydin, C. Kaynak: *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998, "
        "<https://doi.org/10.24432/C50P49>.",
    ),
    "mnist": Origin(
        "cc-by-sa-3.0",
        "The real images are MNIST's, copyright Yann LeCun and Corinna Cortes, CC BY-SA 3.0: what is made from them is "
        "passed on under the same licence.",
        "Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner: *Gradient-Based Learning Applied to Document "
        "Recognition*, Proceedings of the IEEE 86(11), 1998, <https://doi.org/10.1109/5.726791>.",
    ),
    "cifar10": CIFAR,
    "cifar100": CIFAR,
    "svhn": Origin(
        "other",
        "The real images are SVHN's, whose page allows non-commercial use only.",
        "Yuval Netzer, Tao Wang, Adam Coates, Alessandro Bissacco, Bo Wu, Andrew Y. Ng: *Reading Digits in Natural "
        "Images with Unsupervised Feature Learning*, NIPS Workshop on Deep Learning and Unsupervised Feature Learning, "
        "2011, <http://ufldl.stanford.edu/housenumbers/>.",
    ),
}
OWN = Origin(
    "unknown",
    "The licence is that of your images: **fill in**, here and in the head of this card.",
    "The real images: **fill in** who made them.",
)
MATCHING = {
    "distribution": "Bo Zhao, Hakan Bilen: *Dataset Condensation with Distribution Matching*, WACV 2023, "
    "[arXiv 2110.04181](https://arxiv.org/abs/2110.04181).",
    "gradient": "Bo Zhao, Konda Reddy Mopuri, Hakan Bilen: *Dataset Condensation with Gradient Matching*, ICLR 2021, "
    "[arXiv 2006.05929](https://arxiv.org/abs/2006.05929).",
}
METHOD = (
    "Saeed Vahidian, Mingyu Wang, Jianyang Gu, Vyacheslav Kungurtsev, Wei Jiang, Yiran Chen: *Group Distributionally "
    "Robust Dataset Distillation with Risk Minimization*, ICLR 2025, "
    "[arXiv 2402.04676](https://arxiv.org/abs/2402.04676)."
)
OBJECTIVES = {
    "erm": "Each class as a whole was matched (plain distillation), so nothing looked after minorities.",
    "robust": "Groups inside each class were matched with a risk in place of the mean (robust distillation).",
    "group": "Every group inside each class was matched alike (group-synchronised distillation).",
    "density": "Rare kinds of images counted more (density-weighted distillation).",
}


def size_category(images: int) -> str:
    """The bucket that Hugging Face puts a number of images in.

    >>> size_category(100), size_category(1000), size_category(25_000), size_category(2_000_000)
    ('n<1K', '1K<n<10K', '10K<n<100K', '1M<n<10M')
    """
    if images < 1000:
        return "n<1K"
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    at = min((len(str(images)) - 4), len(bounds) - 2)
    return f"{bounds[at]}<n<{bounds[at + 1]}"


def card(run: RunFolder, with_images: bool = False) -> str:
    """The card of a finished run, in Markdown.

    Args:
        run: the folder; its accuracies are told where it holds ``scores.npz`` (``rdd-nb evaluate``).
        with_images: the card is for the ``README.md`` of an image folder
            (:func:`rdd_nb.reporting.export.image_folder`): its head says where the images are, and its text what
            rounding did to them.

    Raises:
        RddError: the run is not finished, or a file of it cannot be read.
    """
    _, told, synthetic = run.metrics, contents(run), run.load_synthetic()  # the first complains of an unfinished run
    name = told.data.name or str(synthetic.meta.get("dataset") or "unknown data")
    origin = _origin(told.source.data or name)
    objective, matching = str(told.distill.get("objective") or ""), MATCHING.get(str(told.distill.get("matching")))
    scores = scores_of(run) if (run.path / "scores.npz").is_file() else None
    title = _title(name, synthetic)
    size = "×".join(map(str, synthetic.shape))
    count = len(synthetic.decoded.images if with_images else synthetic.images)
    made_with = markdown(told.machine.get("rdd_nb") or __version__)
    parts = [
        _head(title, origin, count, objective, with_images),
        f"# {markdown(title)}",
        "## What this is",
        f"{len(synthetic.images)} synthetic images of {size} (channels × height × width), {synthetic.ipc} for each of "
        f"{synthetic.num_classes} classes: {', '.join(map(markdown, synthetic.class_names))}. They were optimised to "
        f"stand for the real training images ({markdown(name)}) when a network is trained. {_kept(synthetic)}"
        f"{OBJECTIVES.get(objective, '')}".rstrip(),
        _values(run, with_images),
        "## How it was made",
        f"By rdd_nb {made_with}, which implements the methods cited below in its own way.",
        _command(command_of(run, told)),
        table_of(told.distill),
        "## Whom it serves",
        *_numbers(scores, told.evaluation),
        "## What it is not fit for",
        _unfit(scores, told.evaluation),
        *(["\n".join(f"- {markdown(limit)}" for limit in limits_of(scores, (), told.evaluation))] if scores else []),
        "## Licence and citation",
        f"{origin.terms} What is distilled from images can show what was in them, so their terms hold here as well.",
        "\n".join(
            [
                f"- Data: {origin.citation}",
                f"- Method: {METHOD}",
                *([f"- What is matched: {matching}"] if matching else []),
                f"- Software: rdd_nb {made_with}, MIT licence; see its CITATION.cff.",
            ]
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def about(run: RunFolder) -> tuple[str, str]:
    """The title and the licence that :func:`card` gives a run."""
    told, synthetic = contents(run), run.load_synthetic()
    name = told.data.name or str(synthetic.meta.get("dataset") or "unknown data")
    return _title(name, synthetic), _origin(told.source.data or name).licence


def _title(name: str, synthetic: SyntheticSet) -> str:
    return f"{name}, distilled to {synthetic.ipc} {'image' if synthetic.ipc == 1 else 'images'} a class"


def _kept(synthetic: SyntheticSet) -> str:
    many = synthetic.formations
    if synthetic.latents is not None:
        whole = synthetic.latents.codes.numel() / synthetic.images[0].numel() / synthetic.num_classes
        return (
            f"Of them {synthetic.kept}; {whole:.3g} images a class in pixels would take as many numbers as the codes. "
        )
    if many == 1:
        return ""
    return (
        f"Each stored image is a grid of {many} × {many} parts, and each part, enlarged to the full size (bilinear), "
        f"is an image to train on: {synthetic.decoded.ipc} a class. "
    )


def _origin(data: str) -> Origin:
    return SOURCES.get(data.split(" ")[0], OWN)  # a shifted data set is called "digits coloured bias=0.9"


def _head(title: str, origin: Origin, count: int, objective: str, with_images: bool) -> str:
    head: dict[str, Any] = {"pretty_name": terminal(" ".join(title.split())), "license": origin.licence}
    if origin.licence == "other":
        head["license_name"] = "non-commercial"
    head |= {
        "task_categories": ["image-classification"],
        "size_categories": [size_category(count)],
        "tags": ["dataset-distillation", "synthetic", "rdd_nb", *([f"objective-{objective}"] if objective else [])],
    }
    if with_images:
        files = [{"split": "train", "path": ["metadata.csv", "*/*.png"]}]
        head["configs"] = [{"config_name": "default", "data_files": files}]
    writer, text = YAML(), io.StringIO()
    writer.width = 1000  # no line is broken
    writer.dump(head, text)
    return f"---\n{text.getvalue()}---"


def _values(run: RunFolder, with_images: bool) -> str:
    synthetic = run.load_synthetic()
    exact = (
        f"The networks see `(pixel / 255 - mean) / std` with mean {_numbers_in(synthetic.mean)} and std "
        f"{_numbers_in(synthetic.std)} (one value a channel, of the real training images): normalise test images with "
        "the same two."
    )
    if not with_images:
        return exact
    lost = rounding(synthetic.decoded)
    return (
        "**These PNG files are rounded.** The distilled values are not whole grey levels and need not lie between "
        "black and white; here they are rounded to 8 bits and clipped. The largest difference is "
        f"{lost.largest:.3g} of 255 grey levels, and {100 * lost.clipped:.1f} % of the values were clipped. The exact "
        "values are in the run's `synthetic.safetensors`, and the accuracies below are of networks trained on those. "
        f"{exact} All images are for training; `metadata.csv` names each one's class"
        f"{'.' if synthetic.soft_labels is None else ', `soft_labels.csv` the probabilities it was trained by.'}"
    )


def _numbers_in(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _command(lines: str) -> str:
    return code_block(lines) if lines else "The run does not say which data it was made from, so there is no command."


def _numbers(scores: Scores | None, said: Evaluation | None) -> list[str]:
    if scores is None:
        return ["Not measured: the run holds no predictions of networks trained on this set (see `rdd-nb evaluate`)."]
    trained = f" ({markdown(trained_how(said))})" if said and said.protocol else ""
    nets, part = len(scores.predictions), markdown(said.on) if said else "test"
    told = (
        f"Accuracy of {nets} fresh network{'s' * (nets != 1)}{trained} trained on this set alone, on "
        f"{len(scores.labels):,} real {part} images, with 95 % intervals for each group looked at alone."
    )
    rows = ["| partition | group | test images | accuracy | 95 % interval |", "|---|---|---:|---:|---:|"]
    for name, table in group_tables(scores).items():
        for row in table.to_dict("records"):
            share = "–" if pd.isna(row["accuracy"]) else f"{100 * row['accuracy']:.1f} %"
            rows.append(
                f"| {name} | {markdown(row['group'])} | {row['n']:,} | {share} | {_band(row['low'], row['high'])} |"
            )
    return [told, "\n".join(rows)]


def _unfit(scores: Scores | None, said: Evaluation | None) -> str:
    network = markdown((said and said.protocol.get("network")) or "unknown")
    judged = "have not been judged yet" if scores is None else f"were judged only by such ({network})"
    text = (
        "These are not real images and no sample of any: they say nothing about how common something is, and nobody "
        "should be shown one as an example of its class. They were made to train small networks of the kind that they "
        f"were distilled with, and {judged}; for other architectures, with other augmentation or as additional "
        "training data they may be worth less. Do not test on them, and do not base decisions about people on networks "
        "that saw nothing else. "
    )
    if scores is None:
        return text + "Whom such networks fail is not known, since it was not measured."
    by = "group" if scores.groups is not None else "class"
    worst = worst_group(scores, by)
    return text + (
        f"Networks trained on them fail some more than others: the worst {by} is {markdown(worst.group)} with "
        f"{100 * worst.value:.1f} % (band that holds for all at once: {_band(worst.low, worst.high)})."
    )


def _band(low: float, high: float) -> str:
    return "–" if pd.isna(low) else f"{100 * low:.1f} – {100 * high:.1f} %"
