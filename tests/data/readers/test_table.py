"""Tables of any columns: WILDS, SubpopBench, and what people get wrong in them."""

import pytest

from rdd_nb.data.loading import load
from tests.data.helpers import picture
from tests.data.readers.helpers import cells, grey, refused, remarked

HEAD = "img_id,img_filename,y,split,place,light"


def birds(folder, count=24, head=HEAD, name="metadata.csv", separate=","):
    """As WILDS publishes Waterbirds; with one column more."""
    lines = [head]
    for i in range(count):
        picture(folder / f"{i % 3}.kind" / f"bird {i}.jpg", "RGB", value=10 * i)
        line = [i, f"{i % 3}.kind/bird {i}.jpg", i % 2, 0 if i < 12 else 1 + i % 4 // 2, i // 2 % 2, i // 4 % 2]
        lines.append(separate.join(map(str, line)))
    folder.joinpath(name).write_text("\n".join(lines).replace(",", separate) + "\n")
    return folder


def test_waterbirds_needs_two_words(tmp_path):
    splits, said = remarked(f"table:{birds(tmp_path)}", label="y", group="place")
    assert said == "" and (len(splits.train), len(splits.validation), len(splits.test)) == (12, 6, 6)
    assert cells(splits.train)[:4] == [("0", "0"), ("1", "0"), ("0", "1"), ("1", "1")]
    assert splits.name == f"table:{tmp_path.name}"


def test_values_are_named_and_the_order_is_that_of_their_names(tmp_path):
    names = {"y": {"0": "landbird", "1": "bird of water"}, "place": {"0": "water", "1": "land"}}
    splits = load(f"table:{birds(tmp_path)}", label="y", group="place", names=names)
    assert splits.train.class_names == ("landbird", "bird of water") and splits.train.group_names == ("water", "land")
    assert cells(splits.train)[1] == ("bird of water", "water")


def test_several_groups_are_crossed_and_any_of_them_can_be_asked_for(tmp_path):
    name = f"table:{birds(tmp_path)}"
    crossed = load(name, label="y", group=("place", "light"))
    assert crossed.train.group_names == ("0, 0", "0, 1", "1, 0", "1, 1")
    for column, place in (("place", 0), ("light", 1)):
        alone = load(name, label="y", group=column)
        assert [g for _, g in cells(alone.test)] == [g.split(", ")[place] for _, g in cells(crossed.test)]


def test_ranges_of_numbers_are_named(tmp_path):
    names = {"img_id": {"..7": "early", "8..15": "middle", "16..": "late"}}
    held = load(
        f"table:{birds(tmp_path)}",
        label="y",
        group="img_id",
        names=names,
        split="light",
        splits={"0": "train", "1": "test"},
    )
    assert held.train.group_names == ("early", "middle", "late")
    assert [g for _, g in cells(held.train)] == ["early"] * 4 + ["middle"] * 4 + ["late"] * 4


@pytest.mark.parametrize(("name", "separate"), [("labels.csv", ","), ("labels.tsv", "\t")])
def test_a_table_of_another_name_with_images_elsewhere(tmp_path, name, separate):
    folder = birds(tmp_path, name=name, separate=separate)
    (folder / "all").mkdir()
    for i in range(3):
        (folder / f"{i}.kind").rename(folder / "all" / f"{i}.kind")
    splits = load(f"table:{folder / name}", label="y", images="all", file="img_filename")
    assert len(splits.train) == 12 and splits.train.groups is None


def test_a_part_of_the_classes_groups_and_images(tmp_path):
    name = f"table:{birds(tmp_path, 48)}"
    splits = load(
        name,
        label="img_id",
        names={"img_id": {"0..15": "a", "16..31": "b", "32..": "c"}},
        split="light",
        group="place",
        splits={"0": "train", "1": "test"},
        only_classes=("a", "c"),
        sample=4,
    )
    assert splits.train.class_names == ("a", "c") and splits.train.class_counts.tolist() == [4, 4]
    assert splits.test.class_counts.tolist() == [8, 8], "what is tested stays whole"
    assert all(splits.train.groups[splits.train.labels == k].sum() == 2 for k in (0, 1)), "groups keep their shares"
    assert splits.name.endswith(" classes=a,c sample=4 seed=0")
    again = {seed: grey(load(name, label="y", sample=3, seed=seed).train) for seed in (0, 1)}
    assert again[0] == grey(load(name, label="y", sample=3).train) != again[1]


def test_images_that_the_table_leaves_out_are_told(tmp_path):
    birds(tmp_path)
    picture(tmp_path / "more" / "x.jpg")
    _, said = remarked(f"table:{tmp_path}", label="y")
    assert said == f"table:{tmp_path.name}: left out 1 image that metadata.csv does not name (more/x.jpg)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "Y"}, "unknown column 'Y' in "),
        (
            {"label": "y", "group": "plaice"},
            "did you mean 'place'? Known: img_filename, img_id, light, place, split, y",
        ),
        ({"label": "y", "file": "image"}, "unknown column 'image' in "),
        ({"label": "y", "split": "part"}, "unknown column 'part' in "),
        ({"label": "y", "group": "y"}, "the column 'y' is both class and group"),
        ({"label": "y", "names": {"x": {"0": "a"}}}, "unknown column 'x'"),
        (
            {"label": "y", "names": {"y": {"0": "land"}}},
            "metadata.csv line 3, 1.kind/bird 1.jpg: y is '1', which the names",
        ),
        ({"label": "y", "split": "img_id"}, "says the split '3', which is none of train, training, 0"),
        ({"label": "y", "images": "elsewhere"}, "--images 'elsewhere': there is no such folder in"),
        ({"label": "y", "only_classes": ("2",)}, "unknown class '2' in "),
        ({"label": "y", "only_groups": ("2",)}, "names none: leave --only-groups out"),
        ({"label": "y", "only_classes": ("1",)}, "has one class only, '1'"),
        ({"label": "y", "pattern": "{a}"}, "table:PATH takes no pattern"),
        ({"label": "y", "colour": "x"}, "unknown option 'colour' in how data are read"),
        ({"label": "y", "fit": "squash", "size": 4}, "unknown fit 'squash'"),
        ({"label": "y", "fit": "crop"}, "give the size, too"),
        ({"label": "y", "splits": {"0": "trains"}}, "unknown split 'trains' in splits: did you mean 'train'?"),
        ({"label": "y", "sample": 0}, "sample must be a number of images for each class"),
        ({"label": 3}, "label must be a text, not 3"),
        ({"label": "y", "group": ("place", "place")}, "group names one thing twice"),
    ],
)
def test_a_wrong_mapping_is_one_line(tmp_path, options, words):
    assert words in refused(f"table:{birds(tmp_path)}", **options)


