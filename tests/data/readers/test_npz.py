"""Arrays in one file: MedMNIST's layout and ours, and what may not be in them."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from rdd_nb.core import processes
from rdd_nb.data.loading import load
from tests.data.readers.helpers import cells, grey, refused


def pixels(count, shape=(5, 5), first=0):
    values = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(values.reshape(-1, *(1,) * len(shape)), (count, *shape)).copy()


def arrays(**changes):
    held = {}
    for split, count, first in (("train", 12, 0), ("val", 4, 100), ("test", 6, 200)):
        held[f"{split}_images"] = pixels(count, first=first)
        held[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    held |= changes
    return {key: value for key, value in held.items() if value is not None}


def saved(tmp_path, save=np.savez_compressed, **changes):
    save(tmp_path / "data.npz", **arrays(**changes))
    return f"npz:{tmp_path / 'data.npz'}"


def test_medmnist_is_read_as_it_is_published(tmp_path):
    splits = load(saved(tmp_path))
    assert grey(splits.train) == list(range(12)) and grey(splits.validation) == [100, 101, 102, 103]
    assert grey(splits.test) == list(range(200, 206)) and splits.test.labels.tolist() == [0, 1] * 3
    assert splits.train.class_names == ("0", "1") and splits.name == "npz:data.npz" and splits.train.groups is None
    assert splits.test.mean == splits.validation.mean == splits.train.mean


def test_colours_are_channels_last_or_first(tmp_path):
    last = {f"{split}_images": pixels(count, (5, 6, 3)) for split, count in (("train", 12), ("val", 4), ("test", 6))}
    assert load(saved(tmp_path, **last)).train.shape == (3, 5, 6)
    first = {key: held.transpose(0, 3, 1, 2) for key, held in last.items()}
    assert load(saved(tmp_path, **first)).train.shape == (3, 5, 6)


def test_names_and_groups_of_ours(tmp_path):
    groups = {f"{split}_groups": np.arange(n) // 2 % 2 for split, n in (("train", 12), ("val", 4), ("test", 6))}
    groups["train_groups"][:] = [0] * 10 + [1, 1]
    name = saved(tmp_path, **groups, class_names=np.array(["cat", "ant"]), group_names=np.array(["day", "night"]))
    splits = load(name)
    assert splits.train.class_names == ("cat", "ant"), "the order is the file's, not the alphabet's"
    day, night = [("cat", "day"), ("ant", "day")], [("cat", "night"), ("ant", "night")]
    assert cells(splits.test) == [*day, *night, *day]
    assert splits.train.minority.tolist() == [False] * 10 + [True] * 2
    named = load(name, names={"group": {"0": "light", "1": "dark"}}, only_groups="light")
    assert named.train.group_names == ("light",) and len(named.train) == 10


def test_without_a_test_set_it_is_divided(tmp_path):
    gone = {f"{split}_{what}": None for split in ("val", "test") for what in ("images", "labels")}
    splits = load(saved(tmp_path, **gone))
    assert (len(splits.train), len(splits.test), splits.validation) == (10, 2, None) and "80/20" in splits.name


def test_labels_may_be_texts_and_count_as_numbers(tmp_path):
    labels = {f"{split}_labels": np.arange(n) % 2 * 8 + 2 for split, n in (("train", 12), ("val", 4), ("test", 6))}
    assert load(saved(tmp_path, **labels)).train.class_names == ("2", "10")
    texts = {key: np.array(["cow", "ass"])[(value - 2) // 8] for key, value in labels.items()}
    assert load(saved(tmp_path, **texts)).train.class_names == ("ass", "cow")


def test_sizes_of_arrays(tmp_path):
    wide = {f"{split}_images": pixels(n, (4, 8)) for split, n in (("train", 12), ("val", 4), ("test", 6))}
    with pytest.warns(UserWarning, match="22 of 22 images are not square and were stretched"):
        assert load(saved(tmp_path, **wide), size=6, channels=3).train.shape == (3, 6, 6)
    padded = load(saved(tmp_path, **wide), size=8, fit="pad", background="white").train
    assert padded.images[3, 0, :, 0].tolist() == [255, 255, 3, 3, 3, 3, 255, 255]
    assert grey(load(saved(tmp_path, **wide), size=4, fit="crop").train) == list(range(12))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": None}, "has no train_images; it holds train_labels, val_images"),
        ({"test_labels": None}, "has no test_labels, to go with test_images"),
        ({"train_labels": np.zeros(11, int)}, "train_labels is [11] for 12 images"),
        ({"train_labels": np.zeros((12, 14), int)}, "says 14 things of each image ([12, 14])"),
        ({"train_labels": np.zeros(12)}, "train_labels is float64: give whole numbers or texts"),
        ({"train_labels": np.zeros(12, int)}, "label '1' occurs only in test (first: test_images[1])"),
        ({"train_images": pixels(12, (5, 5, 5))}, "train_images is uint8 [12, 5, 5, 5]: images are [N, H, W]"),
        ({"train_images": pixels(12, (5, 5)) * 1.0}, "train_images have values from 0 to 11"),
        ({"val_images": pixels(4, (6, 6))}, "images of several shapes, train_images [12, 1, 5, 5] and val_images"),
        ({"class_names": np.array(["cat"])}, "train_labels[1] is 1, and names are there for 0"),
        ({"class_names": np.array(["cat", "cat"])}, "class_names names two things alike"),
        ({"class_names": np.array([["cat", "dog"]])}, "class_names is <U3 [1, 2]: give a list of texts"),
        ({"train_groups": np.zeros(12, int)}, "has train_groups but no val_groups"),
        ({"class_names": np.array(["a\nb", "c"])}, "control characters"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, changes, words):
    assert words in refused(saved(tmp_path, **changes))


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_nothing_is_unpickled(tmp_path):
    name = saved(tmp_path, save=np.savez, class_names=np.array([Boom(), Boom()], dtype=object))
    assert "class_names holds Python objects, which are never unpickled" in refused(name)
    (tmp_path / "data.npz").write_bytes(pickle.dumps(Boom()))
    assert "holds no arrays, or is damaged" in refused(name)


def test_what_would_not_fit_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "memory", lambda: 500)
    assert "data.npz need 0.0 GB of memory, and 0.0 GB are free" in refused(saved(tmp_path))


def test_a_member_that_claims_more_than_it_holds(tmp_path):
    name = saved(tmp_path)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)})
    with zipfile.ZipFile(tmp_path / "data.npz") as held:
        rest = {each: held.read(each) for each in held.namelist()}
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as held:
        for each, data in {**rest, "train_images.npy": head.getvalue()}.items():
            held.writestr(each, data)
    assert "train_images.npy is not as long as it says" in refused(name)


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"not a file of arrays"])
def test_damaged_files(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    assert "holds no arrays, or is damaged" in refused(f"npz:{tmp_path / 'x.npz'}")


def test_a_file_that_is_not_there(tmp_path):
    assert "there is no such file; write npz:PATH" in refused(f"npz:{tmp_path / 'x.npz'}")
    assert "is a folder, no regular file" in refused(f"npz:{tmp_path}")
