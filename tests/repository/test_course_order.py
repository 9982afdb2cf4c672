"""Whoever reads the course in the order of its numbers never needs a later notebook; and all questions have answers."""

import itertools
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NUMBERS = [path.name[:2] for path in NOTEBOOKS]
MENTION = re.compile(r"\(\.{0,2}/?(?:notebooks/)?(0\d)_\w+\.ipynb\)|[Nn]otebooks? (0\d)")

#: Where a notebook speaks of a later one, with the words that say what for: to read more, not to understand.
AHEAD = {
    ("00", "02"): {"shows how"},
    ("00", "01"): {"builds such risks step by step"},
    ("03", "06"): {"how to read the results"},
    ("04", "07"): {"measures this for repeats"},
}

#: The terms that a notebook explains, or the page before the first ("before"); none that comes sooner uses them.
EXPLAINED = {
    "before": "[Ss]oftmax, logits, nats?, k-means, held-out, features?, p-value, density ratio, Kullback",
    "00": "spurious correlation, bias-conflicting, generalised cross-entropy, learnability, [Mm]edoids?",
    "01": "conditional value at risk, ambiguity set, group DRO, linear programme, large deviations",
    "02": "Voronoi, coresets?, [Pp]urity, adjusted Rand, minority mass, [Cc]ross-fitting",
    "03": "Jacobian, [Gg]radient matching, [Tt]rajectory matching, experts?, momentum",
    "04": "Cluster-min, exchangeable, F-test, validation set, interaction, Sealed",
    "05": "McNemar, Holm, family-wise, simultaneously, bootstrap, equal opportunity, equalised odds, calibrated, ECE, "
    "Spearman, confusion matrix, [Ww]orst-group accuracy, Recall",
    "06": "full factorial, Pareto, analysis of variance, difference of differences, interaction plot",
    "07": "zero-padding, zero-padded",
    "08": "mutual information, AMI, leakage",
}


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def told(path, last=False):
    """What a notebook says in running text, computed paragraphs too; without its last cell, which looks ahead."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells if last else cells[:-1]:
        if cell["cell_type"] == "markdown":
            yield "".join(cell["source"])
        for output in cell.get("outputs", []):
            yield "".join(output.get("data", {}).get("text/markdown", ""))


def mentioned(text):
    """The notebooks that a text names, in its order."""
    return [next(filter(None, found)) for found in MENTION.findall(text)]


def words(text):
    """A text without the addresses of its links."""
    return re.sub(r"\]\([^)]*\)", "]", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_needs_none_that_comes_later(path):
    row = next(line for text in told(path) for line in text.splitlines() if line.startswith("| Before this |"))
    assert all(other < path.name[:2] for other in mentioned(row)), row


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_where_it_points_ahead_there_is_more_and_nothing_needed(path):
    number, seen = path.name[:2], []
    for sentence in itertools.chain.from_iterable(re.split(r"(?<=[.!?])\s+", text) for text in told(path)):
        for other in mentioned(sentence):
            if other > number:
                purposes = [purpose for purpose in AHEAD.get((number, other), ()) if purpose in sentence]
                assert len(purposes) == 1, f"{number} needs {other}? {sentence}"
                seen.append((number, other, *purposes))
    assert set(seen) == {(here, there, why) for (here, there), all_ in AHEAD.items() if here == number for why in all_}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_next_goes_forward(path):
    last = list(told(path, last=True))[-1]
    assert last.startswith("**Next**")
    first = re.search(r"\]\(([^)]+)\)", last)[1]
    number = NUMBERS.index(path.name[:2])
    assert first == (NOTEBOOKS[number + 1].name if number + 1 < len(NOTEBOOKS) else "../docs/after.md")


def test_every_page_tells_the_same_order():
    sidebar = text_of("docs/index.md").partition(":caption: The course")[2].partition("```")[0]
    assert re.findall(r"/notebooks/(0\d)_", sidebar) == NUMBERS
    pages = [line.rpartition("<")[2].rstrip(">") for line in sidebar.split("\n") if "<" in line]
    assert pages.index("before") < pages.index("../notebooks/00_quickstart") and pages[-1] == "after"
    assert re.findall(r"^\| \[(0\d)_", text_of("notebooks/README.md"), re.MULTILINE) == NUMBERS
    assert re.findall(r"^### \[(0\d)\]", text_of("docs/after.md"), re.MULTILINE) == NUMBERS


def test_every_way_through_keeps_to_the_order():
    ways = text_of("docs/before.md").partition("| you are … | read |")[2]
    rows = [line for line in ways.splitlines() if line.startswith("| a ") or line.startswith("| curious")]
    assert len(rows) == 6
    for row in rows:
        said = re.findall(r"(?<![\w/])(0[0-8])(?![\w])", row)
        assert said == sorted(said) and (said or "teacher" in row), row


@pytest.mark.parametrize("home", EXPLAINED)
def test_no_term_is_used_before_it_is_explained(home):
    texts = {path.name[:2]: words(" ".join(told(path))) for path in NOTEBOOKS} | {"before": text_of("docs/before.md")}
    sooner = [number for number in NUMBERS if home != "before" and number < home]
    for term in EXPLAINED[home].split(", "):
        use = re.compile(rf"(?<!\w){term}(?!\w)")
        assert use.search(texts[home]), f"{home} does not explain {term}"
        assert not [number for number in sooner if use.search(texts[number])], f"{term} waits for {home}"


def test_every_question_to_think_about_is_answered_on_the_teachers_page_alone():
    page = text_of("docs/how-to/answers.md")
    answers = dict(re.findall(r"^## (0\d): .*?\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    assert list(answers) == NUMBERS
    for path in NOTEBOOKS:
        texts = [text for text in told(path) if "uestions to think about.**" in text]
        asked = [int(number) for text in texts for number in re.findall(r"\((\d)\) ", text.partition("about.**")[2])]
        assert asked == list(range(1, len(asked) + 1)) and len(asked) >= 3
        assert asked == [int(number) for number in re.findall(r"^(\d)\. \*", answers[path.name[:2]], re.MULTILINE)]
        assert not any("<details>" in text for text in texts), "not in the students' notebooks"
