"""What tests of the readers share."""

import warnings

import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.data.loading import load


def refused(name, **options):
    """The one line that loading ends in."""
    with pytest.raises(RddError) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def remarked(name, **options):
    """The data, and what loading remarks: at most one warning, in one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        splits = load(name, **options)
    said = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    assert len(said) <= 1 and not any("\n" in line for line in said)
    return splits, said[0] if said else ""


def grey(data):
    """The first pixel of each image."""
    return data.images[:, 0, 0, 0].tolist()


def cells(data):
    """(class, group) of each image, by name."""
    return [(data.class_names[y], data.group_names[g]) for y, g in zip(data.labels.tolist(), data.groups.tolist())]
