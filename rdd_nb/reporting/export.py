"""A distilled set in other people's hands: as PNG files, as a table of whom it serves, and on TensorBoard's page.

:func:`image_folder` writes what torchvision's ``ImageFolder``, Hugging Face's ``imagefolder`` and our own
``folder:PATH`` read, with the card of :mod:`rdd_nb.reporting.card` beside it. For a ``DataLoader``, which needs no
files, see :meth:`rdd_nb.data.synthetic_set.SyntheticSet.as_tensor_dataset`.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import markdown
from rdd_nb.core.files import RESERVED, atomic_write, unwritable
from rdd_nb.core.folders import put_files
from rdd_nb.data.synthetic_formats import to_npz
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.run_contents import contents
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.scores import Scores, scores_of
from rdd_nb.evaluation.subgroups import group_table
from rdd_nb.reporting.croissant import croissant
from rdd_nb.reporting.training_script import training_script

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "Rounding",
    "accuracies",
    "class_folders",
    "group_tables",
    "image_folder",
    "needs_tensorboard",
    "rounding",
    "table_of",
    "tensorboard",
]

#: What a table of :func:`accuracies` holds of :func:`rdd_nb.evaluation.subgroups.group_table`.
COLUMNS = ("group", "n", "nets", "accuracy", "low", "high", "low_simultaneous", "high_simultaneous")
EVENTS = "events.out.tfevents.rdd_nb"  # TensorBoard reads what has "tfevents" in its name
# Where one stands alone in a path, Hugging Face's imagefolder takes it for the name of a split.
SPLITS = re.compile(r"(?i)(?<![^-._ \d])((?:train|test)(?:ing)?|validation|valid|val|dev|evaluation|eval)(?![^-._ \d])")
SCRIPT = "learn.py"  # for the same reason not train.py, which would hide the images from it
LONGEST = 60  # characters of a folder's name; file systems allow 255 bytes


# -------------------------------------------------------------------------------------------------------------- images


class Rounding(NamedTuple):
    """What is lost where images become pixels of 8 bits."""

    largest: float  #: the largest difference, in grey levels (of 255)
    clipped: float  #: the share of values below 0 or above 255, in 0..1


def rounding(synthetic: SyntheticSet) -> Rounding:
    """How far the pixels of :meth:`rdd_nb.data.synthetic_set.SyntheticSet.to_uint8` lie from the images themselves.

    A distilled value may be darker than black or brighter than white. Rounding alone moves a value by half a grey level
    at most; more than that is clipping.

    >>> s = SyntheticSet(torch.tensor([[[[0.0, 1.2]]]]), torch.tensor([0]), ("a",), (0.0,), (1.0,), ipc=1)
    >>> rounding(s)
    Rounding(largest=51.0, clipped=0.5)
    """
    exact = _levels(synthetic)
    outside = (exact < -0.5) | (exact > 255.5)  # what rounds to 0 or 255 is not clipped
    largest = float((exact - synthetic.to_uint8()).abs().max())
    return Rounding(round(largest, 3), float(outside.double().mean()))


def _levels(synthetic: SyntheticSet) -> Tensor:
    """The images in grey levels, float64 ``[M, C, H, W]``, neither rounded nor clipped."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (synthetic.mean, synthetic.std))
    return (synthetic.images.detach().cpu().double() * std + mean) * 255


def class_folders(class_names: Sequence[str]) -> tuple[str, ...]:
    """A name for each class's folder that every file system takes: no slashes, no reserved or hidden names, no twins.

    Nor is it one that readers take for a split.

    >>> class_folders(["T-shirt", "ankle boot", "cat/dog", "..", "Con", "con", "test tube"])
    ('T-shirt', 'ankle boot', 'cat_dog', 'class', 'Con_', 'con_-2', 'classtest tube')
    """
    taken: set[str] = set()
    folders = []
    for name in class_names:
        plain = re.sub(r"[^\w .+-]", "_", unicodedata.normalize("NFKC", name))[:LONGEST].strip(" .") or "class"
        plain = SPLITS.sub(r"class\1", plain)
        plain += "_" if plain.partition(".")[0].casefold() in RESERVED else ""
        unique, count = plain, 1
        while unique.casefold() in taken:  # some file systems do not tell Cat from cat
            count += 1
            unique = f"{plain}-{count}"
        taken.add(unique.casefold())
        folders.append(unique)
    return tuple(folders)


