"""The dataset card: its head is what Hugging Face reads, and its text says what the run says, and no more."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from rdd_nb.core.errors import RddError
from rdd_nb.data import sources
from rdd_nb.evaluation.subgroups import worst_group
from rdd_nb.reporting import card
from rdd_nb.reporting.card import SOURCES, size_category
from rdd_nb.reporting.export import rounding
from tests.core.test_escaping import HOSTILE, seen
from tests.reporting.test_export import rdd, run_at, synthetic_of

# https://huggingface.co/docs/hub/repositories-licenses lists what it takes; these are ours
KNOWN = {"mit", "cc-by-4.0", "cc-by-sa-3.0", "unknown", "other"}


def parts(text):
    """Head and body."""
    empty, head, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert empty == ""
    return yaml.safe_load(head), body


def test_the_head_is_yaml_in_the_form_that_hugging_face_reads(tmp_path):
    run = run_at(tmp_path / "run")
    head, body = parts(card.card(run, with_images=True))
    assert head["license"] == "cc-by-4.0" and head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["image-classification"] and "objective-robust" in head["tags"]
    assert head["pretty_name"] == "digits, distilled to 2 images a class" and f"# {head['pretty_name']}" in body
    (config,) = head["configs"]
    assert config["config_name"] == "default"
    assert config["data_files"] == [{"split": "train", "path": ["metadata.csv", "*/*.png"]}]
    assert "configs" not in parts(card.card(run))[0], "no images beside it"


def test_a_name_with_signs_of_yaml_does_not_break_the_head(tmp_path):
    head, _ = parts(card.card(run_at(tmp_path / "run", source="folder:a: b # 'c'")))
    assert head["pretty_name"].startswith("folder:a: b # 'c', distilled")


@pytest.mark.parametrize(("images", "said"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10_000, "10K<n<100K")])
def test_size_categories(images, said):
    assert size_category(images) == said


def test_the_numbers_are_those_of_the_run(tmp_path):
    run = run_at(tmp_path / "run")
    _, body = parts(card.card(run, with_images=True))
    scores = rdd.Scores.load(run.path / "scores.npz")
    for row in rdd.group_table(scores, by="group").to_dict("records"):
        told = f"| group | {row['group']} | {row['n']} | {100 * row['accuracy']:.1f} % | {100 * row['low']:.1f} – "
        assert told in body
    worst = worst_group(scores)
    assert f"the worst group is {worst.group} with {100 * worst.value:.1f} %" in body
    assert "2 fresh networks (convnet, width 8, 3 epochs)" in body and "240 real test images" in body
    lost = rounding(run.load_synthetic())
    assert f"largest difference is {lost.largest:.3g} of 255 grey levels" in body
    assert "rdd-nb distill --data digits" in body and "| ipc | 2 |" in body
    assert "mean 0.5000 and std 0.2000" in body
    assert "were judged only by such (convnet)" in body and "One distillation, one seed" in body


def test_what_was_not_measured_is_said_to_be_so(tmp_path):
    _, body = parts(card.card(run_at(tmp_path / "run", evaluated=False)))
    assert "Not measured" in body and "have not been judged yet" in body and "is not known" in body
    assert " % |" not in body and "worst" not in body


def test_without_groups_the_worst_is_a_class(tmp_path):
    _, body = parts(card.card(run_at(tmp_path / "run", groups=False)))
    assert re.search(r"the worst class is (cat|dog) with", body) and "No groups are named" in body


def test_every_source_has_terms_and_a_citation():
    own = {name for name in sources.DESCRIPTIONS if ":" in name}  # a reader of the user's PATH: their terms, not ours
    assert set(SOURCES) == set(sources.DESCRIPTIONS) - own
    for origin in (*SOURCES.values(), card.OWN):
        assert origin.licence in KNOWN and origin.terms and origin.citation


@pytest.mark.parametrize(
    ("source", "licence", "words"),
    [
        ("fashion-mnist-sample", "mit", ["MIT licence, copyright 2017 Zalando SE", "1708.07747"]),
        ("digits", "cc-by-4.0", ["CC BY 4.0", "10.24432/C50P49"]),
        ("cifar10", "unknown", ["no licence is stated", "Krizhevsky"]),
        ("svhn", "other", ["non-commercial use only", "Netzer"]),
        ("folder:digits", "unknown", ["that of your images: **fill in**"]),
    ],
)
def test_the_terms_are_those_of_the_source(tmp_path, source, licence, words):
    head, body = parts(card.card(run_at(tmp_path / "run", source=source)))
    assert head["license"] == licence and (licence == "other") == ("license_name" in head)
    for word in (*words, "2402.04676", "2110.04181", "rdd_nb 0.1.0, MIT licence"):
        assert word in body


def test_an_unfinished_run_has_no_card(tmp_path):
    run = run_at(tmp_path / "run")
    (run.path / "metrics.json").unlink()
    with pytest.raises(RddError, match="not complete"):
        card.card(run)


RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def hostile_run(path, name):
    """A run in which ``name`` stands wherever a stranger can write one; its last group has no test image."""
    distill = {**rdd.DistillConfig(ipc=2).model_dump(mode="json"), name: name, "network": name}
    source = {"data": name, "scenario": name, "options": {name: name}}
    run = rdd.RunFolder(path).create({"distill": distill, "data": {"name": name, "groups": None}, "source": source})
    run.save_synthetic(synthetic_of((name, name + "2"), channels=1))
    labels = np.arange(240) % 2
    ones = np.ones((2, 240), np.float32)
    groups = (labels, (name, name + "2", name + "3"))
    scores = rdd.Scores(np.zeros((2, 240), np.int16), ones, ones, labels, (name, name + "2"), *groups)
    scores.save(run.path / "scores.npz")
    protocol = {"network": name, "width": name, "epochs": name}
    evaluation = {"profile": name, "nets": 2, "seed": 0, "protocol": protocol}
    run.write_metrics({"machine": {"rdd_nb": name}, "evaluation": evaluation})
    return run


def shape(text):
    """Kind and level of every part of a document, and its texts; of a fence the text, too."""
    kinds, words = [], []
    for token in RENDERER.parse(text):
        kinds.append((token.type, token.tag, token.level))
        if token.type == "inline":
            kinds += [(part.type, part.attrs.get("href", "")) for part in token.children if part.type != "text_special"]
            words.append("".join(part.content for part in token.children))
        elif token.content:
            words.append(token.content)
    return [kind for kind in kinds if kind[0] != "text"], words


@pytest.mark.parametrize("name", HOSTILE)
def test_names_change_nothing_but_the_words(tmp_path, name):
    """With any names a renderer sees the same headings, links, tables and blocks as with plain ones, and no more."""
    head, body = parts(card.card(hostile_run(tmp_path / "run", name)))
    _, plain = parts(card.card(hostile_run(tmp_path / "plain" / "run", "plainname")))
    kinds, words = shape(body)
    assert kinds == shape(plain)[0]
    assert head["pretty_name"] == seen(f"{name}, distilled to 2 images a class")
    assert [seen(cell) for cell in words].count(seen(name)) >= 4, "two settings and two rows at least"
    assert sum(seen(name) in seen(cell) for cell in words) >= 8, "and in title, text and command"


def test_a_group_without_test_images_is_told(tmp_path):
    _, body = parts(card.card(hostile_run(tmp_path / "run", "red")))
    assert "| group | red3 | 0 | – | – |" in body
    assert "No test image of red3: how such images fare is not known." in body
    assert "the worst group is red2 with 0.0 %" in body
