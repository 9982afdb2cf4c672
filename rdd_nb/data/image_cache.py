"""Pixels of large data, decoded once into a file that is mapped into memory, and found again by the files' contents.

A mapped file takes no memory of its own: the system keeps the parts that are used, as long as there is room, and reads
the others again. Each set, read in one way, has a folder here, with the pixels and a ``manifest.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from rdd_nb.core.checked import Held, validated
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import awaited
from rdd_nb.core.folders import Folder, open_regular

__all__ = ["LARGE", "ImageCache", "Kept", "cache_folder", "kept_sets", "remove_kept"]

LARGE = 200_000_000  #: bytes of pixels from which on they are kept in a file; smaller data are held in memory
FORMAT = "rdd_nb images 1"
SAVED_EVERY = 5.0  # seconds between two notes of how far the making has come
MANIFEST, PART = "manifest.json", "part.json"


class _Manifest(Held):
    """What a finished file of pixels says of itself."""

    format: str
    name: str
    file: str = Field(pattern=r"^pixels-[0-9a-f]{16}\.u8$")
    shape: list[int] = Field(min_length=4, max_length=4)
    signature: str
    contents: str
    remark: str = ""
    statistics: dict[str, list[list[float]]] = Field(default_factory=dict)


class _Part(Held):
    """How far an unfinished one has come."""

    signature: str
    shape: list[int] = Field(min_length=4, max_length=4)
    done: int = Field(ge=0)


@dataclass(frozen=True, eq=False)
class Kept:
    """Pixels from the cache: ``images`` uint8 ``[N, C, H, W]``, mapped, and what there was to remark.

    Writing to ``images`` changes them in this process alone.
    """

    images: Tensor
    remark: str
    cache: ImageCache

    def statistics(
        self, count: int, measure: Callable[[Tensor], tuple[tuple[float, ...], tuple[float, ...]]]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What ``measure`` says of the first ``count`` images; it is asked once, and its answer kept."""
        return self.cache.remembered(count, lambda: measure(self.images[:count]))


def cache_folder() -> Path | None:
    """Where pixels are kept: the environment's ``RDD_NB_CACHE``, by default the user's own; None where it says "off".

    >>> import os, unittest.mock
    >>> with unittest.mock.patch.dict(os.environ, RDD_NB_CACHE="off"):
    ...     print(cache_folder())
    None
    """
    said = os.environ.get("RDD_NB_CACHE", "")
    if said.casefold() in ("off", "0", "no"):
        return None
    return Path(os.path.expanduser(said)) if said else Path(platformdirs.user_cache_dir("rdd_nb", appauthor=False))