def image_folder(
    synthetic: SyntheticSet,
    folder: str | os.PathLike[str],
    card: str = "",
    force: bool = False,
    about: tuple[str, str] | None = None,
) -> list[Path]:
    """Write a set as ``folder/<class>/<nnn>.png`` with ``metadata.csv`` and, where it is given, its card ``README.md``.

    The columns of ``metadata.csv`` are ``file_name`` and ``label``, the class's own name; a folder's name may differ
    from it (:func:`class_folders`). Where the set has soft labels, ``soft_labels.csv`` has each file's: ``file_name``
    and a column for each class. Pixels are rounded to 8 bits and clipped (:func:`rounding`). The same set gives the
    same bytes, so that the same call completes a folder whose writing was interrupted.

    Args:
        synthetic: of grey or RGB images; those in the parts of a stored one are written one by one, each enlarged, as
            networks are trained on them.
        folder: a new or empty one, or one that holds nothing but these files.
        card: the text of ``README.md``, see :func:`rdd_nb.reporting.card.card`.
        force: replace files of these names that differ, such as a card that somebody filled in.
        about: a title and a licence: with them ``croissant.json`` is written too (:mod:`rdd_nb.reporting.croissant`),
            and ``learn.py``, which trains a network with plain PyTorch (:mod:`rdd_nb.reporting.training_script`).

    Returns:
        The files that were written.

    Raises:
        RddError: images of another number of channels; the folder holds other files; it cannot be written.
    """
    channels, synthetic = synthetic.shape[0], synthetic.decoded
    if channels not in (1, 3):
        raise RddError(f"images of {channels} channels cannot be PNG files: use the synthetic.safetensors of the run")
    names, count = class_folders(synthetic.class_names), [0] * synthetic.num_classes
    digits = max(3, len(str(synthetic.ipc - 1)))
    contents: dict[str, bytes | str] = {}
    files: list[str] = []
    for pixels, label in zip(synthetic.to_uint8().numpy(), synthetic.labels.tolist()):
        name = f"{names[label]}/{count[label]:0{digits}}.png"
        contents[name] = _png(pixels)
        files.append(name)
        count[label] += 1
    classes = [(synthetic.class_names[label],) for label in synthetic.labels.tolist()]
    contents["metadata.csv"] = _table(("file_name", "label"), files, classes)
    if synthetic.soft_labels is not None:
        told = [[f"{value:.6g}" for value in row] for row in synthetic.soft_labels.tolist()]
        contents["soft_labels.csv"] = _table(("file_name", *synthetic.class_names), files, told)
    if card:
        contents["README.md"] = card
    if about is not None:
        title, licence = about
        what = f"{len(files)} synthetic images, made to stand for a training set when a network is trained."
        tables = (str(contents["metadata.csv"]), str(contents.get("soft_labels.csv", "")))
        contents[SCRIPT] = training_script(synthetic)
        contents["croissant.json"] = croissant(title, what, licence, *tables)
    other = _others(Path(folder), contents)
    if other:
        raise RddError(f"{folder} holds other files ({other}): give a new folder, or remove what is in this one")
    return put_files(folder, contents, force)


