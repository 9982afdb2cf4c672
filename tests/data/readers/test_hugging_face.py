"""Folders and objects of Hugging Face's package, made by hand as it writes them."""

import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.data.loading import load
from tests.data.helpers import picture
from tests.data.readers.helpers import cells, grey, refused, remarked
from tests.helpers import hugging_face

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["dog", "cat"], "_type": "ClassLabel"},
    "place": {"dtype": "string", "_type": "Value"},
}


def encoded(value, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (6, 6), value).save(file, kind)
    return file.getvalue()


def shard(path, count=10, first=0, features=FEATURES, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {
        "image": [{"bytes": encoded(10 * (first + i)), "path": f"{i}.png"} for i in range(count)],
        "label": [i % 2 for i in range(count)],
        "place": ["wood" if i // 2 % 2 else "town" for i in range(count)],
        "words": [["a", "b"]] * count,
    } | columns
    schema = pa.table(held).schema
    if features is not None:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(pa.table(held, schema=schema), path, row_group_size=4)


def lines(folder, split="", count=10, name="metadata.jsonl", **more):
    rows = []
    for i in range(count):
        picture(folder / split / "img" / f"{i}.png", value=10 * i + len(split))
        row = {"file_name": f"img/{i}.png", "label": ("cat", "dog")[i % 2], "place": i // 2 % 2, "box": [1, 2]}
        rows.append({**row, **more})
    text = "\n".join(map(json.dumps, rows))
    if name.endswith(".csv"):
        text = "\n".join(["file_name,label,text", *(f"{row['file_name']},{row['label']},x y" for row in rows)])
    (folder / split / name).write_text(text + "\n")
    return f"hf:{folder}"


@pytest.mark.parametrize(
    "paths",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
        ("train.parquet", "train-2.parquet", "test.parquet"),
    ],
)
def test_shards(tmp_path, paths):
    for place, path in enumerate(paths):
        shard(tmp_path / path, first=10 * (place % 2))
    splits = load(f"hf:{tmp_path}", group="place")
    assert splits.train.class_names == ("dog", "cat"), "as the features order them"
    assert sorted(grey(splits.train)) == list(range(0, 200, 10)) and len(splits.test) == 10
    assert cells(splits.test)[:3] == [("dog", "town"), ("cat", "town"), ("dog", "wood")]


def test_shards_without_features_or_splits(tmp_path):
    shard(tmp_path / "0000.parquet", features=None)
    splits = load(f"hf:{tmp_path}", names={"label": {"0": "no", "1": "yes"}})
    assert splits.train.class_names == ("no", "yes") and len(splits.train) == 8 and "80/20" in splits.name


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({}, {"label": "words"}, "0.parquet row 0: words is a list, and one plain value is read"),
        ({}, {"label": "lable"}, "unknown column 'lable' in "),
        ({}, {"images": "img"}, "has its images in Parquet files, and not in --images 'img'"),
        ({}, {"file": "label"}, "row 0: label holds no image's bytes (it is int)"),
        ({"label": [0, 1, 2, 0, 1] * 2}, {}, "row 2: label is '2', which the names of label leave out (0, 1)"),
        ({"label": [None] * 10}, {}, "row 0 has no label: fill it in"),
        ({"image": [{"bytes": None, "path": "/etc/passwd"}] * 10}, {}, "row 0: image holds no image's bytes"),
        ({"image": [{"bytes": b"GIF89a", "path": ""}] * 10}, {}, "row 0 is no PNG, JPEG, BMP or WebP inside"),
        ({"image": [{"bytes": encoded(1)[:45], "path": ""}] * 10}, {}, "row 0 cannot be read"),
    ],
)
def test_what_shards_may_not_hold(tmp_path, columns, options, words):
    shard(tmp_path / "0.parquet", **columns)
    assert words in refused(f"hf:{tmp_path}", **options)


