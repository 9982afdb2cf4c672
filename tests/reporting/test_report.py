import base64
import dataclasses
import html
import http.server
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import rdd_nb as rdd
from rdd_nb.clustering import Benefit, Trial
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.decoders import Latents
from rdd_nb.data.validation import Finding
from rdd_nb.evaluation import subgroups
from rdd_nb.figures import report_figures
from rdd_nb.figures.report_figures import agreement, counts, leaks, reach, sheet, shortened
from rdd_nb.models.autoencoder import untrained_decoder
from rdd_nb.reporting import layout, rendering, report

NASTY = ("<script>alert(1)</script>", "$\\frac{x}$ & co", 'a "quoted" name')
MACHINE = {"processor": "AMD", "device": "cpu", "cores": 2, "threads": 1, "torch": "2", "date": "2026-01-02"}
SAID = "Raised: <i>colour</i> (3 groups), strength 1. " + "On held-out images that changed the accuracy. " * 4
TRIALS = [
    Trial(f"a view called <b>{view}</b> (10 groups)", f"strength {strength}", Benefit(view, 0, 0.5), final, kept=False)
    for view, strength, final in [(8, 0.4, False), (9, 0.8, False), (2, 0.5, True), (4, 1, True), (5, 0.8, False)] * 3
]


def scores_of(labels, groups=None, nets=2, group_names=("red", "blue"), right=0.7, seed=0, classes=NASTY):
    draw = np.random.default_rng(seed)
    shape = (nets, len(labels))
    said = np.where(draw.random(shape) < right, labels, (labels + 1) % len(classes)).astype(np.int16)
    ones = np.ones(shape, np.float32)
    names = () if groups is None else group_names
    return rdd.Scores(said, ones, ones, labels, tuple(classes), groups, names)


def synthetic_of(classes=NASTY, ipc=3):
    images = torch.randn(ipc * len(classes), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(classes)).repeat_interleave(ipc)
    return rdd.SyntheticSet(images, labels, tuple(classes), (0.5,), (0.25,), ipc=ipc)


def run_at(path, scores, classes=NASTY, source=None, ipc=3, evaluated=True):
    """A run folder as `rdd-nb distill` and `rdd-nb evaluate` leave it, but for the length of the work."""
    config = rdd.DistillConfig(ipc=ipc, objective="robust", width=8, seed=4).model_dump(mode="json")
    groups = {"source": "probabilities", "num_groups": 5, "digest": "0"}
    said = {"distill": config, "data": {"name": "made <b>data</b>", "groups": groups}, "source": source or {}}
    folder = rdd.RunFolder(path).create(said)
    folder.save_synthetic(synthetic_of(classes, ipc))
    protocol = {"network": "convnet", "width": 8, "epochs": 3}
    evaluation = {"profile": "quick", "protocol": protocol, "nets": 2, "seed": 7, "machine": MACHINE}
    told = {"groups": {"said": SAID, "trials": [trial.row() for trial in TRIALS]}}
    folder.write_metrics(told | ({"evaluation": evaluation} if evaluated else {"machine": MACHINE}))
    scores.save(folder.path / "scores.npz")
    return folder


