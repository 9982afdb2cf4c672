"""What became of one's own data, on one page: an HTML file that stands alone, and the same as a PDF.

:func:`of_run` gathers what a run folder knows (its config, its synthetic set, the predictions in ``scores.npz``) and
what is passed beside it; :func:`write` puts it on the page. The page says whom the networks serve, with intervals, and
what these numbers do not say. Taught in ``notebooks/08_your_own_data.ipynb``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rdd_nb.core import environment
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write
from rdd_nb.data.dataset import Splits
from rdd_nb.data.readers.registry import kind_of
from rdd_nb.data.validation import Finding, cell_counts, images_needed
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.run_contents import Contents, Discovery, Evaluation, Trial, contents
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.intervals import rank_envelope
from rdd_nb.evaluation.scores import Scores, scores_of
from rdd_nb.evaluation.subgroups import group_table
from rdd_nb.figures.figure import shortened
from rdd_nb.reporting import layout, rendering
from rdd_nb.reporting.content import Floats, Report

__all__ = ["Report", "Written", "command_of", "limits_of", "of_run", "rank_bands", "trained_how", "write"]

#: Settings that are told, in this order, with the words for them.
TOLD = {
    "ipc": "images per class",
    "matching": "matching",
    "objective": "objective",
    "tail": "tail",
    "group_power": "group power",
    "iterations": "iterations",
    "network": "network",
    "width": "width",
    "seed": "seed",
}
WORST = (
    "The worst of many groups looks worse than it is: read its interval. A dot outside the grey band says that not all "
    "groups are alike, and not which."
)
MOST_TRIED = 8  # candidates for groups that stand on the page
FINEST = 40  # more cells of class and group than this are not drawn one by one; the groups are


class Written(NamedTuple):
    """The files of a report, the PDF where it could be made; ``said`` tells in a line which, and how to get a PDF."""

    html: Path
    pdf: Path | None
    said: str


def rank_bands(
    scores: Scores, ids: NDArray[Any], draws: int = 500, seed: int = 0, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Where the worst, second worst, … group would **all** lie if the groups were alike: ends ``[k]`` of the band.

    One outside says that not all groups are alike; it does not say which are not
    (:func:`rdd_nb.evaluation.intervals.rank_envelope`).

    Args:
        scores: of several networks.
        ids: int ``[N]``, each test image's group; groups without images are left out.
        draws: permutations of the images among the groups.
        seed: of the permutations.
        level: of the band.

    Taught in ``notebooks/05_subgroup_analysis.ipynb``.
    """
    low, high, _ = rank_envelope(scores.correct.mean(0), ids, level, draws, seed)
    return low, high