def test_the_class_must_be_said_where_nobody_knows(tmp_path):
    birds(tmp_path, head=HEAD.replace(",y,", ",what,"))
    said = refused(f"table:{tmp_path}")
    assert (
        "does not say which column is the class: pass --label COLUMN (label=…), one of img_id, img_filename, w" in said
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "is empty: its first line names the columns"),
        (lambda text: HEAD, "names no images: write one line for each"),
        (lambda text: text.replace("y,split", "y,y"), "has the column 'y' 2 times"),
        (lambda text: text.replace(",0,0,0,0\n", ",0,0,0\n", 1), "line 2 has 5 values for 6 columns"),
        (lambda text: text.replace("0,0.kind/bird 0.jpg,0", "0,0.kind/bird 0.jpg,"), "has no y: fill it in"),
        (lambda text: text.replace("bird 3.jpg", "bird 0.jpg"), "names '0.kind/bird 0.jpg' again, after line 2"),
        (lambda text: text.replace("bird 3.jpg", "bird x.jpg"), "line 5, 0.kind/bird x.jpg: there is no file"),
        (lambda text: text.replace("0.kind/bird 3.jpg", "../secret.jpg"), "line 5: '../secret.jpg' lies outside"),
        (lambda text: text.replace("0.kind/bird 3.jpg", "/etc/passwd"), "line 5: '/etc/passwd' lies outside"),
        (lambda text: text.replace("img_filename", "where"), "does not say which column names the images"),
        (lambda text: text.replace("0.kind/bird 3.jpg", '"'), "cannot be read"),
    ],
)
def test_a_broken_table_names_the_line(tmp_path, change, words):
    table = birds(tmp_path / "data") / "metadata.csv"
    picture(tmp_path / "secret.jpg")
    table.write_text(change(table.read_text()))
    assert words in refused(f"table:{tmp_path / 'data'}", label="y")


def test_a_table_or_folder_of_images_that_leads_out(tmp_path):
    birds(tmp_path / "other")
    birds(tmp_path / "data")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "data" / "linked.csv").symlink_to(tmp_path / "other" / "metadata.csv")
    name = f"table:{tmp_path / 'data'}"
    for images in ("linked", "..", "../other", str(tmp_path / "other")):
        assert "lies outside" in refused(name, label="y", images=images)
    assert "lies outside" in refused(f"{name}/linked.csv", label="y")
    assert "there is no table" in refused(f"{name}/none.csv", label="y")
    assert "there is no such folder" in refused(f"table:{tmp_path / 'nowhere' / 'x.csv'}", label="y")


def test_parts_that_are_missing(tmp_path):
    table = birds(tmp_path) / "metadata.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if ",2," not in line))
    assert "has no test images, only train, validation: add some, or say with --splits" in refused(
        f"table:{tmp_path}", label="y"
    )
    splits, _ = remarked(f"table:{tmp_path}", label="y", splits={"1": "test"})
    assert splits.validation is None and len(splits.test) > 0
