"""Do the exercises' checks see small errors? Mutants of each notebook's solution, and what a check may let pass.

A mutant that a check lets pass stands in ``SAME`` or ``RANGES`` with the reason why it is no error. Both lists hold
what survives and nothing else: an entry that no longer survives is an error, too.
"""

import itertools
import math
import warnings
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.stats import binom

from rdd_nb.course.exercise import _fault, _looped, exercises_of, judge
from tests.course.mutants import built, mutants, tamed

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NUMBERS = [f"{k:02d}" for k in range(1, 9)]
EXERCISES = {name: exercise for number in NUMBERS for name, exercise in exercises_of(number).items()}
by_exercise = pytest.mark.parametrize("name", EXERCISES)
# What the notebooks have imported when a student comes to the exercises
SCOPE = {"comb": math.comb, "itertools": itertools, "np": np, "torch": torch, "rel_entr": rel_entr, "binom": binom}

KIND = "the kind of number differs only: precision, or a tensor for a number"
LAST = "the only dimension, or the last: by any of its names"
STABLE = "equal values in any order give the same, and torch sorts stably on a CPU anyway"
EQUAL = "two arguments have the same length or shape"
DEFAULT = "that is the default"
RULED = "what it guards is overwritten, or has weight 0"
SPREAD = "torch adds the missing dimension itself"
ABOUT = "a difference below the tolerance"
FACTORS = "a and b enter alike"
ZERO = "of a synthetic gradient of length 0 the task says nothing: its value has no slope there"
EITHER = "a cosine has no first and second"
CUT = "a graph changes no value"
SCALED = "the largest sum is the largest mean, of equally many"