def _table(head: Sequence[str], files: Sequence[str], values: Sequence[Sequence[str]]) -> str:
    """A table of files as it is, for readers of data: no text is changed for the sake of spreadsheets."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(head)
    rows.writerows([name, *more] for name, more in zip(files, values))
    return table.getvalue()


def npz_file(synthetic: SyntheticSet, path: str | os.PathLike[str], force: bool = False) -> list[Path]:
    """Write a set as ``NAME.npz`` (:func:`rdd_nb.data.synthetic_formats.to_npz`), and ``NAME-train.py`` beside it.

    The script trains a network on it with plain PyTorch (:mod:`rdd_nb.reporting.training_script`).

    Returns:
        The files that were written.

    Raises:
        RddError: another suffix; a file there that differs, unless ``force``; a place that cannot be written.
    """
    file = Path(path)
    if file.suffix != ".npz":
        raise RddError(f"{file} is to hold arrays of NumPy: call it {file.with_suffix('.npz').name}")
    contents: dict[str, bytes | str] = {file.name: to_npz(synthetic)}
    contents[f"{file.stem}-train.py"] = training_script(synthetic, npz=file.name)
    return put_files(file.parent, contents, force)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(
        buffer, format="PNG"
    )
    return buffer.getvalue()


def _others(folder: Path, contents: Mapping[str, Any]) -> str:
    """The first file in a folder that is none of ``contents``: who reads the folder would take it for one of them."""
    found = sorted(p.relative_to(folder) for p in folder.rglob("*") if not p.is_dir() and p.name[0] != ".")
    mine = {*contents, "README.md"}
    return next((str(path) for path in found if path.as_posix() not in mine), "")


# ------------------------------------------------------------------------------------------------------------- numbers


def group_tables(scores: Scores) -> dict[str, pd.DataFrame]:
    """Accuracies of all, of majority and minority, and of the groups (of the classes, where no groups are named).

    Each is a :func:`rdd_nb.evaluation.subgroups.group_table`, by the partition's name.
    """
    by = ["minority"] * (scores.minority is not None) + ["group"] * (scores.groups is not None) or ["class"]
    return {name: group_table(scores, name) for name in ("all", *by)}


def table_of(settings: Mapping[str, Any]) -> str:
    """Settings as a table in Markdown; those that are None are left out.

    >>> print(table_of({"ipc": 10, "tail": None}))
    | setting | value |
    |---|---|
    | ipc | 10 |
    """
    rows = [f"| {markdown(name)} | {markdown(value)} |" for name, value in settings.items() if value is not None]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def accuracies(tables: Mapping[str, pd.DataFrame], run: str) -> pd.DataFrame:
    """The tables of :func:`group_tables` as one tidy table, fit for a CSV file.

    Args:
        tables: partition → accuracies.
        run: what to call the run, such as its folder's name.

    Returns:
        One row a group: run, partition, group, n (test images), nets, accuracy, low and high (the 95 % interval of one
        group looked at alone), low_simultaneous and high_simultaneous (all groups of the partition at once).
    """
    parts = [table[list(COLUMNS)].assign(run=run, partition=name) for name, table in tables.items()]
    return pd.concat(parts, ignore_index=True)[["run", "partition", *COLUMNS]]


# --------------------------------------------------------------------------------------------------------- TensorBoard


def needs_tensorboard() -> type[SummaryWriter]:
    """The class that writes for TensorBoard.

    Raises:
        RddError: the package ``tensorboard`` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RddError("TensorBoard is not installed: pip install tensorboard, and run this again") from None
    return SummaryWriter


def tensorboard(run: RunFolder, folder: str | os.PathLike[str]) -> Path:
    """Write a finished run for TensorBoard: history and accuracies as scalars, images as a grid, the config as text.

    Every column of the history is a scalar of the iteration; "relative" time is the time that the run took. Accuracies,
    where the run has been evaluated, stand at the last iteration, with the ends of their intervals. The file has always
    the same name, so that writing it again replaces it, and it tells nothing about the machine.

    Args:
        run: a finished one.
        folder: made if it is not there; one for each run below a folder that is given to ``tensorboard --logdir``.

    Returns:
        The file.

    Raises:
        RddError: no TensorBoard here; the run is not finished; the folder cannot be written.
    """
    writer_of = needs_tensorboard()
    _, synthetic, history = run.metrics, run.load_synthetic(), run.history
    clock = history["seconds"].cumsum().tolist() if "seconds" in history else [0.0] * len(history)
    steps = history["iteration"].tolist() if "iteration" in history else list(range(1, len(history) + 1))
    step, at = (steps[-1], clock[-1]) if steps else (0, 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        with writer_of(scratch) as writer:
            for column in history.columns.drop("iteration", errors="ignore"):
                for number, value, seconds in zip(steps, history[column].tolist(), clock):
                    writer.add_scalar(f"history/{column}", value, number, walltime=seconds)
            writer.add_image("synthetic", _grid(synthetic), step, walltime=at)
            writer.add_text("config", table_of(contents(run).distill), step, walltime=at)
            if (run.path / "scores.npz").is_file():
                table = accuracies(group_tables(scores_of(run)), run.path.name)
                for row in table[table["n"] > 0].to_dict("records"):
                    for name in ("accuracy", "low", "high"):
                        tag = f"{name}/{row['partition']}/{row['group']}"
                        writer.add_scalar(tag, row[name], step, walltime=at)
        (written,) = Path(scratch).iterdir()
        data = written.read_bytes()
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(Path(folder), error) from None
    return atomic_write(Path(folder) / EVENTS, data)


def _grid(synthetic: SyntheticSet) -> Tensor:
    """uint8 ``[C, K·H, ipc·W]``: a row of images for each class."""
    channels, height, width = synthetic.shape
    ordered = synthetic.to_uint8()[synthetic.labels.cpu().argsort(stable=True)]
    rows = ordered.view(synthetic.num_classes, synthetic.ipc, channels, height, width).permute(2, 0, 3, 1, 4)
    return rows.reshape(channels, synthetic.num_classes * height, synthetic.ipc * width)
