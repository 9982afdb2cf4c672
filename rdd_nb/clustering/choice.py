"""Which groups are raised, how far and from which start: all is tried, and one way is taken that is worth its price."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rdd_nb.clustering.groups import STARTS, Benefit, Groups, Trial
from rdd_nb.clustering.trials import Trials

__all__ = ["PRICE", "at_price", "choose", "price_where"]

SCREENED = (1.0, 0.7, 0.4)  # strengths that every candidate is tried at
STRENGTHS = (1.4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2)  # that the best are; at 1 / (1 − group_power) all groups count alike
FINALISTS = 2  # candidates that are tried again
CENTRAL = ("medoids", "group-medoids")  # starts that the best are tried from
UNRAISED = "nothing"  # that is raised: plain matching, from another start than random images
PRICE = 0.1  # points of held-out accuracy that a point for the small may cost, a standard error included
PRICES = (0, 0.1, 0.25, 0.5, 1)  # that the report compares
TOLD = 0.5  # points that a class loses before it is named
LEAST = 1.0  # points that it must bring, and
CERTAIN = 2  # standard errors


@dataclasses.dataclass(frozen=True)
class _Way:
    """One way: groups with their ``learnable``, from a start, and what the trial said, of each class too."""

    groups: Groups
    how: str
    start: str
    benefit: Benefit
    classes: Tensor

    def trial(self, final: bool, kept: bool = False) -> Trial:
        return Trial(self.groups.source, self.how, self.benefit, final, kept, self.start)


def choose(
    trials: Trials,
    found: Sequence[Groups],
    partly: tuple[Groups, float] | None,
    names: Sequence[str],
    power: float,
    price: float,
    learnable: bool = True,
) -> Groups:
    """The candidate that is raised, as far as is worth its price, with what was tried.

    All are judged by the same groups, the second of the candidates: its own would praise a candidate for whatever it
    makes small.

    Args:
        trials: of the data that the candidates are groups of.
        found: the candidates, with their ``learnable``.
        partly: groups that are known in part and extended, a candidate too, and how far they are to be trusted: as far
            they judge in the place of the second candidate.
        names: of the classes.
        power: what groups count as, in the sets and where they are judged: their size to this power.
        price: see :func:`at_price`.
        learnable: False for the best candidate as it is, raised in full.
    """
    asked: dict[str, Any] = {"groups": found[1], "power": power}
    if partly is not None:
        known, trust = partly
        in_full = torch.ones(trials.classes, known.num_groups, dtype=torch.float64)
        asked |= {"groups": known, "beside": found[1], "trust": trust}
        found = [replace(known, learnable=in_full), *found]

    def judged(groups: Groups, ways: Sequence[tuple[float, str]], round: int) -> Iterator[_Way]:
        plain = trials.judge(_raised(groups, 0.0), power, round)
        for strength, start in ways:
            way, how = _raised(groups, strength), f"strength {strength:g}" if strength else UNRAISED
            right = trials.judge(way, power, round, start)
            yield _Way(way, how, start, trials.benefit(plain, right, **asked), trials.by_class(plain, right))

    at_random = [(strength, "groups") for strength in SCREENED]
    screened = [max(judged(groups, at_random, 0), key=lambda way: way.benefit.value) for groups in found]
    order = sorted(range(len(found)), key=lambda place: -screened[place].benefit.value)
    if not learnable:
        return replace(found[order[0]], learnable=None)
    again = order[:FINALISTS]
    again += [0] if partly is not None and 0 not in again else []  # what was told of is tried in any case
    # On other small sets than those that chose them: the best of many is lucky.
    strengths = [each for each in STRENGTHS if 0 < each * (1 - power) <= 1]  # at 0 and beyond 1 they change nothing
    every = [(strength, start) for start in CENTRAL for strength in strengths]
    tried = list(judged(found[order[0]], [(0.0, "medoids")], 1))
    tried += [way for place in again for way in judged(found[place], every, 1)]
    finals = [way.trial(final=True) for way in tried]
    best = at_price(finals, price)
    chosen = None if best is None else tried[finals.index(best)]
    kept = _raised(found[order[0]], 0) if chosen is None else replace(chosen.groups, start=chosen.start)
    told = [screened[place].trial(final=False, kept=place in again) for place in order]
    told += [replace(trial, kept=trial is best) for trial in finals]
    return replace(kept, report=_report(told, price, _payer(chosen, names)), trials=tuple(told))


def at_price(trials: Sequence[Trial], price: float) -> Trial | None:
    """Of the final ``trials``, the one whose groups are raised at ``price``; None where nothing is gained.

    All is beside plain matching from random images. Raising may cost ``price`` points of held-out accuracy for each
    point that it brings to the small, a standard error included, and must bring a point and two standard errors on
    average of small and large, and more to the small than to all. That nobody pays more is the condition; the aim is
    that the small gain: of what meets it, what brings most to them is taken, or, of the ways that bring them as much
    within its standard error, what brings most on average of small and large. That may be another start alone, with
    nothing raised, which need not bring more to the small than to all.

    >>> ways = [Trial("mine", how, Benefit(gain, mean, 0.2), True, False) for how, gain, mean in
    ...         (("a little", 4.0, 0.5), ("much", 9.0, -2.0), ("too much", 10.0, -9.0))]
    >>> [way.how if (way := at_price(ways, price)) else None for price in (0.1, 0.5)]
    ['a little', 'much']
    """
    fair = [trial.benefit for trial in trials if trial.final and _pays(trial, price)]
    if not fair:
        return None
    most = max(fair, key=lambda benefit: benefit.balanced)
    level = [benefit for benefit in fair if benefit.balanced >= most.balanced - most.error]
    best = max(level, key=lambda benefit: benefit.value)
    return next(trial for trial in trials if trial.final and trial.benefit is best)


def price_where(known: bool) -> float:
    """The price that is paid where none is said: a tenth, and 1 where some groups are ``known``: they count."""
    return 1.0 if known else PRICE


def _raised(groups: Groups, strength: float) -> Groups:
    """Candidate ``groups``, raised by ``strength`` times their learnability."""
    assert groups.learnable is not None
    return replace(groups, learnable=strength * groups.learnable)


def _pays(trial: Trial, price: float) -> bool:
    benefit = trial.benefit
    unharmed = benefit.mean - benefit.error >= -price * benefit.balanced
    served = trial.how == UNRAISED or benefit.balanced > benefit.mean  # else it is not the small that raising is for
    return unharmed and served and benefit.value >= max(LEAST, CERTAIN * benefit.error)


def _payer(chosen: _Way | None, names: Sequence[str]) -> str:
    """Which class loses most by what is raised, in a sentence; nothing where none loses half a point."""
    if chosen is None:
        return ""
    worst = int(chosen.classes.nan_to_num(torch.inf).argmin())
    lost = float(chosen.classes[worst])
    return f" The class that pays most, {names[worst]}, loses {-lost:.1f}." if lost <= -TOLD else ""


def _report(trials: Sequence[Trial], price: float = PRICE, payer: str = "") -> str:
    """In words and as Markdown tables: which candidates there were, what each trial said, and what follows."""
    finals = [t for t in trials if t.final]
    prices = {each: at_price(finals, each) for each in sorted({*PRICES, price})}
    chosen = prices[price]

    def cells(t: Trial) -> str:
        what = t.groups if t.how != UNRAISED else "any"
        return f"{what} | {t.how} | {STARTS[t.start]} | {t.benefit.balanced:+.1f} | {t.benefit.mean:+.1f}"

    def rows(shown: Iterable[Trial]) -> list[str]:
        return [f"| {cells(t)} | {t.benefit.value:+.1f} ± {t.benefit.error:.1f} |" for t in shown]

    head, line = "groups | raised by | start | small groups count more | all alike |", "---|---|---|---:|---:|"
    average = [f"| {head} average ± error |", f"|{line}---:|"]
    first = ["Candidates, points against plain matching from random images:", "", *average]
    first += rows(t for t in trials if not t.final)
    # What is chosen comes last, and of each candidate and start the last is told.
    rising = sorted(finals, key=lambda t: (t is chosen, t.benefit.value))
    best = {(t.groups, t.start, t.how == UNRAISED): t for t in rising}.values()
    second = ["The best, tried again on other sets at every strength; what is best of each start:", ""]
    second += [*average, *rows(t for t in finals if any(t is each for each in best))]
    each = []
    for told, same in itertools.groupby(prices, key=prices.get):  # what is raised at two prices is between them, too
        ends = [f"{at:g}" for at in same]
        at_these = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
        each.append(f"| {at_these} | {'nothing | – | – | – | –' if told is None else cells(told)} |")
    third = [f"What is raised at a price of {price:g}, and what other prices would raise:", ""]
    third += [f"| price | {head}", f"|---:|{line}", *each]
    return "\n".join([_verdict(prices, price, payer), "", *first, "", *second, "", *third])


def _verdict(prices: dict[float, Trial | None], price: float, payer: str) -> str:
    """What is raised at a ``price``, or why nothing is, and what a higher one of the ``prices`` would raise then."""
    chosen = prices[price]
    start, changed = "", ""
    if chosen is not None:
        start = STARTS[chosen.start]
        changed = (
            f"changed the accuracy in which small groups count more by {chosen.benefit.balanced:+.1f} points, and the "
            f"accuracy by {chosen.benefit.mean:+.1f}.{payer}"
        )
        if chosen.how != UNRAISED:
            raised = f"Raised: {chosen.groups}, {chosen.how}, from {start}."
            return f"{raised} On held-out training images that {changed}"
    said = "Nothing is raised: on held-out training images no grouping brought "
    if chosen is not None:
        said += f"as much as {start} alone, which {changed} Robust matching is plain matching from there."
    else:
        said += (
            f"{LEAST:g} point and {CERTAIN} standard errors, and more to small groups than to all, at a price of "
            f"at most {price:g} points of accuracy for a point that small groups gain. Robust matching is plain "
            "matching here."
        )
    dearer = ((each, t) for each, t in prices.items() if each > price and t is not None and t.how != UNRAISED)
    for at, other in itertools.islice(dearer, 1):
        said += (
            f" At a price of {at:g} it would be {other.groups}, {other.how}, from {STARTS[other.start]}: "
            f"{other.benefit.balanced:+.1f} where small groups count more, {other.benefit.mean:+.1f} in accuracy."
        )
    return said
