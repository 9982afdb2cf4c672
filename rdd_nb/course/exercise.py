"""The course's exercises: a check that says what is wrong and how to go on, and student copies of the notebooks.

A notebook asks ``course.check("01-exact-cvar", cvar)``; the cases, and the hints by kind of mistake, stand in the
module ``exercises_01``, which is found by the first part of the exercise's name. An exercise holds a right answer and
the wrong ones that people really give, each with its hint: an answer that agrees with a wrong one in every case gets
its hint, so tests can feed every hint the mistake it is for. One that agrees in some cases only gets it with a
"perhaps": a hint says no more than what was found.

In the committed notebook an exercise is four cells: the task (tag ``exercise``), a stub that runs but does nothing yet
(``exercise-stub``), the check (``check``), and a solution (``solution``) that ends with the check again, strictly.
``python -m rdd_nb.course.exercise student notebooks build/student`` writes copies without solutions and outputs.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rdd_nb.core.errors import RddError, unknown

__all__ = ["Case", "Exercise", "Mistake", "Verdict", "check", "exercises_of", "judge", "register"]

_registry: dict[str, Exercise] = {}


class Case(NamedTuple):
    """What an answer is tried on: a description for people, and the arguments (copied before each call)."""

    what: str
    arguments: tuple[Any, ...]


class Mistake(NamedTuple):
    """A wrong answer that people give, and the hint for it."""

    hint: str
    answer: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """A question with a right answer, the cases that tell right from wrong, and hints by kind of mistake.

    Attributes:
        name: ``"NN-what"``, where NN is the number of its notebook.
        task: in one line, what to compute.
        answer: the right function; its results are numbers or tensors.
        cases: what it is tried on, simple ones first.
        mistakes: tried in this order against the case that an answer fails.
        gradient: the first argument must receive the right gradient, too.
        gradient_hint: what to tell who has the value right and the gradient wrong.
        growing: a small and a large case, where a Python loop is forbidden: without one, torch is called equally often.
        tolerance: largest difference that counts as none.
    """

    name: str
    task: str
    answer: Callable[..., Any]
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...] = ()
    gradient: bool = False
    gradient_hint: str = "Something on the way from the argument to the result is cut off, or depends on it twice."
    growing: tuple[Case, Case] | None = None
    tolerance: float = 1e-4


class Verdict(NamedTuple):
    """What :func:`judge` found."""

    name: str
    right: int  #: cases passed before the first that failed
    cases: int  #: how many there are
    problem: str = ""  #: what is wrong; empty when nothing is
    hint: str = ""  #: how to go on

    def __bool__(self) -> bool:
        """Whether the answer is right."""
        return not self.problem

    def __str__(self) -> str:
        if self:
            return f"✓ {self.name}: right in all {self.cases} cases."
        hint = f"\n  Hint: {self.hint}" if self.hint else ""
        return f"✗ {self.name}: right in {self.right} of {self.cases} cases, then: {self.problem}{hint}"


def register(exercise: Exercise) -> Exercise:
    """Make an exercise known by its name; for the modules in ``rdd_nb.course.exercises``."""
    _registry[exercise.name] = exercise
    return exercise


def exercises_of(notebook: str) -> dict[str, Exercise]:
    """The exercises of a notebook, by name.

    Args:
        notebook: its number, as in its file's name.

    >>> list(exercises_of("01"))[0]
    '01-carried'
    """
    _load(notebook)
    return {name: exercise for name, exercise in _registry.items() if name.startswith(f"{notebook}-")}


def _load(number: str) -> None:
    """Import the module of a notebook's exercises, if it has one; importing registers them."""
    module = f"rdd_nb.course.exercises.exercises_{number}"
    if number.isdigit() and importlib.util.find_spec(module):
        importlib.import_module(module)


def check(name: str, answer: Callable[..., Any], *, strict: bool = False) -> None:
    """Try ``answer`` on the cases of an exercise, and print what is wrong, with a hint, or that it is right.

    Args:
        name: of the exercise.
        answer: the student's function.
        strict: raise where the answer is wrong, instead of printing. nbgrader, which marks by what raises, is always
            strict: it sets ``NBGRADER_EXECUTION`` while it runs a notebook.

    Raises:
        RddError: no such exercise; or, with ``strict``, a wrong answer.

    >>> check("01-carried", lambda losses, members: losses[members].sum() / losses.sum())
    ✓ 01-carried: right in all 5 cases.
    >>> check("01-carried", lambda losses, members: losses[members].mean())
    ✗ 01-carried: right in 0 of 5 cases, then: losses 1, 2, 3, 4, of which the last counts: you return 4, right is 0.4
      Hint: That is the members' mean loss. Asked is their part of the sum: divide their sum by the sum of all.
    """
    verdict = judge(name, answer)
    if not verdict and (strict or os.environ.get("NBGRADER_EXECUTION")):
        raise RddError(str(verdict))
    print(verdict)


