"""What a folder says that it holds: trees and tables, what is left out, and what lies outside."""

import os
import re
import shutil
import socket
import unicodedata
import warnings

import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.data import image_listing
from rdd_nb.data.image_listing import listing
from rdd_nb.data.loading import load
from tests.data.helpers import classes, picture

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def told(folder, **options):
    """What loading remarks: at most one warning, in one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(f"folder:{folder}", **options)
    said = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    assert len(said) <= 1 and not any("\n" in line or str(folder) in line for line in said)
    return said[0] if said else ""


def refused(folder, **options):
    with pytest.raises(RddError) as caught:
        load(f"folder:{folder}", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def counts(name):
    rows = listing(f"folder:{name}").rows
    return {key: sum((row.split, row.label) == key for row in rows) for key in {(r.split, r.label) for r in rows}}


def table(folder, text, images=8, name="metadata.csv"):
    for i in range(images):
        picture(folder / "img" / f"{i}.png", value=10 * i)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


ROWS = "".join(f"img/{i}.png,{'cat' if i % 2 else 'dog'},{'night' if i % 4 > 1 else 'day'}\n" for i in range(8))
GROUPED = "filename,label,group\n" + ROWS


# ---------------------------------------------------------------------------------------------------------- left out


def test_a_folder_of_images_alone_leaves_nothing_out(tmp_path):
    classes(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "README.md").write_text("whose cats these are")
    (tmp_path / ".git").mkdir()
    assert told(tmp_path) == "" and listing(f"folder:{tmp_path}").left_out == {}


def test_what_a_class_holds_besides_is_counted_with_an_example(tmp_path):
    classes(tmp_path, ("cat", "dog"), 10)
    for i in range(10):
        (tmp_path / "cat" / f"{i}.tif").write_bytes(b"II*\0")
        picture(tmp_path / "cat" / f"jpeg{i}.jfif", format="JPEG")
        picture(tmp_path / "dog" / "more" / "still more" / f"{i}.png")
    picture(tmp_path / "loose.png")
    found = listing(f"folder:{tmp_path}")
    assert counts(tmp_path) == {("", "cat"): 20, ("", "dog"): 10}, ".jfif is JPEG by another name"
    assert {what: len(files) for what, files in found.left_out.items()} == {
        "files beside the class folders": 1,
        "files of other kinds": 10,
        "files in sub-folders of a class": 10,
    }
    expected = (
        f"folder:{tmp_path.name}: left out 1 file beside the class folders (loose.png), 10 files of other kinds "
        "(cat/0.tif), 10 files in sub-folders of a class (dog/more/still more/0.png)"
    )
    assert told(tmp_path) == expected


@pytest.mark.parametrize("suffix", [".jpe", ".JFIF", ".JPG", ".PNG", ".webp", ".bmp"])
def test_endings_that_are_read(tmp_path, suffix):
    for name in ("cat", "dog"):
        for i in range(3):
            path = picture(tmp_path / name / f"{i}.png")
            path.rename(path.with_suffix(suffix))  # what it is stands in the file, not in its name
    assert counts(tmp_path) == {("", "cat"): 3, ("", "dog"): 3} and told(tmp_path) == ""


def test_folders_beside_train_and_test_are_told(tmp_path):
    for split in ("train", "test", "extra"):
        classes(tmp_path / split)
    (tmp_path / "train" / "list.txt").write_text("x")
    assert len(listing(f"folder:{tmp_path}").rows) == 20
    said = told(tmp_path)
    assert "10 files in folders beside train/ and test/ (extra/cat/0.png)" in said
    assert "1 file beside the class folders (train/list.txt)" in said


@pytest.mark.parametrize("name", ["val", "Valid", "validation", "dev"])
def test_a_validation_part_is_kept(tmp_path, name):
    for count, split in ((5, "train"), (3, "test"), (2, name)):
        classes(tmp_path / split, count=count)
    splits = load(f"folder:{tmp_path}")
    assert told(tmp_path) == "" and (len(splits.train), len(splits.test), len(splits.validation)) == (10, 6, 4)
    assert splits.validation.mean == splits.train.mean and splits.validation.class_names == ("cat", "dog")
    classes(tmp_path / name, ("cow",), 1)
    assert "label 'cow' occurs only in validation" in refused(tmp_path)


def test_a_metadata_table_may_say_validation(tmp_path):
    rows = [
        f"img/{i}.png,{'cat' if i % 2 else 'dog'},{split}" for i, split in enumerate(["train", "test", "valid"] * 4)
    ]
    table(tmp_path, "filename,label,split\n" + "\n".join(rows), 12)
    splits = load(f"folder:{tmp_path}")
    assert splits.validation.images[:, 0, 0, 0].tolist() == [20, 50, 80, 110] and len(splits.test) == 4
    (tmp_path / "metadata.csv").write_text("filename,label,split\n" + "\n".join(rows).replace("valid", "later"))
    assert "unknown split 'later' in " in refused(tmp_path)


def test_images_that_the_table_does_not_name_and_other_tables(tmp_path):
    table(tmp_path, GROUPED, images=11)
    (tmp_path / "metadata.jsonl").write_text("{}")
    (tmp_path / "img" / "scan.tiff").write_bytes(b"II*\0")
    (tmp_path / "notes.txt").write_text("not an image")
    expected = "left out 4 images that metadata.csv does not name (img/10.png), 1 table other than metadata.csv"
    assert f"{expected} (metadata.jsonl)" in told(tmp_path)


def test_an_image_that_is_named_by_a_link_is_named(tmp_path):
    table(tmp_path, GROUPED.replace("img/", "linked/"))
    (tmp_path / "linked").symlink_to("img")
    assert told(tmp_path) == ""


def test_names_that_are_left_out_are_shown_on_one_line(tmp_path):
    classes(tmp_path)
    (tmp_path / "cat" / "a\n\x1b[2Jb.txt").write_text("x")
    assert "(cat/a\\n\\x1b[2Jb.txt)" in told(tmp_path)


# ------------------------------------------------------------------------------------------------------------ tables


def test_a_table_is_found_whatever_its_case(tmp_path):
    table(tmp_path, "filename , label, group\n" + ROWS, name="Metadata.CSV")
    found = listing(f"folder:{tmp_path}")
    assert {row.label for row in found.rows} == {"cat", "dog"} and {r.group for r in found.rows} == {"day", "night"}
    (tmp_path / "metadata.csv").write_text(GROUPED)
    assert f"{tmp_path} has Metadata.CSV and metadata.csv: keep one of them" in refused(tmp_path)


@pytest.mark.parametrize("name", ["label", "group", "filename"])
def test_a_column_that_is_there_twice_is_named(tmp_path, name):
    table(tmp_path, f"filename,label,group, {name}\n" + ROWS.replace("\n", ",x\n"))
    assert f"metadata.csv line 1 has the column '{name}' 2 times" in refused(tmp_path)


def test_labels_and_groups_are_the_same_in_either_form_of_unicode(tmp_path):
    table(tmp_path, f"filename,label,group\nimg/0.png,{NFC},{NFD}\nimg/1.png,{NFD},{NFC}\nimg/2.png,tea,{NFC}\n", 3)
    assert [(row.label, row.group) for row in listing(f"folder:{tmp_path}").rows] == [
        (NFC, NFC),
        (NFC, NFC),
        ("tea", NFC),
    ]


def test_folders_of_one_name_in_two_forms_of_unicode(tmp_path):
    classes(tmp_path / "apart" / "train", (NFC, "tea"))
    classes(tmp_path / "apart" / "test", (NFD, "tea"))
    assert load(f"folder:{tmp_path / 'apart'}").test.class_names == (NFC, "tea")
    classes(tmp_path / "both", (NFC, NFD, "tea"))
    assert f"has two folders {NFC!r}, in two Unicode forms" in refused(tmp_path / "both")


def test_one_class_alone_is_refused(tmp_path):
    classes(tmp_path / "folders", ("cat",))
    table(tmp_path / "table", "filename,label\nimg/0.png,cat\nimg/1.png,cat\n")
    for name in ("folders", "table"):
        assert "has one class only, 'cat': add images of another" in refused(tmp_path / name)


def parts(folder, header="file_name,label", extra="", splits=("train", "test")):
    """Hugging Face's layout: a table in each split."""
    for split in splits:
        for i in range(6):
            picture(folder / split / f"{i}.png", value=10 * i + (split == "test"))
        rows = "".join(f"{i}.png,{'cat' if i % 2 else 'dog'}{extra.format(split=split)}\n" for i in range(6))
        (folder / split / "metadata.csv").write_text(f"{header}\n{rows}")
    return folder


