"""Small errors in a right answer, made by machine: what a check does not tell from the answer, it does not check.

``mutants`` changes one thing at a time in a function: an operator, a constant, a name, a direction, a call, a
statement. A name says what was changed, as ``before → after``, and stays the same while the function does.
``tamed`` changes what goes in and what comes out: an answer that is right only where nothing is below 0, or sorted,
or NaN, passes where the cases are too tame.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rdd_nb.course.exercise import Case

SWAPPED = [
    {ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.Pow: [ast.Mult]},
    {ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.LtE]},
    {ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.In: [ast.NotIn], ast.NotIn: [ast.In]},
    {ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd], ast.And: [ast.Or], ast.Or: [ast.And]},
]
OPERATORS: dict[type, list[type]] = {old: new for table in SWAPPED for old, new in table.items()}
PAIRS = [
    *[("mean", "sum"), ("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("any", "all"), ("cummax", "cummin")],
    *[("clamp_min", "clamp_max"), ("floor", "ceil"), ("std", "var"), ("minimum", "maximum"), ("argsort", "sort")],
]
METHODS = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
MODULES = {"torch", "math", "np", "itertools", "binom"}
SHORT = (ast.Constant, ast.Name, ast.Tuple, ast.Slice, ast.keyword)
NEAR = 20  # letters shown before and after a change
ROUNDS = 5_000  # more than any answer needs


class Endless(Exception):
    """A mutant that goes round and round."""


def _same(node: ast.AST) -> Any:
    return copy.deepcopy(node)


def _with(node: Any, **fields: Any) -> Any:
    new = _same(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _of_constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)):
        yield from (ast.Constant(node.value + move) for move in (1, -1))
        if node.value not in (0, 1, -1):
            yield ast.Constant(0)


def _of_call(node: ast.Call) -> Iterator[ast.AST]:
    function = node.func
    method = isinstance(function, ast.Attribute)
    if isinstance(function, ast.Attribute):
        if function.attr in METHODS:
            yield _with(node, func=_with(function, attr=METHODS[function.attr]))
        if function.attr in ("sort", "argsort") and not any(k.arg == "descending" for k in node.keywords):
            yield _with(node, keywords=[*_same(node).keywords, ast.keyword("descending", ast.Constant(True))])
        if not (isinstance(function.value, ast.Name) and function.value.id in MODULES):
            yield _same(function.value)
    if not method and len(node.args) == 1:
        yield _same(node.args[0])
    for k in range(len(node.args)):
        yield _with(node, args=[_same(a) for i, a in enumerate(node.args) if i != k])
    for k in range(len(node.keywords)):
        yield _with(node, keywords=[_same(a) for i, a in enumerate(node.keywords) if i != k])
    for k in range(len(node.args) - 1):
        args = [_same(a) for a in node.args]
        args[k], args[k + 1] = args[k + 1], args[k]
        yield _with(node, args=args)


def _of_expression(node: ast.AST, parameters: list[str]) -> Iterator[ast.AST]:
    """What may stand in the place of an expression."""
    if isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.BinOp):
        yield from (_with(node, op=new()) for new in OPERATORS.get(type(node.op), []))
        yield from (_same(node.left), _same(node.right))
    elif isinstance(node, ast.Compare):
        yield from (_with(node, ops=[new()]) for new in OPERATORS.get(type(node.ops[0]), []))
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=OPERATORS[type(node.op)][0]())
    elif isinstance(node, ast.UnaryOp):
        yield _same(node.operand)
    elif isinstance(node, ast.IfExp):
        yield from (_same(node.body), _same(node.orelse), _with(node, body=_same(node.orelse), orelse=_same(node.body)))
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield _same(node.value)
    elif isinstance(node, (ast.List, ast.Tuple)) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield _with(node, elts=[_same(e) for e in node.elts[::-1]])
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in parameters:
        yield from (ast.Name(other, ast.Load()) for other in parameters if other != node.id)


def _of_statement(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """What may stand in the place of a statement: nothing, or of a branch one side."""
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.If)):
        yield []
    if isinstance(node, ast.If):
        yield [_same(s) for s in node.body]


def _changes(function: ast.FunctionDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Each change by what it says, with the whole function after it."""
    tree = _same(function)
    parameters = [a.arg for a in tree.args.args]
    above = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for parent in list(ast.walk(tree)):
        for field, value in ast.iter_fields(parent):
            for k, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, (ast.expr, ast.stmt)):
                    continue
                around = child
                while isinstance(around, SHORT) and isinstance(above[around], (ast.expr, ast.keyword)):
                    around = above[around]  # a constant or a name alone does not say where it stands
                before = _line(around)
                for new in _of_expression(child, parameters):
                    setattr(parent, field, new if k is None else [*value[:k], new, *value[k + 1 :]])
                    yield _change(before, _line(new if around is child else around)), _same(tree)
                    setattr(parent, field, value)
                for body in _of_statement(child):
                    rest = [*value[:k], *body, *value[k + 1 :]]
                    setattr(parent, field, rest or [ast.Pass()])
                    yield f"{_line(child)} → {'always' if body else 'nothing'}", _same(tree)
                    setattr(parent, field, value)