# mutants of the solution's text that are no errors, by exercise
SAME = {
    "01-exact-cvar": {
        "…osses))).clamp(0, 1).to(losses) → …osses))).clamp(0, 1)": KIND,
        "…s))).clamp(0, 1).to(losses) → …s))).clamp(0, 1).to()": KIND,
        "…s))).clamp(0, 1).to(losses) → …s))).clamp(0, 1).to(tail)": KIND,
    },
    "01-kl-upper": {
        "(seen, 1.0) → (seen, 2.0)": "above 1 the divergence is infinite, so the search comes back below 1",
        "range(60) → range(61)": ABOUT,
        "range(60) → range(59)": ABOUT,
        "… seen, 1 - middle) <= radius → … seen, 1 - middle) < radius": ABOUT,
    },
    "01-group-cvar": {
        "…oups[order].argsort(stable=True) → …oups[order].argsort()": STABLE,
        "… - rank).clamp(0, 1).to(losses) → … - rank).clamp(0, 1)": KIND,
        "…ank).clamp(0, 1).to(losses) → …ank).clamp(0, 1).to()": KIND,
        "…es.dtype).index_add(0, own, weights * los… → …es.dtype).index_add(-1, own, weights * los…": LAST,
        "…ank).clamp(0, 1).to(losses) → …ank).clamp(0, 1).to(tail)": KIND,
        "…der].argsort(stable=True) → …der].argsort(stable=False)": STABLE,
        "len(losses) → len(groups)": EQUAL,
        "counts.cumsum(0) → counts.cumsum(-1)": LAST,
    },
    "02-purity": {
        "int(names.max()) → names.max()": KIND,
        "int(names.max()) + 1 → int(names.max()) + 2": "a column more, without samples",
        "len(ids) → len(names)": EQUAL,
        "int(ids.max()) → ids.max()": KIND,
        "int(ids.max()) + 1 → int(ids.max()) + 2": "a row more, without samples",
    },
    "02-mass": {
        "torch.bincount(ids).double() → torch.bincount(ids)": KIND,
        "marked.double() → marked": KIND,
    },
    "02-lloyd": {
        "counts.clamp_min(1) → counts": RULED,
        "int(empty.sum()) → empty.sum()": KIND,
        "counts.clamp_min(1) → counts.clamp_min(0)": RULED,
    },
    "03-group-mean": {
        "weights.to(features.dtype) → weights": KIND,
        "weights.to(features.dtype) → weights.to()": KIND,
        "sizes.clamp(min=1) → sizes": RULED,
        "features.dtype → shares.dtype": KIND,
        "sizes.clamp(min=1) → sizes.clamp(min=0)": RULED,
    },
    "03-layer-distance": {
        "(synthetic.flatten(1), real.flatten(1)) → (real.flatten(1), synthetic.flatten(1))": EITHER,
        "a.norm(dim=1).clamp(min=1e-06) → a.norm(dim=1)": ZERO,
        "synthetic.ndim → real.ndim": EQUAL,
        "…rm(dim=1).clamp(min=1e-06) → …rm(dim=1).clamp(min=-0.999999)": ZERO,
        "…rm(dim=1).clamp(min=1e-06) → …rm(dim=1).clamp(min=0)": ZERO,
    },
    "04-honest": {
        "…:, choose].double().mean(1) → …:, choose].double().sum(1)": SCALED,
    },
    "05-accuracy": {
        "correct.double() → correct": KIND,
    },
    "05-holm": {
        "p.sort(stable=True) → p.sort()": STABLE,
        "…pty_like(p).scatter(0, order, scaled) → …pty_like(p).scatter(-1, order, scaled)": LAST,
        "p.sort(stable=True) → p.sort(stable=False)": STABLE,
        "scaled.cummax(0) → scaled.cummax(-1)": LAST,
    },
    "05-minimum": {
        "float(all_more.sum() / size) → all_more.sum() / size": KIND,
    },
    "06-interaction": {
        "['a', 'b'] → ['b', 'a']": FACTORS,
        "D.std(ddof=1) → D.std()": DEFAULT,
        "['seed', 'a', 'b'] → ['b', 'a', 'seed']": FACTORS,
    },
    "06-front": {
        "points[None] → points": SPREAD,
        "points[None] → points (2)": SPREAD,
    },
    "06-honest": {
        "int(values[:, some].mean(1).argmax()) → values[:, some].mean(1).argmax()": KIND,
        "list(some) → some": KIND,
        "values[:, some].mean(1) → values[:, some].sum(1)": SCALED,
    },
    "07-right-tail": {
        "…, -torch.inf).sort(dim=1, descending=True) → …, -torch.inf).sort(descending=True)": LAST,
        "counts[:, None].to(table) → counts[:, None]": KIND,
        "counts[:, None].to(table) → counts[:, None].to()": KIND,
        "…ount - place).clamp(0, 1) → …ount - place).clamp(-1, 1)": RULED,
        "counts[:, None].to(table) → counts[:, None].to(counts)": KIND,
        "counts[:, None].to(table) → counts[:, None].to(tail)": KIND,
        "count[:, 0] → count[:, -1]": LAST,
        "…rst.where(part > 0, 0) → …rst.where(part > 0, 1)": RULED,
        "…rst.where(part > 0, 0) → …rst.where(part > 0, -1)": RULED,
    },
    "07-true-gradient": {
        "…ound, slope_of_value, atol=1e-05) → …ound, slope_of_value)": ABOUT,
        "torch.allclose(found, slope_of_value, atol=1e-05) → torch.allclose(slope_of_value, found, atol=1e-05)": ABOUT,
        "…lope_of_value, atol=1e-05) → …lope_of_value, atol=0)": ABOUT,
        "torch.eye(len(losses), dtype=losses.dtype) → torch.eye(len(losses))": KIND,
        "losses.clone() → losses": "an objective may not change its losses, so a copy is a precaution",
        "… allow_unused=True)[0] → … allow_unused=True)[-1]": LAST,
        "(objective(losses + m) - objective(losses - m)).detach() → objective(losses + m) - objective(losses - m)": CUT,
    },
    "08-leaks": {
        "train.flatten(1)[None] → train.flatten(1)": SPREAD,
    },
    "08-needed": {
        "half(n) > reach + 1e-12 → half(n) >= reach + 1e-12": ABOUT,
        "reach + 1e-12 → reach": ABOUT,
        "reach + 1e-12 → reach + 0": ABOUT,
    },
    "08-split": {
        "len(cells) → len(draw)": EQUAL,
        "sizes.cumsum(0) → sizes.cumsum(-1)": LAST,
        "sizes.double() → sizes": KIND,
    },
}