class ImageCache:
    """The place for the pixels of some files, read in one way.

    Args:
        root: the folder of all of them.
        name: of the data, to be shown.
        files: what the pixels are made of, each once.
        places: what tells the images apart, in their order.
        how: what else decides about the pixels, such as their size.

    Its key is the files' paths, the images and ``how``. What is there counts as long as the files have the sizes and
    times that they had, or else the same contents, which are then read once, without being decoded.

    Raises:
        RddError: a file that is not there.
    """

    def __init__(
        self, root: Path, name: str, files: Sequence[str | Path], places: Iterable[str], how: Mapping[str, Any]
    ) -> None:
        self.name, self.files = name, files
        total = hashlib.sha256(json.dumps([FORMAT, dict(how)], sort_keys=True, default=str).encode())
        for place in places:
            total.update(place.encode(errors="surrogatepass") + b"\0")
        if files:
            total.update(os.path.realpath(os.path.dirname(files[0])).encode(errors="surrogatepass"))
        self.folder = Folder(root / total.hexdigest()[:32])

    def found(self) -> Kept | None:
        """The pixels, if they are there and still those of the files."""
        manifest = self._manifest()
        if manifest is None:
            return None
        signature = self._signature()
        if manifest.signature != signature:
            if manifest.contents != self._contents():
                return None
            manifest = manifest.model_copy(update={"signature": signature})
            self._write(MANIFEST, manifest)
        with contextlib.suppress(OSError):
            os.utime(self.folder.path / MANIFEST)  # when it was last used
        return self._mapped(manifest)

    def make(
        self,
        shape: tuple[int, int, int, int],
        blocks: Callable[[int], Iterator[np.ndarray]],
        remark: Callable[[], str] = str,
    ) -> Kept:
        """The pixels, made where they are not there; what an interrupted making has done is not done again.

        Args:
            shape: ``(N, C, H, W)``.
            blocks: a place in 0 to N → the images from there on, uint8 ``[n, C, H, W]`` at a time.
            remark: what to say of them, asked in the end.

        Raises:
            RddError: the folder cannot be written, the disk is too full, the files change meanwhile, or what
                ``blocks`` raises.
        """
        self._private()
        with awaited(self.folder.path):
            kept = self.found()  # another process may have made it meanwhile
            if kept is not None:
                return kept
            signature = self._signature()
            file = f"pixels-{hashlib.sha256(signature.encode()).hexdigest()[:16]}.u8"
            self._fill(file, signature, shape, blocks)
            contents = self._contents()
            if self._signature() != signature:
                raise RddError(f"the files of {self.name} change while they are read: load them again")
            os.replace(self.folder.at(f"{file}.part"), self.folder.at(file))
            manifest = _Manifest(
                format=FORMAT,
                name=self.name,
                file=file,
                shape=list(shape),
                signature=signature,
                contents=contents,
                remark=remark(),
            )
            self._write(MANIFEST, manifest)
            # Who maps an old file keeps it until the end, whatever happens to its name.
            self.folder.remove(PART, *(n for n in self.folder.names() if n.startswith("pixels-") and n != file))
        mapped = self._mapped(manifest)
        assert mapped is not None
        return mapped

    def remembered(
        self, count: int, measure: Callable[[], tuple[tuple[float, ...], tuple[float, ...]]]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of the first ``count`` images, from the manifest, or measured and noted there."""
        manifest = self._manifest()
        held = None if manifest is None else manifest.statistics.get(str(count))
        if manifest is not None and held and [len(each) for each in held] == [manifest.shape[1]] * 2:
            return tuple(held[0]), tuple(held[1])
        found = measure()
        if manifest is not None:
            said = {**manifest.statistics, str(count): [list(each) for each in found]}
            with contextlib.suppress(RddError):  # a disk that has become full, or is not ours
                self._write(MANIFEST, manifest.model_copy(update={"statistics": said}))
        return found

    def _private(self) -> None:
        """The folder, which nobody else may read: there are copies of somebody's images in it."""
        root = self.folder.path.parent
        if not root.exists():
            Folder(root).make()
            with contextlib.suppress(OSError):
                root.chmod(0o700)
        self.folder.make()

    def _fill(
        self,
        file: str,
        signature: str,
        shape: tuple[int, int, int, int],
        blocks: Callable[[int], Iterator[np.ndarray]],
    ) -> None:
        part, each = f"{file}.part", math.prod(shape[1:])
        done = self._done(part, signature, shape)
        free = shutil.disk_usage(self.folder.path).free
        if (needed := (shape[0] - done) * each) > free:
            mend = "free some, set RDD_NB_CACHE to a folder on another disk, or pass a smaller --size"
            told = f"{needed / 1e9:,.1f} GB of disk, and {free / 1e9:,.1f} GB are free in {self.folder.path.parent}"
            raise RddError(f"the pixels of {self.name} need {told}: {mend}")
        with contextlib.ExitStack() as held:
            target = held.enter_context(self._open(part, done * each))
            bar = held.enter_context(tqdm(total=shape[0], initial=done, **self._bar("pixels, once", "images")))
            noted = time.monotonic()
            for block in blocks(done):
                target.write(np.ascontiguousarray(block).data)
                done += len(block)
                bar.update(len(block))
                if time.monotonic() - noted > SAVED_EVERY:
                    os.fsync(target.fileno())
                    self._write(PART, _Part(signature=signature, shape=list(shape), done=done))
                    noted = time.monotonic()
            os.fsync(target.fileno())
        if done != shape[0]:
            raise RddError(f"{self.name} has {done:,} images, and {shape[0]:,} were said: load it again")

    def _done(self, part: str, signature: str, shape: tuple[int, int, int, int]) -> int:
        """How many images an interrupted making has left."""
        with contextlib.suppress(RddError, FileNotFoundError, OSError):
            held = validated(_Part, self.folder.json(PART, ""), PART)
            size = self.folder.at(part).lstat().st_size if self.folder.has(part) else 0
            fits = held.signature == signature and held.shape == list(shape) and held.done <= shape[0]
            if fits and size >= held.done * math.prod(shape[1:]):
                return held.done
        return 0

    def _open(self, part: str, size: int) -> Any:
        """The file to be filled, cut to what is known to be whole."""
        if size == 0:
            return self.folder.fresh(part)
        file = os.fdopen(os.open(self.folder.at(part), os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)), "wb", buffering=0)
        file.truncate(size)
        file.seek(size)
        return file

    def _manifest(self) -> _Manifest | None:
        """What is said of finished pixels, if all of it is as it should be; else they are made anew."""
        with contextlib.suppress(RddError, OSError):
            held = validated(_Manifest, self.folder.json(MANIFEST, ""), MANIFEST)
            size = self.folder.at(held.file).lstat().st_size if self.folder.has(held.file) else -1
            if held.format == FORMAT and min(held.shape) > 0 and size == math.prod(held.shape):
                return held
        return None

    def _mapped(self, manifest: _Manifest) -> Kept | None:
        with contextlib.suppress(OSError, ValueError):
            shape = (manifest.shape[0], manifest.shape[1], manifest.shape[2], manifest.shape[3])
            images = np.memmap(self.folder.at(manifest.file), np.uint8, "c", shape=shape)
            return Kept(torch.from_numpy(images), manifest.remark, self)
        return None

    def _write(self, name: str, held: Held) -> None:
        self.folder.write(name, held.model_dump_json())

    def _bar(self, what: str, unit: str) -> dict[str, Any]:
        """How a bar looks that is there where something takes more than two seconds."""
        return {"desc": f"{self.name}: {what}", "unit": f" {unit}", "delay": 2, "mininterval": 1, "leave": False}

    def _signature(self) -> str:
        """Sizes and times of the files: the time of the last change of any kind cannot be set by hand."""
        total = hashlib.sha256()
        for path in self.files:
            try:
                held = os.stat(path)
            except OSError as error:
                raise RddError(f"{path} cannot be read ({error.strerror}): replace it or leave it out") from None
            total.update(b"%d %d %d\n" % (held.st_size, held.st_mtime_ns, held.st_ctime_ns))
        return total.hexdigest()

    def _contents(self) -> str:
        """A digest of all that the files hold."""
        total = hashlib.sha256()
        for path in tqdm(self.files, **self._bar("contents", "files")):
            each = hashlib.sha256()
            try:
                with open_regular(path) as file:
                    while held := file.read(2**20):
                        each.update(held)
            except OSError as error:
                raise RddError(f"{path} cannot be read ({error.strerror}): replace it or leave it out") from None
            total.update(each.digest())
        return total.hexdigest()


