"""The synthetic set and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import load_synthetic, save_synthetic
from tests.helpers import made_set, one_line


def test_shape_and_classes():
    s = made_set(channels=3, classes=4)
    assert (s.num_classes, s.shape) == (4, (3, 4, 5))
    image, label = s.as_tensor_dataset()[5]
    assert torch.equal(image, s.images[5]) and label == s.labels[5]


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_pixels_survive_normalising_and_back(seed):
    pixels = torch.randint(0, 256, (6, 3, 4, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.05, 0.3, 1.0)
    images = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    s = made_set(channels=3, images=images, mean=mean, std=std)
    assert torch.equal(s.to_uint8(), pixels)


def test_to_uint8_clamps_instead_of_wrapping():
    images = torch.stack([torch.full((1, 4, 5), 100.0), torch.full((1, 4, 5), -100.0)])
    s = made_set(images=images, labels=torch.tensor([0, 1]), ipc=1)
    assert s.to_uint8()[0].unique().tolist() == [255] and s.to_uint8()[1].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": torch.zeros(6, 4, 5)}, "float32 [M, C, H, W]"),
        ({"images": torch.zeros(6, 1, 4, 5, dtype=torch.float64)}, "float64"),
        ({"images": torch.zeros(0, 1, 4, 5), "labels": torch.zeros(0, dtype=torch.int64)}, "none of them 0"),
        ({"labels": torch.tensor([0, 1])}, "int64 [6]"),
        ({"labels": torch.arange(6) % 2 + 0.0}, "int64"),
        ({"labels": torch.tensor([0, 1, 2, 0, 1, 2])}, "outside 0..1"),
        ({"labels": torch.tensor([0, 0, 0, 0, 0, 1])}, "[5, 1]"),
        ({"labels": torch.tensor([0, 1] * 3), "images": torch.zeros(6, 1, 4, 5), "ipc": 2}, "ipc is 2"),
        ({"class_names": ("a", "b", "c")}, "[3, 3, 0]"),
        ({"mean": (0.1, 0.2)}, "each of 1 channels"),
        ({"std": (0.0,)}, "above 0"),
        ({"mean": (float("nan"),)}, "finite"),
        ({"images": torch.full((6, 1, 4, 5), float("inf"))}, "NaN or infinite"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(changes, says):
    with pytest.raises(RddError) as caught:
        made_set(**changes)
    assert says in one_line(caught)


def test_synthetic_round_trip(tmp_path):
    s = made_set(channels=3, mean=(0.1, 1 / 3, 0.7), meta={"dataset": "folder:/home/ada/pets", "seed": "0", "é": "ü"})
    path = save_synthetic(tmp_path / "a.safetensors", s)
    t = load_synthetic(path)
    assert torch.equal(s.images, t.images) and torch.equal(s.labels, t.labels)
    assert (s.class_names, s.mean, s.std, s.ipc) == (t.class_names, t.mean, t.std, t.ipc)
    assert t.meta == {"dataset": "folder:pets", "seed": "0", "é": "ü"}


def test_equal_sets_give_equal_bytes(tmp_path):
    contents = {save_synthetic(tmp_path / f"{i}.safetensors", made_set()).read_bytes() for i in range(5)}
    assert len(contents) == 1


def test_any_safetensors_reader_opens_it(tmp_path):
    path = save_synthetic(tmp_path / "a.safetensors", made_set())
    assert torch.equal(safetensors.torch.load_file(path)["images"], made_set().images)


def test_synthetic_may_need_gradients_and_be_a_view(tmp_path):
    images = torch.randn(6, 4, 5, 1).permute(0, 3, 1, 2).requires_grad_()
    path = save_synthetic(tmp_path / "a.safetensors", made_set(images=images))
    assert torch.equal(load_synthetic(path).images, images.detach())


def foreign(path: Path, metadata=None, **tensors):
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def good_metadata(tmp_path) -> dict[str, str]:
    path = save_synthetic(tmp_path / "good.safetensors", made_set())
    with safetensors.safe_open(str(path), framework="pt") as file:
        return file.metadata()


def test_load_refuses_in_one_line_that_says_how_to_mend(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = save_synthetic(path, made_set()).read_bytes()

    def says(*parts: str) -> None:
        with pytest.raises(RddError) as caught:
            load_synthetic(path)
        text = one_line(caught)
        assert all(part in text for part in ("x.safetensors", *parts)), text

    for cut in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:cut])
        says("truncated", "copy it again")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 30)
    says("no safetensors file", "rdd-nb distill")
    foreign(path, weight=torch.zeros(3), bias=torch.zeros(1))
    says("the tensors bias, weight", "not a synthetic set", "rdd-nb distill")

    good, images, labels = good_metadata(tmp_path), made_set().images, made_set().labels
    foreign(path, {**good, "format_version": "2"}, images=images, labels=labels)
    says("format version 2", "use the rdd_nb that wrote it")
    foreign(path, {**good, "parameterisation": "latents"}, images=images, labels=labels)
    says("latents")
    foreign(path, good, images=images)
    says("damaged", "labels")
    foreign(path, {**good, "class_names": "[1"}, images=images, labels=labels)
    says("damaged")
    foreign(path, {**good, "meta": "[]"}, images=images, labels=labels)
    says("damaged")
    foreign(path, good, images=images[:4], labels=labels)
    says("does not fit together", "int64 [4]")
    foreign(path, good, images=images * float("nan"), labels=labels)
    says("NaN")
    path.unlink()
    says("cannot read")
    path.mkdir()
    says("a folder, no regular file")
