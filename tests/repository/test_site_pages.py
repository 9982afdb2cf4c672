"""What the site adds to its sources: links to the glossary, the tail's numbers, the closing page, the sheet."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rdd_nb.models import risk

pytest.importorskip("myst_nb", reason="Sphinx is not installed (make docs)")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import closing_page  # noqa: E402
import glossary_links  # noqa: E402
import tail_page  # noqa: E402
from docutils import nodes  # noqa: E402
from docutils.utils import new_document  # noqa: E402

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def outputs(notebook):
    """All of a committed notebook's Markdown outputs."""
    cells = json.loads(text_of(f"notebooks/{notebook}.ipynb"))["cells"]
    data = [out["data"] for cell in cells for out in cell.get("outputs", []) if "data" in out]
    return ["".join(told["text/markdown"]) for told in data if "text/markdown" in told]


# -------------------------------------------------------------------------------------------------------- the glossary


def page(*children):
    document = new_document("page")
    document += children
    return document


def paragraph(*children):
    made = nodes.paragraph()
    made += [nodes.Text(child) if isinstance(child, str) else child for child in children]
    return made


def link(tree, *words):
    told = {word: glossary_links.Word(f"term-{word}", f"Means {word}.", glossary_links.pattern(word)) for word in words}
    count = glossary_links.link_words(tree, told, lambda word: f"glossary.html#{word.place}")
    links = [node for node in tree.findall(nodes.reference) if "glossary-word" in node["classes"]]
    assert count == len(links)
    return links


def test_the_first_use_of_each_word_is_linked_and_the_text_stays():
    tree = page(paragraph("A Tail, and one more tail; two minorities."), paragraph("The minority and its tail."))
    before = tree.astext()
    links = link(tree, "tail", "minority")
    assert [node.astext() for node in links] == ["Tail", "minorities"]
    assert [node["refuri"] for node in links] == ["glossary.html#term-tail", "glossary.html#term-minority"]
    assert [node["reftitle"] for node in links] == ["Means tail.", "Means minority."]
    assert tree.astext() == before


def test_code_formulas_headings_tables_solutions_and_links_are_left_alone():
    title = nodes.title("", "The tail")
    section = nodes.section("", title)
    elsewhere = nodes.reference("", "the tail", refuri="elsewhere.html")
    cell = nodes.container("", paragraph("a tail"), classes=["cell", "tag_solution"])
    table = nodes.table("", nodes.tgroup("", nodes.tbody("", nodes.row("", nodes.entry("", paragraph("tail"))))))
    apart = [nodes.literal_block("", "tail = 1"), nodes.math_block("", "tail"), nodes.raw("", "tail", format="html")]
    inline = [
        nodes.literal("", "tail"),
        nodes.math("", "tail"),
        elsewhere,
        nodes.strong("", "", nodes.literal("", "tail")),
    ]
    tree = page(section, cell, table, *apart, paragraph(*inline))
    before = tree.pformat()
    assert link(tree, "tail") == [] and tree.pformat() == before
    tree += paragraph("So the ", nodes.emphasis("", "tail"), " it is.")
    assert [node.parent.tagname for node in link(tree, "tail")] == ["emphasis"]


def test_parts_of_words_and_other_meanings_are_no_uses():
    tree = page(paragraph("group-balanced, subgroup, ipcs, data.group, tailor; KL, ari; a real network; inner maximum"))
    found = link(tree, "group", "ipc", "tail", "KL divergence", "ARI", "real", "inner")
    assert [node.astext() for node in found] == ["ipcs", "KL"]
    assert [n.astext() for n in link(page(paragraph("real and synthetic")), "real", "synthetic")] == [
        "real",
        "synthetic",
    ]


def test_the_longest_word_wins_and_the_shorter_one_waits():
    tree = page(paragraph("Discovered groups, then a group."))
    assert [node.astext() for node in link(tree, "group", "discovered groups")] == ["Discovered groups", "group"]


def test_no_rule_speaks_of_a_word_that_the_glossary_lacks():
    entries = re.findall(r"^(\w[\w ,-]*)$", text_of("docs/glossary.md").partition("```{glossary}")[2], re.MULTILINE)
    words = {word for entry in entries for word in entry.split(", ")}
    assert set(glossary_links.FORMS) | set(glossary_links.OTHERWISE) <= words


# ------------------------------------------------------------------------------------------------------------ the tail


def test_the_tails_numbers_are_those_of_the_committed_notebook():
    """`make notebooks` writes both, on one machine."""
    told = [text.strip("*") for text in outputs("01_risk_and_robustness") if text.startswith("*The worst ")]
    assert len(told) == 4
    for text in told:
        percent = int(re.match(r"The worst (\d+)%", text)[1])
        assert tail_page.said(percent) == text.replace("the curve on the right", "the curve")