# arguments and results by what they can be: changes that these do not notice
WITHIN = {
    "a share": ("at 0 where below", "without sign", "at 1 where above"),
    "never below 0": ("at 0 where below", "without sign"),
    "never above 1": ("at 1 where above",),
    "in any order": ("sorted", "sorted, falling", "from behind"),
    "candidates in any order": ("from behind",),
    "rising": ("sorted",),
    "falling": ("sorted, falling",),
}
RANGES = {
    "01-carried": {"losses": "never below 0", "result": "a share"},
    "01-shift-tail": {"here": "a share", "there": "a share", "result": "a share"},
    "01-exact-cvar": {"losses": "in any order", "tail": "a share"},
    "01-kl-upper": {"seen": "a share", "radius": "a share", "result": "a share"},
    "01-group-cvar": {"tail": "a share"},
    "02-purity": {"result": "a share"},
    "02-mass": {"power": "a share", "result": "a share"},
    "02-lloyd": {"points": "candidates in any order"},
    "02-coverage": {"radii": "never below 0", "result": "a share"},
    "03-pixel-step": {"lr": "never below 0", "mu": "a share"},
    "03-group-mean": {"shares": "a share"},
    "03-dm-loss": {"synthetic": "in any order", "weights": "a share", "result": "never below 0"},
    "03-layer-distance": {"result": "never below 0"},
    "04-cluster-min": {"result": "a share"},
    "04-relative": {"clean": "a share", "corrupted": "a share", "chance": "a share"},
    "04-honest": {"correct": "candidates in any order", "result": "a share"},
    "04-paired": {"a": "a share", "b": "a share", "quantile": "never below 0", "result": "never above 1"},
    "05-accuracy": {"result": "a share"},
    "05-wilson": {"z": "never below 0", "result": "a share, rising"},
    "05-holm": {"p": "a share", "result": "a share"},
    "05-minimum": {"truth": "a share", "result": "a share"},
    "06-honest": {"values": "a share", "result": "a share, falling"},  # no winner holds more than it claims, on average
    "07-expected-best": {"values": "in any order"},
    "07-right-tail": {"tail": "a share"},
    "08-leaks": {"train": "in any order"},
    "08-needed": {"share": "a share", "reach": "a share"},
    "08-split": {"fraction": "a share", "draw": "a share"},
}


@cache
def solution(name):
    """The source of an exercise's solution in its notebook."""
    (path,) = NOTEBOOKS.glob(f"{name[:2]}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    sources = [c.source for c in cells if "solution" in c.metadata.get("tags", []) and f'"{name}"' in c.source]
    assert len(sources) == 1, f"one solution of {name} in {path.name}"
    return sources[0]


def passes(exercise, answer):
    """What ``judge`` says, without the work for the hints."""
    return all(_fault(exercise, case, answer) is None for case in exercise.cases) and not _looped(exercise, answer)


def survivors(exercise, answers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mutants divide by 0, and more
        return {name for name, answer in answers.items() if passes(exercise, answer)}


@by_exercise
def test_the_solution_of_the_notebook_passes(name):
    verdict = judge(name, built(solution(name), SCOPE))
    assert verdict, str(verdict)


@by_exercise
def test_mutants_of_the_solution_that_survive_are_no_errors(name):
    answers = mutants(solution(name), SCOPE)
    assert len(answers) >= 10
    assert survivors(EXERCISES[name], answers) == set(SAME.get(name, {}))


@by_exercise
def test_the_cases_are_not_too_tame(name):
    answers = tamed(built(solution(name), SCOPE), EXERCISES[name].cases)
    assert len(answers) >= 5
    kept = {
        f"{argument}: {change}"
        for argument, what in RANGES.get(name, {}).items()
        for reason in what.split(", ")
        for change in WITHIN[reason]
    }
    assert survivors(EXERCISES[name], answers) == kept


@pytest.mark.filterwarnings("ignore")
@by_exercise
def test_every_wrong_answer_gets_a_hint(name):
    answers = list(mutants(solution(name), SCOPE).values())
    for answer in answers[:: max(len(answers) // 6, 1)]:
        verdict = judge(name, answer)
        assert verdict or (verdict.problem and verdict.hint and "\n" not in verdict.hint)
