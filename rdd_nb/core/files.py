"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import ntpath
import os
import posixpath
import re
import secrets
import stat
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil  # type: ignore[import-untyped, unused-ignore]

from rdd_nb.core.errors import RddError

__all__ = [
    "RESERVED",
    "Busy",
    "atomic_write",
    "awaited",
    "lock_of",
    "locked",
    "one_line",
    "plain_name",
    "remove_temporaries",
    "unwritable",
    "without_folders",
]


class Busy(RddError):
    """Another process holds what this one needs; later it may be free."""


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


#: Names that Windows keeps for devices.
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))}
#: What :func:`atomic_write` calls its temporary files: of a process that was killed, nothing else is removed.
_TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")


def remove_temporaries(folder: Path, alone: bool = False) -> None:
    """Remove the temporary files in ``folder`` that :func:`atomic_write` has left where its process was killed.

    Unless this process is ``alone`` in the folder, those of a process that lives stay: it may be at it.
    """
    for left in folder.glob(".*.tmp"):
        made_by = _TEMPORARY.fullmatch(left.name)
        if made_by and (alone or not psutil.pid_exists(int(made_by.group(1)))):
            with contextlib.suppress(OSError):
                left.unlink()


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
        Busy: another process works in the folder.
        RddError: it cannot be written, or its file system knows no locks.
    """
    lock = lock or lock_of(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(lock.lock_file) and not stat.S_ISREG(os.lstat(lock.lock_file).st_mode):
            raise RddError(f"{lock.lock_file} is no regular file, so it cannot be the lock: remove it")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise Busy(f"another process is working in {folder}: wait for it, or use another folder") from None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise RddError(f"the file system of {folder} cannot lock files: use a folder on another disk") from None
        raise unwritable(folder, error) from None
    except NotImplementedError:
        raise RddError(f"the file system of {folder} cannot lock files: use a folder on another disk") from None
    try:
        if lock.lock_counter == 1:
            remove_temporaries(folder, alone=True)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def awaited(folder: Path, lock: filelock.FileLock | None = None) -> Iterator[None]:
    """As :func:`locked`, but for who shares what is made in the folder: wait until nobody else holds it.

    Raises:
        RddError: as :func:`locked`, but for :class:`Busy`.
    """
    lock = lock or lock_of(folder)
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder, lock))
                break
            except Busy:
                time.sleep(0.2)
        yield


def plain_name(text: str, most: int = 80) -> str:
    """``text`` as a part of a path that every file system takes: readable, never ``.``, ``..`` or empty.

    Different texts may give one name; who needs them apart adds a digest.

    >>> plain_name("robust, tail=0.2"), plain_name("../x"), plain_name(".."), plain_name("con")
    ('robust,tail=0.2', 'x', 'unnamed', 'con_')
    """
    plain = re.sub(r"[^\w=.+,-]+", "-", unicodedata.normalize("NFC", text.replace(", ", ","))).strip("-.,")
    plain = plain.encode()[:most].decode(errors="ignore").rstrip("-.,") or "unnamed"
    return plain + "_" * (plain.partition(".")[0].casefold() in RESERVED)


def unwritable(path: Path, error: OSError) -> RddError:
    """The error that says why ``path`` cannot be written, and what to do."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return RddError(f"cannot write {path}: the disk is full; free some space or use another folder, then run again")
    return RddError(f"cannot write {path}: {error.strerror or error}; use another folder")


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


#: Data of one's own, by its form and path (:data:`rdd_nb.data.readers.registry.READERS`).
_OWN_DATA = re.compile(r"(celeba|domains|folder|hf|names|npz|table):(.*)", re.DOTALL)


def without_folders(text: str) -> str:
    """``text`` with every absolute path cut to its last part: a run folder tells nothing about the machine.

    What only looks like a path, as it begins in a folder that this machine has not, stays as it is.

    >>> without_folders("folder:/home/ada/pets"), without_folders("https://a.org/x"), without_folders("runs/a")
    ('folder:pets', 'https://a.org/x', 'runs/a')
    >>> without_folders("npz:/home/ada/my scans.npz")
    'npz:my scans.npz'
    >>> without_folders("cat / dog"), without_folders("/no such folder/north")
    ('cat / dog', '/no such folder/north')
    """
    own = _OWN_DATA.fullmatch(text)
    if own and posixpath.isabs(own[2]):
        return f"{own[1]}:{posixpath.basename(own[2].rstrip('/'))}"
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        return ntpath.basename(text.rstrip("\\/"))
    if _is_here(text):
        return posixpath.basename(text.rstrip("/"))

    def cut(found: re.Match[str]) -> str:
        here = not found.group().startswith("/") or _is_here(text[found.start() :])
        return "" if here else found.group()

    return re.sub(r"(?<![^:=\s])(?:[A-Za-z]:[\\/]|/(?=[^/\s]))(?:[^\\/:\s]+[\\/])*", cut, text)


def _is_here(text: str) -> bool:
    """Whether a text begins with ``/`` and the name of something in this machine's topmost folder."""
    first = re.match(r"/[^/\0]+", text)
    return first is not None and (os.path.lexists(first.group()) or os.path.lexists(first.group().split()[0]))
