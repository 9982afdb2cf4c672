"""The one way in which files of a run, a sweep, a study or an export are opened: nothing outside their folder is.

Such a folder may come from a stranger. So only regular files are opened (a pipe by the name of ``config.json`` would
wait for ever), links below the folder are not followed, and a name cannot lead out of it. Its own path may be a link:
whoever names a folder means what it leads to.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write, one_line, remove_temporaries, unwritable

__all__ = ["Folder", "open_regular", "parse_arrays", "parse_json", "put_files", "read_regular"]

LARGEST = 4_000_000_000  #: bytes that a file may have to be read at once
LARGEST_JSON = 200_000_000
LARGEST_ARRAYS = 2_000_000_000  # bytes, inflated
CHUNK = 1 << 20
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISLNK, "a link"))


def read_regular(path: str | os.PathLike[str], largest: int = LARGEST, follow: bool = True) -> bytes:
    """All bytes of a regular file, if they are at most ``largest``; a file that the user named may be a link.

    Raises:
        RddError: it is no regular file, is too large, or is a link and ``follow`` is False.
        OSError: it is not there, or cannot be read.
    """
    with _opened(Path(path), follow) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= largest else b""  # not `largest`, for which memory would be asked at once
        while len(data) > size and len(data) <= largest and (more := file.read(2**20)):  # it grows meanwhile
            data += more
    if size > largest or len(data) > largest:
        raise RddError(f"{path} is larger than {largest / 1e6:,.0f} MB, so it was not read: give a smaller file")
    return data


def open_regular(path: str | os.PathLike[str], follow: bool = True) -> BinaryIO:
    """A regular file, open to be read piece by piece; otherwise as :func:`read_regular`, whatever its size."""
    return _opened(Path(path), follow)


def parse_json(data: bytes | str, path: str | os.PathLike[str], mend: str) -> dict[str, Any]:
    """The JSON object in ``data``, which was read from ``path``; ``mend`` says in an error what to do.

    Raises:
        RddError: it is not JSON, is cut short, is nested too deep, or is no object.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise RddError(f"{path} is nested too deep to be read: {mend}") from None
    except ValueError as error:
        raise RddError(f"{path} is not whole JSON ({one_line(error)}): {mend}") from None
    if not isinstance(value, dict):
        raise RddError(f"{path} is not a JSON object: {mend}")
    return value


