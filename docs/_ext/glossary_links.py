"""On the course's pages, the first use of each word of the glossary leads to its entry, with the entry as a tooltip.

Only running text is linked: not headings, code, formulas, tables, links, or what a solution's fold holds. The sources
stay as they are, so a notebook in JupyterLab has no links that only the site could follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "docs/glossary"
PAGES = re.compile(r"notebooks/\d\d_\w+|docs/(before|tail|after)")
#: Where a word stands that is not to be linked.
APART = (
    nodes.title,
    nodes.rubric,
    nodes.literal,
    nodes.literal_block,
    nodes.doctest_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.reference,
    nodes.table,
    nodes.caption,
    nodes.term,
    nodes.image,
    addnodes.pending_xref,
    addnodes.toctree,
)
#: Words that are also everyday ones, or have other forms, as patterns; plurals need none.
FORMS = {
    "KL divergence": r"KL(?: divergences?)?|Kullback–Leibler(?: divergences?)?",
    "Wilson interval": r"Wilson(?:'s|’s)?(?: intervals?)?",
    "cell": r"(?<=Voronoi )cells?|cells?(?= of its nearest)",  # not those of a table or a notebook
    "mass": r"(?<=minority )mass|(?<=the )mass(?= of a group)",  # not that of a distribution
    "real": r"[Rr]eal(?= (?:and synthetic|images?|samples?|ones?)\b)",
}
#: Phrases in which a word has another meaning than the glossary's.
OTHERWISE = {
    "feature": r"spurious features?",
    "inner": r"inner maximum",
    "matching": r"(?:Gradient|Distribution) Matching",  # titles of papers
    "partition": r"(?:set|two) partitions",
    "profile": r"we profile",
    "space": r"space to choose",  # the key
    "unit": r"in (?:the )?units? of|active units|its unit",
}


class Word(NamedTuple):
    """A word of the glossary: where it is explained, how, and what it looks like."""

    place: str
    meaning: str
    pattern: re.Pattern[str]


def pattern(word: str) -> re.Pattern[str]:
    """What finds ``word`` in a text: as a whole, also in the plural, a small first letter also as a capital.

    >>> [bool(pattern("minority").search(text)) for text in ("Minorities", "minority-only", "a minority")]
    [True, False, True]
    >>> bool(pattern("ARI").search("an ariad"))
    False
    """
    if word in FORMS:
        form = FORMS[word]
    elif word.endswith("y"):
        form = re.escape(word[:-1]) + "(?:y|ies)"
    else:
        form = re.escape(word) + ("(?:es)?" if word.endswith("s") else "s?")
    if word[:1].islower() and form[:1] == word[:1]:
        form = f"[{word[0]}{word[0].upper()}]{form[1:]}"
    return re.compile(rf"(?<![\w.-])(?:{form})(?![\w-]|\.\w)")


def first_use(text: str, word: str, found: re.Pattern[str], start: int = 0) -> re.Match[str] | None:
    """The first place in ``text`` from ``start`` on where ``word`` means what the glossary says."""
    other = [m.span() for m in re.finditer(OTHERWISE[word], text)] if word in OTHERWISE else []
    matches = found.finditer(text, start)
    return next((m for m in matches if not any(low <= m.start() < high for low, high in other)), None)


def link_words(tree: nodes.document, words: dict[str, Word], address: Callable[[Word], str]) -> int:
    """Link the first use of each of ``words`` in ``tree``; how many links were made.

    Args:
        tree: a page, changed in place.
        words: word → where it is explained, as :func:`words_of` gives.
        address: of a word's entry, as seen from the page.
    """
    waiting = dict(words)
    for node in list(tree.findall(nodes.Text)):
        if _stands_apart(node):
            continue
        text, at, pieces = str(node), 0, list[nodes.Node]()
        while True:
            found = [(m, w) for w, told in waiting.items() if (m := first_use(text, w, told.pattern, at))]
            if not found:
                break
            match, word = min(found, key=lambda pair: (pair[0].start(), -pair[0].end()))  # the longest there
            told = waiting.pop(word)
            link = nodes.reference("", match[0], refuri=address(told), reftitle=told.meaning, internal=True)
            link["classes"].append("glossary-word")
            pieces += [nodes.Text(text[at : match.start()]), link]
            at = match.end()
        if pieces:
            node.parent.replace(node, [piece for piece in (*pieces, nodes.Text(text[at:])) if piece.astext()])
    return len(words) - len(waiting)


def _stands_apart(node: nodes.Node) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, APART) or "tag_solution" in parent.get("classes", ()):
            return True
        parent = parent.parent
    return False


def words_of(glossary: nodes.document) -> dict[str, Word]:
    """Every word of the glossary's page; an entry of several words, such as *real, synthetic*, is each of them."""
    words = {}
    for item in glossary.findall(nodes.definition_list_item):
        entry = next(item.findall(nodes.term))
        meaning = re.split(r"(?<=\.) ", " ".join(next(item.findall(nodes.paragraph)).astext().split()))[0]
        for name in entry.astext().split(", "):
            words[name] = Word(entry["ids"][0], re.sub(r" \([^ ]+\(\)[^()]*\)", "", meaning), pattern(name))
    return words


def link_page(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link the words of one page of the course."""
    if PAGES.fullmatch(page) and GLOSSARY in app.env.found_docs:
        there = app.builder.get_relative_uri(page, GLOSSARY)
        link_words(tree, words_of(app.env.get_doctree(GLOSSARY)), lambda word: f"{there}#{word.place}")


def setup(app: Sphinx) -> dict[str, bool]:
    """After the references of a page are resolved, so that its own links are known as such."""
    app.connect("doctree-resolved", link_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
