"""Attributes in names of files, and trees of domains."""

import pytest

from rdd_nb.data.loading import load
from rdd_nb.data.readers.file_names import expression
from tests.data.helpers import picture
from tests.data.readers.helpers import cells, refused, remarked

UTK = "{age}_{gender}_{race}_{rest}"


def faces(folder, count=40):
    for i in range(count):
        picture(folder / f"part{i % 2}" / f"{i}_{i % 2}_{i // 2 % 3}_2017{i:04}.jpg.chip.jpg", "RGB", value=5 * i)
    return f"names:{folder}"


def test_utkface_by_its_pattern(tmp_path):
    name = faces(tmp_path)
    picture(tmp_path / "part0" / "39_1_20170116174525125.jpg.chip.jpg", "RGB")  # the race is missing, as in some
    splits, said = remarked(
        name, pattern=UTK, label="gender", group="race", names={"gender": {"0": "man", "1": "woman"}}
    )
    assert splits.train.class_names == ("man", "woman") and splits.train.group_names == ("0", "1", "2")
    assert len(splits.train) + len(splits.test) == 40
    assert "left out 1 image whose names do not fit the pattern (part0/39_1_20170116174525125.jpg.chip.jpg)" in said
    ages = load(name, pattern="{age}_{rest}", label="age", names={"age": {"..19": "young", "20..": "old"}})
    assert ages.train.class_counts.tolist() == [16, 17]


def test_a_pattern_of_paths(tmp_path):
    for split in ("train", "valid", "test"):
        for i in range(8):
            picture(tmp_path / split / f"{'cat' if i % 2 else 'dog'}-{i // 2 % 2}" / f"{i}.png", value=i)
    splits = load(f"names:{tmp_path}", pattern="{split}/{label}-{group}/{file}")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 8, 8]
    assert cells(splits.test)[:2] == [("cat", "0"), ("cat", "0")]


def test_domains_are_groups(tmp_path):
    for domain, number in (("sketch", 5), ("photo", 10)):
        for i in range(3 * number):
            picture(tmp_path / domain / ("dog", "cat", "elephant")[i % 3] / f"{i}.jpg", "RGB", value=i)
    picture(tmp_path / "photo" / "cat" / "more" / "x.jpg")
    splits, said = remarked(f"domains:{tmp_path}")
    assert splits.train.group_names == ("photo", "sketch") and splits.train.class_names == ("cat", "dog", "elephant")
    assert splits.test.groups.bincount().tolist() == [6, 3], "each domain gives a fifth"
    assert "left out 1 image whose names do not fit the pattern (photo/cat/more/x.jpg)" in said
    one, _ = remarked(f"domains:{tmp_path}", only_groups="sketch", only_classes=["dog", "cat"])
    assert len(one.train) == 8 and one.train.group_names == ("sketch",)
    crossed, _ = remarked(f"domains:{tmp_path}", label="domain", group="class")
    assert crossed.train.class_names == ("photo", "sketch") and crossed.train.num_groups == 3


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "does not say how its files' names are to be read: pass --pattern"),
        ("age", "has no fields, or a bracket alone"),
        ("{age}_{", "has no fields, or a bracket alone"),
        ("{age}_{age}", "has a field twice"),
        ("{1}_{age}", "a number for a name"),
        ("{age}{gender}", "has two fields with nothing between"),
        ("{label}-{x}", "is called as '{label}-{x}' says (the first is part0/0_0_0_20170000.jpg.chip.jpg)"),
        ("{age}_{rest}", "the pattern '{age}_{rest}' does not say which column is the class"),
    ],
)
def test_patterns_that_do_not_fit(tmp_path, pattern, words):
    assert words in refused(faces(tmp_path), pattern=pattern or None)


def test_a_long_name_is_matched_in_no_time():
    fits = expression("_".join("{" + letter + "}" for letter in "abcdefghijklmnopqrst"))
    assert fits.fullmatch("_" * 255) is None and fits.fullmatch("x" * 255) is None


def test_links_that_lead_out(tmp_path):
    picture(tmp_path / "secret.jpg")
    name = faces(tmp_path / "data")
    (tmp_path / "data" / "part0" / "7_0_0_link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert "lies outside" in refused(name, pattern=UTK, label="gender")
