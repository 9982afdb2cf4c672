"""What is to be known about somebody's data: how grave it is, what, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SEVERITIES", "Finding", "by_severity", "counted", "some"]

SEVERITIES = {
    "error": "the numbers would be wrong, or cannot be had",
    "warning": "the numbers would be right, and easily misread",
    "note": "good to know when reading them",
}
SHOWN = 3  # examples in a line


@dataclass(frozen=True)
class Finding:
    """One thing to know about the data: how grave, what, where, and how to mend it.

    >>> print(Finding("warning", "2 images are blank", "train 3, 8", "leave them out"))
    warning: 2 images are blank (train 3, 8): leave them out
    """

    severity: str
    what: str
    where: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.what} ({self.where}): {self.mend}"


def by_severity(found: Sequence[Finding]) -> list[Finding]:
    """The gravest first."""
    return sorted(found, key=lambda finding: list(SEVERITIES).index(finding.severity))


def some(names: Sequence[object]) -> str:
    """The first of some names.

    >>> some("abcde")
    'a, b, c and 2 more'
    """
    return ", ".join(map(str, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def counted(count: int) -> str:
    """So many images, in words.

    >>> counted(1), counted(1200)
    ('1 image', '1,200 images')
    """
    return f"{count:,} image" + "s" * (count != 1)