LABELS = np.arange(240) % 3
GROUPS = (np.arange(240) // 3) % 2


@pytest.fixture
def run(tmp_path):
    return run_at(tmp_path / "run", scores_of(LABELS, GROUPS), source={"data": "folder:pets", "size": 32})


@pytest.fixture
def printer():
    """Who reads what WeasyPrint wrote; without either there is nothing to look at."""
    try:
        rendering.pdf("<p>text")
    except RddError as error:
        pytest.skip(str(error))
    return pytest.importorskip("pypdf", reason="needs pypdf: pip install pypdf")


FINDINGS = (Finding("error", "1 image <i>bad</i>", "a&b.png", "mend it"), Finding("note", "few", "red", "add"))


class Page(HTMLParser):
    """The tags, the texts of table rows, and whether every tag that is opened is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.rows, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# --------------------------------------------------------------------------------------------------------- what is said


def test_the_table_is_that_of_the_statistics(run):
    page = report.of_run(run)
    (table,) = page.tables.values()
    assert table["block"].tolist() == ["all", "group", "group"]
    expected = subgroups.group_table(rdd.Scores.load(run.path / "scores.npz"), "group")
    pd.testing.assert_frame_equal(
        table[table["block"] == "group"].drop(columns="block").reset_index(drop=True), expected
    )
    assert page.counts["test"].tolist() == [[40, 40]] * 3
    row = table.iloc[1]
    told = f"{100 * row.accuracy:.0f} [{100 * row.low_simultaneous:.0f}, {100 * row.high_simultaneous:.0f}]"
    assert ["red", "120", told] in Page(layout.html(page)).rows


def test_the_command_repeats_the_run(run):
    first, second = report.of_run(run).command.splitlines()
    assert first == ("rdd-nb distill --data folder:pets --size 32 --ipc 3 --width 8 --seed 4 --out runs/run")
    assert second == "rdd-nb evaluate runs/run --profile quick --nets 2 --seed 7 --data folder:pets"
    assert report.of_run(run, command="make it").command == "make it"


def test_a_run_that_does_not_say_how_it_was_made(tmp_path):
    folder = run_at(tmp_path / "run", scores_of(LABELS, GROUPS), evaluated=False)
    page = report.of_run(folder)
    assert page.command == "" and "does not say how it was made" in layout.html(page)
    assert page.settings["judged by"] == "2 networks"


def test_settings_name_groups_and_protocol(run):
    said = report.of_run(run, name="ours").settings
    assert said["groups"] == "5 a class, from probabilities" and said["seed"] == "4"
    assert said["judged by"] == "2 networks (convnet, width 8, 3 epochs)"


def test_it_says_which_groups_were_raised_and_why(run, tmp_path):
    folder = rdd.RunFolder(run.path)
    trials = [dataclasses.replace(trial, groups=name) for trial, name in zip(TRIALS, "aabbc")]
    folder.write_metrics({**folder.metrics, "groups": {"said": "Raised: b.", "trials": [t.row() for t in trials]}})
    page = report.of_run(folder)
    what = "The best of each candidate, in points: a +4.5 ± 0.5; b +2.0 ± 0.5; c +2.5 ± 0.5."  # of b that which decided
    assert page.discovery == f"Raised: b. {what}" and html.escape(page.discovery) in layout.html(page)
    folder.write_metrics({k: v for k, v in folder.metrics.items() if k != "groups"})
    assert report.of_run(folder).discovery == ""
    folder.write_metrics({**folder.metrics, "groups": {"said": 3}})
    with pytest.raises(RddError, match=r"metrics\.json.*said"):
        report.of_run(folder)


def test_limits_follow_from_the_run(run, tmp_path):
    said = " ".join(report.of_run(run, findings=FINDINGS, limits=["Mine."]).limits)
    assert said.startswith("Mine.") and "found 1 error in the data" in said
    assert "Fewer than" not in said, "both groups have 120 test images"
    few = run_at(tmp_path / "few", scores_of(LABELS, (np.arange(240) < 20).astype(int), nets=1))
    said = " ".join(report.of_run(few).limits)
    assert "blue (20)" in said and "red (" not in said and "One network judged" in said
    none = run_at(tmp_path / "none", scores_of(LABELS))
    page = report.of_run(none)
    assert "No groups are named" in " ".join(page.limits)
    assert page.tables["robust"]["block"].tolist() == ["all", "class", "class", "class"]


def test_training_counts_come_with_the_data(run):
    images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    data = ImageDataset(
        images,
        torch.tensor([0, 0, 0, 1, 1, 2]),
        NASTY,
        (0.5,),
        (0.5,),
        torch.tensor([0, 1, 1, 0, 0, 1]),
        ("red", "blue"),
    )
    page = report.of_run(run, splits=Splits(data, data.subset(torch.arange(3)), "x"))
    assert page.counts["training"].tolist() == [[1, 2], [2, 0], [0, 1]]
    assert [NASTY[0], "1 + 1", "2 + 2"] in Page(layout.html(page)).rows


def test_counts_of_other_groups_than_the_scores_are_refused(run):
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    data = ImageDataset(images, torch.arange(3), NASTY, (0.5,), (0.5,))
    with pytest.raises(RddError, match="other classes or groups"):
        report.of_run(run, splits=Splits(data, data, "x"))


def test_rank_bands_hold_all_ranks_of_most_permutations_at_once():
    scores = scores_of(LABELS, GROUPS, right=0.5)
    low, high = report.rank_bands(scores, GROUPS, draws=2000)
    known = subgroups.minimum_by_groups(scores.correct, {"g": GROUPS}, draws=2000).iloc[0]
    assert low.shape == high.shape == (2,) and (low <= high).all()
    assert low[0] <= known["null_low"] + 0.02 and high[0] >= known["null_high"] - 0.02, "no narrower than for one rank"
    share, draw = scores.correct.mean(0), np.random.default_rng(0)
    ranked = [np.sort(np.bincount(GROUPS, draw.permutation(share)) / np.bincount(GROUPS)) for _ in range(1000)]
    inside = np.mean([((low - 1e-9 <= r) & (r <= high + 1e-9)).all() for r in ranked])
    assert inside > 0.93
    gap = np.where(GROUPS == 1, 2, 0)  # an id without images
    assert report.rank_bands(scores, gap, draws=50)[0].shape == (2,)


# --------------------------------------------------------------------------------------------------------------- files


def test_html_holds_everything_and_escapes_what_users_wrote(run):
    text = layout.html(report.of_run(run, findings=FINDINGS, title="<b>T</b>"))
    page = Page(text)
    assert not page.all("script") and not page.all("link") and not page.all("b") and not page.all("i")
    assert not re.search(r"https?:|@import|url\(", text)
    for name in NASTY:
        assert any(name in row for row in page.rows), "the name stands there, as it is"
    pictures = page.all("img")
    assert len(pictures) == 2
    for picture in pictures:
        assert len(picture["alt"]) > 30
        kind, data = picture["src"].split(",")
        assert kind == "data:image/png;base64" and Image.open(io.BytesIO(base64.b64decode(data))).size[0] > 100
    assert "prefers-color-scheme: dark" in text and "size: A4" in text and '<html lang="en">' in text
    assert [h["scope"] for h in page.all("th")].count("col") == 3 + 3


@pytest.mark.parametrize("kept", ["latents", "formations"])
def test_the_page_says_how_images_are_kept_and_what_that_takes(run, kept):
    plain = run.load_synthetic()
    if kept == "latents":
        decoder = untrained_decoder((1, 8, 8), 2)
        coded = Latents(torch.zeros(len(plain.labels), *decoder.code), decoder)
        made = dataclasses.replace(plain, images=coded.images, latents=coded)
        numbers = len(plain.labels) * 32
        says = f"kept as a code of 32 numbers, {numbers:,} in all, and {numbers + decoder.numbers:,} with the decoder"
    else:
        made, says = dataclasses.replace(plain, formations=2), "each holds 2 × 2 smaller ones"
    run.save_synthetic(made)
    page = layout.html(report.of_run(run))
    assert says in page and "; each" in page
    run.save_synthetic(plain)
    assert "; each" not in layout.html(report.of_run(run))


def test_the_same_report_gives_the_same_bytes(run, tmp_path, printer):
    options = {"findings": FINDINGS, "title": "T"}
    first = report.write(run, tmp_path / "a", **options)
    second = report.write(report.of_run(run, **options), tmp_path / "b.html")
    assert [p.name for p in (*first[:2], *second[:2])] == ["a.html", "a.pdf", "b.html", "b.pdf"]
    assert [p.read_bytes() for p in first[:2]] == [p.read_bytes() for p in second[:2]]
    assert first.said == "a.html and a.pdf were written." and b"CreationDate" not in first.pdf.read_bytes()
    assert str(tmp_path) not in first.html.read_text() and "2026-01-02" in first.html.read_text()


def test_the_pdf_is_one_page_of_text(run, tmp_path, printer):
    page = report.of_run(run, findings=FINDINGS, title="<b>Who</b>?", limits=["{{ 7*7 }}"])
    read = printer.PdfReader(report.write(page, tmp_path / "a").pdf)
    (sheet_of_paper,) = read.pages
    assert [round(float(x)) for x in sheet_of_paper.mediabox[2:]] == [595, 842], "A4"
    text = "".join(sheet_of_paper.extract_text().split())  # lines are broken wherever they are full
    for told in ("<b>Who</b>?", "made <b>data</b>", NASTY[0], "{{ 7*7 }}", "1 image <i>bad</i>", "rdd-nb evaluate"):
        assert told.replace(" ", "") in text
    assert read.metadata.title == "<b>Who</b>?" and len(sheet_of_paper.images) == 2


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise ImportError", "pip install 'rdd-nb[pdf]'"),
        ("print('a page of advice'); raise OSError('cannot load library libpango')", "apt-get install libpango-1.0-0"),
    ],
)
def test_without_weasyprint_there_is_the_html_and_a_word(run, tmp_path, monkeypatch, capsys, module, words):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "weasyprint.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path / "path")
    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(RddError, match=re.escape(words)):
        rendering.pdf("<p>x")
    files = report.write(run, tmp_path / "a")
    assert files.pdf is None and files.html.is_file() and not (tmp_path / "a.pdf").exists()
    assert files.said.startswith("a.html was written, without a PDF: ") and words in files.said
    assert "\n" not in files.said and capsys.readouterr() == ("", "")


def test_a_pdf_leaves_truncated_images_refused(tmp_path, printer):
    """WeasyPrint has Pillow take them in the whole process; data read after a report would be wrong in silence."""
    words = "from PIL import ImageFile; from rdd_nb.reporting import rendering; rendering.pdf('<p>a</p>'); "
    done = subprocess.run(
        [sys.executable, "-c", words + "import sys; sys.exit(int(ImageFile.LOAD_TRUNCATED_IMAGES))"], timeout=300
    )
    assert done.returncode == 0, "a process of its own, as the library may have been imported here already"


def test_a_pdf_fetches_nothing(tmp_path, printer):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    Image.new("RGB", (9, 9)).save(tmp_path / "near.png")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        away = f"http://127.0.0.1:{server.server_port}"
        near = (tmp_path / "near.png").as_uri()
        page = f"""<link rel=stylesheet href="{away}/a.css"><style>@import "{away}/b.css";
            @font-face {{ font-family: x; src: url({away}/x.ttf) }}
            p {{ font-family: x; background: url({near}) }}</style>
            <p>text<img src="{away}/c.png"><img src="{near}"><object data="{near}"></object>"""
        written = rendering.pdf(page)
        server.shutdown()
    assert asked == []
    (sheet_of_paper,) = printer.PdfReader(io.BytesIO(written)).pages
    assert "text" in sheet_of_paper.extract_text() and not sheet_of_paper.images


def test_the_printer_knows_every_line_of_the_style_sheet(run, printer, caplog):
    rendering.pdf(layout.html(report.of_run(run, findings=FINDINGS)))
    assert not [r for r in caplog.records if r.name.startswith("weasyprint") and r.levelname in ("WARNING", "ERROR")]


def test_html_prints_on_one_page_and_asks_for_nothing(run, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[browser]'")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    pages = (report.of_run(run, findings=FINDINGS), crowded(tmp_path / "crowded"))
    asked, printed = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url.split(":")[0]))
        for held in pages:
            (tmp_path / "page.html").write_text(layout.html(held), encoding="utf-8")
            page.goto((tmp_path / "page.html").as_uri())
            printed.append(page.pdf(prefer_css_page_size=True))
        browser.close()
    assert set(asked) <= {"file", "data"}
    assert [len(re.findall(rb"/Type\s*/Page\b", paper)) for paper in printed] == [1, 1]


def test_a_name_with_a_dot_keeps_it(run, tmp_path):
    assert report.write(run, tmp_path / "v1.2").html.name == "v1.2.html"


def crowded(place):
    """A report with more of everything than its page shows."""
    classes = tuple(f"class {k} with a long name that goes on and on" for k in range(30))
    labels = np.arange(900) % 30
    groups, names = np.arange(900) // 30 % 15, tuple(f"group {k}" for k in range(15))
    scores = scores_of(labels, groups, group_names=names, classes=classes)
    findings = [Finding("note", f"number {k}", "there", "mend it") for k in range(9)]
    beside = {"other": scores, "third": scores}
    return report.of_run(run_at(place, scores, classes), findings=findings, beside=beside)


def test_long_tables_are_cut_and_say_so(tmp_path):
    text = layout.html(crowded(tmp_path / "run"))
    assert "and 4 more" in text and "20 more classes and 5 more groups are left out" in text
    assert "6 more rows are left out" in text


def lines_of(page, monkeypatch):
    """Where the lines of text stand on the one page: left, top, right, bottom, text; and the page."""
    import weasyprint

    kept, write_pdf = [], weasyprint.Document.write_pdf
    monkeypatch.setattr(weasyprint.Document, "write_pdf", lambda self, **o: kept.append(self) or write_pdf(self, **o))
    rendering.pdf(page)
    (paper,) = kept[-1].pages
    found = [b for b in paper._page_box.descendants() if type(b).__name__ == "TextBox" and b.text.strip()]
    return [(b.position_x, b.position_y, b.position_x + b.width, b.position_y + b.height, b.text) for b in found], paper


def test_a_full_page_is_one_page_with_no_text_over_another(tmp_path, monkeypatch, printer):
    page = crowded(tmp_path / "run")
    page = dataclasses.replace(
        page, title="long " * 99, data="d" * 300, limits=(*page.limits, "limit " * 60), command="c" * 300
    )
    boxes, paper = lines_of(layout.html(page), monkeypatch)
    assert len(boxes) > 150 and max(b[2] for b in boxes) < paper.width and max(b[3] for b in boxes) < paper.height
    for k, one in enumerate(boxes):
        for other in boxes[k + 1 :]:
            inside = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
            assert min(inside) < 1.5, f"{one[4]} and {other[4]} touch at most"


# ------------------------------------------------------------------------------------------------------- hostile names

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7*7 }} {% raw %} {# & #} $\\frac{ "


def test_hostile_names_are_shown_and_do_nothing_wherever_they_stand(tmp_path):
    def nasty(where):
        return HOSTILE + where

    classes, names = tuple(nasty(f"class {k}") for k in range(3)), (nasty("red"), nasty("blue"))
    few = (np.arange(240) < 20).astype(int)
    scores = scores_of(LABELS, few, group_names=names, classes=classes)
    folder = run_at(tmp_path / "run", scores, classes)
    page = report.of_run(
        folder,
        name=nasty("run"),
        beside={nasty("other"): scores, "l" * 300: scores},
        findings=[Finding("error", nasty("what"), nasty("where"), nasty("mend"))],
        limits=[nasty("limit")],
        title=nasty("title"),
        command=nasty("command"),
    )
    page = dataclasses.replace(
        page,
        data=nasty("data"),
        settings={**page.settings, nasty("setting"): nasty("value")},
        made_on={"processor": nasty("processor"), "torch": nasty("torch"), "date": nasty("date")},
    )
    text = layout.html(page)
    seen = Page(text)
    known = (
        "body div figcaption figure h1 h2 head header html img li main meta p pre section span style table tbody td th"
    )
    assert " ".join(sorted({tag for tag, _ in seen.tags})) == known + " thead title tr ul"
    held = " ".join(sorted({name for _, attributes in seen.tags for name in attributes}))
    assert held == "alt charset class content http-equiv lang name scope src title"
    assert all(img["src"].startswith("data:image/png;base64,") for img in seen.all("img"))
    told = "".join([*seen.texts, *(th.get("title", "") for th in seen.all("th"))])
    for where in ("class 0", "red", "other", "what", "where", "mend", "limit", "title", "command", "processor", "date"):
        assert HOSTILE + where in told, where
    for where, most in {"data": 80, "setting": 40, "value": 80}.items():
        assert shortened(HOSTILE + where, most) in told, where
    assert shortened(HOSTILE + "blue") in told, "who has too few images to tell"


def test_control_characters_are_spelled_out(run):
    """A page in which names turn letters round would not say what stands there; Arabic needs no such characters."""
    page = report.of_run(run, title="a\u202egnp.exe\x00 ثوب", limits=["b\u2066\x1b[2J"])
    text = layout.html(page)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "a\\u202egnp.exe\\x00 ثوب" in text and "b\\u2066\\x1b[2J" in text


def test_a_group_without_test_images_has_a_row_and_a_word(tmp_path):
    scores = scores_of(LABELS, GROUPS, group_names=("red", "blue", "nobody"))
    page = report.of_run(run_at(tmp_path / "run", scores))
    words = "".join(Page(layout.html(page)).texts)
    assert "No test image of nobody: how such images fare is not known." in page.limits
    row = next(t for t in page.tables["robust"].to_dict("records") if t["group"] == "nobody")
    assert row["n"] == 0 and np.isnan(row["accuracy"]) and "nobody" in words and "nan" not in words.lower()


@pytest.mark.parametrize("missing", ["scores.npz", "synthetic.safetensors", "config.json"])
def test_a_run_that_lacks_something_is_refused(run, missing, tmp_path):
    (run.path / missing).unlink()
    with pytest.raises(RddError, match=missing.split(".")[0]):
        report.write(run.path, tmp_path / "report")
    assert not list(tmp_path.glob("report*"))


def test_scores_of_other_images_are_refused(run):
    with pytest.raises(RddError, match="other test images"):
        report.of_run(run, beside={"other": scores_of(LABELS[:9], GROUPS[:9])})


def test_options_come_too_late_for_a_report(run, tmp_path):
    with pytest.raises(RddError, match="title comes too late"):
        report.write(report.of_run(run), tmp_path / "x", title="T")


# ------------------------------------------------------------------------------------------------------------- figures


def texts(axes):
    return [t.get_text() for t in axes.texts]


def counts_figure():
    return counts(
        {"training": np.array([[1200, 0], [3, 40]]), "test": np.array([[1, 2], [3, 4]])}, NASTY[:2], ("a", "b")
    )


def leaks_figure():
    return leaks(np.array([1, 2]), {"x": np.array([0.5, 0.9])}, {"x": 0.6}, 0.1)


def reach_figure():
    n = np.array([1, 10, 100])
    return reach(n, {"one": np.array([0.4, 0.3, 0.1])}, {"$a$": 10, "b": 10, "c": 100}, 0.1)


def agreement_figure():
    return agreement({"bag": np.array([[1.0, 0.0], [0.25, 0.75]])}, {"bag": np.array([30, 4])}, ("a", "b"))


FIGURES = {
    "counts": counts_figure,
    "leaks": leaks_figure,
    "reach": reach_figure,
    "agreement": agreement_figure,
    "sheet": lambda: sheet(synthetic_of()),
}


def test_counts_stand_in_their_cells():
    left, right = counts_figure().axes
    assert texts(left) == ["1,200", "none", "3", "40"] and texts(right) == ["1", "2", "3", "4"]
    assert left.get_title() == "training: 1,243 images"


def test_a_leak_is_drawn_in_per_cent():
    (axes,) = leaks_figure().axes
    assert axes.lines[0].get_ydata().tolist() == [50, 90] and axes.lines[1].get_ydata() == [60]
    assert axes.lines[1].get_markerfacecolor() == "white"


def test_groups_of_one_size_share_a_dot_on_the_curve():
    (axes,) = reach_figure().axes
    dots = [(d.get_xdata()[0], round(float(d.get_ydata()[0]), 6)) for d in axes.lines if d.get_marker() == "o"]
    assert dots == [(10, 30), (100, 10)]
    assert [t for t in texts(axes) if "(" in t] == ["$a$, b (10)", "c (100)"]


def test_bars_are_as_wide_as_groups_are_large():
    (axes,) = agreement_figure().axes
    assert [(b.get_x(), b.get_width(), b.get_height()) for b in axes.patches] == [
        *((0, 30, 100), (30, 4, 25)),
        *((0, 30, 0), (30, 4, 75)),
    ]
    with pytest.raises(RddError, match="7 named groups"):
        agreement({"bag": np.ones((1, 7)) / 7}, {"bag": np.array([3])}, tuple("abcdefg"))


def test_a_sheet_is_cut_to_what_can_be_seen():
    many = tuple(f"c{k}" for k in range(14))
    (axes,) = sheet(synthetic_of(many, ipc=12)).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"c{k}" for k in range(10)]
    assert axes.images[0].get_array().shape == (10 * 10 - 2, 10 * 10 - 2, 3)


@pytest.mark.parametrize("make", FIGURES.values(), ids=list(FIGURES))
def test_figures_can_be_drawn_whatever_the_names(make, tmp_path):
    make().savefig(tmp_path / "figure.png")


def test_every_figure_is_tried():
    assert set(FIGURES) == set(report_figures.__all__)
    assert shortened("x" * 20 + "yyy", 10) == "xxxxxx…yyy" and shortened("y" * 10, 10) == "y" * 10


def test_a_report_is_a_value(run):
    page = report.of_run(run)
    assert dataclasses.replace(page, title="Other?").title == "Other?"
