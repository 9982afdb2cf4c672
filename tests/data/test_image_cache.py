"""Large data are decoded once into a file that is mapped, hold the same pixels, and are found again or made anew."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.data import decoding, image_cache
from rdd_nb.data.dataset import statistics
from rdd_nb.data.image_cache import ImageCache, kept_sets, remove_kept
from rdd_nb.data.image_folder import open_image
from rdd_nb.data.loading import load
from rdd_nb.data.readers import npz, parquet
from tests.data.helpers import classes, picture
from tests.data.readers.helpers import remarked
from tests.data.readers.test_hugging_face import shard
from tests.data.readers.test_npz import saved
from tests.helpers import process_of


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """All data count as large."""
    monkeypatch.setattr(image_cache, "LARGE", 0)
    monkeypatch.setenv("RDD_NB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def opened(monkeypatch):
    """The images that are decoded from here on."""
    seen = []

    def watched(row, background=None):
        seen.append(row.where)
        return open_image(row, background)

    monkeypatch.setattr(decoding, "open_image", watched)
    return seen


def without(monkeypatch, name, **options):
    """The same data as they are without the cache."""
    with monkeypatch.context() as patch:
        patch.setenv("RDD_NB_CACHE", "off")
        return load(name, **options)


def same(first, second):
    for part in ("train", "test", "validation"):
        mine, other = getattr(first, part), getattr(second, part)
        if mine is None:
            assert other is None
            continue
        assert torch.equal(mine.images, other.images) and torch.equal(mine.labels, other.labels)
        assert (mine.mean, mine.std, mine.class_names, mine.name) == (
            other.mean, other.std, other.class_names, other.name,
        )  # fmt: skip
        assert mine.digest == other.digest
        assert (mine.groups is None) == (other.groups is None)
        assert mine.groups is None or torch.equal(mine.groups, other.groups)


def mapped(images):
    """Whether images lie in a file: the process's map of its memory names it at their address."""
    address = images.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= address < high:
            return "pixels-" in line
    return False


def parts(folder, **options):
    for split, count in (("train", 7), ("val", 3), ("test", 4)):
        classes(folder / split, count=count, **options)
    return f"folder:{folder}"


@pytest.mark.parametrize("options", [{}, {"size": 4}, {"size": 5, "channels": 3}, {"sample": 3}], ids=str)
def test_pixels_and_statistics_are_those_that_memory_would_hold(tmp_path, cache, opened, monkeypatch, options):
    name = parts(tmp_path / "pets")
    first = load(name, **options)
    assert mapped(first.train.images) and mapped(first.test.images)
    same(first, without(monkeypatch, name, **options))
    assert first.train.mean == statistics(first.train.images)[0]
    del opened[:]
    same(load(name, **options), first)
    assert not opened, "the second time nothing is decoded"


def test_data_in_one_piece_are_divided_as_before(tmp_path, cache, monkeypatch):
    classes(tmp_path / "pets", count=10)
    same(load(f"folder:{tmp_path / 'pets'}"), without(monkeypatch, f"folder:{tmp_path / 'pets'}"))


def test_small_data_stay_in_memory_and_the_cache_can_be_turned_off(tmp_path, cache, monkeypatch):
    name = parts(tmp_path / "pets")
    assert not mapped(without(monkeypatch, name).train.images) and not cache.exists()
    monkeypatch.setattr(image_cache, "LARGE", 28 * 36)
    assert not mapped(load(name).train.images) and not cache.exists()
    monkeypatch.setattr(image_cache, "LARGE", 28 * 36 - 1)
    assert mapped(load(name).train.images)


def test_touched_files_are_compared_and_not_decoded_again(tmp_path, cache, opened, monkeypatch):
    name = parts(tmp_path / "pets")
    first = load(name)
    for path in (tmp_path / "pets").rglob("*.png"):
        os.utime(path)
    del opened[:]
    same(load(name), first)
    assert not opened
    monkeypatch.setattr(ImageCache, "_contents", None)
    same(load(name), first)  # by their times alone, which are known now