def test_a_table_in_each_split_is_read(tmp_path):
    parts(tmp_path, splits=("train", "test", "validation"))
    splits = load(f"folder:{tmp_path}")
    assert splits.validation.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert splits.test.images[:, 0, 0, 0].tolist() == [1, 11, 21, 31, 41, 51]
    assert splits.test.class_names == ("cat", "dog") and splits.test.labels.tolist() == [1, 0] * 3
    where = f"{tmp_path}/train/metadata.csv line 2, 0.png"
    assert listing(f"folder:{tmp_path}").rows[0].where == where


def test_a_split_column_agrees_with_its_folder(tmp_path):
    parts(tmp_path / "agrees", "file_name,label,split", ",{split}")
    assert counts(tmp_path / "agrees") == {(s, c): 3 for s in ("train", "test") for c in ("cat", "dog")}
    parts(tmp_path / "differs", "file_name,label,split", ",train")
    assert "test/metadata.csv line 2 says split train, but its folder is test" in refused(tmp_path / "differs")


def test_tables_of_splits_belong_together(tmp_path):
    parts(tmp_path)
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label,group\n0.png,cat,x\n1.png,dog,x\n")
    assert "one has a column group, the other has none" in refused(tmp_path)
    (tmp_path / "train" / "metadata.csv").unlink()
    assert "test/metadata.csv has no train/metadata.csv beside it" in refused(tmp_path)


