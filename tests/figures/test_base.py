import io
import json

import numpy as np
import PIL.Image
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


@pytest.mark.parametrize("inches", [3, 9.5])
def test_show_gives_an_inch_its_pixels_and_keeps_colours(monkeypatch, inches):
    """Median cuts gave a title in the majority's blue some other blue, where images had most of the 256 colours."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *objects: shown.extend(objects))
    figure = figures.Figure(figsize=(inches, 2), layout="constrained")
    left, right = figure.subplots(1, 2)
    figures.image_sheet(left, np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), np.uint8), 3)
    right.set_facecolor(figures.BLUE)
    figures.show(figure, "The caption.", alt="what is to be seen")
    picture = PIL.Image.open(io.BytesIO(shown[0].data)).convert("RGB")
    assert shown[0].width / picture.width == pytest.approx(figures.PIXELS_PER_INCH / 100, abs=0.01)
    colours = {colour for _, colour in picture.getcolors(100_000)}
    for wanted in ((255, 255, 255), (0, 114, 178)):
        assert min(max(abs(a - b) for a, b in zip(wanted, colour)) for colour in colours) <= 4


def test_words_stand_under_the_images_they_are_about():
    axes = figures.Figure().subplots()
    figures.captioned_sheet(axes, np.zeros((5, 1, 10, 10), np.uint8), 3, list("abcde"), margin=0.5)
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places == {"a": (5, 10), "b": (17, 10), "c": (29, 10), "d": (5, 27), "e": (17, 27)}
    canvas = np.asarray(axes.images[0].get_array())
    assert canvas.shape == (32, 34, 3) and (canvas[10:17] == 255).all() and (canvas[17:27, :10] == 0).all()
