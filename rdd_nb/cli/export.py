"""The command that gives a run to others: ``rdd-nb export`` writes images, a card, a table, or TensorBoard's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rdd_nb.cli.options import Json, emit, say
from rdd_nb.core.errors import RddError

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.runs import Export

__all__ = ["command_export"]


def command_export(
    run: Annotated[Path, typer.Argument(help="The folder of a finished `rdd-nb distill`.", metavar="RUN")],
    png: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The images as DIR/<class>/<nnn>.png, with metadata.csv and the card README.md beside them, as "
            "torchvision's and Hugging Face's image folders and our own folder:DIR read them.",
        ),
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz", help="Arrays of NumPy, exact and as pixels, and a script that trains on them."
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The dataset card alone: Markdown with a YAML head.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Accuracies by group with intervals, of a run that has been evaluated."),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="History, images and accuracies for `tensorboard --logdir` (needs tensorboard)."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files there that differ, such as a card you edited.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a finished run in the forms that others read: images, arrays, a card, a table, TensorBoard.

    \b
    Example: rdd-nb export runs/demo --png demo-images
    """
    targets = {"png": png, "npz": npz, "card": card, "csv": csv, "tensorboard": tensorboard}
    if not any(targets.values()):
        raise RddError(
            f"export of {run}: say what to write, with --png DIR, --npz FILE, --card FILE, --csv FILE or "
            "--tensorboard DIR"
        )
    from rdd_nb.core.escaping import csv_text
    from rdd_nb.core.files import atomic_write
    from rdd_nb.core.folders import put_files
    from rdd_nb.distillation.run_folder import RunFolder
    from rdd_nb.evaluation.scores import scores_of
    from rdd_nb.reporting import export
    from rdd_nb.reporting.card import about
    from rdd_nb.reporting.card import card as card_of

    folder = RunFolder.open(run)
    _, synthetic = folder.metrics, folder.load_synthetic().decoded  # the first complains of a run that is not complete
    if tensorboard is not None:
        export.needs_tensorboard()  # before anything is written
    if csv is not None:
        tables = export.group_tables(scores_of(folder))
        table = export.accuracies(tables, folder.path.resolve().name)
    if png is not None:
        export.image_folder(synthetic, png, card_of(folder, with_images=True), force, about(folder))
    if npz is not None:
        export.npz_file(folder.load_synthetic(), npz, force)
    if card is not None:
        put_files(card.parent, {card.name: card_of(folder)}, force)
    if csv is not None:
        atomic_write(csv, csv_text(table))
    if tensorboard is not None:
        export.tensorboard(folder, tensorboard)
    if as_json:
        written = {kind: str(place) for kind, place in targets.items() if place is not None}
        emit(cast("Export", {"run": str(run), **written, **export.rounding(synthetic)._asdict()}))
        return
    if png is not None:
        lost = export.rounding(synthetic)
        say(
            f"{len(synthetic.images)} images in {png}, rounded to 8 bits: the largest difference is {lost.largest:.3g} "
            f"of 255 grey levels, {100 * lost.clipped:.1f} % of the values were clipped\n"
            f"The card is {png / 'README.md'}: read it, and fill in what it leaves open\n"
            f"A network is trained on them, without rdd_nb, by: python {png / export.SCRIPT}"
        )
    if npz is not None:
        script = npz.with_name(f"{npz.stem}-train.py")
        say(f"{len(synthetic.images)} images in {npz}, exact and as pixels; trained on by: python {script}")
    if card is not None:
        say(f"The card is {card}: read it, and fill in what it leaves open")
    if csv is not None:
        say(f"{len(table)} rows of accuracies in {csv}")
    if tensorboard is not None:
        say(f"Look at it with: tensorboard --logdir {tensorboard}")
