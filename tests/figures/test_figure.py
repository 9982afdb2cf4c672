"""Every text of a figure is shown as it is, whatever it is called and whatever a matplotlibrc says."""

import ast
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from matplotlib.text import Text

import rdd_nb
from rdd_nb.figures import setting_figures, subgroup_figures
from rdd_nb.figures.figure import PIXELS_PER_INCH, SMALLEST, Figure, legend_name, shortened

HOSTILE = ("$10k_$50k", "C$x_{$", r"\frac{", "%d", "a|b", "<b>", "$", "long " * 40, "🦓", "ثوب", "_hidden", r"$\alpha$")
SURPRISES = {
    "as shipped": {},
    "TeX": {"text.usetex": True},
    "mathtext": {"axes.formatter.use_mathtext": True, "text.parse_math": True},
    "no mathtext": {"text.parse_math": False},
    "SVG": {"svg.fonttype": "none", "savefig.format": "svg", "savefig.bbox": "tight"},
    "locale": {"axes.formatter.use_locale": True, "axes.unicode_minus": False},
}
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # of the zebra, which no font of ours has
surprised = pytest.mark.parametrize("settings", SURPRISES.values(), ids=list(SURPRISES))


def drawn(figure):
    """All texts that are seen, after drawing."""
    figure.savefig(io.BytesIO(), format="png")
    found = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() or text.get_usetex() for text in found)
    return [text.get_text() for text in found]


def lollipops(names):
    table = pd.DataFrame({"group": names, "n": 5, "accuracy": np.linspace(0.1, 0.9, len(names))})
    for end in ("low", "high", "low_simultaneous", "high_simultaneous"):
        table[end] = table["accuracy"]
    band = np.zeros(len(names)), np.ones(len(names))
    return subgroup_figures.lollipops({names[0]: table}, {names[0]: band})


@surprised
def test_names_are_no_formulas(settings):
    with matplotlib.rc_context(settings):
        texts = drawn(lollipops(HOSTILE))
        assert dict(matplotlib.rcParams) | settings == dict(matplotlib.rcParams), "nothing of a user's is changed"
    assert HOSTILE[0] in texts and {f"{shortened(name, 30)} (5)" for name in HOSTILE} <= set(texts)


@surprised
def test_a_formula_is_drawn_letter_by_letter(settings):
    """The picture of ``$x^2$`` is as wide as five letters, and differs from that of x²."""

    def width(text):
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=(4, 1))
            figure.text(0, 0.4, text, fontsize=20)
            file = io.BytesIO()
            figure.savefig(file, format="png", bbox_inches=None)
        ink = np.asarray(PIL.Image.open(file).convert("L")) < 128
        return np.flatnonzero(ink.any(0)).max() - np.flatnonzero(ink.any(0)).min()

    assert width("$x^2$") > 2.5 * width("x²")


@surprised
def test_powers_of_ten_are_in_unicode(settings):
    with matplotlib.rc_context(settings):
        figure = Figure()
        one, two, three = figure.subplots(1, 3)
        one.set(xscale="log", xlim=(1e-3, 1e5), yscale="log", ylim=(2, 9))
        two.plot([0, 1], [1e-9, 2e-9])
        three.set_xscale("log", base=2)
        three.set_xlim(0.25, 4)
        texts = drawn(figure)
    assert {"10⁻³", "10¹", "10⁵", "2×10⁰", "6×10⁰", "2⁻²", "2²"} <= set(texts)
    assert not any(sign in text for text in texts for sign in "$\\{}^")
    assert figure.axes[1].yaxis.get_offset_text().get_text().replace("-", "−") in ("1e−9", "×10⁻⁹")


def sizes_on_the_page(figure):
    """Points that the texts have where an inch of the figure is given PIXELS_PER_INCH, by what they say."""
    seen = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return {text.get_text(): text.get_fontsize() * PIXELS_PER_INCH / 96 for text in seen}


@pytest.mark.parametrize("settings", [{}, {"font.size": 5, "xtick.labelsize": 4, "legend.fontsize": "xx-small"}])
def test_no_text_is_smaller_than_nine_points_on_a_page(settings):
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(9.5, 4), layout="constrained")
        above, below = figure.subfigures(2, 1)
        axes, other = above.subplots(1, 2)
        axes.plot([0, 1], [2, 3], label="a line")
        axes.legend(title="a legend", fontsize=3, title_fontsize=3)
        axes.set_xlabel("x", fontsize=6)
        axes.annotate("a note", (0.5, 2.5), fontsize=4)
        figure.colorbar(other.imshow([[0, 1]]), ax=other).set_label("colours", fontsize=2)
        below.text(0.5, 0.5, "in large", fontsize=30)
        drawn(figure)
    shown = sizes_on_the_page(figure)
    assert {"a line", "a legend", "x", "a note", "colours", "in large", "0.0", "2.0"} <= set(shown)
    assert min(shown.values()) >= 9
    assert shown["in large"] == 30 * PIXELS_PER_INCH / 96, "what is large stays as it is"


def test_a_text_that_grows_is_given_its_space():
    """The sizes are set before the layout is made, or a label of four points would leave no space for one of eleven."""
    figures = [Figure(figsize=(3, 2), layout="constrained") for _ in range(2)]
    for figure, size in zip(figures, (4, SMALLEST)):
        figure.subplots().set_xlabel("a label", fontsize=size)
        figure.savefig(io.BytesIO(), format="png")
    first, second = (figure.axes[0].get_position().bounds for figure in figures)
    np.testing.assert_allclose(first, second)


def test_drawing_again_changes_nothing():
    figure = Figure()
    figure.subplots().set(xscale="log", xlim=(1e-3, 1e5), title="$x$")
    first, second = io.BytesIO(), io.BytesIO()
    figure.savefig(first, format="png")
    figure.savefig(second, format="png")
    assert first.getvalue() == second.getvalue()


def test_threads_leave_the_settings_as_they_were():
    with matplotlib.rc_context({"text.usetex": True}):
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda k: drawn(lollipops(HOSTILE[k % 4 :])), range(16)))
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["text.parse_math"]


def test_what_begins_with_an_underscore_has_its_place_in_a_legend():
    rows = [("accuracy", name, value, 0.5, 0.4, 0.6) for name in ("_hidden", "$seen$") for value in (1, 2, 3)]
    said = pd.DataFrame(rows, columns=["measured", "line", "value", "mean", "low", "high"])
    (legend,) = setting_figures.sensitivity(said, "ipc").legends
    assert [text.get_text().strip("\u200b") for text in legend.texts] == ["_hidden", "$seen$"]
    assert legend_name("a_b") == "a_b"


def test_all_figures_are_of_this_class():
    """A figure of matplotlib's own class would read names as formulas."""
    package = Path(rdd_nb.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "matplotlib.figure" and path.name != "figure.py":
                made = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
                assert not any(getattr(n.func, "id", "") == "Figure" for n in made), path
            if isinstance(node, ast.Import):
                assert not any(name.name == "matplotlib.pyplot" for name in node.names), path
