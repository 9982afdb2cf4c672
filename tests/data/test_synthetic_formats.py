"""A set in the forms of other tools: arrays, and an object of Hugging Face's."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

import rdd_nb as rdd
from rdd_nb.core.errors import RddError
from rdd_nb.data.formations import decode
from rdd_nb.data.synthetic_set import load_synthetic
from tests.helpers import hugging_face, made_set, one_line


def held(channels=3, formations=2, soft=True):
    draw = torch.Generator().manual_seed(0)
    count = 4 * formations**2
    told = torch.randn(count, 2, generator=draw).softmax(1) if soft else None
    images = torch.randn(4, channels, 8, 10, generator=draw)
    return made_set(channels, images=images, labels=torch.tensor([1, 0, 0, 1]), ipc=2, formations=formations,
                    soft_labels=told, class_names=("a/b", "été"))  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_hold_the_exact_values_and_our_loader_reads_the_pixels(tmp_path, channels):
    made = held(channels)
    path = made.save(tmp_path / "x.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], decode(made.images, 2).numpy())
        assert np.array_equal(arrays["stored"], made.images.numpy()) and arrays["formations"] == 2
        assert np.array_equal(arrays["soft_labels"], made.soft_labels.numpy())
        assert arrays["mean"].tolist() == pytest.approx(made.mean) and arrays["std"].tolist() == pytest.approx(made.std)
        again = (arrays["train_images"].reshape(16, 8, 10, channels) / 255 - made.mean) / made.std
        inside = (arrays["train_images"] > 0) & (arrays["train_images"] < 255)
        wrong = np.abs(again - arrays["images"].transpose(0, 2, 3, 1)).reshape(arrays["train_images"].shape)
        assert wrong[inside].max() < 0.51 / 255 / min(made.std)
    splits = rdd.load(f"npz:{path}")
    both = torch.cat([splits.train.images, splits.test.images])
    assert splits.train.class_names == ("a/b", "été") and len(both) == 16
    wanted = {image.numpy().tobytes() for image in made.decoded.to_uint8()}
    assert {image.numpy().tobytes() for image in both} == wanted
    assert made.save(tmp_path / "y.npz").read_bytes() == path.read_bytes()


def test_a_plain_set_has_no_more_than_it_needs(tmp_path):
    with np.load(held(formations=1, soft=False).save(tmp_path / "x.npz")) as arrays:
        assert set(arrays) == {"train_images", "train_labels", "class_names", "images", "mean", "std"}


def test_the_suffix_says_the_form(tmp_path):
    made = held()
    again = load_synthetic(made.save(tmp_path / "x.safetensors"))
    assert torch.equal(again.images, made.images) and again.formations == 2
    with pytest.raises(RddError) as caught:
        made.save(tmp_path / "x.pt")
    assert "NAME.safetensors or NAME.npz" in one_line(caught) and not (tmp_path / "x.pt").exists()
    pairs = made.to_torch()
    assert torch.equal(pairs.tensors[0], made.decoded.images) and torch.equal(pairs.tensors[1], made.soft_labels)


class _Pretended(types.ModuleType):
    """As much of Hugging Face's package as is called, which keeps what it was given."""

    Image = staticmethod(lambda: "image")
    ClassLabel = staticmethod(lambda names: ("class", tuple(names)))
    Value = staticmethod(lambda kind: kind)
    Sequence = staticmethod(lambda kind, length: (kind, length))
    Features = dict

    class Dataset:
        from_dict = staticmethod(lambda columns, features: (columns, features))


def test_what_hugging_face_is_given(monkeypatch):
    """The package is large; where it is installed, the test below asks it."""
    monkeypatch.setitem(sys.modules, "datasets", _Pretended("datasets"))
    made = held()
    columns, features = made.to_datasets()
    assert features == {"image": "image", "label": ("class", ("a/b", "été")), "soft_label": ("float32", 2)}
    assert columns["label"] == made.decoded.labels.tolist()
    np.testing.assert_array_equal(columns["soft_label"], made.soft_labels.double().numpy())
    pixels = np.stack([np.asarray(image) for image in columns["image"]]).transpose(0, 3, 1, 2)
    assert np.array_equal(pixels, made.decoded.to_uint8().numpy())
    grey, _ = held(channels=1, soft=False).to_datasets()
    assert grey["image"][0].mode == "L" and "soft_label" not in grey
    with pytest.raises(RddError, match="2 channels"):
        held(channels=2).to_datasets()


@pytest.mark.parametrize("channels", [1, 3])
def test_hugging_face_has_the_whole_set_also_after_a_file(tmp_path, channels):
    datasets = hugging_face()
    made = held(channels)
    given = made.to_datasets()
    given.to_parquet(tmp_path / "set.parquet")
    read = datasets.load_dataset("parquet", data_files=str(tmp_path / "set.parquet"), cache_dir=str(tmp_path / "cache"))
    for table in (given, read["train"]):
        assert table.features == given.features and table.features["label"].names == ["a/b", "été"]
        pixels = np.stack([np.asarray(image) for image in table["image"]]).reshape(16, 8, 10, channels)
        assert np.array_equal(pixels.transpose(0, 3, 1, 2), made.decoded.to_uint8().numpy())
        assert list(table["label"]) == made.decoded.labels.tolist()
        assert np.array_equal(np.float32(list(table["soft_label"])), made.soft_labels.numpy())
    again = rdd.load(datasets.DatasetDict(train=given, test=read["train"])).test
    assert torch.equal(again.images, made.decoded.to_uint8()) and torch.equal(again.labels, made.decoded.labels)


def test_without_hugging_face_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RddError, match="pip install datasets"):
        held().to_datasets()
