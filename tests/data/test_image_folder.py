"""Folders of images: trees and tables, pixels, and every mistake with its line."""

import shutil

import pytest
import torch
from PIL import Image

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import statistics
from rdd_nb.data.loading import load


def picture(path, mode="L", size=(6, 6), value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if len(mode) == 1 or mode.startswith("I") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """PATH/{train,test}/{cat,dog}/N.png; the grey value tells split, class and number."""
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            for i in range(count):
                picture(tmp_path / split / name / f"{i}.png", value=100 * (split == "test") + 50 * label + i)
    return tmp_path


def table(folder, text, images=8, mode="L"):
    for i in range(images):
        picture(folder / "img" / f"{i}.png", mode, value=10 * i)
    (folder / "metadata.csv").write_text(text, encoding="utf-8")


FULL = "filename,label,group,split\n" + "".join(
    f"img/{i}.png,{'cat' if i % 2 else 'dog'},{'night' if i in (4, 6, 7) else 'day'},{'test' if i > 4 else 'train'}\n"
    for i in range(8)
)


def test_folder_with_train_and_test(tree):
    (tree / "train" / "cat" / "notes.txt").write_text("not an image")
    (tree / "train" / ".ipynb_checkpoints").mkdir()
    splits = load(f"folder:{tree}")
    assert splits.train.class_names == ("cat", "dog") and splits.train.shape == (1, 6, 6)
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 50, 51, 52, 53]
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4
    assert splits.test.images[:, 0, 0, 0].tolist() == [100, 101, 150, 151]
    assert (splits.test.mean, splits.test.std) == statistics(splits.train.images)
    assert splits.name == f"folder:{tree.name}", "no path, so that results can be shared"
    assert splits.train.groups is None and splits.train.minority is None


def test_folder_of_classes_is_split_and_says_so(tmp_path):
    for name in ("cat", "dog"):
        for i in range(10):
            picture(tmp_path / name / f"{i}.jpg", "RGB", value=10 * i)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.class_counts.tolist() == [8, 8] and splits.test.class_counts.tolist() == [2, 2]
    assert splits.name.endswith("(split 80/20)") and splits.train.shape == (3, 6, 6)
    assert torch.equal(splits.test.images, load(f"folder:{tmp_path}").test.images)
    assert splits.test.mean == statistics(splits.train.images)[0]


def test_metadata_with_groups_and_splits(tmp_path):
    table(tmp_path, FULL)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.group_names == ("day", "night") and splits.train.class_names == ("cat", "dog")
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert splits.train.groups.tolist() == [0, 0, 0, 0, 1] and splits.test.groups.tolist() == [0, 1, 1]
    assert splits.test.labels.tolist() == [0, 1, 0]
    # dogs: two by day and one by night, a third of them, more than half of a half; cats: none by night.
    assert splits.train.minority.tolist() == [False] * 5
    assert splits.test.minority.tolist() == [False, False, True]


def test_metadata_without_a_rare_cell_has_no_minority(tmp_path):
    rows = "".join(f"img/{i}.png,{'cat' if i % 2 else 'dog'},{'day' if i < 8 else 'night'}\n" for i in range(16))
    table(tmp_path, "filename,label,group\n" + rows, images=16)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.minority is None and splits.train.num_groups == 2
    assert len(splits.test) == 4, "a fifth of 8 images, rounded, of each class"


def test_metadata_with_a_byte_order_mark_and_spaces(tmp_path):
    table(tmp_path, "\ufefffilename,label,split\n img/0.png , cat ,train\nimg/1.png,cat,test\n")
    splits = load(f"folder:{tmp_path}")
    assert splits.train.class_names == ("cat",) and len(splits.test) == 1


def test_size_and_channels_of_a_folder(tree):
    picture(tree / "train" / "cat" / "0.png", "RGB", (9, 7))
    splits = load(f"folder:{tree}", size=5, channels=3)
    assert splits.train.shape == (3, 5, 5)
    assert load(f"folder:{tree}", size=5, channels=1).train.shape == (1, 5, 5)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("RGB", 3)])
def test_modes_of_pictures(tmp_path, mode, channels):
    for split in ("train", "test"):
        picture(tmp_path / split / "cat" / "0.png", mode, value=1)
    assert load(f"folder:{tmp_path}").train.shape == (channels, 6, 6)


def test_oblong_pictures_keep_their_shape(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / "cat" / "0.png", size=(8, 5))
    assert load(f"folder:{tmp_path}").train.shape == (1, 5, 8)