def test_damaged_and_unlike_shards(tmp_path, monkeypatch):
    shard(tmp_path / "train.parquet")
    shard(tmp_path / "test.parquet", more=[1] * 10)
    assert "has other columns than" in refused(f"hf:{tmp_path}")
    (tmp_path / "test.parquet").write_bytes(b"PAR1" + b"x" * 100)
    assert "test.parquet cannot be read" in refused(f"hf:{tmp_path}")
    (tmp_path / "test.parquet").unlink()
    monkeypatch.setattr(processes, "memory", lambda: 100)
    assert "the shards beside" in refused(f"hf:{tmp_path}")


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    shard(tmp_path / "0.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pyarrow reads: install it with `pip install 'rdd-nb[parquet]'`" in refused(f"hf:{tmp_path}")


def test_json_lines_at_the_root(tmp_path):
    splits = load(lines(tmp_path), group="place")
    assert splits.train.class_names == ("cat", "dog") and splits.train.group_names == ("0", "1")
    assert len(splits.train) == 8


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_table_in_each_split(tmp_path, name):
    for split in ("train", "validation", "test"):
        given = lines(tmp_path, split, name=name)
    splits = load(given)
    assert grey(splits.validation) == [10 * i + len("validation") for i in range(10)] and len(splits.test) == 10


def test_the_folders_of_files_tell_the_split(tmp_path):
    lines(tmp_path, "train")
    lines(tmp_path, "test")
    rows = [
        line.replace("img/", f"{split}/img/")
        for split in ("train", "test")
        for line in (tmp_path / split / "metadata.jsonl").read_text().splitlines()
    ]
    for split in ("train", "test"):
        (tmp_path / split / "metadata.jsonl").unlink()
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    splits = load(f"hf:{tmp_path}")
    assert (len(splits.train), len(splits.test)) == (10, 10)
    picture(tmp_path / "else.png")
    (tmp_path / "metadata.jsonl").write_text("\n".join([*rows, rows[0].replace("train/img/0.png", "else.png")]))
    assert "line 21, else.png is in no split, and others are" in refused(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "is empty: write one JSON object a line"),
        (lambda text: text + "[1]\n", "line 11 is a list: write one JSON object a line"),
        (lambda text: text + "{\n", "line 11 is not JSON"),
        (lambda text: text + "[" * 100_000 + "\n", "line 11 is not JSON"),
        (lambda text: text.replace('"label": "dog", ', "", 1), "line 2, img/1.png has no label: fill it in"),
        (lambda text: text.replace('"img/1.png"', "null", 1), "line 2 has no file_name"),
        (lambda text: text.replace("img/1.png", "../1.png", 1), "line 2: '../1.png' lies outside"),
        (lambda text: text.replace("img/1.png", "img/x.png", 1), "line 2, img/x.png: there is no file"),
        (lambda text: text.replace("img/1.png", "img/0.png", 1), "line 2 names 'img/0.png' again, after line 1"),
    ],
)
def test_broken_lines_are_named(tmp_path, change, words):
    name = lines(tmp_path / "data")
    table = tmp_path / "data" / "metadata.jsonl"
    table.write_text(change(table.read_text()))
    assert words in refused(name)


def test_two_tables_and_none(tmp_path):
    name = lines(tmp_path)
    lines(tmp_path, name="metadata.csv")
    assert "has metadata.csv and metadata.jsonl in one folder: keep one" in refused(name)
    picture(tmp_path / "none" / "x.png")
    assert "has no metadata.csv, no metadata.jsonl and no .parquet files" in refused(f"hf:{tmp_path / 'none'}")


def test_what_the_lines_leave_out_is_told(tmp_path):
    name = lines(tmp_path)
    picture(tmp_path / "img" / "more.png")
    _, said = remarked(name)
    assert "left out 1 image that the table does not name (img/more.png)" in said


def test_an_object_of_datasets_needs_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RddError, match="objects of `datasets` need that package"):
        load({"train": []})


def test_what_save_to_disk_writes_is_told_apart(tmp_path):
    picture(tmp_path / "x.png")
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"")
    assert "rdd.load(datasets.load_from_disk(" in refused(f"hf:{tmp_path}")


def rows_of(datasets, first=0, count=10):
    """A table of grey images, ten as a rule, of two classes that each have a place of their own."""
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["dog", "cat"]), place=datasets.Value("string")
    )
    rows = {"image": [Image.new("L", (6, 6), first + i) for i in range(count)], "label": [0, 1] * (count // 2)}
    return datasets.Dataset.from_dict({**rows, "place": ["wood", "town"] * (count // 2)}, features)


def test_an_object_of_datasets():
    datasets = hugging_face()

    def part(first):
        return rows_of(datasets, first)

    splits = load(datasets.DatasetDict(train=part(0), validation=part(100), test=part(200)), group="place")
    assert grey(splits.test) == list(range(200, 210)) and len(splits.validation) == 10
    assert splits.train.class_names == ("dog", "cat") and splits.train.group_names == ("town", "wood")
    assert len(load(part(0)).train) == 8


@pytest.mark.parametrize("form", ["torch", "numpy", "pandas", "arrow", "a transform", "a stream", "undecoded"])
def test_an_object_is_read_alike_in_whatever_form_it_shows_itself(form):
    datasets = hugging_face()
    held = rows_of(datasets)
    if form == "a transform":
        shown = held.with_transform(lambda batch: {"nothing": [0] * len(batch["image"])})
    elif form == "a stream":
        shown = held.to_iterable_dataset()
    elif form == "undecoded":
        shown = held.cast_column("image", datasets.Image(decode=False))
    else:
        shown = held.with_format(form)
    plain, same = load(held, group="place"), load(shown, group="place")
    assert torch.equal(plain.train.images, same.train.images) and torch.equal(plain.train.groups, same.train.groups)
    assert same.train.class_names == ("dog", "cat") and same.test.labels.tolist() == plain.test.labels.tolist()


def test_objects_from_files_and_what_they_hold_no_images_of(tmp_path):
    datasets = hugging_face()
    parts = datasets.DatasetDict(train=rows_of(datasets), test=rows_of(datasets, 100))
    parts.save_to_disk(tmp_path / "kept")
    again = load(datasets.load_from_disk(str(tmp_path / "kept")), group="place")
    assert grey(again.test) == list(range(100, 110)) and again.train.group_names == ("town", "wood")
    (tmp_path / "shards").mkdir()
    for name, part in parts.items():
        part.to_parquet(tmp_path / "shards" / f"{name}-00000-of-00001.parquet")
    assert grey(load(f"hf:{tmp_path / 'shards'}", group="place").test) == list(range(100, 110))
    with pytest.raises(RddError, match="the data set has no rows: give one with images"):
        load(rows_of(datasets).select([]))
    with pytest.raises(RddError, match="no column of images, only label"):
        load(rows_of(datasets).remove_columns(["image", "place"]))
