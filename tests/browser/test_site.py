"""The site in a real browser: the tail explorer without a kernel, no page cut on a phone, and the sheet on one A4."""

import contextlib
import io
import json
import re
from pathlib import Path

import chromium
import numpy as np
import pytest
from conftest import SHOTS

from rdd_nb.course.widgets.tail import TailExplorer

pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[browser]'")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(chromium.find() is None, reason="needs Chromium")]

ROOT = Path(__file__).parents[2]
PHONE = {"width": 390, "height": 844}
#: Of what is seen and runs beyond the right edge, all that does not scroll in a box of its own.
CUT = """() => {
  const width = document.documentElement.clientWidth, cut = [];
  const boxed = (element) => {
    for (let e = element; e && e !== document.body; e = e.parentElement) {
      const scrolls = ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
      if (scrolls) return e.getBoundingClientRect().right <= width + 1;
    }
    return false;
  };
  for (const e of document.querySelectorAll(".bd-article *")) {
    const place = e.getBoundingClientRect();
    if (place.width && place.right > width + 1 && !e.closest("mjx-assistive-mml") && !boxed(e)) {
      cut.push(`${e.tagName} ${(e.textContent || "").trim().slice(0, 60)}`);
    }
  }
  return [document.documentElement.scrollWidth, width, cut];
}"""
SET = "() => !window.MathJax || !MathJax.startup?.promise || MathJax.startup.promise.then(() => true)"


@contextlib.contextmanager
def opened(browser, path, **options):
    """A page that has set its formulas; every address that it fetches must be a file of the site."""
    with contextlib.closing(browser.new_context(**options)) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        asked, broken = [], []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(path.as_uri(), wait_until="load")
        if options.get("java_script_enabled", True):
            page.wait_for_function(SET, timeout=60_000)
        yield page
        assert not broken and all(re.match("file:|data:|blob:", address) for address in asked), (broken, asked)


def explorer():
    """The Python explorer on the committed losses, read here by other means than the site's."""
    rows = [line.split(",") for line in (ROOT / "docs" / "tail_losses.csv").read_text(encoding="utf-8").split()[1:]]
    return TailExplorer(np.array([float(loss) for loss, _ in rows]), groups=[group for _, group in rows])


# ------------------------------------------------------------------------------------------------------------ the tail


def test_the_tail_moves_without_a_kernel_and_says_what_python_says(site, browser):
    ours = explorer()
    with opened(browser, site / "docs" / "tail.html", viewport={"width": 1280, "height": 1100}) as page:
        said, value, slider = page.locator("#tail-said"), page.locator("#tail-value"), page.locator("#tail-slider")

        def is_at(percent):
            state = ours.compute(tail=percent / 100)
            words = ours.describe(state).replace("the curve on the right", "the curve")
            assert (value.inner_text(), said.inner_text()) == (f"{percent}\N{NO-BREAK SPACE}%", words)
            assert slider.get_attribute("aria-valuetext") == f"{percent}\N{NO-BREAK SPACE}%"
            assert page.locator("#tail-minimum").inner_text() == f"{state.cvar:.3g} at η = {state.threshold:.3g}"
            bars = [float(bar.get_attribute("width")) for bar in page.locator("#tail-shares rect").all()]
            rare = state.group_names.index("off-colour")
            drawn = [bars[1] / bars[0], bars[3] / bars[2]]
            assert drawn == pytest.approx([state.shares[rare], state.tail_shares[rare]], abs=1e-6)
            return page.locator("#tail-losses").inner_html(), page.locator("#tail-curve").inner_html()

        pictures = [is_at(20)]
        assert not page.locator("#tail-without").is_visible()
        slider.focus()
        for key, percent in (("ArrowLeft", 19), ("Home", 1), ("ArrowRight", 2), ("End", 100), ("PageDown", 90)):
            page.keyboard.press(key)
            pictures.append(is_at(percent))
        assert len(set(pictures)) == len(pictures), "each tail has its own pictures"
        box = slider.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        is_at(int(value.inner_text().split()[0]))
        assert 48 <= int(value.inner_text().split()[0]) <= 53, "a mouse moves it, too"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tail_is_readable_on_a_phone(site, browser, scheme):
    with opened(browser, site / "docs" / "tail.html", viewport=PHONE, is_mobile=True, color_scheme=scheme) as page:
        sizes = page.evaluate(
            """() => [...document.querySelectorAll(".tail-explorer text")].map((text) =>
            parseFloat(getComputedStyle(text).fontSize) * text.getCTM().a)"""
        )
        assert len(sizes) > 15 and min(sizes) >= 12, "9 pt, at the size shown"
        texts = page.locator(".tail-explorer text").all()
        places = [text.bounding_box() for text in texts]
        assert all(p["x"] >= 0 and p["x"] + p["width"] <= PHONE["width"] for p in places), "none is cut"
        assert page.locator("#tail-slider").bounding_box()["height"] >= 40, "a finger can hold it"
        page.locator("#tail-curve").scroll_into_view_if_needed()
        control, curve = (page.locator(f"#tail-{name}").bounding_box() for name in ("slider", "curve"))
        assert 0 <= control["y"] < curve["y"] + curve["height"] <= PHONE["height"] + 1, "seen beside each picture"
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SHOTS / f"site_tail_{scheme}.png"))