def test_photographs_are_turned_as_the_camera_meant(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90° to see it upright
    for split in ("train", "test"):
        path = picture(tmp_path / split / "cat" / "0.jpg", size=(8, 5))
        Image.new("L", (8, 5)).save(path, exif=exif)
    assert load(f"folder:{tmp_path}").train.shape == (1, 8, 5)


def edit(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (edit(FULL, "img/3.png", "img/33.png"), "metadata.csv line 5, img/33.png: there is no file"),
        (edit(FULL, "group", "grup"), "unknown column 'grup' in {path}/metadata.csv line 1: did you mean 'group'?"),
        (edit(FULL, "filename,", "label,"), "line 1 has no column 'filename'"),
        ("filename,group\nimg/0.png,day\n", "line 1 has no column 'label'"),
        (
            edit(FULL, "day,train", "day,trian"),
            "unknown split 'trian' in {path}/metadata.csv line 2: did you mean 'train'?",
        ),
        (edit(FULL, "3.png,cat,day", "3.png,cat,"), "line 5 has no group: fill it in"),
        (edit(FULL, "3.png,cat", "3.png, "), "line 5 has no label"),
        (edit(FULL, "img/3.png,cat,day,train", "img/3.png,cat"), "line 5 does not have 4 values"),
        (edit(FULL, "img/3.png,cat,day,train", "img/3.png,cat,day,train,1"), "line 5 does not have 4 values"),
        (edit(FULL, "img/3.png", "img/2.png"), "line 5 names 'img/2.png' again, after line 4"),
        (
            edit(FULL, "5.png,cat", "5.png,cow"),
            "label 'cow' occurs only in test (first: {path}/metadata.csv line 7, img/5",
        ),
        (edit(FULL, "0.png,dog", "0.png,cow"), "label 'cow' occurs only in train (first: {path}/metadata.csv line 2"),
        (edit(FULL, "5.png,cat,day", "5.png,cat,dusk"), "group 'dusk' occurs only in test (first: {path}/metadata.csv"),
        ("filename,label\n", "metadata.csv names no images"),
        ("", "line 1 has no column 'filename'"),
        ('filename,label\n"img/0.png,cat\n', "metadata.csv cannot be read (unexpected end of data)"),
        ("filename,label\nimg/0.png,cat\nimg/1.png,cat\n", "class 'cat' has 2 images, too few to hold out 0.2"),
        ("filename,label\nimg,cat\n", "metadata.csv line 2, img cannot be read"),
    ],
)
def test_mistakes_in_metadata_name_the_line(tmp_path, text, words):
    table(tmp_path, text)
    with pytest.raises(RddError) as caught:
        load(f"folder:{tmp_path}")
    assert words.format(path=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_in_another_encoding(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("filename,label\nbär.png,Bär\n".encode("latin-1"))
    with pytest.raises(RddError, match=r"metadata.csv cannot be read .* UTF-8"):
        load(f"folder:{tmp_path}")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda t: truncate(picture(t / "train/cat/1.png", "RGB", (50, 50))),
            "train/cat/1.png cannot be read (image file is",
        ),
        (
            lambda t: (t / "train/cat/1.png").write_text("<html>"),
            "train/cat/1.png cannot be read (cannot identify image",
        ),
        (lambda t: (t / "train/cat/1.png").write_bytes(b""), "train/cat/1.png cannot be read (cannot identify image"),
        (
            lambda t: picture(t / "train/dog/2.png", "RGB"),
            "cat/0.png is grey and {path}/train/dog/2.png is RGB: pass chan",
        ),
        (
            lambda t: picture(t / "train/cat/0.png", "RGB"),
            "cat/1.png is grey and {path}/train/cat/0.png is RGB: pass chan",
        ),
        (
            lambda t: picture(t / "test/dog/1.png", size=(8, 6)),
            "0.png has 6×6 pixels and {path}/test/dog/1.png has 8×6",
        ),
        (lambda t: picture(t / "test/dog/1.png", "I;16"), "test/dog/1.png has more than 8 bits a channel (mode I;16)"),
        (lambda t: (t / "train/cow").mkdir(), "{path}/train/cow is a class without images"),
        (lambda t: picture(t / "test/cow/0.png"), "label 'cow' occurs only in test (first: {path}/test/cow/0.png)"),
        (lambda t: picture(t / "train/cow/0.png"), "label 'cow' occurs only in train"),
        (lambda t: shutil.rmtree(t / "test"), "{path} has train/ but no test/"),
        (lambda t: shutil.rmtree(t / "train"), "{path} has test/ but no train/"),
        (
            lambda t: [shutil.rmtree(t / s) for s in ("train", "test")],
            "{path} has no images: make a folder for each class",
        ),
        (lambda t: [shutil.rmtree(t / "test" / s) for s in ("cat", "dog")], "{path}/test has no images"),
    ],
)
def test_mistakes_in_folders_name_the_file(tree, break_it, words):
    break_it(tree)
    with pytest.raises(RddError) as caught:
        load(f"folder:{tree}")
    assert words.format(path=tree) in str(caught.value)
    assert "\n" not in str(caught.value)