def _alike(one: str, other: str) -> int:
    """How many letters are the same from the start."""
    return next((k for k, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _change(before: str, after: str) -> str:
    """``before → after``, without what is far from the change."""
    alike = _alike(before, after)
    start = alike - NEAR if alike > NEAR + 1 else 0
    alike = min(_alike(before[::-1], after[::-1]), len(before) - alike, len(after) - alike)
    end = alike - NEAR if alike > NEAR + 1 else 0
    shown = (f"{'…' if start else ''}{t[start : len(t) - end]}{'…' if end else ''}" for t in (before, after))
    return " → ".join(shown)


def _line(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


class _Counted(ast.NodeTransformer):
    """Lets loops count their rounds, so that none is endless."""

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.parse("_round()").body[0])
        return node


def _compiled(function: ast.FunctionDef, scope: dict[str, Any]) -> Callable[..., Any]:
    rounds = [0]

    def once() -> None:
        rounds[0] += 1
        if rounds[0] > ROUNDS:
            raise Endless

    module = ast.fix_missing_locations(ast.Module([_Counted().visit(_same(function))], type_ignores=[]))
    names = {**scope, "_round": once}
    exec(compile(module, "<mutant>", "exec"), names)
    return names[function.name]


def _function(source: str) -> ast.FunctionDef:
    (found,) = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))
    return found


def built(source: str, scope: dict[str, Any]) -> Callable[..., Any]:
    """The function in ``source``, whose loops end; ``scope`` has what it uses."""
    return _compiled(_function(source), scope)


def mutants(source: str, scope: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """The mutants of the function in ``source``, by name."""
    function = _function(source)
    found: dict[str, Callable[..., Any]] = {}
    seen = {ast.unparse(function)}
    for said, changed in _changes(function):
        text = ast.unparse(changed)
        if text not in seen:
            seen.add(text)
            names = [said, *(f"{said} ({k})" for k in range(2, 99))]
            found[next(n for n in names if n not in found)] = _compiled(changed, scope)
    return found


def _floating(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point())


def _listed(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _tensor(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """A change of tensors, for numbers too."""
    return lambda x: change(x) if isinstance(x, Tensor) else change(torch.tensor(x, dtype=torch.float64)).item()


FLOATING = {
    "at 0 where below": _tensor(lambda x: x.clamp_min(0)),
    "without sign": _tensor(lambda x: x.abs()),
    "at 1 where above": _tensor(lambda x: x.clamp_max(1)),
    "as whole numbers": _tensor(lambda x: x.round()),
}
ORDERED = {
    "sorted": lambda x: x.sort(0).values,
    "sorted, falling": lambda x: x.sort(0, descending=True).values,
    "from behind": lambda x: x.flip(0),
}
ALIKE = {
    "the first for all": lambda x: x[:1].expand_as(x),
    "the mean for all": lambda x: x.double().mean().expand_as(x),
}


def _fitting(value: Any) -> dict[str, Callable[[Any], Any]]:
    return {**(FLOATING if _floating(value) else {}), **(ORDERED if _listed(value) else {})}


def tamed(answer: Callable[..., Any], cases: Sequence[Case]) -> dict[str, Callable[..., Any]]:
    """Answers that look at a part of what they are given, or return a part of what is right, by name."""
    found: dict[str, Callable[..., Any]] = {}
    first = cases[0].arguments

    def put(k: int, change: Callable[[Any], Any]) -> Callable[..., Any]:
        return lambda *a: answer(*(change(b) if i == k else b for i, b in enumerate(a)))

    for k, name in enumerate(inspect.signature(answer).parameters):
        found[f"{name}: as in the first case"] = put(k, lambda _, k=k: copy.deepcopy(first[k]))
        for what, change in _fitting(first[k]).items():
            found[f"{name}: {what}"] = put(k, change)
    right = answer(*copy.deepcopy(first))
    for what, change in {**_fitting(right), **(ALIKE if _listed(right) else {})}.items():
        found[f"result: {what}"] = lambda *a, change=change: change(answer(*a))
    return found
