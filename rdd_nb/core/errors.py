"""What a user did wrong, said in one line: what, where, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["RddError", "unknown"]


class RddError(ValueError):
    """Bad input. Its message is one line fit for a person: what was wrong, where, and how to mend it.

    The command line prints it without a traceback and exits with status 2.
    """


def unknown(kind: str, name: object, known: Iterable[str], where: str = "") -> RddError:
    """An error for a name that is not known, naming the nearest known one.

    >>> print(unknown("dataset", "fashion-mnst", ["digits", "fashion-mnist"]))
    unknown dataset 'fashion-mnst': did you mean 'fashion-mnist'? Known: digits, fashion-mnist
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return RddError(f"unknown {kind} {str(name)!r}{' in ' + where if where else ''}: {hint}Known: {', '.join(names)}")
