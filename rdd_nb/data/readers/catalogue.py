"""What every reader makes: a list of images with their classes, groups and splits, whose pixels are fetched last.

So a part of the data can be chosen before an image is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import statistics
from rdd_nb.data.decoding import Pixels, decoded
from rdd_nb.data.image_folder import Part, Source
from rdd_nb.data.image_listing import Listing
from rdd_nb.data.reading import Reading
from rdd_nb.data.stratified import evenly, held_out

__all__ = ["Catalogue", "assembled", "chosen", "of_listing", "of_source", "ordered"]

PARTS = (("train", ""), ("validation",), ("test",))  #: what images of each part are called


#: No more images than this are all read before it is said that a class is too small: that takes a moment.
SOON = 1000


@dataclass(frozen=True)
class Catalogue:
    """Images that can be had, and what is known of each.

    Attributes:
        name: of the data, without a path, since results are shared.
        place: how to name the data in an error.
        labels: the class of each.
        groups: the group of each; empty where none are named.
        splits: ``"train"``, ``"validation"`` or ``"test"`` of each, or ``""`` where the data come in one piece.
        told: place in the list → how to name the image in an error.
        fetch: places in the list, reading → their images.
        class_names, group_names: in their order, where the data say one; else they are sorted.
        listing: the images' files, where each has one.
    """

    name: str
    place: str
    labels: Sequence[str]
    groups: Sequence[str]
    splits: Sequence[str]
    told: Callable[[int], str]
    fetch: Callable[[Sequence[int], Reading], Pixels]
    class_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    listing: Listing | None = None


def assembled(held: Catalogue, reading: Reading, hold_out: float = 0.0) -> Source:
    """The images of a catalogue that ``reading`` wants, divided as it says.

    Of data in one piece the part ``hold_out`` becomes the test set
    (:meth:`rdd_nb.data.dataset.ImageDataset.hold_out`).

    Raises:
        RddError: a class or group that is not there, one class alone, a class or tested group that training lacks, or
            images that cannot be read, differ, or do not fit into the memory.
    """
    wanted = chosen(held, reading)
    labels, splits = [held.labels[i] for i in wanted], [held.splits[i] for i in wanted]
    groups = [held.groups[i] for i in wanted] if held.groups else []
    if len(set(labels)) == 1:
        mend = "add images of another, since there is nothing to tell apart"
        raise RddError(f"{held.place} has one class only, {labels[0]!r}: {mend}")
    parts = set(splits)
    if parts - {""}:
        for split in ("train", "test"):
            if split not in parts:
                other = ", ".join(sorted(parts))
                mend = "add some, or say with --splits which part is which (splits={…} in Python)"
                raise RddError(f"{held.place} has no {split} images, only {other}: {mend}")
        for what, values in (("label", labels), ("group", groups)):
            _check_splits(held, what, values, splits, wanted)
    class_names, ids = _ids(labels, held.class_names)
    group_names, group_ids = _ids(groups, held.group_names) if groups else ((), None)
    if parts == {""} and hold_out:
        try:
            tested = held_out(ids, group_ids, class_names, len(group_names), hold_out, seed=0)
        except RddError:  # too few to be divided; if images cannot be read, that is to be mended first
            looked_at = ids == torch.bincount(ids).argmin() if len(ids) > SOON else torch.ones_like(ids)
            held.fetch([wanted[i] for i in looked_at.nonzero().squeeze(1).tolist()], reading)
            raise
        splits = ["test" if test else "train" for test in tested.tolist()]
    # Each part in one piece, so that none is held twice.
    order = [i for names in PARTS for i, split in enumerate(splits) if split in names]
    pixels = held.fetch([wanted[i] for i in order], reading)
    sizes = [sum(split in names for split in splits) for names in PARTS]
    pieces = zip(pixels.images.split(sizes), torch.tensor(order).split(sizes))
    made = [
        Part(images, ids[mine], None if group_ids is None else group_ids[mine]) if len(mine) else None
        for images, mine in pieces
    ]
    train, validation, test = made
    assert train is not None
    title = held.name + ("" if parts - {""} else " (split 80/20)") + _told_choice(reading)
    left = "" if held.listing is None or not held.listing.left_out else f"left out {held.listing.counted()}"
    remarks = "; ".join(f"{held.name}: {remark}" for remark in (left, pixels.remark) if remark)
    known = None if pixels.kept is None else pixels.kept.statistics(sizes[0], statistics)
    return Source(title, train, test, class_names, group_names, known, remarks, validation)


def ordered(values: Iterable[str]) -> list[str]:
    """Different values, sorted; as numbers where all are whole numbers.

    >>> ordered(["10", "9", "9"]), ordered(["b", "10", "9"])
    (['9', '10'], ['10', '9', 'b'])
    """
    found = set(values)
    numbers = all(re.fullmatch(r"-?\d{1,18}", value) for value in found)
    return sorted(found, key=lambda value: (int(value), value)) if numbers else sorted(found)


def _ids(values: Sequence[str], names: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Tensor]:
    """The different values, in their order, and the place of each value among them (int64 ``[N]``)."""
    found = set(values)
    listed = [name for name in names if name in found] or sorted(found)
    places = {name: place for place, name in enumerate(listed)}
    return tuple(listed), torch.tensor([places[value] for value in values])


def _check_splits(
    held: Catalogue, what: str, values: Sequence[str], splits: Sequence[str], wanted: Sequence[int]
) -> None:
    """Every label occurs in training and in the test set; every group that is tested occurs in training."""
    first: dict[str, dict[str, int]] = {"train": {}, "test": {}, "validation": {}}
    for place, value, split in zip(wanted, values, splits):
        first[split].setdefault(value, place)
    pairs = (("test", "train"), ("validation", "train"), ("train", "test"))
    for split, other in pairs if what == "label" else pairs[:2]:
        for value, place in first[split].items():
            if value not in first[other]:
                mend = f"add {other} images of it or leave its {split} images out"
                raise RddError(
                    f"{held.place}: {what} {value!r} occurs only in {split} (first: {held.told(place)}): {mend}"
                )


def chosen(held: Catalogue, reading: Reading) -> list[int]:
    """The places of the images that are wanted, in their order."""
    keep = range(len(held.labels))
    wanted = (("class", reading.only_classes, held.labels), ("group", reading.only_groups, held.groups))
    for what, names, values in wanted:
        if names:
            known = set(values)
            if not known:
                raise RddError(f"groups are to be kept alone, and {held.place} names none: leave --only-groups out")
            for name in names:
                if name not in known:
                    raise unknown(what, name, known, where=held.place)
            keep = [i for i in keep if values[i] in names]  # type: ignore[assignment]
    if not reading.sample:
        return list(keep)
    draw, taken = stream(reading.seed, "sample of each class"), [i for i in keep if held.splits[i] not in ("train", "")]
    learnt = [i for i in keep if held.splits[i] in ("train", "")]
    classes = _ids([held.labels[i] for i in learnt])[1]
    names, groups = _ids([held.groups[i] for i in learnt]) if held.groups else (("",), torch.zeros_like(classes))
    for label in range(int(classes.max()) + 1 if len(classes) else 0):
        members = (classes == label).nonzero().squeeze(1)
        chosen = evenly(members, groups, len(names), min(reading.sample, len(members)), draw)
        taken += [learnt[i] for i in chosen.tolist()]
    return sorted(taken)


def _told_choice(reading: Reading) -> str:
    """What a name says of the part that was chosen."""
    told = ""
    if reading.only_classes:
        told += f" classes={','.join(reading.only_classes)}"
    if reading.only_groups:
        told += f" groups={','.join(reading.only_groups)}"
    return told + (f" sample={reading.sample} seed={reading.seed}" if reading.sample else "")


# ----------------------------------------------------------------------------------------- of rows, and of what is read


def of_listing(held: Listing, class_names: Sequence[str] = (), group_names: Sequence[str] = ()) -> Catalogue:
    """A catalogue of image files."""
    rows = held.rows
    return Catalogue(
        held.name,
        str(held.folder),
        [row.label for row in rows],
        [row.group for row in rows] if rows and rows[0].group else [],
        [row.split for row in rows],
        lambda place: rows[place].where,
        lambda places, reading: decoded([rows[i] for i in places], reading, held.name),
        tuple(class_names),
        tuple(group_names),
        held,
    )


def of_source(source: Source) -> Catalogue:
    """A catalogue of images that were read already."""
    named = (("train", source.train), ("validation", source.validation), ("test", source.test))
    parts = [(name, part) for name, part in named if part is not None]
    labels = torch.cat([part.labels for _, part in parts]).tolist()
    groups = torch.cat([part.groups for _, part in parts if part.groups is not None] or [torch.zeros(0)]).tolist()
    splits = [name if source.test is not None else "" for name, part in parts for _ in range(len(part.labels))]

    def fetch(places: Sequence[int], reading: Reading) -> Pixels:
        images = parts[0][1].images if len(parts) == 1 else torch.cat([part.images for _, part in parts])
        return Pixels(images if list(places) == list(range(len(images))) else images[torch.tensor(places)])

    return Catalogue(
        source.name,
        source.name,
        [source.class_names[i] for i in labels],
        [source.group_names[int(i)] for i in groups],
        splits,
        lambda place: f"image {place}",
        fetch,
        source.class_names,
        source.group_names,
    )
