"""Folders of images: what is loaded of them, the pixels of each kind of file, and every mistake with its line."""

import io
import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.data import image_folder
from rdd_nb.data.dataset import statistics
from rdd_nb.data.image_folder import Head, check_memory, open_image, threads
from rdd_nb.data.image_listing import Row
from rdd_nb.data.loading import load
from rdd_nb.data.readers import catalogue
from tests.data.helpers import chunk, classes, picture, png


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
    with pytest.warns(UserWarning, match=r"left out 1 file of other kinds \(train/cat/notes.txt\)$"):
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
    rows = "".join(f" img/{i}.png , {('cat', 'dog')[i % 2]} ,{('train', 'test')[i // 2]}\n" for i in range(4))
    table(tmp_path, f"\ufefffilename, label ,split\n{rows}", images=4)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.class_names == ("cat", "dog") and splits.test.images[:, 0, 0, 0].tolist() == [20, 30]


def test_size_and_channels_of_a_folder(tree):
    picture(tree / "train" / "cat" / "0.png", "RGB", (9, 7))
    with pytest.warns(UserWarning, match="1 of 12 images are not square and were stretched: --fit pad or --fit crop"):
        splits = load(f"folder:{tree}", size=5, channels=3)
    assert splits.train.shape == (3, 5, 5)
    assert load(f"folder:{tree}", size=5, channels=1, fit="crop").train.shape == (1, 5, 5)


def test_oblong_pictures_keep_their_shape(tmp_path):
    for name in ("cat", "dog"):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png", size=(8, 5))
    assert load(f"folder:{tmp_path}").train.shape == (1, 5, 8)


# ------------------------------------------------------------------------------------------------------ kinds of file


@pytest.fixture
def opened(tmp_path):
    """Opens bytes as the image of a folder, whatever they are; gives Pillow's mode and the values as lists."""

    def open_bytes(data, background=None):
        (tmp_path / "image.png").write_bytes(data)
        image = open_image(Row("here", tmp_path / "image.png", "cat"), background)
        return image.mode, np.asarray(image).tolist()

    return open_bytes


def saved(image, kind, **options):
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


@pytest.mark.parametrize(
    ("depth", "row", "values"),
    [
        (1, [0b01010000], [0, 255, 0, 255]),
        (2, [0b00011011], [0, 85, 170, 255]),
        (4, [0x0F, 0x5A], [0, 255, 85, 170]),
        (8, [0, 7, 128, 255], [0, 7, 128, 255]),
    ],
)
def test_grey_of_few_bits_is_widened(opened, depth, row, values):
    assert opened(png(4, 1, depth, 0, [bytes(row)])) == ("L", [values])


@pytest.mark.parametrize(("depth", "row"), [(1, [0b01010000]), (2, [0b00010001]), (4, [0x01, 0x01]), (8, [0, 1, 0, 1])])
def test_palettes_are_looked_up(opened, depth, row):
    colours = (b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    assert opened(png(4, 1, depth, 3, [bytes(row)], colours)) == ("RGB", [[[10, 20, 30], [200, 100, 50]] * 2])


@pytest.mark.parametrize(
    ("bits", "value", "colour"),
    [(16, 0b0_11111_00000_10000, [255, 0, 131]), (24, 0x0A141E, [10, 20, 30]), (32, 0x0A141E, [10, 20, 30])],
)
def test_bitmaps_of_each_depth(opened, bits, value, colour):
    row = value.to_bytes(bits // 8, "little").ljust(4, b"\0")
    head = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, bits, 0, 4, 0, 0, 0, 0)
    assert opened(b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + head + row) == ("RGB", [[colour]])


def noise(mode, size=(9, 7)):
    channels = len(mode)
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.frombytes(mode, size, values.tobytes())


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (noise("L"), "PNG"),
        (noise("RGB"), "PNG"),
        (noise("RGB").quantize(7), "PNG"),
        (noise("L"), "BMP"),
        (noise("L").quantize(7), "BMP"),
        (noise("L"), "JPEG"),
        (noise("RGB"), "JPEG"),
        (noise("CMYK"), "JPEG"),
        (noise("RGB"), "WEBP"),
    ],
)
def test_values_are_those_of_pillow(opened, image, kind):
    data = saved(image, kind)
    with Image.open(io.BytesIO(data)) as plain:
        mode = "L" if plain.mode == "L" else "RGB"
        assert opened(data) == (mode, np.asarray(plain.convert(mode)).tolist())


