"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import ntpath
import os
import posixpath
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock

from rdd_nb.core.errors import RddError

__all__ = ["atomic_write", "lock_of", "locked", "one_line", "put_files", "unwritable", "without_folders"]


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a whole file or nothing: a temporary file beside it, flushed to the disk, then ``os.replace``.

    A text is written as UTF-8. A reader sees the old content or the new one, never a part; on failure the temporary
    file is removed and the old content stays.

    Raises:
        RddError: the folder is missing, not writable, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


#: What :func:`atomic_write` calls its temporary files: of a process that was killed, nothing else is removed.
_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp")


def lock_of(folder: Path, name: str = ".lock") -> filelock.FileLock:
    """The lock of a folder, a file in it: to be held by :func:`locked`; one object may hold it several times over."""
    return filelock.FileLock(folder / name)


@contextlib.contextmanager
def locked(folder: Path, lock: filelock.FileLock | None = None) -> Iterator[None]:
    """Hold a folder for this process, and make it where it is missing: a second process gets an RddError.

    The lock ends with the ``with`` block or the process; its file stays. Temporary files of a process that was killed
    are removed on the way.

    Args:
        folder: what is held.
        lock: of :func:`lock_of`, to hold a lock of another name, or one that this process may hold already.

    Raises:
        RddError: another process works in the folder, it cannot be written, or its file system knows no locks.
    """
    lock = lock or lock_of(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RddError(f"another process is working in {folder}: wait for it, or use another folder") from None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise RddError(f"the file system of {folder} cannot lock files: use a folder on another disk") from None
        raise unwritable(folder, error) from None
    except NotImplementedError:
        raise RddError(f"the file system of {folder} cannot lock files: use a folder on another disk") from None
    try:
        if lock.lock_counter == 1:
            for left in folder.glob(".*.tmp"):
                if _TEMPORARY.fullmatch(left.name):
                    with contextlib.suppress(OSError):
                        left.unlink()
        yield
    finally:
        lock.release()


def put_files(folder: str | os.PathLike[str], contents: Mapping[str, bytes | str], force: bool = False) -> list[Path]:
    """Write files into a folder, which is made; one that is there already and differs stops all before the first.

    Args:
        folder: where to.
        contents: path inside the folder (with ``/``) → what the file holds.
        force: replace files that differ.

    Returns:
        The files that were written; those that were there as they should be are left alone.

    Raises:
        RddError: a file there differs, or the place cannot be written.
    """
    target, missing = Path(folder), {}
    for name, held in contents.items():
        data = held.encode() if isinstance(held, str) else held
        try:
            there = (target / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            missing[target / name] = data
        except OSError as error:
            raise unwritable(target / name, error) from None
        else:
            if there != data and not force:
                raise RddError(f"{target / name} is there and differs: give another folder, or --force to replace it")
            if there != data:
                missing[target / name] = data
    try:
        for place in sorted({target, *(path.parent for path in missing)}):
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from None
    return [atomic_write(path, data) for path, data in missing.items()]


def unwritable(path: Path, error: OSError) -> RddError:
    """The error that says why ``path`` cannot be written, and what to do."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return RddError(f"cannot write {path}: the disk is full; free some space or use another folder, then run again")
    return RddError(f"cannot write {path}: {error.strerror or error}; use another folder")


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def without_folders(text: str) -> str:
    """``text`` with every absolute path cut to its last part: a run folder tells nothing about the machine.

    >>> without_folders("folder:/home/ada/pets"), without_folders("https://a.org/x"), without_folders("runs/a")
    ('folder:pets', 'https://a.org/x', 'runs/a')
    """
    if not text.startswith("//") and posixpath.isabs(text):
        return posixpath.basename(text.rstrip("/"))
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        return ntpath.basename(text.rstrip("\\/"))
    return re.sub(r"(?<![^:=\s])(?:[A-Za-z]:[\\/]|/(?!/))(?:[^\\/:\s]+[\\/])*", "", text)