def test_without_javascript_a_table_has_the_numbers(site, browser):
    ours = explorer()
    with opened(browser, site / "docs" / "tail.html", java_script_enabled=False) as page:
        assert not page.locator("#tail-explorer").is_visible()
        assert page.get_by_text("The slider needs JavaScript").is_visible()
        rows = [row.inner_text().split("\t") for row in page.locator(".tail-table tbody tr").all()]
    assert [int(row[0].rstrip("\N{NO-BREAK SPACE}%")) for row in rows] == [100, 50, 20, 10, 5, 2, 1]
    for tail, cvar, threshold, weight, share in rows:
        percent = int(tail.rstrip("\N{NO-BREAK SPACE}%"))
        state = ours.compute(tail=percent / 100)
        assert (cvar, threshold) == (f"{state.cvar:.3g}", f"{state.threshold:.3g}")
        assert float(weight) == pytest.approx(100 / percent, rel=0.01)
        rare = state.tail_shares[state.group_names.index("off-colour")]
        assert float(share.rstrip("\N{NO-BREAK SPACE}%")) == pytest.approx(100 * rare, abs=0.51)


# --------------------------------------------------------------------------------------------------------- all pages


def test_no_page_is_cut_on_a_phone(site, browser):
    pages = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    assert len(pages) > 35
    wrong, formulas = [], 0
    for path in pages:
        with opened(browser, path, viewport=PHONE, is_mobile=True) as page:
            wide, width, cut = page.evaluate(CUT)
            formulas += page.locator("mjx-container[display='true']").count()
            if wide > width or cut:
                wrong.append((path.relative_to(site).as_posix(), wide, cut[:3]))
    assert not wrong
    assert formulas > 30, "the formulas were set, so their widths mean something"


def test_what_is_wide_scrolls_in_a_box_of_its_own(site, browser):
    scrolls = """(element) => { element.scrollLeft = 50;
        return [element.scrollWidth > element.clientWidth, element.scrollLeft > 0]; }"""
    wide = {
        "notebooks/01_risk_and_robustness.html": "mjx-container[display='true']",
        "docs/study.html": ".pst-scrollable-table-container",
    }
    for name, box in wide.items():
        with opened(browser, site / name, viewport=PHONE, is_mobile=True) as page:
            told = [element.evaluate(scrolls) for element in page.locator(box).all()]
            assert [True, True] in told and [True, False] not in told, name


def test_explorers_are_pictures_on_the_site(site, browser):
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tags = [cell["metadata"].get("tags", []) for cell in cells]
        explorers = sum("widget" in mine for mine in tags)
        if not explorers:
            continue
        with opened(browser, site / "notebooks" / f"{path.stem}.html", viewport=PHONE, is_mobile=True) as page:
            pictures = page.locator(".tag_static img")
            assert pictures.count() >= explorers
            for picture in pictures.all():
                picture.scroll_into_view_if_needed()
                place = picture.bounding_box()
                assert 250 < place["width"] <= PHONE["width"] - place["x"] and place["height"] > 100
            assert page.get_by_text("In a live notebook the explorer stands here").count() == explorers
            assert page.get_by_role("link", name="Move the tail").count() == path.stem.startswith("01")


# ------------------------------------------------------------------------------------------------------------ on paper


def test_the_sheet_fills_one_page_of_paper(site, browser):
    pypdf = pytest.importorskip("pypdf")
    with opened(browser, site / "docs" / "how-to" / "sheet.html") as page:
        printed = page.pdf(prefer_css_page_size=True)
    pages = pypdf.PdfReader(io.BytesIO(printed)).pages
    assert len(pages) == 1
    assert [float(side) for side in pages[0].mediabox[2:]] == pytest.approx([595, 842], abs=1), "A4"
    text = pages[0].extract_text()
    assert "Ninety minutes" in text and "I would have to know" in text
    assert "Print this page" not in text and "Search" not in text and "Previous" not in text, "the sheet alone"
