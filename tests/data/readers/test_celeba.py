"""CelebA as text and as CSV files."""

import pytest

from rdd_nb.data.loading import load
from tests.data.helpers import picture
from tests.data.readers.helpers import cells, refused

ATTRIBUTES = ("Blond_Hair", "Male", "Young")


def celeba(folder, kind="txt", count=24, images="img_align_celeba"):
    rows = []
    for i in range(count):
        picture(folder / images / f"{i:06}.jpg", "RGB", (8, 10), 10 * i)
        rows.append((f"{i:06}.jpg", [1 if i >> bit & 1 else -1 for bit in range(3)], 0 if i < 8 else 1 + i // 16))
    if kind == "txt":
        lines = [str(count), " ".join(ATTRIBUTES), *(f"{n}  {'  '.join(map(str, v))}" for n, v, _ in rows)]
        parts = [f"{n} {part}" for n, _, part in rows]
    else:
        lines = [f"image_id,{','.join(ATTRIBUTES)}", *(f"{n},{','.join(map(str, v))}" for n, v, _ in rows)]
        parts = ["image_id,partition", *(f"{n},{part}" for n, _, part in rows)]
    (folder / f"list_attr_celeba.{kind}").write_text("\n".join(lines))
    (folder / f"list_eval_partition.{kind}").write_text("\n".join(parts))
    return f"celeba:{folder}"


@pytest.mark.parametrize(
    ("kind", "images"),
    [("txt", "img_align_celeba"), ("csv", "img_align_celeba"), ("csv", "img_align_celeba/img_align_celeba")],
)
def test_two_attributes_are_class_and_group(tmp_path, kind, images):
    splits = load(celeba(tmp_path, kind, images=images), label="Blond_Hair", group="Male")
    assert splits.train.class_names == ("not Blond_Hair", "Blond_Hair") and splits.train.shape == (3, 10, 8)
    assert splits.train.group_names == ("not Male", "Male")
    assert cells(splits.train)[:3] == [
        ("not Blond_Hair", "not Male"),
        ("Blond_Hair", "not Male"),
        ("not Blond_Hair", "Male"),
    ]
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 8, 8]


def test_groups_may_be_crossed_and_named(tmp_path):
    names = {"Male": {"-1": "woman", "1": "man"}}
    splits = load(celeba(tmp_path), label="Blond_Hair", group=["Male", "Young"], names=names, size=8, fit="crop")
    assert splits.train.group_names == ("man, Young", "man, not Young", "woman, Young", "woman, not Young")


def test_without_parts_it_is_divided(tmp_path):
    name = celeba(tmp_path, count=40)
    (tmp_path / "list_eval_partition.txt").unlink()
    splits = load(name, label="Young")
    assert (len(splits.train), len(splits.test)) == (32, 8) and "80/20" in splits.name


def test_mistakes(tmp_path):
    name = celeba(tmp_path)
    assert "pass --label COLUMN (label=…), one of filename, Blond_Hair, Male, Young" in refused(name)
    assert "did you mean 'Blond_Hair'?" in refused(name, label="blond_hair")
    (tmp_path / "list_eval_partition.txt").write_text("000000.jpg 0\n")
    assert "line 4: list_eval_partition.txt says no part for it" in refused(name, label="Male")
    (tmp_path / "img_align_celeba").rename(tmp_path / "images")
    assert "has no img_align_celeba/ with the images: put it there, or pass --images" in refused(name, label="Male")
    (tmp_path / "list_attr_celeba.txt").unlink()
    assert "has no list_attr_celeba.txt (nor .csv)" in refused(name, label="Male")
    assert "there is no such folder" in refused("celeba:/nowhere", label="Male")