def test_other_contents_are_seen_whatever_their_size_and_time(tmp_path, cache):
    name = parts(tmp_path / "pets", suffix=".bmp")
    first = load(name)
    changed = tmp_path / "pets/train/cat/3.bmp"
    before = changed.stat()
    picture(changed, value=222)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (changed.stat().st_size, changed.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second = load(name)
    assert second.train.images[3].unique().tolist() == [222]
    assert first.train.images[3].unique().tolist() == [3], "what is in use stays as it was"
    assert len(list(cache.rglob("*.u8"))) == 1, "the old pixels are gone"


def test_renamed_reordered_and_otherwise_read_data_have_places_of_their_own(tmp_path, cache, monkeypatch):
    name = parts(tmp_path / "pets")
    shutil.copytree(tmp_path / "pets", tmp_path / "others", copy_function=shutil.copy2)
    picture(tmp_path / "others/train/cat/0.png", value=99)
    for options in ({}, {"size": 4}, {"size": 3}, {"only_classes": ["cat", "dog"], "sample": 2}):
        for each in (name, f"folder:{tmp_path / 'others'}"):
            same(load(each, **options), without(monkeypatch, each, **options))
    assert len(kept_sets(cache)) == 8


def test_an_interrupted_making_goes_on(tmp_path, cache, opened, monkeypatch):
    name = parts(tmp_path / "pets")
    monkeypatch.setattr(image_cache, "SAVED_EVERY", -1.0)
    monkeypatch.setattr(decoding, "BLOCK", 4)

    def failing(row, background=None):
        if len(opened) == 14:
            raise KeyboardInterrupt
        opened.append(row.where)
        return open_image(row, background)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "open_image", failing)
        with pytest.raises(KeyboardInterrupt):
            load(name)
    assert [each.shape for each in kept_sets(cache)] == [()]
    del opened[:]
    same(load(name), without(monkeypatch, name))
    assert len(opened) == 1 + 28 - 12 + 1 + 28, "the first, what was missing of 28, and all without the cache"


def test_a_making_is_not_continued_with_other_files(tmp_path, cache, opened, monkeypatch):
    name = parts(tmp_path / "pets")
    monkeypatch.setattr(image_cache, "SAVED_EVERY", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(ImageCache, "_contents", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load(name)
    picture(tmp_path / "pets/train/cat/0.png", value=77)
    same(load(name), without(monkeypatch, name))


def test_files_that_change_meanwhile(tmp_path, cache, monkeypatch):
    name = parts(tmp_path / "pets")

    def changing(row, background=None):
        os.utime(tmp_path / "pets/train/cat/0.png")
        return open_image(row, background)

    monkeypatch.setattr(decoding, "open_image", changing)
    with pytest.raises(RddError, match="the files of folder:pets change while they are read: load them again"):
        load(name)


@pytest.mark.parametrize("harm", ["cut", "manifest", "shape", "link", "gone"])
def test_damaged_pixels_are_made_anew(tmp_path, cache, monkeypatch, harm):
    name = parts(tmp_path / "pets")
    load(name)
    (file,), (manifest,) = cache.rglob("*.u8"), cache.rglob("manifest.json")
    if harm == "cut":
        os.truncate(file, 100)
    elif harm == "manifest":
        manifest.write_text('{"format": 1}')
    elif harm == "shape":
        manifest.write_text(manifest.read_text().replace('"shape":[28,', '"shape":[-28,'))
    elif harm == "link":
        os.replace(file, tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
    same(load(name), without(monkeypatch, name))
    assert not file.is_symlink()


def test_what_is_written_to_the_images_stays_in_this_process(tmp_path, cache):
    name = parts(tmp_path / "pets")
    first = load(name)
    first.train.images.fill_(7)
    assert load(name).train.images[5].unique().tolist() == [5]


def test_a_full_disk_is_one_line(tmp_path, cache, monkeypatch):
    name = parts(tmp_path / "pets")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 28 * 36 - 1))
    with pytest.raises(RddError, match=r"pixels of folder:pets need 0.0 GB of disk, .* set RDD_NB_CACHE to a folder"):
        load(name)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RDD_NB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(RddError, match=r"file/cache.*RDD_NB_CACHE|cannot"):
        load(parts(tmp_path / "pets"))


def test_remarks_are_kept(tmp_path, cache):
    for split in ("train", "test"):
        classes(tmp_path / "pets" / split)
    picture(tmp_path / "pets/train/cat/oblong.png", size=(9, 6))
    first = remarked(f"folder:{tmp_path / 'pets'}", size=4)[1]
    assert "1 of 21 images are not square" in first
    assert remarked(f"folder:{tmp_path / 'pets'}", size=4)[1] == first


@pytest.mark.parametrize("options", [{}, {"size": 7}, {"sample": 2}, {"channels": 3, "size": 5}], ids=str)
@pytest.mark.parametrize("kind", ["u1", "f4", "by columns"])
def test_arrays_are_unpacked_a_part_at_a_time(tmp_path, cache, monkeypatch, options, kind):
    draw = np.random.default_rng(0)
    held = {
        f"{split}_images": draw.integers(0, 256, (count, 5, 6, 3)).astype(np.uint8)
        for split, count in (("train", 12), ("val", 4), ("test", 6))
    }
    if kind == "f4":
        held = {key: (array / 255).astype(np.float32) for key, array in held.items()}
    if kind == "by columns":
        held = {key: np.asfortranarray(array) for key, array in held.items()}
    monkeypatch.setattr(npz, "SLAB", 200)
    name = saved(tmp_path, **held)
    first = load(name, **options)
    assert mapped(first.train.images)
    if not options:
        whole = held["train_images"].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(first.train.images, np.rint(whole * 255) if kind == "f4" else whole)
    same(first, without(monkeypatch, name, **options))
    monkeypatch.setattr(npz._Arrays, "slabs", None)
    same(load(name, **options), first)


def test_arrays_in_one_piece(tmp_path, cache, monkeypatch):
    missing = {f"{split}_{what}": None for split in ("val", "test") for what in ("images", "labels")}
    name = saved(tmp_path, **missing)
    same(load(name), without(monkeypatch, name))


def test_parquet_shards(tmp_path, cache, monkeypatch):
    for place, split in enumerate(("train", "train", "test")):
        shard(tmp_path / "set" / f"{split}-{place}.parquet", first=7 * place, count=10)
    name = f"hf:{tmp_path / 'set'}"
    first = load(name, group="place")
    assert mapped(first.train.images)
    assert [int(image[0, 0, 0]) for image in first.train.images] == [
        10 * (i + j) % 256 for j in (0, 7) for i in range(10)
    ]
    same(first, without(monkeypatch, name, group="place"))
    monkeypatch.setattr(parquet, "_bytes", None)
    same(load(name, group="place"), first)


def test_rows_of_a_shard_may_be_asked_for_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "AT_ONCE", 3)
    shard(tmp_path / "0.parquet", count=10)
    column = parquet._Column(parquet.Shards([(tmp_path / "0.parquet", "")]), tmp_path / "0.parquet", "image")
    whole = [column.at(i) for i in range(10)]
    assert len(set(whole)) == 10
    for i in (9, 0, 4, 3, 8, 2, 9):
        assert column.at(i) == whole[i]