def of_run(
    run: RunFolder | str | os.PathLike[str],
    *,
    name: str = "",
    beside: Mapping[str, RunFolder | str | os.PathLike[str] | Scores] | None = None,
    splits: Splits | None = None,
    findings: Sequence[Finding] = (),
    limits: Sequence[str] = (),
    title: str = "",
    command: str = "",
) -> Report:
    """Gather a report from a run folder that holds ``scores.npz`` and ``synthetic.safetensors``.

    Args:
        run: the folder; ``rdd-nb evaluate`` leaves the scores there.
        name: what to call the run in the tables; by default its objective.
        beside: name → other runs or scores, judged on the same test images.
        splits: the data, for the counts of training images; without them those of the test images are told alone.
        findings: of :func:`rdd_nb.data.validation.examine` and :func:`rdd_nb.data.validation.files`.
        limits: further sentences on what the numbers do not say.
        title: of the page.
        command: how to make it again; by default that of the command line, from what the run says of itself.

    Raises:
        RddError: no run there, not evaluated yet, or scores or data beside it that do not fit.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    _, told, synthetic = folder.metrics, contents(folder), folder.load_synthetic()  # first: is it finished?
    name = name or str(told.distill.get("objective") or folder.path.name)
    scores = {name: _scores(folder)}
    for other, held in (beside or {}).items():
        scores[other] = held if isinstance(held, Scores) else _scores(held)
        if not np.array_equal(scores[other].labels, scores[name].labels):
            raise RddError(f"{other!r} was judged on other test images than {name!r}: evaluate both on the same data")
    mine = scores[name]
    by = "group" if mine.groups is not None else "class"
    if mine.groups is not None and len(mine.class_names) * len(mine.group_names) <= FINEST:
        by = "class-group"
    finest = {method: group_table(s, by) for method, s in scores.items()}
    groups = mine.group_names or ("all",)
    ids = np.zeros_like(mine.labels) if mine.groups is None else mine.groups
    cells = np.bincount(mine.labels * len(groups) + ids, minlength=len(mine.class_names) * len(groups))
    counts = {"test": cells.reshape(-1, len(groups))}
    if splits is not None:
        if (splits.test.class_names, splits.test.group_names) != (mine.class_names, mine.group_names):
            raise RddError(f"{splits.name!r} has other classes or groups than the scores: pass the data they are of")
        counts = {"training": cell_counts(splits.train).numpy(), "test": cell_counts(splits.test).numpy()}
    return Report(
        title=title or f"Who is served by {name}?",
        data=told.data.name or str(synthetic.meta.get("dataset") or "unknown data"),
        class_names=mine.class_names,
        group_names=groups,
        counts=counts,
        findings=tuple(findings),
        settings=_settings(told, mine),
        discovery=_discovery(told.discovery),
        synthetic=synthetic,
        tables={method: _table(s) for method, s in scores.items()},
        finest=finest,
        bands={method: rank_bands(s, s.partition(by)[0]) for method, s in scores.items()},
        limits=(*limits, *limits_of(mine, findings, told.evaluation), WORST),
        made_on=(told.evaluation and told.evaluation.machine) or told.machine or environment.describe(),
        command=command or command_of(folder, told),
    )


def write(run: Report | RunFolder | str | os.PathLike[str], path: str | os.PathLike[str], **options: Any) -> Written:
    """Write ``path`` with the endings ``.html`` and ``.pdf``; the same report gives the same bytes.

    Where WeasyPrint or its library Pango is missing the HTML is written alone; print ``said`` of what is returned.

    Args:
        run: a :class:`Report`, or a run folder with scores to make one of (:func:`of_run`, which takes ``options``).
        path: with or without one of the endings.

    Raises:
        RddError: see :func:`of_run`; or the place cannot be written.
    """
    if isinstance(run, Report) and options:
        raise RddError(f"a report is there already, so {', '.join(sorted(options))} comes too late: pass it to of_run")
    report = run if isinstance(run, Report) else of_run(run, **options)
    target = Path(path)
    base = target.with_suffix("") if target.suffix in (".html", ".pdf") else target
    page = layout.html(report)
    written = atomic_write(base.with_name(base.name + ".html"), page)
    try:
        printed = rendering.pdf(page)
    except RddError as error:
        return Written(written, None, f"{written.name} was written, without a PDF: {error}")
    other = atomic_write(base.with_name(base.name + ".pdf"), printed)
    return Written(written, other, f"{written.name} and {other.name} were written.")


# ------------------------------------------------------------------------------------------------------- what is told


def _scores(run: RunFolder | str | os.PathLike[str]) -> Scores:
    return scores_of(run if isinstance(run, RunFolder) else RunFolder(run))


def _table(scores: Scores) -> pd.DataFrame:
    """All, the two sides, and groups or classes, one below the other; each block's intervals hold at once."""
    blocks = {"all": "all"}
    if scores.minority is not None:
        blocks["sides"] = "minority"
    blocks |= {"group": "group"} if scores.groups is not None else {"class": "class"}
    return pd.concat([group_table(scores, by).assign(block=b) for b, by in blocks.items()], ignore_index=True)


def _settings(run: Contents, scores: Scores) -> dict[str, str]:
    groups, said = run.data.groups, run.evaluation
    told = {word: str(run.distill[key]) for key, word in TOLD.items() if run.distill.get(key) is not None}
    told["groups"] = "none" if not groups else f"{groups.num_groups} a class, from {groups.source}"
    told["judged by"] = f"{len(scores.predictions)} networks" + (
        f" ({trained_how(said)})" if said and said.protocol else ""
    )
    return told