def parse_arrays(data: bytes, path: str | os.PathLike[str], what: str, mend: str) -> dict[str, Any]:
    """The arrays in the ``.npz`` file ``data``, which was read from ``path``, by name; nothing in it is executed.

    Raises:
        RddError: it holds no ``what``, is damaged, or would need more than 2 GB; ``mend`` says what to do.
    """
    import numpy as np  # what only starts other processes stays small

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as held:
            size = sum(each.file_size for each in held.infolist())
        if size > LARGEST_ARRAYS:
            raise RddError(f"{path} would need {size / 1e9:,.1f} GB of memory, so it was not read: {mend}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except RddError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and its parser of headers raise a dozen kinds
        raise RddError(f"{path} holds no {what}, or is damaged ({type(error).__name__}): {mend}") from None


def _opened(path: Path, follow: bool) -> BinaryIO:
    if not follow and path.is_symlink():  # said before O_NOFOLLOW would, which not every system has
        raise RddError(f"{path} is a link, which is not followed: put the file itself there")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise RddError(f"{path} is no regular file: give a file, or put one there") from None
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = next((name for test, name in _KINDS if test(mode)), "a device")
        raise RddError(f"{path} is {kind}, no regular file: give a file, or put one there")
    return os.fdopen(handle, "rb")


class Folder:
    """A folder whose files are read and written through here.

    Names are relative, with ``/`` between their parts. Every method raises RddError where a name would lead out of the
    folder, through a link, or to what is no regular file; reading what is not there raises FileNotFoundError.

    >>> import tempfile
    >>> folder = Folder(tempfile.mkdtemp())
    >>> _ = folder.write("figures/a.txt", "hello")
    >>> folder.read("figures/a.txt"), folder.has("b.txt"), folder.names("figures")
    (b'hello', False, ['a.txt'])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def at(self, name: str) -> Path:
        """The path of ``name``, if no part of it leads out of the folder; the last may still be of any kind."""
        plain = PurePosixPath(name)
        wrong = plain.is_absolute() or not plain.parts or ".." in plain.parts or "\0" in name
        if wrong or (os.name == "nt" and any(letter in name for letter in '\\:*?"<>|')):
            raise RddError(f"the name {name!r} leads out of {self.path}: give a plain name")
        place = self.path
        for part in plain.parts[:-1]:
            place /= part
            if place.is_symlink():
                raise RddError(f"{place} is a link, which is not followed: make a folder of it, or use another")
        return place / plain.parts[-1]

    def part(self, name: str) -> Folder:
        """A folder in this one, which need not be there yet."""
        place = self.at(name)
        if place.is_symlink():
            raise RddError(f"{place} is a link, which is not followed: make a folder of it, or use another")
        return Folder(place)

    def has(self, name: str) -> bool:
        """Whether a regular file of this name is there."""
        try:
            return stat.S_ISREG(self.at(name).lstat().st_mode)
        except OSError:
            return False

    def there(self, name: str) -> bool:
        """Whether anything of this name is there, a regular file or not."""
        return os.path.lexists(self.at(name))

    def probe(self, size: int = 0) -> None:
        """Write ``size`` bytes into the folder and remove them again, to know before long work whether it can be kept.

        Raises:
            RddError: the folder cannot be made or written, or the disk is too full.
        """
        place = self.at(f".probe.{os.getpid()}.{secrets.token_hex(4)}.tmp")  # as temporary files are called: see files
        self.make()
        try:
            with place.open("xb") as file:
                for start in range(0, size, CHUNK):
                    file.write(bytes(min(CHUNK, size - start)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from None
        finally:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)

    def names(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """The regular files in the folder, or in a part of it, sorted; of these ``suffixes`` alone, such as .png."""
        place = self.part(name).path if name else self.path
        try:
            with os.scandir(place) as entries:
                found = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(each for each in found if suffixes is None or os.path.splitext(each)[1] in suffixes)

    def read(self, name: str, largest: int = LARGEST) -> bytes:
        """All bytes of a file."""
        return read_regular(self.at(name), largest, follow=False)

    def tail(self, name: str, most: int) -> bytes:
        """The last bytes of a file, at most so many."""
        with _opened(self.at(name), follow=False) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            return file.read(most)

    def json(self, name: str, mend: str) -> dict[str, Any]:
        """The JSON object in a file.

        Raises:
            RddError: the file is missing or holds none; ``mend`` says in it what to do.
        """
        try:
            data = self.read(name, LARGEST_JSON)
        except OSError as error:
            raise RddError(f"cannot read {self.path / name} ({error.strerror}): {mend}") from None
        return parse_json(data, self.path / name, mend)

    def make(self, name: str = "") -> Path:
        """Make the folder, or a part of it, where it is missing.

        Raises:
            RddError: it cannot be made, or something else stands in its place.
        """
        place = self.part(name).path if name else self.path
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(place, error) from None
        return place

    def write(self, name: str, data: bytes | str) -> Path:
        """Write a file whole or not at all (:func:`rdd_nb.core.files.atomic_write`), and the folders on its way."""
        place = self.at(name)
        if place.parent != self.path:
            self.make(str(PurePosixPath(name).parent))
        return atomic_write(place, data)

    def fresh(self, name: str) -> BinaryIO:
        """A new, empty file, open to be written piece by piece; what was there by its name is gone.

        Raises:
            RddError: it cannot be written.
        """
        place = self.at(name)
        try:
            place.unlink(missing_ok=True)
            return place.open("xb", buffering=0)
        except OSError as error:
            raise unwritable(place, error) from None

    def remove(self, *names: str) -> None:
        """Remove files, those that are there; a link goes, and what it leads to stays.

        Raises:
            RddError: one cannot be removed.
        """
        for name in names:
            place = self.at(name)
            try:
                place.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(place, error) from None

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove all that is in the folder but for the names to ``keep``; of links only the links.

        Raises:
            RddError: something cannot be removed.
        """
        with contextlib.suppress(FileNotFoundError):
            try:
                for entry in list(os.scandir(self.path)):
                    if entry.name in keep:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise unwritable(self.path, error) from None


def put_files(folder: str | os.PathLike[str], contents: Mapping[str, bytes | str], force: bool = False) -> list[Path]:
    """Write files into a folder, which is made; one that is there already and differs stops all before the first.

    Args:
        folder: where to. What an earlier call left half written there is removed.
        contents: path inside the folder (with ``/``) → what the file holds.
        force: replace files that differ.

    Returns:
        The files that were written; those that were there as they should be are left alone.

    Raises:
        RddError: a file there differs, the place cannot be written, or a part of it is a link.
    """
    target, missing = Folder(folder), {}
    for name, held in contents.items():
        data = held.encode() if isinstance(held, str) else held
        try:
            there = target.read(name)
        except (FileNotFoundError, NotADirectoryError):
            missing[name] = data
        except OSError as error:
            raise unwritable(target.path / name, error) from None
        else:
            if there != data and not force:
                raise RddError(
                    f"{target.path / name} is there and differs: give another folder, or --force to replace it"
                )
            if there != data:
                missing[name] = data
    for part in sorted({str(PurePosixPath(name).parent) for name in contents} - {"."}):
        remove_temporaries(target.make(part))
    remove_temporaries(target.make())
    return [target.write(name, data) for name, data in missing.items()]
