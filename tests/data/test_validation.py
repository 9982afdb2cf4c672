import csv
import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.data import loading, near_copies, validation
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.evaluation import subgroups
from tests.data.helpers import classes, picture
from tests.data.readers.test_hugging_face import shard
from tests.data.readers.test_npz import saved


def data(labels, groups=None, seed=0, names=("bag", "boot", "dress")):
    images = torch.randint(0, 256, (len(labels), 1, 8, 8), generator=torch.Generator().manual_seed(seed))
    group_names = () if groups is None else tuple(f"g{k}" for k in range(max(groups) + 1))
    return ImageDataset(
        images.to(torch.uint8),
        torch.tensor(labels),
        names[: max(labels) + 1],
        (0.5,),
        (0.25,),
        None if groups is None else torch.tensor(groups),
        group_names,
        name="made",
    )


def pair(train, test):
    names = max(train.group_names, test.group_names, key=len)
    return Splits(*(dataclasses.replace(part, group_names=names) for part in (train, test)), "made")


def even(per=40, groups=2, seed=0):
    """Two classes, each with ``per`` images of each group."""
    labels = [c for c in (0, 1) for _ in range(per * groups)]
    return data(labels, [k % groups for k in range(len(labels))], seed)


def said(found):
    return [(f.severity, f.what) for f in found]


def test_clean_data_have_only_notes_on_size():
    found = validation.examine(pair(even(), even(60, seed=1)), ipc=5)
    assert found == []
    (small,) = validation.examine(pair(even(), even(40, seed=1)), ipc=5)
    assert small.severity == "note" and "'g0' ±11, 'g1' ±11" in small.where


def test_no_groups_are_noted():
    (found,) = validation.examine(pair(data([0, 1] * 20), data([0, 1] * 20, seed=1)), ipc=5)
    assert found.severity == "note" and "no groups are named" in found.what


def test_a_leak_is_named_by_its_place():
    train, test = even(), even(60, seed=1)
    test.images[7] = train.images[3]
    near = train.images[11].clone()
    near[0, :2] = near[0, :2] // 2 * 2  # at most one grey level off
    test.images[9] = near
    found = validation.examine(pair(train, test), ipc=5)
    assert said(found) == [
        ("error", "1 image shown both in training and in the test set"),
        ("warning", "1 image nearly in both"),
    ]
    assert [f.where for f in found] == ["test 7 = train 3", "test 9 = train 11"]


def test_near_pairs_agree_with_brute_force():
    draw = torch.Generator().manual_seed(0)
    first = torch.randint(0, 256, (6, 3, 40, 40), generator=draw).to(torch.uint8)  # averaged down before the search
    second = torch.cat([first[2:4], first[:2]])
    noise = torch.randint(-4, 5, second.shape, generator=draw)
    second = (second.int() + noise).clamp(0, 255).to(torch.uint8)
    apart = (first[:, None].double() - second[None].double()).square().mean((2, 3, 4)).sqrt()
    for close in (0.0, 2.0, float(apart.min()) + 0.01, 5.0):
        assert validation.near_pairs(first, second, close).tolist() == (apart <= close).nonzero().tolist()


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 8, 8), (1, 28, 28), (3, 33, 47), (3, 64, 64)])
def test_near_pairs_of_any_size_are_found_however_they_are_averaged(shape, monkeypatch):
    """Also where pixels at the edges are left out of the averages, and images are held against each other in parts."""
    monkeypatch.setattr(near_copies, "_AT_ONCE", 7)
    draw = torch.Generator().manual_seed(1)
    base = torch.nn.functional.interpolate(torch.rand(40, shape[0], 2, 2, generator=draw) * 255, shape[1:])
    first = base.to(torch.uint8)
    shift = torch.randint(-3, 4, (40, 1, 1, 1), generator=draw)  # all pixels alike: averaging takes nothing away
    second = (first.int() + shift).clamp(0, 255).to(torch.uint8)
    apart = (first[:, None].double() - second[None].double()).square().mean((2, 3, 4)).sqrt()
    for close in (0.0, 1.0, 2.0, 3.0):
        assert validation.near_pairs(first, second, close).tolist() == (apart <= close).nonzero().tolist()


def test_blank_images_are_told_and_are_no_copies():
    train, test = even(), even(60, seed=1)
    train.images[2], test.images[5] = 30, 30
    (found,) = validation.examine(pair(train, test), ipc=5)
    assert found.what == "2 images of one colour all over" and found.where == "train 2, test 5"


