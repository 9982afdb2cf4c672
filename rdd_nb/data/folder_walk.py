"""What lies in a folder of somebody's images, and the promise that nothing outside it is read or named.

Links inside a folder are fine where they lead inside, and the folder itself may be one.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import terminal

__all__ = [
    "OTHER_IMAGES",
    "SUFFIXES",
    "Walk",
    "entries",
    "files_below",
    "is_dir",
    "plain",
    "shown",
    "suffix",
    "title_of",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp")
OTHER_IMAGES = (".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2", ".svg", ".eps", ".npy", ".dcm")


def plain(text: str, where: str) -> str:
    """``text`` in Unicode's form NFC, if it is of letters that can be shown on a line and written as UTF-8."""
    if not (text.isascii() and text.isprintable()):
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
            raise RddError(f"{where}: the name {text!a} has control characters or is not in UTF-8: rename it")
        return unicodedata.normalize("NFC", text)
    return text


def shown(text: str) -> str:
    """``text`` on one line."""
    return terminal(text).replace("\n", "\\n").replace("\t", "\\t")


def suffix(name: str) -> str:
    """What a file's name ends with, such as ``.png``."""
    return os.path.splitext(name)[1].lower()


def title_of(name: str, path: str, kind: str) -> str:
    """The folder's own name, without the path, since results are shared; ``kind`` is what to write before the path.

    Raises:
        RddError: there is no such folder, or its name cannot be shown.
    """
    if not os.path.isdir(path):
        mend = f"write {kind}:PATH with the path of a folder of images"
        raise RddError(f"{name!r}: there is no such folder{_reason(path)}; {mend}")
    plain(path, "the folder")
    return f"{kind}:{plain(os.path.basename(os.path.realpath(path)), 'the folder')}"


def _reason(path: str) -> str:
    """Why ``path`` is no folder, where it is more than that it is not there."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f" ({getattr(error, 'strerror', None) or error})"
    return " (it is a file)"


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in ``folder``, sorted; hidden files are not looked at."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise RddError(f"{folder} cannot be read ({error.strerror}): change its permissions or leave it out") from None


def is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def files_below(folder: Path) -> Iterator[Path]:
    """All files in ``folder``, at any depth, but hidden ones and those behind links; then what folders are closed."""
    for place, names in _folders_below(folder):
        yield from (Path(place, name) for name in names)


def _folders_below(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder below, and the files in it; those that are closed come last, by themselves."""
    closed: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: closed.append(os.fspath(error.filename))):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield place, sorted(name for name in files if name[0] != ".")
    yield from ((os.path.dirname(place), [os.path.basename(place)]) for place in closed)


class Walk:
    """One folder while it is read: where its links lead, and what is left out (what it is → files, relative to it)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.left: dict[str, list[str]] = {}
        self._root = os.path.realpath(folder)
        self._inside = os.path.join(self._root, "")
        # Folders, where they are, and which of their files are links: their files are many.
        self._known: dict[str, tuple[str, frozenset[str] | None]] = {}
        self._checked: set[str] = set()

    def real(self, path: str | Path) -> str:
        """``path`` with all its links followed."""
        parent, name = os.path.split(path)
        if name in ("", ".."):
            return os.path.realpath(path)
        if parent not in self._known:
            place = os.path.realpath(parent)
            self._known[parent] = os.path.join(place, ""), _links_in(place)
        place, links = self._known[parent]
        link = os.path.islink(place + name) if links is None else bool(links) and _folded(name) in links
        return os.path.realpath(place + name) if link else place + name

    def check_inside(self, path: str | Path, where: str) -> None:
        """Refuse a path that leads out of the folder; ``where`` names it in the error."""
        place = self.real(path)
        self._checked.add(place)
        if not place.startswith(self._inside):
            raise RddError(f"{where} lies outside {self.folder}, where nothing is read: copy it into the folder")

    def leave_out(self, what: str, paths: Iterable[Path]) -> None:
        """Remember files that are not read, to tell of them."""
        if names := [str(path.relative_to(self.folder)) for path in paths]:
            self.left.setdefault(what, []).extend(names)

    def leave_out_unnamed(self, table: str) -> None:
        """Remember the images of the folder that a table does not name: those that were not checked until now."""
        images = frozenset(SUFFIXES + OTHER_IMAGES)
        found = (
            Path(place, name)
            for place, names in _folders_below(self.folder)
            for name in names
            if suffix(name) in images and self.real(os.path.join(place, name)) not in self._checked
        )
        self.leave_out(f"images that {table} does not name", found)


def _links_in(folder: str) -> frozenset[str] | None:
    """The links that lie in a folder; None where it cannot be listed, though its files may be read."""
    try:
        with os.scandir(folder) as held:
            return frozenset(_folded(entry.name) for entry in held if entry.is_symlink())
    except OSError:
        return None


def _folded(name: str) -> str:
    """A name as file systems compare it that know no case, or other Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()
