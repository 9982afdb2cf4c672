"""Which fine classes a coarse class hides: tables for the known data sets, and a text to write one's own.

A table reads ``"coarse: fine, fine; coarse: fine"``; names have no comma, colon or semicolon in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rdd_nb.core.errors import RddError, unknown

__all__ = ["TABLES", "sort_classes"]

#: Fashion-MNIST, CIFAR-10, and digits (also SVHN). The digits' halves are those of U-MNIST (Sohoni et al. 2020, "No
#: Subclass Left Behind"): strata that look nothing alike, so that the common ones teach nothing about the rare one.
TABLES = (
    "tops: T-shirt, pullover, coat, shirt; dresses and trousers: trouser, dress; shoes: sandal, sneaker, ankle boot; "
    "bags: bag",
    "animals: bird, cat, deer, dog, frog, horse; vehicles: airplane, automobile, ship, truck",
    "below five: 0, 1, 2, 3, 4; five and above: 5, 6, 7, 8, 9",
)


def sort_classes(class_names: Sequence[str], table: str, where: str) -> dict[str, list[int]]:
    """Each coarse class with the fine classes that it hides, as places in ``class_names``.

    Args:
        class_names: the fine classes, each of which must stand in the table once (upper and lower case are one, where
            the names leave no doubt).
        table: a text as above, or ``"auto"`` for the one of :data:`TABLES` that names exactly these classes.
        where: what to call the data in an error.

    Raises:
        RddError: no table fits, a text that cannot be read, a class unknown, twice or left out, or nothing hidden.

    >>> sort_classes(("boot", "coat", "shirt"), "tops: Shirt, Coat; shoes: boot", "demo")
    {'tops': [2, 1], 'shoes': [0]}
    """
    known = {name.casefold(): place for place, name in enumerate(class_names)}
    known |= {name: place for place, name in enumerate(class_names)}
    if table == "auto":
        table = _fitting({name.casefold() for name in class_names}, where)
    coarse_classes: dict[str, list[int]] = {}
    seen: set[int] = set()
    for coarse, fines in _parse(table).items():
        coarse_classes[coarse] = []
        for fine in fines:
            place = known.get(fine, known.get(fine.casefold()))
            if place is None:
                raise unknown("class", fine, class_names, where=f"the strata of {where}")
            if place in seen:
                raise RddError(f"strata name {fine!r} twice: put each class into one coarse class")
            seen.add(place)
            coarse_classes[coarse].append(place)
    left = [repr(name) for place, name in enumerate(class_names) if place not in seen]
    if left:
        raise RddError(f"strata leave out {', '.join(left)}: put each class of {where} into one coarse class")
    if len(coarse_classes) < 2:
        raise RddError(f"strata have one coarse class, {next(iter(coarse_classes))!r}: name two or more to tell apart")
    if all(len(fine) == 1 for fine in coarse_classes.values()):
        raise RddError("strata have one class in each coarse class, so that none is hidden: join some classes")
    return coarse_classes


def _fitting(names: set[str], where: str) -> str:
    for table in TABLES:
        if {fine.casefold() for fines in _parse(table).values() for fine in fines} == names:
            return table
    raise RddError(
        f"no known table of strata fits the classes of {where}: give one, such as strata='tops: shirt, coat; shoes: "
        "boot, sneaker'"
    )


def _parse(table: object) -> dict[str, list[str]]:
    parsed: dict[str, list[str]] = {}
    for piece in str(table).split(";"):
        coarse, _, fines = (part.strip() for part in piece.partition(":"))
        listed = [fine.strip() for fine in fines.split(",")]
        if not coarse or not all(listed) or ":" in fines:
            raise RddError(
                f"strata must read 'coarse: fine, fine; coarse: fine', but {piece.strip()!r} does not: mend it"
            )
        if coarse in parsed:
            raise RddError(f"strata name the coarse class {coarse!r} twice: list its classes in one place")
        parsed[coarse] = listed
    return parsed