def test_cmyk_of_a_photograph_program_is_not_turned_round(opened):
    """White is no ink. Adobe's programs write ink turned round, and say so in the file: Pillow undoes it."""
    data = saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=100)
    marked = data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + b"\0" + data[2:]
    assert {opened(file)[1][4][4][0] for file in (data, marked)} == {255}


def test_photographs_are_turned_as_the_camera_meant(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90° to see it upright
    image = Image.new("L", (8, 5))
    image.putpixel((0, 0), 255)
    for name in ("cat", "dog"):
        for i in range(3):
            path = picture(tmp_path / name / f"{i}.png")
            image.save(path, exif=exif)
    loaded = load(f"folder:{tmp_path}").train
    assert loaded.shape == (1, 8, 5) and int(loaded.images[0, 0, 0, 4]) == 255, "its left upper corner is the right one"


def test_the_first_picture_of_a_photograph_counts(opened):
    first, second = Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 200))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    mode, values = opened(data)
    assert mode == "RGB" and values[4][4][0] > 190 and values[4][4][2] < 10


@pytest.mark.parametrize(
    "data",
    [
        png(1, 1, 16, 0, [bytes(2)]),
        png(1, 1, 16, 2, [bytes(6)]),
        png(1, 1, 16, 4, [bytes(4)]),
        png(1, 1, 16, 6, [bytes(8)]),
        png(1, 1, 8, 2, [bytes(6)], (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))),
    ],
    ids=["grey", "RGB", "grey with alpha", "RGB with alpha", "RGB with a second head"],
)
def test_more_than_8_bits_are_never_cut(opened, data):
    with pytest.raises(RddError, match="here has 16 bits a channel, and 8 at most are read: convert it to 8 bits"):
        opened(data, "white")


@pytest.mark.parametrize(
    "data",
    [
        saved(noise("L"), "TIFF"),
        saved(noise("L"), "GIF"),
        saved(noise("L"), "PPM"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        b"<html>not found</html>",
        b"",
    ],
    ids=["TIFF", "GIF", "PPM", "EPS", "HTML", "empty"],
)
def test_no_other_reader_of_pillow_is_asked(opened, data, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(RddError, match="here is no PNG, JPEG, BMP or WebP inside: convert it or leave it out"):
        opened(data)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_several_frames_are_refused(opened, kind):
    data = saved(noise("RGB"), kind, save_all=True, append_images=[noise("RGB").rotate(180)])
    with pytest.raises(RddError, match="here has several frames: save the one that is meant"):
        opened(data)


@pytest.mark.parametrize(
    "data",
    [
        saved(noise("RGB"), "PNG")[:-40],
        saved(noise("RGB"), "JPEG")[:-40],
        saved(noise("RGB"), "WEBP")[:-40],
        saved(noise("RGB"), "BMP")[:-40],
        b"\x89PNG\r\n\x1a\n",
        png(0, 0, 8, 0, []),
        png(1, 1, 4, 2, [bytes(4)]),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0)) + chunk(b"IEND", b""),
    ],
)
def test_broken_files_are_named_in_one_line(opened, data):
    with pytest.raises(RddError, match=r"^here cannot be read \(.*\): replace it or leave it out$"):
        opened(data)


# ------------------------------------------------------------------------------------------------------- transparency