def judge(name: str, answer: Callable[..., Any]) -> Verdict:
    """What :func:`check` prints, as a value.

    Raises:
        RddError: no such exercise.
    """
    _load(name.partition("-")[0])
    if name not in _registry:
        raise unknown("exercise", name, _registry)
    exercise = _registry[name]
    if not callable(answer):
        said = f"the answer is {_short(answer)}, not a function"
        return Verdict(name, 0, len(exercise.cases), said, "Give the function itself, without brackets behind it.")
    for number, case in enumerate(exercise.cases):
        fault = _fault(exercise, case, answer)
        if fault:
            known = _hint(exercise, case, answer) if fault.known else ""
            hint = known or fault.hint or _unforeseen(exercise, case, answer)
            return Verdict(name, number, len(exercise.cases), f"{case.what}: {fault.problem}", hint)
    said, hint = _looped(exercise, answer) or ("", "")
    return Verdict(name, len(exercise.cases), len(exercise.cases), said, hint)


class _Fault(NamedTuple):
    """What is wrong with an answer in one case."""

    problem: str
    hint: str = ""  #: how to go on, if no known mistake fits
    known: bool = False  #: whether a known mistake may fit


def _fault(exercise: Exercise, case: Case, answer: Callable[..., Any]) -> _Fault | None:
    """What is wrong with an answer in one case; None if nothing is."""
    try:
        given, inputs = _called(exercise, case, answer)
    except Exception as error:  # whatever a student's code may raise
        by_hand = "Call your function by hand on a small tensor, and print what it holds."
        return _Fault(f"it raises {_raised(error)}", by_hand)
    right, reference = _called(exercise, case, exercise.answer)
    if given is None:
        return _Fault("it returns nothing", "Is the stub filled in, and does it end with `return`?")
    try:
        found, expected = _number(given), _number(right)
    except Exception:  # a text, a list of tensors, a table
        return _Fault(f"it returns {_short(given)}", "Return a number or a tensor.")
    if found.shape != expected.shape:
        said = f"the shape is {list(found.shape)}, asked is {list(expected.shape)}"
        return _Fault(said, "Which dimension should be gone, and which should stay?", known=True)
    if not _close(found, expected, exercise.tolerance):
        return _Fault(f"you return {_short(found)}, right is {_short(expected)}", known=True)
    return _slope(exercise, given, inputs, right, reference) if exercise.gradient else None


def _called(exercise: Exercise, case: Case, answer: Callable[..., Any]) -> tuple[Any, Any]:
    """The result on copies of the case's arguments, and the first of these, which asks for a gradient if need be."""
    arguments = [a.clone() if isinstance(a, Tensor) else copy.deepcopy(a) for a in case.arguments]
    if exercise.gradient:
        arguments[0].requires_grad_()
    return answer(*arguments), arguments[0]


def _slope(exercise: Exercise, given: Any, inputs: Tensor, right: Tensor, reference: Tensor) -> _Fault | None:
    """What is wrong with the gradient of a result that is right itself."""
    if not isinstance(given, Tensor) or not given.requires_grad:
        why = "`.item()`, `.detach()`, `.numpy()`, `float()` and `torch.tensor()` cut the graph."
        return _Fault("the value is right, but it is a constant: no gradient flows back", why)
    try:
        (found,) = torch.autograd.grad(given.nansum(), inputs)
    except RuntimeError:
        found = None
    (expected,) = torch.autograd.grad(right.nansum(), reference)
    if found is None or not _close(found.double(), expected.double(), exercise.tolerance):
        said = "nothing" if found is None else _short(found)
        through_nan = "`where` after the fact hides a NaN in the value, not in the gradient: mask *before* you divide."
        hint = exercise.gradient_hint if found is None or not found.isnan().any() else through_nan
        return _Fault(f"the value is right, its gradient is {said} instead of {_short(expected)}", hint)
    return None


