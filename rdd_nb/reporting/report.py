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
from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import Splits
from rdd_nb.data.validation import Finding, cell_counts, images_needed
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.scores import Scores, scores_of
from rdd_nb.evaluation.subgroups import group_table
from rdd_nb.figures.figure import shortened
from rdd_nb.reporting import layout, rendering
from rdd_nb.reporting.content import Floats, Report

__all__ = ["Report", "Written", "command_of", "limits_of", "of_run", "rank_bands", "write"]

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
WORST = "The worst of many groups looks worse than it is: read its interval, and the band of random permutations."
FINEST = 40  # more cells of class and group than this are not drawn one by one; the groups are


class Written(NamedTuple):
    """The files of a report, the PDF where it could be made; ``said`` tells in a line which, and how to get a PDF."""

    html: Path
    pdf: Path | None
    said: str


def rank_bands(
    scores: Scores, ids: NDArray[Any], draws: int = 500, seed: int = 0, level: float = 0.95
) -> tuple[Floats, Floats]:
    """What the worst, second worst, … group would show if chance decided who is in which: ends ``[k]`` of the band.

    Args:
        scores: of several networks.
        ids: int ``[N]``, each test image's group; groups without images are left out.
        draws: permutations of the images among the groups.
        seed: of the permutations.
        level: of the band.

    Taught in ``notebooks/05_subgroup_analysis.ipynb``.
    """
    share, size = scores.correct.mean(0), np.bincount(ids)
    there = size > 0
    draw = np.random.default_rng(seed_of(seed, "lots"))
    shown = [np.bincount(ids, draw.permutation(share), len(size))[there] / size[there] for _ in range(draws)]
    low, high = np.quantile(np.sort(shown, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=0)
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
    config, metrics, synthetic = folder.config, folder.metrics, folder.load_synthetic()
    distill, said = dict(config.get("distill") or {}), dict(metrics.get("evaluation") or {})
    name = name or str(distill.get("objective") or folder.path.name)
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
        data=str((config.get("data") or {}).get("name") or synthetic.meta.get("dataset") or "unknown data"),
        class_names=mine.class_names,
        group_names=groups,
        counts=counts,
        findings=tuple(findings),
        settings=_settings(config, said, mine),
        synthetic=synthetic,
        tables={method: _table(s) for method, s in scores.items()},
        finest=finest,
        bands={method: rank_bands(s, s.partition(by)[0]) for method, s in scores.items()},
        limits=(*limits, *limits_of(mine, findings, said), WORST),
        made_on=said.get("machine") or metrics.get("machine") or environment.describe(),
        command=command or command_of(folder, config, said),
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


def _settings(config: Mapping[str, Any], said: Mapping[str, Any], scores: Scores) -> dict[str, str]:
    distill, groups = config.get("distill") or {}, (config.get("data") or {}).get("groups")
    told = {word: str(distill[key]) for key, word in TOLD.items() if distill.get(key) is not None}
    told["groups"] = "none" if not groups else f"{groups['num_groups']} a class, from {groups['source']}"
    protocol = said.get("protocol") or {}
    judged = f"{len(scores.predictions)} networks"
    if protocol:
        judged += f" ({protocol.get('network')}, width {protocol.get('width')}, {protocol.get('epochs')} epochs)"
    told["judged by"] = judged
    return told


def limits_of(scores: Scores, findings: Sequence[Finding], said: Mapping[str, Any]) -> list[str]:
    """What these scores do not say, a sentence each; ``said`` is what metrics.json holds under "evaluation"."""
    told = []
    if said.get("profile") == "smoke":
        told.append("Profile smoke: this only shows that it runs; the numbers mean nothing.")
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        told.append(
            f"The checks found {errors} error{'s' * (errors > 1)} in the data: mend them before believing this."
        )
    if scores.groups is None:
        told.append("No groups are named, so nobody was looked for: who is left out within a class stays unknown.")
    else:
        sizes = np.bincount(scores.groups, minlength=len(scores.group_names))
        few = [f"{shortened(n)} ({s:,})" for n, s in zip(scores.group_names, sizes) if 0 < s < images_needed()]
        if few:
            more = f" and {len(few) - 4} more" if len(few) > 4 else ""
            told.append(
                f"Fewer than {images_needed()} test images: {', '.join(few[:4])}{more}. Their accuracy is not known to "
                "±10 points."
            )
        told.append("Only these groups were looked at; whom they do not tell apart may be served worse.")
    if len(scores.predictions) == 1:
        told.append("One network judged: intervals do not cover that another training gives another network.")
    told.append("One distillation, one seed: intervals cover test images and networks, not another distillation.")
    told.append(
        '"All" holds for the mixture of the test set. Where people come in other shares, weigh the groups anew.'
    )
    return told


def command_of(folder: RunFolder, config: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """The two lines that make the run again; empty where it does not say which data it was made from."""
    source = config.get("source") or {}
    if not source.get("data"):
        return ""
    place = f"runs/{folder.path.resolve().name}"
    words = ["rdd-nb", "distill", "--data", str(source["data"])]
    for key in ("scenario", "data_seed", "size", "groups", "num_groups"):
        if source.get(key) is not None:
            words += [f"--{key.replace('_', '-')}", str(source[key])]
    for key, value in (source.get("options") or {}).items():
        words += ["--option", f"{key}={value}"]
    defaults = {name: field.default for name, field in DistillConfig.model_fields.items()}
    for key, value in (config.get("distill") or {}).items():
        if key in defaults and value is not None and value != defaults[key]:
            words += [f"--{key.replace('_', '-')}", str(value)]
    lines = [shlex.join([*words, "--out", place])]
    if said.get("nets"):
        more = ["--nets", str(said["nets"]), "--seed", str(said.get("seed", 0))]
        lines.append(shlex.join(["rdd-nb", "evaluate", place, "--profile", str(said.get("profile", "quick")), *more]))
    return "\n".join(lines)