GREYS = bytes([0, 85, 170, 255])
SEEN_THROUGH = {
    "RGBA": (
        saved(Image.merge("RGBA", [*noise("RGB", (2, 1)).split(), Image.frombytes("L", (2, 1), b"\0\xff")]), "PNG"),
        0,
    ),
    "grey with alpha": (png(2, 1, 8, 4, [bytes([9, 255, 9, 0])]), 1),
    "one grey": (png(4, 1, 8, 0, [GREYS], (b"tRNS", b"\0\x55")), 1),
    "one grey of 4 bits": (png(2, 1, 4, 0, [b"\x05"], (b"tRNS", b"\0\5")), 1),
    "one grey of 2 bits": (png(4, 1, 2, 0, [b"\x1b"], (b"tRNS", b"\0\1")), 1),
    "one grey of 1 bit": (png(2, 1, 1, 0, [b"\x40"], (b"tRNS", b"\0\1")), 1),
    "one colour": (png(2, 1, 8, 2, [bytes([1, 2, 3, 4, 5, 6])], (b"tRNS", struct.pack(">HHH", 4, 5, 6))), 1),
    "palette": (png(2, 1, 8, 3, [bytes([0, 1])], (b"PLTE", bytes(6)), (b"tRNS", b"\xff\0")), 1),
    "palette, the first": (png(2, 1, 8, 3, [bytes([0, 1])], (b"PLTE", bytes(6)), (b"tRNS", b"\0")), 0),
    "WebP": (
        saved(
            Image.merge("RGBA", [*noise("RGB", (2, 1)).split(), Image.frombytes("L", (2, 1), b"\0\xff")]),
            "WEBP",
            lossless=True,
        ),
        0,
    ),
}


@pytest.mark.parametrize("kind", SEEN_THROUGH)
def test_transparent_pixels_need_a_background(opened, kind):
    data, clear = SEEN_THROUGH[kind]
    with pytest.raises(RddError, match=r'here has transparent pixels.*: pass --background white.*background="white"'):
        opened(data)
    mode, (row,) = opened(data, "white")
    assert row[clear] == (255 if mode == "L" else [255] * 3)
    assert opened(data, "black")[1][0][1 - clear] == row[1 - clear], "the other pixel stays what it is"
    _, (row,) = opened(data, "#102030")
    assert row[clear] == [16, 32, 48], "grey on a colour becomes RGB"


