"""A distilled set in other people's hands: what is written is read back, by us and by the readers that others use."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rdd_nb as rdd
from rdd_nb.cli import main
from rdd_nb.core.environment import torchvision
from rdd_nb.core.errors import RddError
from rdd_nb.data.readers.folder import read_folder
from rdd_nb.reporting import export
from tests.helpers import hugging_face, process_of

NASTY = ("train", "test tube", "cat/dog", "Con", "con", "évaluation", 'a,b "q"', "..", ".hidden", "x" * 300)


def synthetic_of(classes=NASTY, channels=3, ipc=2, wide=0.2):
    """A set in mixed order, with pixels on both sides of black and white where it is ``wide``."""
    images = torch.randn(ipc * len(classes), channels, 6, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(classes)).repeat(ipc)
    return rdd.SyntheticSet(images, labels, tuple(classes), (0.5,) * channels, (wide,) * channels, ipc=ipc)


def run_at(path, groups=True, evaluated=True, source="digits"):
    """A run folder as distilling and evaluating leave it, but for the work."""
    config = rdd.DistillConfig(ipc=2, seed=4).model_dump(mode="json")
    said = {"distill": config, "data": {"name": source, "groups": None}, "source": {"data": source}}
    run = rdd.RunFolder(path).create(said)
    run.save_synthetic(synthetic_of(("cat", "dog"), channels=1))
    run.write_history([{"iteration": i, "loss": 3.0 / i, "seconds": 0.5} for i in (1, 2, 3)])
    metrics = {"iterations": 3, "machine": {"rdd_nb": "0.1.0"}}
    if evaluated:
        labels, ids = np.arange(240) % 2, (np.arange(240) // 2) % 3
        right = np.random.default_rng(0).random((2, 240)) < 0.7
        ones = np.ones((2, 240), np.float32)
        named = (ids.astype(np.int64), ("day", "dusk", "night")) if groups else (None, ())
        told = np.where(right, labels, 1 - labels).astype(np.int16)
        rdd.Scores(told, ones, ones, labels, ("cat", "dog"), *named).save(run.path / "scores.npz")
        protocol = {"network": "convnet", "width": 8, "epochs": 3}
        metrics["evaluation"] = {"profile": "quick", "nets": 2, "seed": 0, "protocol": protocol}
    run.write_metrics(metrics)
    return run


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


# -------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("channels", [1, 3])
def test_our_loader_reads_back_the_same_images_and_labels(tmp_path, channels):
    synthetic = synthetic_of([name for name in NASTY if name != ".hidden"], channels)
    export.image_folder(synthetic, tmp_path / "images", "# A card\n")
    part = read_folder(f"folder:{tmp_path / 'images'}")
    assert set(part.class_names) == set(synthetic.class_names)
    named = [part.class_names[i] for i in part.train.labels]
    assert named == [synthetic.class_names[i] for i in synthetic.labels]
    assert torch.equal(part.train.images, synthetic.to_uint8())
    exact = ((synthetic.images * 0.2 + 0.5) * 255).clamp(0, 255)
    assert float((part.train.images - exact).abs().max()) <= 0.5 + 1e-4


def test_formations_are_written_one_by_one_and_soft_labels_beside_them(tmp_path, capsys):
    draw = torch.Generator().manual_seed(0)
    labels = torch.randn(16, 2, generator=draw).softmax(1)
    names = ("file_name", "=1+1")
    images = torch.randn(4, 1, 8, 8, generator=draw)
    synthetic = rdd.SyntheticSet(
        images, torch.tensor([1, 0, 0, 1]), names, (0.5,), (0.2,), 2, formations=2, soft_labels=labels
    )
    export.image_folder(synthetic, tmp_path / "images", "# A card\n")
    with (tmp_path / "images/soft_labels.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["file_name", *names] and [row[0] for row in rows[:2]] == ["_1+1/000.png", "_1+1/001.png"]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), labels.numpy(), rtol=1e-5)
    part = read_folder(f"folder:{tmp_path / 'images'}")
    assert torch.equal(part.train.images, synthetic.decoded.to_uint8()) and len(part.train.images) == 16
    assert "soft_labels" not in capsys.readouterr().err


def alone(script, folder):
    """Run a script in a copy of this process, which has torch, but not this package."""
    os.chdir(folder)
    sys.modules.update({name: None for name in list(sys.modules) if name.partition(".")[0] == "rdd_nb"})
    torch.manual_seed(0)
    with open("said", "w") as said, contextlib.redirect_stdout(said):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("form", ["png", "npz"])
@pytest.mark.parametrize("more", ["plain", "soft labels and formations"])
def test_the_script_beside_an_export_trains_without_this_package(tmp_path, form, more):
    draw, names = torch.Generator().manual_seed(0), ('a "b"\n', "été")
    labels = torch.tensor([1, 0, 0, 1])
    images = torch.randn(4, 1, 8, 8, generator=draw) * 0.1 + (2.0 * labels - 1)[:, None, None, None]
    soft = {"formations": 2, "soft_labels": torch.eye(2)[labels.repeat_interleave(4)]} if more != "plain" else {}
    synthetic = rdd.SyntheticSet(images, labels, names, (0.5,), (0.2,), 2, **soft)
    if form == "png":
        export.image_folder(synthetic, tmp_path / "made", about=("Toys", "mit"))
        script = tmp_path / "made" / "learn.py"
    else:
        export.npz_file(synthetic, tmp_path / "it's.npz")
        script = tmp_path / "it's-train.py"
    assert len(script.read_text("utf-8").splitlines()) < 40
    if (form, more) == ("npz", "plain"):  # once as anybody starts it
        blocked = "import runpy, sys; sys.modules['rdd_nb'] = None; import torch; torch.manual_seed(0); "
        run = f"{blocked}sys.argv[1:] = []; runpy.run_path({str(script)!r}, run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, cwd=tmp_path)
        status, said = done.returncode, done.stdout
    else:
        process = process_of(alone, script, tmp_path)
        process.join()
        status, said = process.exitcode, (tmp_path / "said").read_text()
    assert status == 0
    count = 4 if more == "plain" else 16
    assert said.startswith(f"{count} images, 300 epochs: loss 0.0") and (tmp_path / "net.pt").is_file()


@pytest.mark.parametrize("names", [("cat", "dog"), ("test", "train set"), ("a/b", "=1+1")])
def test_hugging_face_reads_an_exported_folder(tmp_path, names):
    """By its card as well as without: no file beside the images may look like the whole of a split to it."""
    datasets = hugging_face()
    synthetic, folder = synthetic_of(names), str(tmp_path / "made")
    with_card = "---\nconfigs:\n- {config_name: default, data_files: [{split: train, path: [metadata.csv, '*/*.png']}]}"
    export.image_folder(synthetic, folder, f"{with_card}\n---\n", about=("Toys", "mit"))
    wanted = sorted(
        zip((names[label] for label in synthetic.labels.tolist()), [each.tobytes() for each in _pixels(synthetic)])
    )
    for path, more in ((folder, {}), ("imagefolder", {"data_dir": folder})):
        parts = datasets.load_dataset(path, **more, cache_dir=str(tmp_path / f"cache of {len(more)}"))
        assert list(parts) == ["train"]
        found = ((row["label"], np.asarray(row["image"]).tobytes()) for row in parts["train"])
        assert sorted(found) == wanted


def test_soft_labels_beside_a_folder_that_hugging_face_read(tmp_path):
    datasets = hugging_face()
    soft = torch.randn(16, 2, generator=torch.Generator().manual_seed(1)).softmax(1)
    images = torch.randn(4, 1, 8, 10, generator=torch.Generator().manual_seed(0))
    made = dataclasses.replace(synthetic_of(("cat", "dog"), channels=1), images=images, formations=2, soft_labels=soft)
    export.image_folder(made, tmp_path / "made", about=("Toys", "mit"))
    where = {"data_dir": str(tmp_path / "made"), "cache_dir": str(tmp_path / "cache")}
    rows = datasets.load_dataset("imagefolder", split="train", **where)
    table = pd.read_csv(tmp_path / "made/soft_labels.csv", index_col="file_name")
    paths = [Path(row["image"]["path"]) for row in rows.cast_column("image", datasets.Image(decode=False))]
    found = table.loc[[f"{path.parent.name}/{path.name}" for path in paths]].to_numpy()
    wanted = {pixels.tobytes(): label for pixels, label in zip(_pixels(made.decoded), soft.numpy())}
    assert len(rows) == len(wanted) == 16
    for row, label in zip(rows, found):
        np.testing.assert_allclose(label, wanted[np.asarray(row["image"]).tobytes()], rtol=1e-5)


def _pixels(synthetic):
    return synthetic.to_uint8().permute(0, 2, 3, 1).numpy()


def test_croissant_is_read_by_its_own_library(tmp_path):
    library = pytest.importorskip("mlcroissant", reason="large, and of no other use here: pip install mlcroissant")
    export.image_folder(synthetic_of(("cat", "dog")), tmp_path / "images", "card", about=("Toys", "mit"))
    held = library.Dataset(jsonld=str(tmp_path / "images/croissant.json"))
    labels = [(row["labels/file_name"], row["labels/label"]) for row in held.records("labels")]
    assert (b"cat/000.png", b"cat") in labels and len(labels) == len(list(held.records("pictures"))) == 4


def test_an_npz_is_replaced_only_by_force(tmp_path):
    written = export.npz_file(synthetic_of(("cat", "dog")), tmp_path / "a.npz")
    assert [p.name for p in written] == ["a.npz", "a-train.py"]
    assert export.npz_file(synthetic_of(("cat", "dog")), tmp_path / "a.npz") == []
    with pytest.raises(RddError, match="--force"):
        export.npz_file(synthetic_of(("cat", "cow")), tmp_path / "a.npz")
    export.npz_file(synthetic_of(("cat", "cow")), tmp_path / "a.npz", force=True)
    with pytest.raises(RddError, match=r"call it a\.npz"):
        export.npz_file(synthetic_of(("cat", "cow")), tmp_path / "a.npy")


def test_croissant_says_which_file_holds_what(tmp_path):
    export.image_folder(synthetic_of(("cat", "dog")), tmp_path / "images", "card", about=("Toys ", "mit"))
    told = json.loads((tmp_path / "images/croissant.json").read_text("utf-8"))
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.0" and told["license"] == "mit"
    files = {each["@id"]: each for each in told["distribution"]}
    table = (tmp_path / "images/metadata.csv").read_bytes()
    assert files["metadata.csv"]["sha256"] == hashlib.sha256(table).hexdigest()
    shown = sorted((tmp_path / "images").glob(files["images"]["includes"]))
    assert len(shown) == 4
    columns = {f["source"]["extract"]["column"] for f in told["recordSet"][0]["field"]}
    assert columns == set(pd.read_csv(tmp_path / "images/metadata.csv").columns)


def test_torchvision_reads_it(tmp_path):
    synthetic = synthetic_of()
    export.image_folder(synthetic, tmp_path, "# A card\n")
    held = torchvision().datasets.ImageFolder(str(tmp_path))
    folders = export.class_folders(NASTY)
    assert sorted(held.classes) == sorted(folders) and len(held) == 2 * len(NASTY)
    seen = dict.fromkeys(folders, 0)
    for picture, label in held:  # sorted by folder and number, so the images of a class come in their order
        name = held.classes[label]
        mine = synthetic.to_uint8()[synthetic.labels == folders.index(name)][seen[name]]
        assert torch.equal(torch.from_numpy(np.array(picture)).permute(2, 0, 1), mine)
        seen[name] += 1


def test_one_table_serves_hugging_face_and_us(tmp_path):
    export.image_folder(synthetic_of(("cat/dog", "bird")), tmp_path)
    table = pd.read_csv(tmp_path / "metadata.csv")
    assert list(table.columns) == ["file_name", "label"], "Hugging Face asks for file_name"
    assert table.values.tolist()[:2] == [["cat_dog/000.png", "cat/dog"], ["bird/000.png", "bird"]]
    assert all((tmp_path / name).is_file() for name in table["file_name"])


def test_the_folder_is_data_to_distil_again(tmp_path):
    export.image_folder(synthetic_of(("cat", "dog"), ipc=5), tmp_path / "images")
    splits = rdd.load(f"folder:{tmp_path / 'images'}")
    assert splits.train.class_names == ("cat", "dog") and (len(splits.train), len(splits.test)) == (8, 2)


def test_a_column_is_called_filename_or_file_name_but_not_both(tmp_path):
    export.image_folder(synthetic_of(("cat", "dog")), tmp_path)
    table = (tmp_path / "metadata.csv").read_text()
    (tmp_path / "metadata.csv").write_text(
        "\n".join(f"{line},x" for line in table.splitlines()).replace("l,x", "l,filename")
    )
    with pytest.raises(RddError, match=r"unknown column 'file_name'.*did you mean 'filename'"):
        read_folder(f"folder:{tmp_path}")


@given(st.lists(st.text(max_size=90), min_size=1, max_size=8, unique=True))
def test_folders_of_classes_are_safe_and_different(names):
    folders = export.class_folders(names)
    assert len({folder.casefold() for folder in folders}) == len(names) == len(folders)
    for folder in folders:
        assert folder and not set(folder) & set('/\\:*?"<>|\0\n') and len(folder.encode()) < 255
        assert folder[0] not in ". " and folder[-1] not in ". "
        assert folder.partition(".")[0].casefold() not in export.RESERVED


@pytest.mark.parametrize("name", ["train", "Test", "my-test", "test 1", "val.old", "dev_set", "testing9"])
def test_a_folder_is_not_taken_for_a_split(name):
    (folder,) = export.class_folders([name])
    assert folder != name and name.split("-")[-1].lower()[:3] in folder.lower()
    assert export.class_folders(["contest", "trainer", "devil", "valley"]) == ("contest", "trainer", "devil", "valley")


def test_rounding_tells_what_8_bits_lose():
    synthetic = synthetic_of(wide=1.0)
    exact = (synthetic.images.double() + 0.5) * 255
    lost = export.rounding(synthetic)
    assert lost.largest == pytest.approx(float((exact - exact.round().clamp(0, 255)).abs().max()), abs=2e-3)
    assert lost.clipped == pytest.approx(float(((exact.round() < 0) | (exact.round() > 255)).double().mean()), abs=1e-3)
    narrow = export.rounding(synthetic_of(wide=0.01))
    assert narrow.clipped == 0 and 0.4 < narrow.largest <= 0.5


def test_the_same_set_gives_the_same_bytes_and_completes_what_was_cut_short(tmp_path):
    synthetic = synthetic_of(("cat", "dog"))
    written = export.image_folder(synthetic, tmp_path / "a", "card")
    export.image_folder(synthetic, tmp_path / "b", "card")
    assert files(tmp_path / "a") == files(tmp_path / "b") and len(written) == 6
    (tmp_path / "a" / "dog" / "001.png").unlink()
    (tmp_path / "a" / "metadata.csv").unlink()
    again = export.image_folder(synthetic, tmp_path / "a", "card")
    assert [path.name for path in again] == ["001.png", "metadata.csv"] and files(tmp_path / "a") == files(
        tmp_path / "b"
    )


def test_no_file_of_anybody_is_mixed_in_or_replaced(tmp_path):
    export.image_folder(synthetic_of(("cat", "dog"), ipc=3), tmp_path, "card")
    before = files(tmp_path)
    with pytest.raises(RddError, match=r"holds other files \(cat.002.png\).*new folder"):
        export.image_folder(synthetic_of(("cat", "dog"), ipc=2), tmp_path, "card", force=True)
    with pytest.raises(RddError, match=r"README.md is there and differs.*--force"):
        export.image_folder(synthetic_of(("cat", "dog"), ipc=3), tmp_path, "another card")
    assert files(tmp_path) == before
    export.image_folder(synthetic_of(("cat", "dog"), ipc=3), tmp_path, "another card", force=True)
    assert (tmp_path / "README.md").read_text() == "another card"


def test_two_channels_are_no_png(tmp_path):
    with pytest.raises(RddError, match="2 channels cannot be PNG"):
        export.image_folder(synthetic_of(("cat",), channels=2), tmp_path)


def test_a_tensor_dataset_is_normalised(tmp_path):
    synthetic = synthetic_of(("cat", "dog"))
    image, label = synthetic.as_tensor_dataset()[3]
    assert torch.equal(image, synthetic.images[3]) and int(label) == int(synthetic.labels[3])
    batch, labels = next(iter(torch.utils.data.DataLoader(synthetic.as_tensor_dataset(), batch_size=4)))
    assert batch.dtype == torch.float32 and labels.tolist() == [0, 1, 0, 1]


# ------------------------------------------------------------------------------------------------------------- numbers


def test_accuracies_are_tidy_and_those_of_the_scores(tmp_path):
    run = run_at(tmp_path / "mine")
    assert main(["export", str(run.path), "--csv", str(tmp_path / "t.csv")]) == 0
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["partition"].tolist() == ["all", *["group"] * 3] and set(table["run"]) == {"mine"}
    scores = rdd.Scores.load(run.path / "scores.npz")
    for row in table[1:].to_dict("records"):
        there = scores.groups == scores.group_names.index(row["group"])
        assert row["n"] == there.sum() and row["accuracy"] == pytest.approx(scores.correct[:, there].mean())
        assert row["low_simultaneous"] <= row["low"] < row["accuracy"] < row["high"] <= row["high_simultaneous"]
    by_class = export.group_tables(rdd.Scores.load(run_at(tmp_path / "b", groups=False).path / "scores.npz"))
    assert list(by_class) == ["all", "class"]


# --------------------------------------------------------------------------------------------------------- TensorBoard


def test_without_tensorboard_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    run = run_at(tmp_path / "run")
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as where it is not installed
    command = ["export", str(run.path), "--tensorboard", str(tmp_path / "tb"), "--png", str(tmp_path / "png")]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "pip install tensorboard" in told
    assert not (tmp_path / "tb").exists() and not (tmp_path / "png").exists(), "and writes nothing before it knows"


def test_tensorboard_reads_history_images_and_accuracies(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed; it is large, so it is an extra: pip install '.[tensorboard]'",
    )
    run = run_at(tmp_path / "run")
    for _ in range(2):
        assert main(["export", str(run.path), "--tensorboard", str(tmp_path / "tb" / "run")]) == 0
    (file,) = (tmp_path / "tb" / "run").iterdir()
    events = reader.EventAccumulator(str(tmp_path / "tb" / "run"))
    events.Reload()
    loss = events.Scalars("history/loss")
    assert [(e.step, e.value, e.wall_time) for e in loss] == [(1, 3.0, 0.5), (2, 1.5, 1.0), (3, 1.0, 1.5)]
    scores = rdd.Scores.load(run.path / "scores.npz")
    (dusk,) = events.Scalars("accuracy/group/dusk")
    assert dusk.step == 3 and dusk.value == pytest.approx(scores.correct[:, scores.groups == 1].mean())
    (low,), (high,) = (events.Scalars(f"{end}/all/all") for end in ("low", "high"))
    assert low.value < scores.accuracy.mean() < high.value
    (grid,) = events.Images("synthetic")
    assert (grid.height, grid.width) == (2 * 6, 2 * 8)
    assert events.Tags()["tensors"] == ["config/text_summary"]
    assert str(tmp_path).encode() not in file.read_bytes()


def test_the_grid_has_a_row_for_each_class():
    synthetic = synthetic_of(("cat", "dog"))
    grid, pixels = export._grid(synthetic), synthetic.to_uint8()
    assert grid.shape == (3, 12, 16)
    assert torch.equal(grid[:, :6, 8:], pixels[2]) and torch.equal(grid[:, 6:, :8], pixels[1])


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_writes_what_is_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_at("run")
    assert main(["export", "run", "--png", "a/images", "--card", "b/CARD.md", "--csv", "t.csv"]) == 0
    said = capsys.readouterr().out
    assert "4 images in a/images, rounded to 8 bits" in said and "4 rows of accuracies in t.csv" in said
    assert "fill in what it leaves open" in said and "b/CARD.md" in said
    assert sorted(files("a/images")) == [
        "README.md",
        "cat/000.png",
        "cat/001.png",
        "croissant.json",
        "dog/000.png",
        "dog/001.png",
        "learn.py",
        "metadata.csv",
    ]
    about = json.loads(Path("a/images/croissant.json").read_text("utf-8"))
    assert about["name"] == "digits, distilled to 2 images a class" and f"license: {about['license']}\n" in Path(
        "b/CARD.md"
    ).read_text("utf-8")
    assert main(["export", "run", "--npz", "a/run.npz"]) == 0
    assert "trained on by: python a/run-train.py" in capsys.readouterr().out
    assert "configs:" in Path("a/images/README.md").read_text() and "configs:" not in Path("b/CARD.md").read_text()
    assert main(["export", "run", "--png", "a/images", "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert (held["run"], held["png"]) == ("run", "a/images") and held["largest"] >= 0.4


def test_an_edited_card_is_kept_unless_forced(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_at("run")
    Path("CARD.md").write_text("I filled it in")
    assert main(["export", "run", "--card", "CARD.md"]) == 2
    assert "CARD.md is there and differs" in capsys.readouterr().err
    assert Path("CARD.md").read_text() == "I filled it in"
    assert main(["export", "run", "--card", "CARD.md", "--force"]) == 0
    assert Path("CARD.md").read_text().startswith("---\n")