def _discovery(said: Discovery | None) -> str:
    """What was found, and the best that each candidate brought where it was tried."""
    if said is None or not said.said:
        return ""
    best: dict[str, Trial] = {}
    for trial in said.trials:
        held = best.setdefault(trial.groups, trial)
        if (trial.final, trial.value) > (held.final, held.value):
            best[trial.groups] = trial
    shown = list(best.values())[:MOST_TRIED]
    tried = (f"{shortened(t.groups, 50)} {t.value:+.1f} ± {t.error:.1f}" for t in shown)
    more = f" The best of each candidate, in points: {'; '.join(tried)}." if best else ""
    return shortened(said.said, 400) + more


def trained_how(said: Evaluation) -> str:
    """The networks of an evaluation in words, as far as it tells."""
    known = {name: said.protocol.get(name, "unknown") for name in ("network", "width", "epochs")}
    return f"{known['network']}, width {known['width']}, {known['epochs']} epochs"


def limits_of(scores: Scores, findings: Sequence[Finding], said: Evaluation | None) -> list[str]:
    """What these scores do not say, a sentence each; ``said`` is how they came about, where that is known."""
    told = []
    if said and said.profile == "smoke":
        told.append("Profile smoke: this only shows that it runs; the numbers mean nothing.")
    if said and said.on == "validation":
        told.append("These are validation images: settings that were chosen on them look better here than they are.")
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        told.append(
            f"The checks found {errors} error{'s' * (errors > 1)} in the data: mend them before believing this."
        )
    if scores.groups is None:
        told.append("No groups are named, so nobody was looked for: who is left out within a class stays unknown.")
    else:
        sizes = np.bincount(scores.groups, minlength=len(scores.group_names))
        absent = [shortened(n) for n, s in zip(scores.group_names, sizes) if not s]
        if absent:
            told.append(f"No test image of {_some(absent)}: how such images fare is not known.")
        few = [f"{shortened(n)} ({s:,})" for n, s in zip(scores.group_names, sizes) if 0 < s < images_needed()]
        if few:
            told.append(
                f"Fewer than {images_needed()} test images: {_some(few)}. Their accuracy is not known to ±10 points."
            )
        told.append("Only these groups were looked at; whom they do not tell apart may be served worse.")
    if len(scores.predictions) == 1:
        told.append("One network judged: intervals do not cover that another training gives another network.")
    told.append("One distillation, one seed: intervals cover test images and networks, not another distillation.")
    told.append(
        '"All" holds for the mixture of the test set. Where people come in other shares, weigh the groups anew.'
    )
    return told


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _pairs(names: Mapping[str, str]) -> str:
    return ", ".join(f"{value}={name}" for value, name in names.items())


def command_of(folder: RunFolder, told: Contents) -> str:
    """The two lines that make the run again; empty where it does not say which data it was made from."""
    source, said = told.source, told.evaluation
    if not source.data:
        return ""
    place = f"runs/{folder.path.resolve().name}"
    words = ["rdd-nb", "distill", "--data", source.data]
    for key, value in source.model_dump(exclude={"data", "options", "names", "splits"}).items():
        for each in value if isinstance(value, list) else [value]:
            words += [] if each is None else [f"--{key.replace('_', '-')}", str(each)]
    columns = {column: _pairs(names) for column, names in source.names.items()}
    words += ["--names", "; ".join(f"{column}: {names}" for column, names in columns.items())] if columns else []
    words += ["--splits", _pairs(source.splits)] if source.splits else []
    for key, value in source.options.items():
        words += ["--option", f"{key}={value}"]
    defaults = {name: field.default for name, field in DistillConfig.model_fields.items()}
    for key, value in told.distill.items():
        if key in defaults and value is not None and value != defaults[key]:
            words += [f"--{key.replace('_', '-')}", str(value)]
    lines = [shlex.join([*words, "--out", place])]
    if said and said.nets:
        more = ["--nets", str(said.nets), "--seed", str(said.seed)]
        more += ["--data", source.data] if kind_of(source.data) else []  # which is not read unasked
        lines.append(shlex.join(["rdd-nb", "evaluate", place, "--profile", said.profile or "quick", *more]))
    return "\n".join(lines)
