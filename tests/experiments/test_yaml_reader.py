"""YAML as people write it: the right values, and one line with the line's number for whatever could be misread."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.experiments import yaml_reader
from rdd_nb.experiments.yaml_reader import read, read_text

texts = st.text(st.characters(max_codepoint=0x24F, exclude_categories=["Cc"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | texts
scalars |= st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


def alike(a, b):
    """Equal, and of the same types."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and a == b


@settings(max_examples=150, deadline=None)
@given(values)
def test_json_is_read_as_json(value):
    text = json.dumps(value, ensure_ascii=False)
    try:
        found = read_text(text, "here")
    except RddError as error:  # of floats, JSON writes up to 17 digits and the exponent's
        assert "more than 18 digits" in str(error)
        return
    assert alike(found, json.loads(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tail: 5e-4", {"tail": 0.0005}),
        ("a: 1E+3", {"a": 1000.0}),
        ("a: [on, off, yes, no, y, n]", {"a": ["on", "off", "yes", "no", "y", "n"]}),
        ("on: 1", {"on": 1}),
        ("a: [true, False, null, ~]", {"a": [True, False, None, None]}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: '010'", {"a": "010"}),
        ("a: [0, -0, +5, 1., -.5]", {"a": [0, 0, 5, 1.0, -0.5]}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("", None),
        ("# nothing", None),
    ],
)
def test_plain_values(text, value):
    found = read_text(text, "here")
    assert alike(found, value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [010, 020]", 2, "010 is easily misread"),
        ("run_dir: 2024_01", 1, "2024_01 is easily misread"),
        ("a: 0x1F", 1, "easily misread"),
        ("a: 0o17", 1, "easily misread"),
        ("d: 2024-01-01", 1, "would be a date"),
        ("&a [*a]", 1, "deeper than 32"),
        ("a: 1\nb: 2\na: 3", 3, "'a' stands there twice"),
        ("product: {tail: [1]}\nproduct: {ipc: [1]}", 2, "'product' stands there twice"),
        ("1: 2", 1, "the key 1 is a whole number"),
        ("true: 2", 1, "the key True is a boolean"),
        ("? [a]\n: b", 1, "the key ['a'] is a list"),
        ("a: .inf", 1, "not finite"),
        ("a: 1e999", 1, "not finite"),
        ("a: .nan", 1, "not finite"),
        ("a: " + "9" * 5000, 1, "more than 18 digits"),
        ("a: !!binary aGk=", 1, "tag"),
        ("!!set {a, b}", 1, "tag"),
        ("- !python/object/apply:os.system [echo]", 1, "tag"),
        ("<<: {a: 1}", 1, "tag"),
        ("%YAML 1.1\n---\na: on", 3, "easily misread"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: b: c", 1, "not YAML"),
        ("[" * 100 + "]" * 100, 1, "deeper than 32"),
    ],
)
def test_what_is_refused_names_its_line(text, line, words):
    with pytest.raises(RddError) as caught:
        read_text(text, "grid.yaml")
    said = str(caught.value)
    assert said.startswith("grid.yaml") and f"line {line}:" in said and words in said and "\n" not in said


def test_bounds_on_depth_size_and_number_hold(monkeypatch):
    monkeypatch.setattr(yaml_reader, "NODES", 5_000)  # what is one too many is read first, a second for every 20,000
    laughs = "a0: &a0 [x]\n" + "".join(f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 10)}]\n" for k in range(9))
    for text in (laughs, "[" * 200_000, "a: " + "x" * 2_000_000, "[" + "1," * (yaml_reader.NODES + 1) + "]"):
        with pytest.raises(RddError) as caught:
            read_text(text, "bomb")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab01.-:[]{},&*!|>%?#'\"\n \té\x00", max_size=40))
def test_any_text_is_a_value_or_one_line(text):
    try:
        json.dumps(read_text(text, "fuzz"))
    except RddError as error:
        assert "\n" not in str(error)


def test_files(tmp_path):
    with pytest.raises(RddError, match="cannot read the grid"):
        read(tmp_path / "none.yaml", "grid")
    with pytest.raises(RddError, match="no regular file"):
        read(tmp_path, "grid")
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    with pytest.raises(RddError, match="UTF-8"):
        read(tmp_path / "x.yaml", "grid")
    (tmp_path / "x.yaml").write_bytes("\ufeffa: é".encode())
    assert read(tmp_path / "x.yaml", "grid") == {"a": "é"}