def test_classes_too_small_absent_or_lopsided():
    train = data([0] * 50 + [1] * 4 + [2] * 20)
    found = validation.examine(pair(train, data([0, 2], seed=1)), ipc=5)
    told = {f.what: f for f in found}
    assert told["classes with fewer training images than the 5 that are to be made"].where == "'boot' 4"
    assert told["classes without test images"].where == "'boot'"
    assert told["the largest class has 12 times as many training images as the smallest"].severity == "warning"
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=list(validation.SEVERITIES).index)


def test_groups_absent_tiny_or_never_met():
    train = data([0, 1] * 40, [2, 2, 2, 1] + [0, 0, 1, 1] * 19)
    test = data([0, 1] * 100, [3, 0, 1, 1] + [0, 0, 1, 1] * 49, seed=1)
    found = {f.what: f for f in validation.examine(pair(train, test), ipc=5)}
    assert found["groups that are tested, but absent from training"].where == "'g3'"
    assert found["groups that are tested, but absent from training"].severity == "error"
    assert found["groups that are never tested"].where == "'g2'"
    assert found["groups with fewer than 10 images (train + test)"].where == "'g2': 3 + 0, 'g3': 0 + 1"
    assert found["pairs of class and group that only the test set has"].where == "'bag' / 'g3'"


def test_a_group_that_tells_the_class():
    labels = [0] * 50 + [1] * 50
    train = data(labels, [0] * 45 + [1] * 5 + [1] * 45 + [0] * 5)
    (found,) = validation.examine(pair(train, even(60, seed=1)), ipc=5)
    assert "tells the class of 90% of the training images, where 50% could be guessed" in found.what
    assert found.where == "90% of 'bag' are 'g0'" and "too (" not in found.mend
    same = data(labels * 2, ([0] * 45 + [1] * 5 + [1] * 45 + [0] * 5) * 2, seed=1)
    (found,) = [f for f in validation.examine(pair(train, same), ipc=5) if "alone" in f.what]
    assert "pays in the test set, too (90%)" in found.mend


# ------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path):
    """Eight images named in a metadata.csv."""
    draw = np.random.default_rng(0)
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "label", "split"])
        for k in range(8):
            Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{k}.png")
            table.writerow([f"{k}.png", ("bag", "boot")[k % 2], "train" if k < 4 else "test"])
    return tmp_path


def test_a_clean_folder(folder):
    assert validation.files(f"folder:{folder}") == []


def test_all_bad_files_are_told_at_once_with_their_names(folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:40])
    (folder / "5.png").unlink()
    Image.new("RGB", (9, 8), "red").save(folder / "6.png")
    found = validation.files(f"folder:{folder}")
    assert said(found)[0] == ("error", "2 images cannot be read") and "“metadata.csv line 3, 1.png" in found[0].mend
    assert found[0].where == "1.png, 5.png" and str(folder) not in str(found[0])
    assert said(found)[1] == ("error", "2 sizes or kinds of image")
    assert found[1].where == "5 of 8×8 grey, 1 of 9×8 RGB"
    assert len(validation.files(f"folder:{folder}", size=8)) == 2, "the kinds still differ"
    assert len(validation.files(f"folder:{folder}", size=8, channels=1)) == 1
    with pytest.raises(RddError, match=r"1\.png cannot be read"):
        loading.load(f"folder:{folder}")


@pytest.mark.parametrize(
    "copy, severity, what",
    [
        (4, "error", "1 image shown both in training and in the test set"),
        (2, "warning", "1 image there several times on the same side"),
        (3, "error", "1 image shown under several labels"),
    ],
)
def test_copies_are_found_by_their_pixels(folder, copy, severity, what):
    with Image.open(folder / "0.png") as image:
        image.convert("RGB").convert("L").save(folder / f"{copy}.png", optimize=True)  # other bytes, same pixels
    found = validation.files(f"folder:{folder}")
    assert said(found) == [(severity, what)] and found[0].where == f"0.png = {copy}.png"


def test_a_folder_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(RddError, match="no class folders"):
        validation.files(f"folder:{tmp_path}")


def test_what_is_left_out_is_a_warning_as_the_loader_tells_it(folder):
    (folder / "8.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "9.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "metadata.jsonl").write_text("{}")
    (found,) = validation.files(f"folder:{folder}")
    assert (found.severity, found.what) == ("warning", "files that are left out")
    assert found.where == (
        "2 images that metadata.csv does not name (8.png), 1 table other than metadata.csv (metadata.jsonl)"
    )
    with pytest.warns(UserWarning, match=re.escape(found.where)):
        loading.load(f"folder:{folder}")


def test_transparent_images_are_found_unless_a_background_is_given(folder):
    image = Image.open(folder / "3.png").convert("LA")
    image.putpixel((0, 0), (0, 0))
    image.save(folder / "3.png")
    (found,) = validation.files(f"folder:{folder}")
    assert (found.what, found.where) == ("1 image cannot be read", "3.png")
    assert "“metadata.csv line 5, 3.png has transparent pixels" in found.mend
    assert validation.files(f"folder:{folder}", background="white") == []


