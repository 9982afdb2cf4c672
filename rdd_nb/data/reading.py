"""How data are to be read: their size and shades, which column says what, and which part of them is wanted.

The same words are the options of the command line, the keys of a mapping in YAML, and arguments of
:func:`rdd_nb.data.loading.load`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import ImageColor

from rdd_nb.core.errors import RddError, unknown

__all__ = ["FITS", "SPLITS", "Reading", "colour", "split_named"]

FITS = ("stretch", "pad", "crop")
#: What people call the parts of a data set; the numbers are those of WILDS, CelebA and SubpopBench.
SPLITS = {
    **dict.fromkeys(("train", "training", "0"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "1"), "validation"),
    **dict.fromkeys(("test", "testing", "2"), "test"),
}
_LISTS = ("group", "only_classes", "only_groups")
_TEXTS = ("label", "split", "file", "images", "pattern")
_COLUMNS = ("label", "group", "split", "file", "images", "pattern", "splits", "names")


@dataclass(frozen=True)
class Reading:
    """How data are read. What is None or empty is as the data say, or left alone.

    Attributes:
        size: squares of so many pixels (bilinear).
        channels: 1 (grey, luminance) or 3 (RGB).
        background: the colour behind transparent pixels, and beside images that are padded (else black).
        fit: how an image that is no square becomes one: ``"stretch"`` (the default), ``"pad"`` to the longer side, or
            ``"crop"`` the middle.
        label, split, file: the column (or attribute) that says the class, the part, and the image's file.
        group: the column of the group; several are crossed, so that each combination is a group.
        images: the folder in which the files lie, within that of the data.
        pattern: of file names, such as ``"{age}_{gender}_{rest}"``; with ``/``, of paths.
        splits: value of the split → ``"train"``, ``"validation"`` or ``"test"``, where it is none of :data:`SPLITS`.
        names: column → value → name; a value may be a range of whole numbers, as in ``"0..17"``.
        only_classes, only_groups: the classes and groups to keep.
        sample: at most so many training images of each class, each of its groups with its share.
        seed: which images a sample takes.

    Raises:
        RddError: a value that is none of these.

    >>> Reading(label="y", group="place").group
    ('place',)
    """

    size: int | None = None
    channels: int | None = None
    background: str | None = None
    fit: str | None = None
    label: str | None = None
    group: tuple[str, ...] = ()
    split: str | None = None
    file: str | None = None
    images: str | None = None
    pattern: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    only_classes: tuple[str, ...] = ()
    only_groups: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and (not _whole(self.size) or self.size < 1):
            raise RddError(f"size must be a number of pixels, at least 1, not {self.size!r}")
        if self.channels not in (None, 1, 3):
            raise RddError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels!r}")
        if self.background is not None:
            colour(self.background)
        if self.fit is not None and self.fit not in FITS:
            raise unknown("fit", self.fit, FITS)
        if self.fit is not None and self.size is None:
            raise RddError(f"fit={self.fit} says how images become squares of a size: give the size, too")
        if self.sample is not None and (not _whole(self.sample) or self.sample < 1):
            raise RddError(f"sample must be a number of images for each class, at least 1, not {self.sample!r}")
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str | None):
                raise RddError(f"{name} must be a text, not {getattr(self, name)!r}")
        for name in _LISTS:
            given = getattr(self, name)
            listed = (given,) if isinstance(given, str) else given
            if not isinstance(listed, Sequence) or not all(isinstance(each, str) for each in listed):
                raise RddError(f"{name} must be a text or a list of texts, not {given!r}")
            if len(set(listed)) != len(listed):
                raise RddError(f"{name} names one thing twice, {', '.join(listed)}: name each once")
            object.__setattr__(self, name, tuple(listed))
        if not _texts(self.splits):
            raise RddError(f"splits must be a mapping of texts, such as 'a: train', not {self.splits!r}")
        for value in self.splits.values():
            if value not in ("train", "validation", "test"):
                raise unknown("split", value, ("train", "validation", "test"), where="splits")
        if not isinstance(self.names, Mapping) or not all(_texts(each) for each in self.names.values()):
            raise RddError(f"names must be a mapping of columns to their values' names, as texts, not {self.names!r}")

    @property
    def columns(self) -> dict[str, Any]:
        """What is said of columns and files: the fields that are given."""
        return {name: value for name in _COLUMNS if (value := getattr(self, name))}

    @property
    def chooses(self) -> bool:
        """Whether a part of the data alone is wanted."""
        return bool(self.only_classes or self.only_groups or self.sample)

    @staticmethod
    def of(given: Mapping[str, Any]) -> Reading:
        """A reading by its fields' names.

        Raises:
            RddError: a name that it does not have, or a value that is none.
        """
        known = [each.name for each in dataclasses.fields(Reading)]
        for name in given:
            if name not in known:
                raise unknown("option", name, known, where="how data are read")
        return Reading(**given)


def colour(text: str) -> tuple[int, int, int]:
    """The red, green and blue, 0 to 255, of a colour as Pillow's ``ImageColor`` knows it.

    Raises:
        RddError: no colour, or one that is transparent itself.

    >>> colour("white"), colour("#102030")
    ((255, 255, 255), (16, 32, 48))
    """
    try:
        found = ImageColor.getrgb(text)
    except (ValueError, AttributeError, TypeError):
        raise RddError(f"background must be a colour such as 'white' or '#ffeedd', not {text!r}") from None
    if len(found) == 4 and found[3] != 255:
        raise RddError(f"background must be a colour that one cannot see through, not {text!r}: leave out its alpha")
    return found[0], found[1], found[2]


def split_named(value: str, splits: Mapping[str, str], where: str) -> str:
    """``"train"``, ``"validation"`` or ``"test"`` for what a table says.

    >>> split_named("2", {}, "here"), split_named("fold-a", {"fold-a": "train"}, "here")
    ('test', 'train')
    """
    found = splits.get(value) or SPLITS.get(value.casefold())
    if found is None:
        mend = "say which is which, as in --splits 'a=train, b=test' (splits={'a': 'train', …} in Python)"
        raise RddError(f"{where} says the split {value!r}, which is none of {', '.join(SPLITS)}: {mend}")
    return found


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())
