"""Where the notebooks and the data lie that ship with the package: in the repository, or inside what pip installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["folder", "in_wheel"]

PACKAGE = Path(__file__).resolve().parents[1]
WHEEL = PACKAGE / "_shipped"  # to a wheel, the repository's folders are a part of the package: see pyproject.toml


def in_wheel() -> bool:
    """Whether the package was installed from a wheel, so that its data are the installer's and not ours to add to."""
    return WHEEL.is_dir()


def folder(name: str) -> Path:
    """The folder ``name`` of the repository (``data`` or ``notebooks``), wherever it lies now.

    >>> (folder("notebooks") / "00_quickstart.ipynb").is_file()
    True
    """
    return (WHEEL if in_wheel() else PACKAGE.parent) / name
