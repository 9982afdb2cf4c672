import json

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from rdd_nb import figures
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation.scores import Scores


def data(minority=True):
    images = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 2
    flags = (torch.arange(40) % 10 < 2) if minority else None
    return ImageDataset(images, labels, ("a", "b"), (0.5,), (0.3,), minority=flags, name="toy")


def scores(right):
    """``right`` bool [nets, N]; the first half of the samples is the majority."""
    right = np.asarray(right)
    n = right.shape[1]
    return Scores(
        predictions=np.where(right, 0, 1).astype(np.int16),
        losses=np.zeros(right.shape, np.float32),
        confidence=np.ones(right.shape, np.float32),
        labels=np.zeros(n, np.int64),
        class_names=("a", "b"),
        minority=np.arange(n) >= n // 2,
        minority_names=("many", "few"),
    )


def test_training_sheet_frames_every_minority_image_it_shows():
    figure = figures.training_sheet(data(), columns=20)  # all 20 images of each class
    frames = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert len(frames) == 8
    assert "20%" in figure.axes[0].get_title()
    with pytest.raises(RddError, match="names no minority"):
        figures.training_sheet(data(minority=False))


def test_the_canvas_holds_every_pixel_where_it_belongs():
    images = np.arange(3 * 3 * 2 * 2, dtype=np.uint8).reshape(3, 3, 2, 2)
    canvas = figures._canvas(images, columns=2)
    assert canvas.shape == (6, 6, 3)
    assert (canvas[:2, :2] == images[0].transpose(1, 2, 0)).all()
    assert (canvas[:2, 4:] == images[1].transpose(1, 2, 0)).all()
    assert (canvas[4:, :2] == images[2].transpose(1, 2, 0)).all()
    assert (canvas[4:, 4:] == 255).all()  # no fourth image


def test_synthetic_sheets_have_a_panel_for_each_set():
    s = SyntheticSet(torch.zeros(4, 1, 6, 6), torch.tensor([0, 0, 1, 1]), ("a", "b"), (0.5,), (0.3,), ipc=2)
    figure = figures.synthetic_sheets({"plain": s, "robust": s})
    assert [axes.get_title() for axes in figure.axes] == ["plain", "robust"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_served_draws_each_side_where_its_accuracy_is():
    right = np.ones((3, 40), bool)
    right[:, 20:30] = False  # majority 100 %, minority 50 %
    figure = figures.group_accuracy({"plain": scores(right), "robust": scores(~right)})
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["plain", "robust"]
    drawn = [container.lines[0].get_xdata()[0] for container in axes.containers]
    np.testing.assert_allclose(drawn, [100, 50, 0, 50])
    assert axes.get_legend_handles_labels()[1] == ["many", "few"]
    assert axes.get_xlabel() and figure.get_suptitle()


def test_show_puts_out_a_picture_with_alternative_text_and_a_caption(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *objects: shown.extend(objects))
    right = np.ones((2, 8), bool)
    figures.show(figures.group_accuracy({"x": scores(right)}), "The caption.", alt="what is to be seen")
    picture, caption = shown
    assert picture.data[:4] == b"\x89PNG"
    assert "what is to be seen" in json.dumps(picture._repr_mimebundle_()[1])
    assert caption.data == "*The caption.*"