def test_half_transparent_pixels_are_mixed(opened):
    data = png(3, 1, 8, 4, [bytes([0, 128, 200, 51, 90, 255])])
    assert opened(data, "white") == ("L", [[127, 244, 90]])  # 255 (1 - 128/255); 200/5 + 255·4/5; what it was
    assert opened(data, "black") == ("L", [[0, 40, 90]])
    palette = png(2, 1, 1, 3, [b"\x40"], (b"PLTE", bytes([10, 20, 30, 0, 100, 200])), (b"tRNS", b"\xff\x33"))
    assert opened(palette, "white") == ("RGB", [[[10, 20, 30], [204, 224, 244]]])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 1, 8, 4, [bytes([9, 255, 8, 255])]), ("L", [[9, 8]])),
        (png(1, 1, 8, 6, [bytes([1, 2, 3, 255])]), ("RGB", [[[1, 2, 3]]])),
        (png(4, 1, 8, 0, [GREYS], (b"tRNS", b"\0\1")), ("L", [list(GREYS)])),
        (png(4, 1, 2, 0, [b"\x15"], (b"tRNS", b"\0\3")), ("L", [[0, 85, 85, 85]])),
        (png(1, 1, 8, 2, [bytes([1, 2, 3])], (b"tRNS", bytes(6))), ("RGB", [[[1, 2, 3]]])),
        (png(1, 1, 8, 3, [b"\0"], (b"PLTE", bytes([4, 5, 6, 7, 8, 9])), (b"tRNS", b"\xff\0")), ("RGB", [[[4, 5, 6]]])),
    ],
)
def test_what_nobody_can_see_through_needs_none(opened, data, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(data) == expected


@pytest.mark.parametrize("background", ["whit", "", "#12", "#ffffff80", "#ffffff00", 3, b"white"])
def test_a_background_is_checked_before_the_folder(background):
    with pytest.raises(RddError, match=r"^background must be a colour .*not "):
        load("folder:/nonexistent", background=background)


def test_black_icons_on_nothing_are_loaded_on_white(tmp_path):
    for name, side in (("circle", 2), ("square", 4)):
        for i in range(5):
            path = picture(tmp_path / name / f"{i}.png")
            icon = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
            icon.paste((0, 0, 0, 255), (0, 0, side, side))
            icon.save(path)
    with pytest.raises(RddError, match=r"circle/0.png has transparent pixels"):
        load(f"folder:{tmp_path}")
    data = load(f"folder:{tmp_path}", background="white").train
    assert (data.images == 0).flatten(1).sum(1).tolist() == [3 * 4] * 4 + [3 * 16] * 4
    assert data.images.unique().tolist() == [0, 255]


# ------------------------------------------------------------------------------------------------------------- memory


def large(width, height):
    """A PNG of one bit a pixel, all black, of a few kilobytes."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data", [png(13_000, 13_000, 8, 2, []), png(90_001, 1000, 1, 0, []), png(2**31 - 1, 2**31 - 1, 8, 0, [])]
)
def test_an_image_of_too_many_pixels_is_refused_by_its_head(opened, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's own warning must not come through
        with pytest.raises(RddError, match=r"here has [\d,]+×[\d,]+ pixels, and 90 million at most are read"):
            opened(data)


def test_a_webp_of_too_many_pixels_is_refused(opened):
    head = b"VP8L" + struct.pack("<I", 8) + b"\x2f" + struct.pack("<I", 16_383 << 14 | 16_383) + bytes(3)
    with pytest.raises(RddError, match=r"here (has .* pixels, and 90 million|cannot be read \()"):
        opened(b"RIFF" + struct.pack("<I", len(head) + 4) + b"WEBP" + head)


def test_an_image_just_below_the_bound_is_read(tmp_path):
    for i, name in enumerate(("cat", "dog")):
        for j in range(3):
            picture(tmp_path / name / f"{j}.png", value=100 * i)
    (tmp_path / "cat" / "0.png").write_bytes(large(9_480, 9_490))  # above what Pillow warns of
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(f"folder:{tmp_path}", size=4, fit="stretch").train.images[:, 0, 0, 0].tolist() == [0, 0, 100, 100]


def test_large_images_are_decoded_one_by_one(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 16)
    sizes = ([], [10**6] * 9, [10**6, 30 * 10**6], [90 * 10**6], [784] * 9)
    assert [threads(Head(size, 1, 3) for size in each) for each in sizes] == [1, 8, 3, 1, 1]


def test_images_that_do_not_fit_are_told_before_one_is_decoded(tmp_path, monkeypatch):
    classes(tmp_path)
    picture(tmp_path / "dog" / "4.png", size=(60, 80), mode="RGB")
    monkeypatch.setattr(processes, "memory", lambda: 2 * (9 * 36 + 3 * 4800))
    with pytest.raises(RddError, match="is grey and"):
        load(f"folder:{tmp_path}")
    monkeypatch.setattr(processes, "memory", lambda: 2 * (9 * 36 + 3 * 4800) - 1)
    monkeypatch.setattr(image_folder, "open_image", None)
    with pytest.raises(
        RddError, match=r"10 images of up to 60×80 need 0.0 GB .*: pass --size 32 or so \(size=32 in Py"
    ):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("heads", "size", "channels", "needed"),
    [
        ([Head(100, 50, 3)] * 4, None, None, 2 * 4 * 15_000),
        ([Head(100, 50, 3)] * 4, None, 1, 2 * 4 * 5_000),
        ([Head(100, 50, 1)] * 4, 10, None, 2 * 4 * 100),
        ([Head(100, 50, 1)] * 4, 10, 3, 2 * 4 * 300),
    ],
)
def test_what_all_images_need(monkeypatch, heads, size, channels, needed):
    monkeypatch.setattr(processes, "memory", lambda: needed)
    check_memory(heads, size, channels)
    monkeypatch.setattr(processes, "memory", lambda: needed - 1)
    side = "10×10" if size else "100×50"
    with pytest.raises(RddError, match=f"^4 images of {side} need .*pass {'a smaller ' if size else ''}--size"):
        check_memory(heads, size, channels)


def test_known_sets_are_not_enlarged_beyond_the_memory():
    with pytest.raises(
        RddError, match=r"^1,797 images of 1000000×1000000 need 3,594,000.0 GB .* pass a smaller --size"
    ):
        load("digits", size=1_000_000)


# ----------------------------------------------------------------------------------------------------------- mistakes


def edit(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (edit(FULL, "img/3.png", "img/33.png"), "metadata.csv line 5, img/33.png: there is no file"),
        (edit(FULL, "group", "grup"), "unknown column 'grup' in {path}/metadata.csv line 1: did you mean 'group'?"),
        (edit(FULL, "filename,", "group,"), "line 1 has the column 'group' 2 times"),
        ("label,split\ncat,train\n", "line 1 has no column 'filename'"),
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
        (
            "filename,label\nimg/0.png,cat\nimg/1.png,cat\nimg/2.png,dog\n",
            "class 'cat' has 2 images, too few to hold out 0.2",
        ),
        ("filename,label\nimg,cat\nimg/1.png,dog\n", "{path}/img is a folder, no regular file"),
        (
            "filename,label\n" + "x" * 300 + ",cat\nimg/1.png,dog\n",
            "xxx cannot be read (File name too long): replace it",
        ),
        (edit(FULL, "img/3.png", "./img//2.png"), "line 5 names './img//2.png' again, after line 4"),
    ],
)
def test_mistakes_in_metadata_name_the_line(tmp_path, text, words):
    table(tmp_path, text)
    with pytest.raises(RddError) as caught:
        load(f"folder:{tmp_path}")
    assert words.format(path=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["folder", "domains", "names"])
@pytest.mark.parametrize("broken", ["cat", "dog"])
def test_a_class_too_small_to_be_divided_is_told_before_many_images_are_read(tmp_path, monkeypatch, form, broken):
    monkeypatch.setattr(catalogue, "SOON", 7)
    for label, count in (("cat", 6), ("dog", 2)):
        for i in range(count):
            name = {"folder": f"{label}/{i}.png", "domains": f"day/{label}/{i}.png", "names": f"{label}_{i}.png"}[form]
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"no image" if label == broken else png(8, 1, 8, 0, [bytes([i] * 8)]))
    options = {"pattern": "{kind}_{rest}", "label": "kind"} if form == "names" else {}
    said = r"0\.png " if broken == "dog" else "class 'dog' has 2 images, too few to hold out 0\\.2 of them"
    with pytest.raises(RddError, match=said):
        load(f"{form}:{tmp_path}", **options)
    monkeypatch.setattr(catalogue, "SOON", 8)  # of few images all are looked at first
    with pytest.raises(RddError, match=r"0\.png "):
        load(f"{form}:{tmp_path}", **options)


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
            "train/cat/1.png is no PNG, JPEG, BMP or WebP",
        ),
        (lambda t: (t / "train/cat/1.png").write_bytes(b""), "train/cat/1.png is no PNG, JPEG, BMP or WebP"),
        (
            lambda t: picture(t / "train/dog/2.png", "RGB"),
            "cat/0.png is grey and {path}/train/dog/2.png is RGB: pass --channels 3",
        ),
        (
            lambda t: picture(t / "train/cat/0.png", "RGB"),
            "cat/1.png is grey and {path}/train/cat/0.png is RGB: pass --channels 3",
        ),
        (
            lambda t: picture(t / "test/dog/1.png", size=(8, 6)),
            "0.png has 6×6 pixels and {path}/test/dog/1.png has 8×6: pass --size 32 or so (size=32 in Python)",
        ),
        (lambda t: picture(t / "test/dog/1.png", "I;16"), "test/dog/1.png has 16 bits a channel"),
        (lambda t: (t / "train/cow").mkdir(), "{path}/train/cow is a class without images"),
        (lambda t: picture(t / "test/cow/0.png"), "label 'cow' occurs only in test (first: {path}/test/cow/0.png)"),
        (lambda t: picture(t / "train/cow/0.png"), "label 'cow' occurs only in train"),
        (lambda t: shutil.rmtree(t / "test"), "{path} has train/ but no test/"),
        (lambda t: shutil.rmtree(t / "train"), "{path} has test/ but no train/"),
        (
            lambda t: [shutil.rmtree(t / s) for s in ("train", "test")],
            "{path} has no class folders: make one for the images of each",
        ),
        (lambda t: [shutil.rmtree(t / "test" / s) for s in ("cat", "dog")], "{path}/test has no class folders"),
    ],
)
def test_mistakes_in_folders_name_the_file(tree, break_it, words):
    break_it(tree)
    with pytest.raises(RddError) as caught:
        load(f"folder:{tree}")
    assert words.format(path=tree) in str(caught.value)
    assert "\n" not in str(caught.value)