# ----------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("name", ["train", "test", "Train"])
def test_a_class_may_be_called_as_a_split_is(tmp_path, name):
    classes(tmp_path, (name, "car", "bus"))
    assert load(f"folder:{tmp_path}").train.class_names == tuple(sorted((name, "car", "bus")))


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: classes(folder, ("train", "val")),  # parts of data without labels
        lambda folder: classes(folder, ("train",)),
        lambda folder: [classes(folder, ("car",)), classes(folder / "train")],
        lambda folder: [classes(folder, ("train",)), classes(folder / "car")],
    ],
)
def test_what_may_be_a_class_or_a_split_is_asked(tmp_path, make):
    make(tmp_path)
    said = refused(tmp_path)
    assert f"{tmp_path} has train/ but no test/" in said and "if train is a class, write a metadata.csv" in said


def test_splits_are_found_whatever_their_case(tmp_path):
    for split in ("Train", "TEST"):
        classes(tmp_path / split)
    assert counts(tmp_path) == {(s, c): 5 for s in ("train", "test") for c in ("cat", "dog")}
    classes(tmp_path / "train")
    assert "has Train and train: keep one" in refused(tmp_path)


def test_a_table_that_is_not_read_is_named_where_nothing_else_is_there(tmp_path):
    picture(tmp_path / "0.png")
    (tmp_path / "metadata.jsonl").write_text("{}")
    said = refused(tmp_path)
    assert f"{tmp_path} has no class folders (metadata.jsonl: not read)" in said and "hf:PATH read other tables" in said


def test_a_class_whose_images_lie_deeper_is_refused(tmp_path):
    classes(tmp_path)
    picture(tmp_path / "cow" / "calves" / "0.png")
    assert f"{tmp_path}/cow is a class without images of its own" in refused(tmp_path)


# ------------------------------------------------------------------------------------------- nothing outside is read


@pytest.fixture
def outside(tmp_path):
    """A folder of images beside the one that is read."""
    return classes(tmp_path / "outside", ("secret", "other"))


@pytest.mark.parametrize(
    "name", ["../outside/secret/0.png", "{outside}/secret/0.png", "link.png", "linked/secret/0.png", "img/../.."]
)
def test_a_table_names_nothing_outside(tmp_path, outside, name):
    folder = table(tmp_path / "data", f"filename,label\nimg/1.png,cat\n{name.format(outside=outside)},dog\n")
    (folder / "link.png").symlink_to(outside / "secret" / "0.png")
    (folder / "linked").symlink_to(outside)
    said = refused(folder)
    assert "metadata.csv line 3" in said and f"lies outside {folder}" in said


