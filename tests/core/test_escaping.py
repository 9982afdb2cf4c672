"""Names of strangers stay names: a Markdown renderer, a CSV reader and a terminal see what was written."""

import csv
import io
import unicodedata

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rdd_nb.core.escaping import code_block, csv_text, from_csv, markdown, terminal

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    *("<script>alert(1)</script>", "<b>", "<!-- x", "![x](http://a.org/p.png)", "[a](javascript:b)", "<http://a.org>"),
    *(
        "# head",
        "1. one",
        "12) two",
        "- a",
        "+ a",
        "* a",
        "> q",
        "---",
        "===",
        "a\n---",
        "```\ncode",
        "`` ` ``",
        "~~a~~",
    ),
    *("a | b", "a\\", "\\|", "&lt;b&gt;", "&#60;", "*a*", "_a_", "__a__", "a_b_", "a_b", "$x$", "a #", "a ##", "    b"),
    *("www.a.org", "http://a.org", "a@b.org", "ثوب", "🦓", "%d", "{{ x }}", "\u202egnp", "\x1b[2J", "\ttab", "[x]: /y"),
]
PIECES = st.sampled_from([*"$*_`~!#<>[](){}|\\&;:/.-+=@\"'^%,01a é\t\n", "www.", "http://", "<b>", "![", "](", "1. "])
#: Where a text stands in a document, with what a renderer says of it.
PLACES = {
    "a heading": ("# {0}\n", "{0}"),
    "a paragraph": ("{0}\n", "{0}"),
    "below a line": ("x\n{0}\n", "x\n{0}"),
    "a point of a list": ("- {0}\n", "{0}"),
    "inside a sentence": ("the {0}, {0}: y\n", "the {0}, {0}: y"),
    "a table": ("| a | {0} |\n|---|---|\n| {0} | b |\n", "a|{0}|{0}|b"),
}


def read(text):
    """The words of a document, if it is made of paragraphs, headings, lists and tables with nothing else in them."""
    words = []
    for token in RENDERER.parse(text):
        assert token.type not in ("html_block", "fence", "code_block", "hr"), token
        if token.type == "inline":
            assert {part.type for part in token.children} <= {"text", "text_special", "softbreak"}, token.children
            words.append("".join("\n" if p.type == "softbreak" else p.content for p in token.children))
    return "|".join(words)


def seen(text):
    return unicodedata.normalize("NFC", terminal(" ".join(text.split())))


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", PLACES)
def test_a_renderer_shows_the_name(name, place):
    written, wanted = PLACES[place]
    assert read(written.format(markdown(name))) == wanted.format(seen(name))


@given(st.lists(PIECES, min_size=1, max_size=9).map("".join).filter(str.strip), st.sampled_from(sorted(PLACES)))
@settings(max_examples=400, deadline=None)
def test_whatever_the_name(name, place):
    written, wanted = PLACES[place]
    assert read(written.format(markdown(name))) == wanted.format(seen(name))


@pytest.mark.parametrize(
    "name", ["batch_real", "red (dark)", "0.5 [0.4, 0.6]", "-3", "T-shirt/top", "what? why!", "Größe 12"]
)
def test_what_means_nothing_stays_readable(name):
    assert markdown(name) == name


@pytest.mark.parametrize("text", ["a", "```", "a\n````b\n```\n# c", "<b>"])
def test_a_block_of_code_ends_where_it_ends(text):
    (token,) = RENDERER.parse(code_block(text))
    assert token.type == "fence" and token.content == text + "\n" and not token.info


def test_a_table_as_csv_computes_nothing_and_reads_back():
    names = [
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "'=1",
        "-3",
        "a,b",
        'a"b',
        "a\nb",
    ]
    table = pd.DataFrame({"group": names, "=n": range(len(names))})
    rows = list(csv.reader(io.StringIO(csv_text(table), newline="")))
    assert rows[0] == ["group", "'=n"]
    for row, name in zip(rows[1:], names, strict=True):
        assert from_csv(row[0]) == name
        assert row[0] == "-3" or row[0][0] not in "=+-@\t\r"


def test_a_terminal_is_not_moved():
    assert terminal("a\x1b[2J\r\u202eb\ud800\x9b") == r"a\x1b[2J\r\u202eb\ud800\x9b"
    assert terminal("a\tb\nc ثوب 🦓") == "a\tb\nc ثوب 🦓"