@dataclass(frozen=True)
class KeptSet:
    """One set in the cache: its folder, what it is called, its images, its bytes, and when it was last used."""

    folder: Path
    name: str
    shape: tuple[int, ...]
    size: int
    used: float


def kept_sets(root: Path) -> list[KeptSet]:
    """What the cache holds, the last used first; what is unfinished has no shape."""
    found = []
    for place in sorted(root.iterdir()) if root.is_dir() else ():
        folder = Folder(place)
        if not _ours(folder):
            continue
        name, shape = "unfinished", tuple[int, ...]()
        with contextlib.suppress(RddError, OSError):
            held = validated(_Manifest, folder.json(MANIFEST, ""), MANIFEST)
            name, shape = held.name, tuple(held.shape)
        stats = [folder.at(each).lstat() for each in folder.names()]
        used = max(each.st_mtime for each in stats)
        found.append(KeptSet(place, name, shape, sum(each.st_size for each in stats), used))
    return sorted(found, key=lambda each: -each.used)


def remove_kept(root: Path) -> list[KeptSet]:
    """Remove all that the cache holds, and nothing else; what was removed."""
    found = kept_sets(root)
    for each in found:
        with awaited(each.folder):
            Folder(each.folder).clear(keep=(".lock",))
        shutil.rmtree(each.folder, ignore_errors=True)
    return found


def _ours(folder: Folder) -> bool:
    """Whether a folder is one of the cache's own: by its name, and by what is in it."""
    name = folder.path.name
    plain = len(name) == 32 and set(name) <= set("0123456789abcdef") and not folder.path.is_symlink()
    if not plain or not stat.S_ISDIR(folder.path.lstat().st_mode):
        return False
    names = folder.names()
    return bool(names) and all(n in (MANIFEST, PART, ".lock") or n.startswith("pixels-") for n in names)