def test_two_processes_at_once_make_one_set(tmp_path, cache):
    name = parts(tmp_path / "pets")

    def loads(told):
        held = load(name)
        told.write_text(f"{held.train.digest} {held.test.digest}")

    runs = [process_of(loads, tmp_path / f"{k}.txt") for k in range(2)]
    for run in runs:
        run.join(300)
    assert [run.exitcode for run in runs] == [0, 0]
    assert (tmp_path / "0.txt").read_text() == (tmp_path / "1.txt").read_text() != ""
    assert len(kept_sets(cache)) == 1 and not list(cache.rglob("*.part"))


def test_what_is_kept_can_be_seen_and_removed_and_nothing_else(tmp_path, cache):
    load(parts(tmp_path / "pets"))
    (cache / "notes.txt").write_text("mine")
    (cache / ("a" * 32)).mkdir()
    (cache / ("a" * 32) / "mine.txt").write_text("mine")
    (cache / ("b" * 32)).symlink_to(tmp_path / "pets")
    (kept,) = kept_sets(cache)
    assert (kept.name, kept.shape) == ("folder:pets", (28, 1, 6, 6)) and kept.size >= 28 * 36
    assert [each.name for each in remove_kept(cache)] == ["folder:pets"]
    assert kept_sets(cache) == [] and len(list((tmp_path / "pets").rglob("*.png"))) == 28
    assert sorted(path.name for path in cache.iterdir()) == ["a" * 32, "b" * 32, "notes.txt"]
    assert remove_kept(tmp_path / "nowhere") == []


def test_the_folder_is_nobody_elses_to_read(tmp_path, cache):
    load(parts(tmp_path / "pets"))
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what memory a process has for itself")
def test_large_data_take_no_memory_of_their_own(tmp_path):
    count = 20_000
    labels = np.arange(count) % 2
    images = np.zeros((count, 64, 64, 3), np.uint8)
    np.savez_compressed(
        tmp_path / "large.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[:10],
        test_labels=labels[:10],
    )
    code = (
        "import sys, threading, time\n"
        "def own():\n"
        "    return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1]) / 1e3\n"
        "from rdd_nb.data.loading import load; before, most = own(), [0.0]\n"
        "def watch():\n"
        "    while True: most[0] = max(most[0], own()); time.sleep(0.005)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "s = load(sys.argv[1]); s.train.digest; print(len(s.train), most[0] - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, f"npz:{tmp_path / 'large.npz'}"],
        capture_output=True, text=True, env={**os.environ, "RDD_NB_CACHE": str(tmp_path / "cache")}, check=True,
    )  # fmt: skip
    loaded, taken = run.stdout.split()
    assert int(loaded) == count and float(taken) < 150, "megabytes, of 246 that the pixels have"


def test_the_digest_is_that_of_all_bytes(sample):
    data = sample.train
    told = hashlib.sha256(data.images.numpy().tobytes() + data.labels.numpy().tobytes()).hexdigest()
    assert data.digest == told