class _Calls(TorchFunctionMode):
    """Counts how often torch is called from Python."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _looped(exercise: Exercise, answer: Callable[..., Any]) -> tuple[str, str] | None:
    """What to say of an answer that is right, but loops where it must not: a loop calls torch anew in every round."""
    if exercise.growing is None:
        return None
    counts = []
    for case in exercise.growing:
        with _Calls() as calls:
            try:
                _called(exercise, case, answer)
            except Exception as error:
                return f"{case.what}: it raises {_raised(error)}", "Does your function take any number of samples?"
        counts.append(calls.count)
    few, many = counts
    if many < few + 20:  # a branch may take a few calls more
        return None
    small, large = (case.what for case in exercise.growing)
    said = f"torch is called {few} times for {small} and {many} times for {large}: that is a loop in Python"
    return said, "The values are right; now let one call do all groups at once: sort, rank, then `index_add`."


def _hint(exercise: Exercise, case: Case, answer: Callable[..., Any]) -> str:
    """The hint of the known mistake that fails this case as the answer does, and agrees with it in the most others.

    It is certain only where both agree in every case; by one number alone, two different mistakes may agree.
    """
    best, hint, count = 0, "", len(exercise.cases)
    for mistake in exercise.mistakes:
        if not _alike(exercise, case, answer, mistake.answer):
            continue
        agreed = sum(_alike(exercise, other, answer, mistake.answer) for other in exercise.cases)
        if agreed > best:
            best, hint = agreed, mistake.hint
    yes_or_no = torch.as_tensor(_called(exercise, case, exercise.answer)[0]).dtype == torch.bool
    if best < count and (2 * best <= count or yes_or_no):
        return ""  # yes and no agree too easily
    return hint if best == count else f"Perhaps (it fits {best} of the {count} cases): {hint}"


def _alike(exercise: Exercise, case: Case, answer: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two functions give the same in a case, or raise the same kind of error."""
    a, b = (_result(exercise, case, function) for function in (answer, other))
    if isinstance(a, type) or isinstance(b, type):
        return a is b
    return a.shape == b.shape and _close(a, b, exercise.tolerance)


def _result(exercise: Exercise, case: Case, function: Callable[..., Any]) -> Any:
    """A function's result in a case as a tensor, or the class of the error that it raises."""
    try:
        return _number(_called(exercise, case, function)[0])
    except Exception as error:  # an answer may fail, and a mistake need not make sense in every case
        return type(error)


def _unforeseen(exercise: Exercise, case: Case, answer: Callable[..., Any]) -> str:
    """For a mistake that nobody foresaw: what is certain about it."""
    results = [[_result(exercise, one, f) for one in (case, *exercise.cases)] for f in (answer, exercise.answer)]
    comparable = [isinstance(a, Tensor) and a.shape == b.shape for a, b in zip(*results)]
    (found, *_), (expected, *_) = results
    if not comparable[0]:  # an answer that is not the same each time
        return "Run it twice by hand: does it return the same?"
    nan, asked = found.isnan(), expected.isnan()
    if bool((nan & ~asked).any()):
        many = int((nan & ~asked).sum())
        return f"NaN where a number is asked ({many} of yours): is it 0/0, or 0 times something infinite or NaN?"
    if bool((asked & ~nan).any()):
        many = int((asked & ~nan).sum())
        return f"NaN is asked where there is nothing to average; {many} of yours {'is' if many == 1 else 'are'} not."
    if bool((found.isinf() & expected.isfinite()).any()):
        return "Infinite where a number is asked: is something divided by 0?"
    factor = _factor(*(torch.cat([r.flatten() for r in of]) for of in results)) if all(comparable) else None
    if factor == -1:
        return "Only the sign is wrong, in every case."
    if factor is not None:
        return f"You are off by a factor of {factor:.4g} in every case: what do you divide by?"
    factor = _factor(found.flatten(), expected.flatten())
    if factor is not None:
        return f"Here all values are off by the same factor of {factor:.4g}: what do you divide by?"
    return "Work this case out on paper, and compare line by line."


def _factor(found: Tensor, expected: Tensor) -> float | None:
    """The one factor by which different values are off; None if there is none, or if one value alone would say it."""
    some = expected.isfinite() & (expected != 0)
    if len(expected[some].unique()) < 2:
        return None
    factor = float(found[some][0] / expected[some][0])
    same = torch.allclose(found, torch.where(expected.isfinite(), factor * expected, expected), 1e-6, 1e-9, True)
    return factor if same and factor else None


def _number(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().to("cpu", torch.float64)


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        parts = [f"{v:.4g}" for v in value.flatten().tolist()]
        return parts[0] if value.ndim == 0 else f"[{', '.join(parts[:6])}{', …' if len(parts) > 6 else ''}]"
    text = repr(value)
    return text if len(text) < 60 else f"{type(value).__name__} {text[:40]}…"


def _raised(error: Exception) -> str:
    """The error in one line, with the line of the student's code it came from, as Jupyter counts the cell's lines."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    where = f" (line {frames[0].lineno} of your cell)" if frames else ""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}{where}"