def test_the_embedded_numbers_are_right():
    data, table = tail_page.data(), pd.read_csv(ROOT / "docs" / "tail_losses.csv")
    losses = table["loss"].sort_values(ascending=False).to_numpy()
    assert np.array_equal(losses, data["losses"]) and data["mean"] == pytest.approx(table["loss"].mean())
    names = [data["names"][int(digit)] for digit in data["groups"]]
    assert names == table["group"].tolist() and len(data["states"]) == 100
    count, off = len(losses), np.array(names) == "off-colour"
    place = data["names"].index("off-colour")
    assert data["shares"][place] == pytest.approx(off.mean())
    for percent, state in enumerate(data["states"], start=1):
        whole = percent * count // 100  # 2,000 losses: each per cent is 20 of them
        threshold = losses[whole - 1]
        above, alike = losses > threshold, losses == threshold  # equal losses at the threshold share what is left
        weights = above + alike * (whole - above.sum()) / alike.sum()
        assert state["tail"] == percent / 100 and state["inside"] == above.sum() + alike.sum()
        assert state["cvar"] == pytest.approx(losses[:whole].mean())
        assert state["threshold"] == threshold
        share = (weights * off).sum() / whole
        assert state["shares"][place] == pytest.approx(share) and sum(state["shares"]) == pytest.approx(1)
        curve = risk.rockafellar_uryasev(tail_page.explorer()._losses, state["tail"], tail_page.explorer()._losses)
        assert curve.min().item() == pytest.approx(state["cvar"])


def test_what_the_tails_page_says_in_words_holds():
    data = tail_page.data()
    rare = data["names"].index("off-colour")
    assert 1 / 10 < data["shares"][rare] < 1 / 8, "one in nine"
    assert 7.5 < (1 - data["shares"][rare]) / data["shares"][rare] < 9, "eight times as frequent"
    assert abs(data["states"][19]["shares"][rare] - 0.5) < 0.05, "near 20 % there are as many of both"
    assert data["states"][0]["inside"] == 20, "twenty images"


# ----------------------------------------------------------------------------------------------------- the closing page


def test_the_closing_page_quotes_every_notebook():
    text = text_of("docs/after.md")
    asked = dict(re.findall(r"```\{found\} (\S+): (.*)", text))
    assert list(asked) == NOTEBOOKS
    for notebook, verbs in asked.items():
        held = closing_page.summary(notebook)
        assert set(verbs.split(", ")) <= set(held)
        everything = "\n".join(outputs(notebook))
        assert all(held[verb] in everything for verb in verbs.split(", "))
        title = json.loads(text_of(f"notebooks/{notebook}.ipynb"))["cells"][0]["source"]
        assert f": {''.join(title).splitlines()[0].removeprefix('# ')}\n" in text, "the notebook's own question"


def test_the_closing_page_types_no_result():
    prose = re.sub(r"```\{.*?^```", "", text_of("docs/after.md"), flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"\[.*?\]\(.*?\)|`.*?`|95 % intervals|notebook 0\d|run 00", "", prose, flags=re.IGNORECASE)
    assert not re.findall(r"\d", prose)


def test_the_table_of_real_sets_says_what_was_measured():
    table = pd.read_csv(ROOT / "data" / "results" / "real.csv")
    rows = {name: rest for name, *rest in closing_page.real_sets()}
    robust = table[table["method"] == "robust"]
    assert set(rows) == set(robust["set"])
    for name, (raised, accuracy, _) in rows.items():
        mine = robust[robust["set"] == name]
        assert raised == f"{sum('Raised' in said for said in mine['found'])} of {len(mine)}"
        plain = table[(table["set"] == name) & (table["method"] == "plain")].set_index("seed")["accuracy"]
        gain = (mine.set_index("seed")["accuracy"] - plain).dropna().mean()
        assert float(accuracy.split()[0].replace("−", "-")) == pytest.approx(gain, abs=0.051)
        if raised.startswith("0 of"):
            assert accuracy.startswith("0.0"), "nothing raised is plain distillation"
    assert sum(raised.startswith("0 of") for raised, *_ in rows.values()) >= 2, "the page says: often"


# ------------------------------------------------------------------------------------------------------------ the sheet


def plan(text):
    """Minutes and place of each step."""
    rows = re.findall(r"^\| (\d+) \| .*? \| ([^|]*) \|(?: [^|]* \|)?$", text, re.MULTILINE)
    return [(int(minutes), place.partition(";")[0].strip()) for minutes, place in rows]


def test_the_sheet_is_the_plan_of_the_notebooks_readme():
    theirs = text_of("notebooks/README.md").partition("**In 90 minutes")[2].partition("**In three sessions")[0]
    ours = plan(text_of("docs/how-to/sheet.md"))
    assert ours == plan(theirs) and sum(minutes for minutes, _ in ours) == 90