@pytest.mark.parametrize("name", ["img/../img/0.png", "{folder}/img/0.png", "link.png", "linked/0.png"])
def test_a_table_names_what_is_inside_as_it_likes(tmp_path, name):
    folder = table(tmp_path / "data", "")
    (folder / "link.png").symlink_to("img/0.png")
    (folder / "linked").symlink_to(folder / "img")
    (folder / "metadata.csv").write_text(f"filename,label\n{name.format(folder=folder)},cat\nimg/1.png,dog\n")
    assert len(listing(f"folder:{folder}").rows) == 2
    (tmp_path / "by link").symlink_to(folder)
    assert len(listing(f"folder:{tmp_path / 'by link'}").rows) == 2, "the folder itself may be a link"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("cat/9.png", "secret/0.png"),
        ("cow", "secret"),
        ("metadata.csv", "metadata.csv"),
        ("train", "."),
        ("cat/9.png", "nothing there.png"),
    ],
)
def test_links_that_lead_out_are_refused(tmp_path, outside, link, target):
    (outside / "metadata.csv").write_text("filename,label\ncat/0.png,cat\ndog/0.png,dog\n")
    folder = classes(tmp_path / "data")
    (folder / link).symlink_to(outside / target)
    assert f"{folder / link} lies outside {folder}" in refused(folder)


def test_links_inside_are_followed(tmp_path):
    classes(tmp_path)
    (tmp_path / "cat" / "9.png").symlink_to("0.png")
    (tmp_path / "cow").symlink_to("dog")
    assert counts(tmp_path) == {("", "cat"): 6, ("", "dog"): 5, ("", "cow"): 5}
    assert load(f"folder:{tmp_path}").train.class_names == ("cat", "cow", "dog")


def test_what_is_left_out_is_not_sought_behind_links(tmp_path, outside):
    folder = classes(tmp_path / "data")
    (folder / "cat" / "more").symlink_to(outside)
    assert listing(f"folder:{folder}").left_out == {"files in sub-folders of a class": ["cat/more"]}


def test_a_link_to_itself_is_no_image(tmp_path):
    classes(tmp_path)
    (tmp_path / "cat" / "9.png").symlink_to("9.png")
    assert "cat/9.png cannot be read (Too many levels of symbolic links)" in refused(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize("name", ["cat/z.png", "metadata.csv"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    classes(tmp_path)
    os.mkfifo(tmp_path / name)
    assert f"{tmp_path / name} is a pipe" in refused(tmp_path)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="a system without such sockets")
def test_a_socket_is_no_image(tmp_path, monkeypatch):
    classes(tmp_path)
    monkeypatch.chdir(tmp_path / "cat")
    with socket.socket(socket.AF_UNIX) as held:
        held.bind("s.png")
    assert "cat/s.png is no regular file" in refused(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    classes(tmp_path)
    plain = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(image_listing.os, "scandir", scandir)
    assert f"{tmp_path}/dog cannot be read (Permission denied): change its permissions" in refused(tmp_path)


def test_a_table_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    table(tmp_path, GROUPED)

    def read_regular(path, largest):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(image_listing, "read_regular", read_regular)
    assert f"{tmp_path}/metadata.csv cannot be read (Permission denied): change" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder:", "folder; write"),
        ("folder:" + "x" * 300, "File name too long"),
        ("folder:~no-such-user/pets", "folder; write"),
        ("folder:a\0b", "null"),
        ("folder:/caf\udce9", "folder; write"),
        (f"folder:{__file__}", "it is a file"),
    ],
)
def test_paths_that_are_no_folder(name, reason):
    with pytest.raises(RddError, match=r"there is no such folder.*; write folder:PATH") as caught:
        load(name)
    assert reason in str(caught.value) and str(caught.value).encode()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "the folder: the name '.*caf\\\\udce9'"),
        ("cow", "the name 'caf\\\\udce9'"),
        ("cat/image", "cat: the name 'caf\\\\udce9.png'"),
    ],
)
def test_names_that_are_not_in_utf_8(tmp_path, place, said):
    folder = classes(tmp_path / "data")
    latin = os.fsdecode(b"caf\xe9")
    try:
        if place == "cow":
            shutil.copytree(folder / "cat", folder / latin)
        elif place:
            (folder / "cat" / "0.png").rename(folder / "cat" / f"{latin}.png")
        else:
            folder = folder.rename(tmp_path / latin)
    except OSError:
        pytest.skip("a file system that holds names in UTF-8 only")
    assert re.search(f"{said} has control characters or is not in UTF-8: rename it", refused(folder))


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b"])
def test_names_that_would_break_a_line(tmp_path, name):
    classes(tmp_path / "class", (name, "cat"))
    classes(tmp_path / "file")
    picture(tmp_path / "file" / "cat" / f"{name}.png")
    table(tmp_path / "label", f'filename,label\nimg/0.png,"{name}"\nimg/1.png,cat\n')
    for place in ("class", "file", "label"):
        assert "has control characters" in refused(tmp_path / place)