def test_images_that_do_not_fit_into_the_memory(folder, monkeypatch):
    (folder / "5.png").write_bytes(b"broken")
    monkeypatch.setattr(processes, "memory", lambda: 2 * 7 * 64 - 1)
    memory, broken = validation.files(f"folder:{folder}")
    assert (memory.severity, memory.what) == ("error", "images that do not fit into the memory")
    assert memory.where.startswith("7 images of 8×8 need") and memory.mend.startswith("pass --size")
    assert broken.where == "5.png"
    assert len(validation.files(f"folder:{folder}", size=4)) == 1


# --------------------------------------------------------------------------------------------------- how much they tell


@given(st.integers(1, 3000), st.integers(1, 50))
def test_the_half_width_is_wilsons_at_one_half(n, groups):
    low, high = subgroups.wilson(n / 2, n, level=1 - 0.05 / groups)
    assert validation.half_width(n, groups) == pytest.approx(float(high - low) / 2)
    others = [subgroups.wilson(share * n, n, level=1 - 0.05 / groups) for share in (0.0, 0.2, 0.7, 1.0)]
    assert all(float(high - low) / 2 <= validation.half_width(n, groups) + 1e-12 for low, high in others)


@given(st.floats(0.01, 0.45), st.integers(1, 50))
def test_images_needed_are_enough_and_no_fewer(reach, groups):
    needed = validation.images_needed(reach, groups)
    assert validation.half_width(needed, groups) <= reach + 1e-12
    assert needed == 0 or validation.half_width(needed - 1, groups) > reach


@pytest.mark.parametrize(
    "call",
    [
        lambda: validation.half_width(-1),
        lambda: validation.half_width(5, groups=0),
        lambda: validation.half_width(5, level=1.0),
        lambda: validation.images_needed(0.0),
        lambda: validation.images_needed(1.2),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(RddError):
        call()


@pytest.mark.parametrize("form", ["table", "hf", "domains", "names", "parquet"])
def test_files_of_every_form_are_looked_at(tmp_path, form):
    """One image that cannot be read, one that is there twice, whatever says which image is what."""
    rows = []
    for i in range(12):
        kind, domain = ("cat", "dog")[i % 2], ("night", "day")[i // 2 % 2]
        path = picture(tmp_path / "set" / domain / kind / f"{kind}_{i}.png")
        pixels = np.full((6, 6), 20 * (i if i != 10 else 2), np.uint8) + np.arange(6, dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        rows.append((path, kind, domain))
    rows[7][0].write_bytes(b"none")
    table = "\n".join(["file_name,label,place", *(f"{p.relative_to(tmp_path / 'set')},{k},{d}" for p, k, d in rows)])
    options = {"table": {"group": "place"}, "names": {"pattern": "{kind}_{rest}", "label": "kind"}}.get(form, {})
    if form in ("table", "hf"):
        (tmp_path / "set" / "metadata.csv").write_text(table + "\n")
    name = f"{form}:{tmp_path / 'set'}"
    if form == "parquet":
        images = [{"bytes": path.read_bytes(), "path": ""} for path, _, _ in rows]
        shard(tmp_path / "shards" / "0.parquet", count=12, image=images)
        name = f"hf:{tmp_path / 'shards'}"
    found = validation.files(name, **options)
    told = {finding.what: finding.where for finding in found}
    assert set(told) == {"1 image cannot be read", "1 image there several times on the same side"}
    if form == "parquet":
        assert told["1 image cannot be read"] == "0.parquet row 7"
        assert told["1 image there several times on the same side"] == "0.parquet row 2 = 0.parquet row 10"
    else:
        assert told["1 image cannot be read"].endswith("day/dog/dog_7.png")


def test_only_what_will_be_read_is_looked_at(tmp_path):
    classes(tmp_path / "pets", names=("cat", "dog", "emu"))
    (tmp_path / "pets/dog/0.png").write_bytes(b"none")
    assert validation.files(f"folder:{tmp_path / 'pets'}")[0].what == "1 image cannot be read"
    kept = validation.files(f"folder:{tmp_path / 'pets'}", only_classes=["cat", "emu"])
    assert all("cannot" not in each.what for each in kept)


def test_arrays_hold_no_files_and_what_is_no_form_is_one_line(tmp_path):
    assert validation.files(saved(tmp_path)) == []
    with pytest.raises(RddError, match="unknown form 'digits' in the data whose files are looked at"):
        validation.files("digits")
