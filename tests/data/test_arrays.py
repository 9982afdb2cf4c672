"""Arrays, tensors and data sets in memory, and how images become squares."""

import numpy as np
import pytest
import torch
from PIL import Image

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.image_folder import pixels


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (ramp(2, 4, 5), (1, 4, 5)),
        (ramp(2, 4, 5, 3), (3, 4, 5)),
        (ramp(2, 3, 4, 5), (3, 4, 5)),
        (ramp(2, 4, 5, 1), (1, 4, 5)),
        (torch.from_numpy(ramp(2, 3, 4, 5)), (3, 4, 5)),
        (ramp(2, 4, 5).astype(">u2"), (1, 4, 5)),
        (ramp(2, 4, 5).astype(np.int64)[::-1], (1, 4, 5)),
        ((ramp(2, 4, 5) > 7), (1, 4, 5)),
    ],
)
def test_shapes_and_kinds_of_arrays(images, shape):
    data = ImageDataset.from_arrays(images, [0, 1])
    assert data.shape == shape and data.class_names == ("0", "1")
    held = np.asarray(images).astype(np.int64)
    last = held.ndim == 4 and held.shape[3] == shape[0]
    expected = held[:, None] if held.ndim == 3 else held.transpose(0, 3, 1, 2) if last else held
    assert np.array_equal(data.images.numpy(), expected)


def test_floats_are_rounded_to_256_values():
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16)
    assert ImageDataset.from_arrays(values, [0]).images.flatten().tolist() == list(range(256))
    assert ImageDataset.from_arrays(torch.full((1, 1, 2, 2), 0.5), [0]).images.unique().tolist() == [128]


def test_names_and_groups():
    data = ImageDataset.from_arrays(
        ramp(4, 3, 3),
        ["dog", "cat"] * 2,
        groups=np.array([[1], [0], [1], [0]]),
        group_names=("day", "night"),
        name="mine",
    )
    assert data.labels.tolist() == [1, 0, 1, 0] and data.class_names == ("cat", "dog") and data.name == "mine"
    assert data.groups.tolist() == [1, 0, 1, 0] and data.group_names == ("day", "night")
    assert ImageDataset.from_arrays(ramp(2, 3, 3), ["b", "a"], class_names=("b", "a")).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((ramp(2, 3, 3, 3), [0, 1]), {}, r"\[2, 3, 3, 3\] may have channels first or last: say channels_last"),
        ((ramp(2, 4, 5, 2), [0, 1]), {}, r"images are \[2, 4, 5, 2\]: give \[N, H, W\]"),
        ((ramp(2, 4), [0, 1]), {}, r"images are \[2, 4\]"),
        ((np.array(["a"]), [0]), {}, "images are <U1: give numbers"),
        ((ramp(2, 4, 5) * -1.0, [0, 1]), {}, "values from -39 to 0: give pixels as they were before"),
        ((ramp(2, 4, 5).astype(int) * 9, [0, 1]), {}, "values from 0 to 351"),
        ((np.full((1, 2, 2), np.nan), [0]), {}, "values from nan to nan"),
        ((ramp(2, 4, 5), [0]), {}, "there are 2 images and 1 labels"),
        ((ramp(2, 4, 5), [0, 1]), {"groups": [0, 0, 1]}, "there are 2 images and 3 groups"),
        ((ramp(2, 4, 5), [0, 2]), {"class_names": ("a", "b")}, "labels reach from 0 to 2, and there are 2 names"),
        ((ramp(2, 4, 5), [-1, 0]), {}, "labels reach from -1 to 0"),
        ((ramp(2, 4, 5), [0.0, 1.0]), {}, r"labels are float64 \[2\]"),
        ((ramp(2, 4, 5), np.eye(2, dtype=int)), {}, r"labels are int64 \[2, 2\]"),
        ((ramp(2, 4, 5), ["a", "c"]), {"class_names": ("a", "b")}, "labels say 'c', which is none of the names a, b"),
    ],
)
def test_what_does_not_fit(arguments, options, words):
    with pytest.raises(RddError, match=words):
        ImageDataset.from_arrays(*arguments, **options)


class Items(torch.utils.data.Dataset):
    def __init__(self, *entries, classes=None):
        self.entries = entries
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, place):
        return self.entries[place]


def test_a_data_set_of_torch():
    picture = Image.fromarray(ramp(4, 4, 3))
    tensor = torch.from_numpy(ramp(4, 4, 3)).permute(2, 0, 1)
    data = ImageDataset.from_torch(
        Items((picture, 0), (tensor, 1), (tensor / 255, torch.tensor(1)), classes=["a", "b"])
    )
    assert all(torch.equal(image, tensor) for image in data.images) and data.class_names == ("a", "b")
    assert data.labels.tolist() == [0, 1, 1] and data.name == "Items" and data.groups is None
    grouped = ImageDataset.from_torch(
        Items((torch.zeros(3, 3), 0, 1), (torch.ones(3, 3), 1, 0)), group_names=("x", "y")
    )
    assert grouped.groups.tolist() == [1, 0] and grouped.images[1].unique().tolist() == [255]


def test_a_plain_tensor_data_set():
    held = torch.utils.data.TensorDataset(torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([1, 0]))
    assert ImageDataset.from_torch(held).images.flatten().tolist() == list(range(8))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Items(), "the data set is empty"),
        (Items(torch.zeros(2, 2)), "entry 0 of the data set is no"),
        (Items((torch.zeros(2, 2), "cat")), "entry 0 has a label or group that is no whole number"),
        (
            Items((torch.zeros(2, 2), 0), (torch.zeros(3, 3), 1)),
            r"image 1 is \[1, 3, 3\], and image 0 \[1, 2, 2\]: resize",
        ),
        (Items((torch.zeros(2, 2), 0), (torch.zeros(2, 2), 0, 1)), "entry 1 has 3 values, and entry 0 2"),
        (Items((torch.full((1, 2, 2), -2.0), 0)), "image 0 have values from -2 to -2: give pixels as they were"),
        (Items((Image.new("RGBA", (2, 2)), 0)), "image 0 is of the kind RGBA: convert it"),
        (Items((torch.zeros(1, 1, 2, 2), 0)), r"image 0 is \[1, 1, 2, 2\]: give"),
    ],
)
def test_data_sets_that_cannot_be_read(data, words):
    with pytest.raises(RddError, match=words):
        ImageDataset.from_torch(data)


def test_sets_made_apart_belong_together():
    parts = [
        ImageDataset.from_arrays(ramp(20, 3, 3) + first, [0, 1] * 10, groups=groups, group_names=("a", "b"))
        for first, groups in ((0, [0] * 19 + [1]), (30, [0, 1] * 10), (60, [0, 0, 1, 1] * 5))
    ]
    splits = Splits.of(*parts, name="mine")
    assert splits.test.mean == splits.validation.mean == splits.train.mean and splits.name == "mine"
    assert splits.train.minority.tolist() == [False] * 19 + [True], "one of ten images of class 1 is b"
    assert splits.test.minority.tolist() == [False, True] * 10
    other = ImageDataset.from_arrays(ramp(8, 4, 3), [0, 1] * 4)
    with pytest.raises(RddError, match="training and validation set must have the same group_names"):
        Splits.of(parts[0], parts[1], other)


@pytest.mark.parametrize(
    ("fit", "background", "expected"),
    [
        (None, None, [10, 10]),
        ("crop", None, [10, 20]),
        ("pad", None, [0, 10, 20, 0]),
        ("pad", "white", [255, 10, 20, 255]),
        ("pad", "#0000ff", [29, 10, 20, 29]),  # blue has a luminance of 0.114
    ],
)
def test_images_that_are_no_squares(fit, background, expected):
    wide = Image.fromarray(np.array([[10, 10, 10, 10]] * 2 if fit is None else [[0, 10, 20, 0]] * 2, np.uint8))
    tall = Image.fromarray(np.array([[10, 20]] * 4, np.uint8))
    size = len(expected)
    got = pixels(tall if fit == "pad" else wide, size, None, fit, background)
    assert got.shape == (1, size, size) and got[0, 0].tolist() == expected
    square = Image.fromarray(ramp(4, 4))
    assert np.array_equal(pixels(square, 3, None, fit, background), pixels(square, 3, None))
