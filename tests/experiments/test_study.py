"""Studies, but for their tables: what a study runs, that it resumes and shares, and what its table says."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from rdd_nb import clustering
from rdd_nb.core.errors import RddError
from rdd_nb.data import loading
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.scenarios import noisy
from rdd_nb.data.synthetic_set import SyntheticSet, load_synthetic
from rdd_nb.evaluation import results
from rdd_nb.evaluation.results import differences, load_table, runs_path, summary
from rdd_nb.evaluation.scores import Scores
from rdd_nb.experiments.study import plan
from rdd_nb.experiments.study.plan import load_plan
from rdd_nb.experiments.study.run import run_study
from rdd_nb.experiments.study.tables import collect, write_tables
from rdd_nb.experiments.study.units import state
from rdd_nb.models.protocol import PROFILES, Protocol
from rdd_nb.models.training import train

module = importlib.import_module("rdd_nb.experiments.study.units")
ROOT = Path(__file__).resolve().parents[2]

STYLE = {"space_name": "style", "num_groups": 2}
BASE = {
    "name": "tiny",
    "data": "digits",
    "size": 8,
    "seeds": [0, 1],
    "nets": 2,
    "protocol": {"epochs": 2, "width": 4, "depth": 1},
    "distill": {"ipc": 2, "iterations": 3, "width": 4, "depth": 1, "batch_real": 4, "checkpoint_every": 1},
    "scenarios": {"coloured": {"scenario": "coloured", "bias": 0.8}, "none": {"scenario": "none"}},
    "methods": {
        "random": {"coreset": "random"},
        "plain": {"config": {"objective": "erm"}},
        "robust": {"groups": {"discovered": STYLE}, "config": {"objective": "robust"}},
    },
}


found_before: dict[tuple, clustering.Groups] = {}
discover_groups = clustering.discover_groups


@functools.wraps(discover_groups)
def remembered(data, *arguments, **options):
    """Groups are a function of images and settings, and take longer than all the rest of these small studies."""
    digest = hashlib.sha256(data.images.numpy().tobytes() + data.labels.numpy().tobytes()).hexdigest()
    key = (digest, data.name, arguments, tuple(sorted((name, str(value)) for name, value in options.items())))
    if key not in found_before:
        found_before[key] = discover_groups(data, *arguments, **options)
    return found_before[key]


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clustering, "discover_groups", remembered)
    module._loaded.cache_clear()
    module._prepared.cache_clear()


def write(**changes) -> Path:
    path = Path("study.yaml")
    path.write_text(yaml.safe_dump({**BASE, **changes}, sort_keys=False))
    return path


def read(**changes) -> plan.Plan:
    return load_plan(write(**changes))


def run(held: plan.Plan, out="out", **options):
    outcomes = run_study(held, out, **{"workers": 0, "device": "cpu", **options})
    assert not [o.error for o in outcomes if o.error], [o.error for o in outcomes]
    return [f"{o.unit.scenario}/{o.unit.method}/{o.unit.seed}" for o in outcomes]


def test_soft_labels_of_one_teacher_are_given_to_every_method_that_asks(monkeypatch):
    changes = {"scenarios": {"none": {"scenario": "none"}}, "seeds": [0], "teacher": {"steps": 4, "temperature": 2}}
    methods = {"random": {"coreset": "random"}, "plain": {"config": {"objective": "erm"}}}
    soft = {f"{name}, soft": {**keys, "labels": "soft"} for name, keys in methods.items()}
    held = read(methods={**methods, **soft}, **changes)
    told = [unit.scored.get("teacher") for unit in held.units]
    assert told[:2] == [None, None] and told[2] == told[3]
    assert (told[2]["steps"], told[2]["temperature"]) == (4, 2.0)
    seen = []
    monkeypatch.setattr(module, "train", lambda data, *a, **k: seen.append(data) or train(data, *a, **k))
    run(held)
    sets = [each for each in seen if isinstance(each, SyntheticSet)]
    assert len(seen) == 5 and len(sets) == 4, "one teacher for both"
    assert [each.soft_labels is None for each in sets] == [True, True, False, False]
    assert torch.equal(sets[0].images, sets[2].images) and not torch.equal(sets[2].soft_labels, sets[3].soft_labels)
    scores = [(Path("out/none") / name / "seed0/scores.npz").read_bytes() for name in ("random", "random-soft")]
    assert scores[0] != scores[1]


def birds(folder: str, count: int = 24) -> str:
    """A table of columns that say nothing by their names; the wood is rare among the training images."""
    lines = ["bird,kind,place,light,part"]
    for i in range(count):
        path = Path(folder) / "images" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(i)
        Image.fromarray(draw.integers(0, 120, (8, 8)).astype(np.uint8) + np.uint8(100 * (i % 2))).save(path)
        lines.append(f"images/{i}.png,{i % 2},{'wood' if i % 6 < 2 else 'town'},{i // 2 % 2},{0 if i < 16 else 2}")
    (Path(folder) / "metadata.csv").write_text("\n".join(lines) + "\n")
    return f"table:{folder}"


READING = {"label": "kind", "group": "place", "file": "bird", "split": "part"}


def test_a_study_of_a_table_says_what_its_columns_mean():
    scenarios = {"place": {"scenario": "none"}, "light": {"scenario": "none", "reading": {**READING, "group": "light"}}}
    methods = {name: BASE["methods"][name] for name in ("random", "plain")}
    methods["known"] = {"groups": "known", "config": {"objective": "robust"}}
    changes = {"data": birds("birds"), "reading": READING, "scenarios": scenarios, "methods": methods, "seeds": [0]}
    held = read(**changes)
    assert len(held.units) == 6
    assert [unit.made["reading"]["group"] for unit in held.units] == [["place"]] * 3 + [["light"]] * 3
    run(held)
    told = collect("out", held.units)[0]
    for name, groups in (("place", {"town", "wood"}), ("light", {"0", "1"})):
        mine = told[told["scenario"] == name]
        assert groups <= set(mine["group"].astype(str))
    assert run(read(**changes)) == [], "what is done is done"
    moved = read(**{**changes, "reading": {**READING, "sample": 4}})
    assert {unit.digest for unit in moved.units[:3]}.isdisjoint(unit.digest for unit in held.units[:3])
    assert [unit.digest for unit in moved.units[3:]] == [unit.digest for unit in held.units[3:]]


def test_units_that_say_nothing_of_reading_are_those_of_before():
    assert all("reading" not in unit.made for unit in read().units)
    assert [unit.digest for unit in read(reading={}).units] == [unit.digest for unit in read().units]


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        ({"lable": "y"}, "unknown key 'lable' in reading of scenario 'coloured' of study 'tiny': did you mean 'label'"),
        ({"size": 8}, "size stands beside reading, not in it"),
        ({"label": 3}, "reading of scenario 'coloured' of study 'tiny': label must be a text, not 3"),
        ({"seed": 3}, "unknown key 'seed'"),
        ({"label": "y"}, "digits takes no label, as its labels are known"),
    ],
)
def test_a_reading_that_means_nothing_is_one_line(reading, says):
    with pytest.raises(RddError) as caught:
        read(reading=reading)
    assert says in str(caught.value) and "\n" not in str(caught.value)


# --- the plan -----------------------------------------------------------------------------------------------------


def test_units_are_all_of_the_first_seed_first_with_everything_spelled_out():
    held = read()
    names = [unit.name for unit in held.units]
    assert len(names) == 12 and all(name.endswith("seed0") for name in names[:6])
    assert names[:4] == ["coloured/random/seed0", "coloured/plain/seed0", "coloured/robust/seed0", "none/random/seed0"]
    unit = held.units[2]
    assert unit.made["config"]["tail"] == 0.8 and unit.made["config"]["iterations"] == 3
    assert unit.made["groups"]["kind"] == "discovered"
    assert unit.made["groups"]["arguments"] == STYLE
    assert unit.made["options"] == {"bias": 0.8} and unit.scored["protocol"]["lr"] == Protocol().lr
    json.dumps(unit.settings)


def test_a_profile_and_what_wins_over_it():
    assert read(protocol=None).units[0].scored["protocol"] == PROFILES["quick"].settings
    both = read(profile="smoke", protocol={"epochs": 7}).units[0].scored["protocol"]
    assert both == dataclasses.replace(PROFILES["smoke"], epochs=7).settings


def test_a_grid_makes_a_method_or_scenario_of_each_value():
    held = read(
        seeds=[0],
        scenarios={"r": {"scenario": "rotated-minority", "grid": {"fraction": [0.1, 0.2], "label_noise": [0, 0.1]}}},
        methods={
            "robust": {
                "groups": {"discovered": {"space_name": "style"}},
                "config": {},
                "grid": {"tail": [0.2, 1.0], "num_groups": [2, 5]},
            },
            "random": {"coreset": "random", "grid": {"ipc": [1, 3]}, "scenarios": ["r fraction=0.2 label_noise=0"]},
        },
    )
    names = [f"{u.scenario}/{u.method}" for u in held.units]
    assert len(names) == 4 * 4 + 2
    assert "r fraction=0.1 label_noise=0.1/robust tail=0.2 num_groups=5" in names
    unit = held.units[names.index("r fraction=0.1 label_noise=0.1/robust tail=0.2 num_groups=5")]
    assert unit.made["config"]["tail"] == 0.2 and unit.made["groups"]["arguments"]["num_groups"] == 5
    assert (unit.made["options"], unit.made["label_noise"]) == ({"fraction": 0.1}, 0.1)
    assert [u.made["ipc"] for u in held.units if u.method.startswith("random")] == [1, 3]


def test_methods_and_scenarios_choose_each_other():
    held = read(
        seeds=[0],
        scenarios={
            "a": {"scenario": "coloured"},
            "b": {"scenario": "none", "except": ["random"]},
            "c": {"scenario": "rotated-minority", "methods": ["robust", "plain"]},
        },
        methods={**BASE["methods"], "plain": {"config": {"objective": "erm"}, "except": ["b"]}},
    )
    assert [f"{u.scenario}/{u.method}" for u in held.units] == [
        *("a/random", "a/plain", "a/robust"),
        *("b/robust", "c/plain", "c/robust"),
    ]


def test_methods_that_need_names_are_left_out_where_there_are_none_unless_asked_for():
    oracle = {"groups": "known", "config": {"objective": "group"}}
    dro = {"whole": {"objective": "group-dro"}}
    held = read(seeds=[0], methods={**BASE["methods"], "known": oracle, "dro": dro})
    assert {u.scenario for u in held.units if u.method in ("known", "dro")} == {"coloured"}
    assert len(held.notes) == 2 and "known is left out of none" in held.notes[0]
    with pytest.raises(RddError, match="names no groups"):
        read(methods={"known": {**oracle, "scenarios": ["coloured", "none"]}})


def test_pick():
    held = read()
    assert [u.name for u in held.pick(["none/*"], [1])] == [
        *("none/random/seed1", "none/plain/seed1", "none/robust/seed1"),
    ]
    assert held.pick() == held.units
    with pytest.raises(RddError, match="did you mean 'none/plain'"):
        held.pick(["none/plane"])
    with pytest.raises(RddError, match="has no seed 7"):
        held.pick([], [7])


def test_numbers_as_people_write_them():
    path = write()
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 2\n  weight_decay: 5e-4"))
    assert load_plan(path).units[0].scored["protocol"]["weight_decay"] == 5e-4


def test_the_settings_tell_no_folders(tmp_path):
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    from PIL import Image

    for i, image in enumerate(images):
        target = tmp_path / "secret" / "pets" / ("train", "test")[i % 2] / ("cat", "dog")[i // 2 % 2] / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(target)
    held = read(data=f"folder:{tmp_path}/secret/pets", scenarios={"none": {"scenario": "none"}}, seeds=[0])
    assert len(run(held)) == 3
    for file in Path("out").rglob("*.json"):
        assert "secret" not in file.read_text(), file


def method(**keys):
    return {"methods": {"m": keys}}


def shifted(**keys):
    return {"scenarios": {"s": keys}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": [0]}, "did you mean 'seeds'"),
        ({"seeds": []}, "seeds"),
        ({"seeds": ["0"]}, "seeds.0='0'"),
        ({"seeds": [1, 1]}, "name one twice"),
        ({"nets": 0}, "nets=0"),
        ({"nets": True}, "nets=True"),
        ({"name": "a/b"}, "name='a/b'"),
        ({"name": None}, "name=None"),
        ({"profile": "quik"}, "did you mean 'quick'"),
        ({"protocol": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"protocol": {"epochs": "3"}}, "epochs='3'"),
        ({"protocol": {"augment": 3}}, "protocol"),
        ({"protocol": {"objective": "group-dro"}}, "`whole`"),
        ({"hold_out": 1.0}, "hold_out=1.0"),
        ({"hold_out": 1e-4}, "too few to hold out"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"distill": {"tial": 1}}, "did you mean 'tail'"),
        ({"distill": {"seed": 1}}, "take `seed` out"),
        ({"scenarios": {}}, "scenarios"),
        ({"methods": {}}, "methods"),
        ({"methods": {"m": None}}, "not a mapping"),
        ({"methods": {1: {"coreset": "random"}}}, "the key 1 is a whole number"),
        (shifted(scenario="colored"), "did you mean 'coloured'"),
        (shifted(scenario="coloured", bais=0.9), "did you mean 'bias'"),
        (shifted(scenario="coloured", bias=2), "bias must be a fraction"),
        (shifted(scenario="coloured", label_nose=0.1), "did you mean 'label_noise'"),
        (shifted(scenario="none", label_noise=1.5), "label_noise=1.5"),
        (shifted(scenario="none", grid={"label_noise": [2.0]}), "label_noise=2.0"),
        (shifted(scenario="coloured", grid={"bias": []}), "is empty"),
        (shifted(scenario="coloured", grid={"bias": [0.9, 0.9]}), "names a value twice"),
        (shifted(scenario="coloured", methods=["plane"]), "did you mean 'plain'"),
        (shifted(), "scenario: field required"),
        (method(coreset="herdng"), "did you mean 'herding'"),
        (method(coreset="random", config={}), "coreset and config"),
        (method(groups="known"), "no kind"),
        (method(coreset="random", groups="known"), "groups go with coreset: balanced"),
        (method(coreset="balanced"), "groups go with coreset: balanced"),
        (method(coreset="random", ipc=500), "ipc=500 is more than class"),
        (method(coreset="random", grid={"tail": [1]}), "unknown key of a coreset's grid 'tail'"),
        (method(config={"objective": "ermm"}), "did you mean 'erm'"),
        (method(config={"objective": "group"}), "no groups were given"),
        (method(config={"init": "groups"}), "init=groups spreads"),
        (method(config={}, ipc=3), "ipc beside config"),
        (method(config={}, formations=2), "formations beside config"),
        (method(coreset="random", grid={"formations": [1, 0]}), "formations=0 must be a whole number"),
        (method(coreset="random", grid={"formations": ["2"]}), "formations='2' must be a whole number"),
        (method(coreset="random", grid={"ipc": [1.5]}), "ipc=1.5 must be a whole number"),
        (method(whole={}, labels="soft"), "whole is all images"),
        (method(config={}, labels="fuzzy"), "labels"),
        ({"teacher": {"step": 5}, **method(config={}, labels="soft")}, "did you mean 'steps'"),
        ({"teacher": {"temperature": 0}, **method(config={}, labels="soft")}, "temperature=0 must be a number above 0"),
        (method(config={"formations": 3}), "formations=3 makes parts of 2 × 2"),
        (method(coreset="random", formations=3), "formations=3 makes parts of 2 × 2"),
        (method(coreset="random", grid={"formations": [1, 2], "ipc": [2, 90]}), "ipc=360 is more than class"),
        (method(config={"parameterisation": "latent", "latents": 90}), "latents=90: in the place of one image of"),
        (method(config={"parameterisation": "latent", "ipc": 40}), "ipc=320 is more than class"),
        (method(coreset="random", latents=90), "latents=90: in the place of one image of"),
        (method(coreset="random", latents=4, formations=2), "formations beside latents"),
        (method(coreset="random", ipc=40, grid={"latents": [4]}), "ipc=160 is more than class"),
        (method(coreset="random", grid={"latents": [0]}), "latents=0 must be a whole number"),
        (method(config={}, latents=2), "latents beside config"),
        (method(config={"parameterisation": "latent", "decoder": "none"}), "cannot read the decoder none"),
        (method(config={"tail": 3}), "tail=3"),
        (method(config={}, groups="discoverd"), "did you mean 'discovered'"),
        (method(config={}, groups={"discovered": {"num_group": 3}}), "did you mean 'num_groups'"),
        (method(config={}, groups={"discovered": {"num_groups": "3"}}), "num_groups='3'"),
        (method(config={}, groups={"discovered": {"space_name": "pixel"}}), "did you mean 'pixels'"),
        (method(config={}, groups={"known": {"num_groups": 3}}), "known groups take no arguments"),
        (method(config={}, groups={"known": {}, "shuffled": {}}), "names 2 kinds"),
        (method(whole={"epoch": 5}), "did you mean 'epochs'"),
        (method(whole={"objective": "dro"}), "objective 'dro'"),
        (method(whole={}, groups="known"), "groups beside whole"),
        (method(config={}, scenarios=["colored"]), "did you mean 'coloured'"),
        (method(config={}, scenarios=[]), "scenarios"),
        (method(config={}, **{"except": ["coloured", "none"]}), "nothing to run"),
        ({"methods": {"a b": {"config": {}}, "a-b": {"config": {}}}}, "share a folder"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(changes, says):
    with pytest.raises(RddError) as caught:
        read(**changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir() == ["study.yaml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nname: b\n", "line 2: 'name' stands there twice"),
        ("methods:\n  a: {coreset: random}\n  a: {config: {}}\n", "line 3: 'a' stands there twice"),
        ("name: [\n", "is not YAML"),
        ("- 1\n", "not a mapping"),
        ("", "not a mapping"),
        ("yes: 1\n", "unknown key 'yes'"),
    ],
)
def test_what_is_no_study_is_one_line(text, says):
    Path("a.yaml").write_text(text)
    with pytest.raises(RddError) as caught:
        load_plan("a.yaml")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RddError, match="cannot read the study"):
        load_plan("absent.yaml")


@pytest.mark.parametrize("name", ["quick", "smoke"])
def test_the_shipped_studies_can_be_run(name):
    held = load_plan(ROOT / "data" / "studies" / f"{name}.yaml")
    assert len({unit.name for unit in held.units}) == len(held.units) > 20


# --- what is run --------------------------------------------------------------------------------------------------


def test_label_noise_changes_exactly_so_many_labels_and_nothing_else():
    data = loading.load("digits", size=8).train
    made, again = noisy(data, 0.1, 3), noisy(data, 0.1, 3)
    changed = made.labels != data.labels
    assert int(changed.sum()) == round(len(data) * 0.1) and torch.equal(made.labels, again.labels)
    assert torch.equal(made.images, data.images) and not torch.equal(made.labels, noisy(data, 0.1, 4).labels)
    assert len((made.labels - data.labels)[changed].remainder(10).unique()) == 9, "to each other class"


def test_tables_hold_what_the_nets_said():
    held = read(scenarios={"c": {"scenario": "coloured", "robustness": True}, "n": {"scenario": "none"}}, seeds=[4])
    run(held)
    table, runs, _ = collect("out", held.units)
    assert list(table.columns) == results.COLUMNS and len(runs) == 6
    mine = table[(table["scenario"] == "c") & (table["method"] == "plain")]
    scores = Scores.load("out/c/plain/seed4/scores.npz")
    for partition in ("all", "minority", "group", "class"):
        got = mine[mine["partition"] == partition][["net", "group", "n", "correct"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(got, scores.table(partition))
    clusters = mine[mine["partition"] == "cluster"].assign(share=lambda t: t["correct"] / t["n"])
    special = mine[mine["partition"] == "robustness"]
    assert list(special["group"].unique()) == ["Cluster-min", "Noise", "Blur", "Invert"]
    for net in (0, 1):
        row = special[(special["net"] == net) & (special["group"] == "Cluster-min")].iloc[0]
        assert row["correct"] / row["n"] == clusters[clusters["net"] == net]["share"].min()
    bare = table[table["scenario"] == "n"]
    assert set(bare["partition"]) == {"all", "class"}
    row = runs.set_index(["scenario", "method"]).loc[("c", "robust")]
    assert row["objective"] == "robust" and row["groups"] == "discovered" and row["ipc"] == 2
    assert row["scored_on"] == "test" and len(row["data_digest"]) == 16 and 0 <= row["minority_mass"] <= 1
    for name in ("revision", "date", "device", "processor", "cores", "threads", "torch", "rdd_nb", "python"):
        assert name in runs.columns


def test_the_table_is_the_same_from_worker_processes_also_if_one_is_killed():
    held = read(seeds=[0], methods={**BASE["methods"], "whole": {"whole": {"epochs": 1}}})
    run(held, "one", threads=1)
    said, killed = [], []

    def tell(outcome, done, of, left):
        said.append((done, of, left))
        if done == 7:  # near the end, as all that a killed worker takes down begins anew in new ones
            killed.append(active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    before = dict(os.environ)
    assert len(run(held, "two", workers=2, threads=1, tell=tell)) == 8 and killed
    assert dict(os.environ) == before
    assert [s[:2] for s in said] == [(i, 8) for i in range(1, 9)] and said[-1][2] == 0
    assert {json.loads(p.read_text())["threads"] for p in Path("two").rglob("result.json")} == {1}
    for name in ("one", "two"):
        write_tables(f"{name}.csv", *collect(name, held.units))
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    assert len(load_table("two.csv", runs=True)) == len(load_table("one.csv")) > 100


def test_a_finished_unit_is_not_run_again_and_a_changed_yaml_runs_what_it_touches(monkeypatch):
    assert len(run(read(seeds=[0]))) == 6
    assert run(read(seeds=[0])) == []
    assert run(read(seeds=[0, 1])) == [f"{s}/{m}/1" for s in BASE["scenarios"] for m in BASE["methods"]]
    assert [state(Path("out"), u) for u in read(nets=3).units] == ["changed"] * 12

    # From here on of one seed: what would run says the same of each.
    scenarios = {**BASE["scenarios"], "coloured": {"scenario": "coloured", "bias": 0.7}}
    assert run(read(scenarios=scenarios, seeds=[0])) == [f"coloured/{m}/0" for m in BASE["methods"]]
    robust = {**BASE["methods"]["robust"], "config": {"objective": "robust", "tail": 0.5}}
    changes = {"scenarios": scenarios, "methods": {**BASE["methods"], "robust": robust}}
    left = ["done", "done", "changed", "done", "done", "changed"]
    assert [state(Path("out"), u) for u in read(**changes, seeds=[0]).units] == left
    assert run(read(**changes, seeds=[0])) == [f"{s}/robust/0" for s in scenarios]
    assert load_synthetic("out/none/robust/seed0/synthetic.safetensors").meta["objective"] == "robust"
    assert json.loads(Path("out/none/robust/seed0/config.json").read_text())["distill"]["tail"] == 0.5

    # Scored otherwise, the same images serve: nothing is distilled again.
    kept = Path("out/none/plain/seed0/synthetic.safetensors").stat().st_mtime_ns
    more = read(**changes, seeds=[0], nets=1)
    assert len(run(more)) == 6
    assert Path("out/none/plain/seed0/synthetic.safetensors").stat().st_mtime_ns == kept
    assert set(collect("out", more.units)[0]["net"]) == {0}
    monkeypatch.setattr(plan, "__version__", "99")
    assert {state(Path("out"), u) for u in read(**changes, seeds=[0], nets=1).units} == {"changed"}


def test_a_unit_that_fails_is_told_stops_nobody_and_is_tried_again(monkeypatch):
    held = read(seeds=[0])
    real = module.distill

    def failing(data, config, *arguments, **options):
        if config.objective == "robust" and "coloured" in data.name:
            raise ZeroDivisionError("of two\nlines")
        return real(data, config, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "distill", failing)
        outcomes = run_study(held, "out", workers=0, device="cpu")
    assert [o.error for o in outcomes] == [None, None, "ZeroDivisionError: of two lines", None, None, None]
    said = json.loads(Path("out/coloured/robust/seed0/error.json").read_text())
    assert said["error"] == "ZeroDivisionError: of two lines" and "in run_unit" in said["traceback"]
    assert str(ROOT) not in said["traceback"]
    unit = held.units[2]
    assert state(Path("out"), unit) == "failed"
    assert "robust" not in set(collect("out", [u for u in held.units if u.scenario == "coloured"])[0]["method"])
    assert run(held) == ["coloured/robust/0"]
    assert not Path("out/coloured/robust/seed0/error.json").exists() and state(Path("out"), unit) == "done"


def interrupt(held_path: Path, out: str, checkpoint: Path) -> tuple[int, str]:
    """Start the study in a process of its own; once a checkpoint stands, send it (and it alone) SIGINT, twice."""
    command = [str(Path(sys.executable).with_name("rdd-nb")), "study", str(held_path), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--threads", "1", "--device", "cpu", "--out", out],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` has it ignored
    )
    deadline = time.monotonic() + 600
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # as some shells do
    told = process.communicate(timeout=600)[1]
    return process.returncode, told


def test_interrupted_it_ends_its_workers_and_goes_on_with_the_same_bits():
    """And nothing that lies in the current folder is imported by them."""
    long = {"config": {"objective": "erm", "iterations": 150, "checkpoint_every": 10}}
    changes = {"seeds": [0], "scenarios": {"none": {"scenario": "none"}}}
    path = write(**changes, methods={"random": {"coreset": "random"}, "long": long})
    held = load_plan(path)
    folder = Path("cut/none/long/seed0")
    strange = [Path(f"{name}.py") for name in ("random", "socket", "tempfile", "torch", "numpy")]
    if sys.version_info >= (3, 11):  # Python 3.10 cannot leave the current folder out
        for file in strange:
            file.write_text(f"open({file.stem!r} + '.was-here', 'w')\nraise RuntimeError('mine')\n")
    status, told = interrupt(path, "cut", folder / "checkpoint.pt")
    assert not list(Path().glob("*.was-here"))
    for file in strange:
        file.unlink(missing_ok=True)
    assert status == 130 and told.splitlines()[-1] == "rdd-nb: interrupted; the same command goes on from here"
    assert "Traceback" not in told and "none/random/seed0" in told
    assert [state(Path("cut"), u) for u in held.units] == ["done", "begun"]
    done = torch.load(folder / "checkpoint.pt", weights_only=True)["iteration"]
    assert 10 <= done < 150 and not (folder / "error.json").exists()
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(Path.cwd()) not in left
    with (folder.parents[2] / "probe").open("w"):
        pass  # the folder is free: nobody holds its lock
    assert run(held, "cut", threads=1) == ["none/long/0"], "and what was finished is not run again"
    run(held, "whole", threads=1)
    one, two = (Path(out, "none/long/seed0/synthetic.safetensors").read_bytes() for out in ("cut", "whole"))
    assert one == two
    pd.testing.assert_frame_equal(collect("cut", held.units)[0], collect("whole", held.units)[0])


def test_groups_are_found_once_for_all_methods_and_shuffled_ones_know_nothing(monkeypatch):
    groups = {"discovered": STYLE}
    config = {"objective": "robust"}
    held = read(
        seeds=[0],
        scenarios={"coloured": {"scenario": "coloured", "bias": 0.9}},
        methods={
            "one": {"groups": groups, "config": config},
            "two": {"groups": groups, "config": {**config, "tail": 0.5}},
            "no-op": {"groups": {"shuffled": STYLE}, "config": config},
            "more": {"groups": {"discovered": {**STYLE, "num_groups": 3}}, "config": config},
        },
    )
    calls, real = [], clustering.discover_groups
    monkeypatch.setattr(
        clustering, "discover_groups", lambda *a, **k: (calls.append(k["num_groups"]), real(*a, **k))[1]
    )
    run(held)
    assert calls == [2, 3]
    runs = collect("out", held.units)[1].set_index("method")
    seconds = runs["discovery_seconds"]
    assert seconds["one"] == seconds["two"] == seconds["no-op"]
    assert runs.loc["one", "minority_mass"] == runs.loc["two", "minority_mass"]
    assert runs.loc["no-op", "groups"] == "shuffled" and runs.loc["no-op", "space"] == "shuffled style"
    data = plan.prepare(held.units[0].made).train
    found = real(data, seed=0, device="cpu", **STYLE)
    shuffled = module._shuffled(found, data, 0)
    assert torch.equal(shuffled.sizes(data.labels, 10), found.sizes(data.labels, 10))
    assert not torch.equal(shuffled.ids, found.ids) and torch.equal(shuffled.ids, module._shuffled(found, data, 0).ids)
    big = ImageDataset(
        torch.zeros(20_000, 1, 1, 1, dtype=torch.uint8), torch.arange(20_000) % 2, ("a", "b"), (0,), (1,)
    )
    marked = torch.arange(20_000) // 2 % 10 == 0
    knowing = clustering.Groups(marked.long(), 2, "known")
    assert clustering.group_mass(knowing, big.labels, marked) == pytest.approx(0.5)
    assert clustering.group_mass(module._shuffled(knowing, big, 0), big.labels, marked) == pytest.approx(0.1, abs=0.02)


def test_another_default_of_the_discovery_is_another_unit(monkeypatch):
    def discover_groups(data, space_name="style", *, num_groups=3, seed=0, device="auto"):
        return clustering.Groups(torch.zeros(len(data), dtype=torch.int64), 1, "none")

    groups = {"groups": "discovered", "config": {"objective": "robust"}}
    before = read(methods={"robust": groups}).units[0].settings
    monkeypatch.setattr(clustering, "discover_groups", discover_groups)
    assert read(methods={"robust": groups}).units[0].settings != before


def test_what_is_held_out_is_scored_and_the_test_set_never(monkeypatch):
    changes = {"hold_out": 0.25, "seeds": [0], "scenarios": {"r": {"scenario": "rotated-minority"}}}
    held = read(**changes)
    run(held, "one")
    table, runs, _ = collect("one", held.units)
    assert set(runs["scored_on"]) == {"held-out"}
    base = loading.load("digits", size=8)
    rest, out = base.train.hold_out(0.25, 0)
    assert set(runs["samples"]) == {len(rest)}
    assert set(table[table["partition"] == "all"]["n"]) == {2 * len(out)}  # as in a test set: upright and turned
    made = plan.prepare(held.units[0].made)
    assert torch.equal(made.test.images[: len(out)], out.images) and made.test.minority.float().mean() == 0.5
    assert made.train.minority.float().mean() == pytest.approx(0.1, abs=0.01)
    noise = plan.prepare({**held.units[0].made, "label_noise": 0.2})
    assert torch.equal(noise.test.labels, made.test.labels) and (noise.train.labels != made.train.labels).any()
    poisoned = dataclasses.replace(base.test, images=255 - base.test.images, labels=base.test.labels.roll(1))
    monkeypatch.setattr(loading, "load", lambda *a, **k: Splits(base.train, poisoned, base.name))
    module._loaded.cache_clear()
    module._prepared.cache_clear()
    run(held, "two")
    pd.testing.assert_frame_equal(collect("two", held.units)[0], table)
    module._prepared.cache_clear()
    plain = read(**{**changes, "hold_out": None})
    run(plain, "three")
    assert set(collect("three", plain.units)[1]["scored_on"]) == {"test"}


def test_in_this_process_the_threads_are_as_asked_for_and_put_back():
    held = read(
        seeds=[0], scenarios={"none": {"scenario": "none"}}, methods={"plain": {"config": {"objective": "erm"}}}
    )
    before = torch.get_num_threads()
    run(held, threads=before + 1)
    assert collect("out", held.units)[1]["threads"].tolist() == [before + 1] and torch.get_num_threads() == before


def test_two_studies_cannot_work_in_one_folder():
    from rdd_nb.distillation.run_folder import RunFolder

    Path("out").mkdir()
    with RunFolder("out").lock(), pytest.raises(RddError, match="another process is working"):
        run_study(read(), "out", workers=0, device="cpu")
    with pytest.raises(RddError, match="workers=-1"):
        run_study(read(), "out", workers=-1)
    Path("file").write_text("")
    with pytest.raises(RddError, match="cannot write"):
        run_study(read(), "file/out", workers=0)


# --- the table ----------------------------------------------------------------------------------------------------


def made_up() -> pd.DataFrame:
    """Two methods, three seeds, two nets; two classes of 10 and 30 samples, two groups of 20."""
    rng = np.random.default_rng(0)
    found = []
    for method in ("plain", "robust"):
        for seed in range(3):
            for net in range(2):
                hits = {(c, g): int(rng.integers(0, n + 1)) for c, n in ((0, 5), (1, 15)) for g in ("NA", "1")}
                keys = ("s", "none", method, seed, net)
                found.append((*keys, "all", "all", 40, sum(hits.values())))
                for group in ("NA", "1"):
                    found.append((*keys, "group", group, 20, hits[0, group] + hits[1, group]))
                for label, n in ((0, 10), (1, 30)):
                    found.append((*keys, "class", str(label), n, hits[label, "NA"] + hits[label, "1"]))
                found.append((*keys, "class", "empty", 0, 0))
    return pd.DataFrame(found, columns=results.COLUMNS)


def test_the_summary_is_over_seeds_of_means_over_nets():
    table = made_up()
    said = summary(table).set_index(["method", "partition", "group"])
    assert ("plain", "class", "empty") not in said.index
    mine = table[table["method"] == "robust"].assign(share=lambda t: t["correct"] / t["n"])
    seeds = mine[mine["group"] == "NA"].groupby("seed")["share"].mean()
    row = said.loc[("robust", "group", "NA")]
    assert row["mean"] == pytest.approx(seeds.mean()) and row["sd"] == pytest.approx(seeds.std(ddof=1))
    half = 4.302652729911275 * seeds.std(ddof=1) / np.sqrt(3)  # t, 2 degrees of freedom
    assert row["high"] - row["mean"] == pytest.approx(half) and row["mean"] - row["low"] == pytest.approx(half)
    assert (row["seeds"], row["nets"], row["n"]) == (3, 2, 20)
    classes = mine[(mine["partition"] == "class") & (mine["n"] > 0)].groupby(["seed", "net"])["share"].mean()
    assert said.loc[("robust", "balanced", "balanced"), "mean"] == pytest.approx(classes.mean())
    groups = mine[mine["partition"] == "group"].groupby(["seed", "group"])["share"].mean().unstack()
    worst = said.loc[("robust", "worst", "worst")]
    assert worst["mean"] == pytest.approx(groups.min(axis=1).mean())
    assert worst["band_low"] < worst["mean"] < worst["band_high"]
    assert np.isnan(said.loc[("robust", "group", "NA"), "band_low"])
    one = summary(table[table["seed"] == 0]).set_index(["method", "partition", "group"])
    assert np.isnan(one.loc[("plain", "all", "all"), ["sd", "low", "high"]].astype(float)).all()
    with pytest.raises(RddError, match="no rows"):
        summary(table[:0])


def test_differences_are_paired_over_seeds():
    table = made_up()
    seeds = table[table["group"] == "all"].assign(share=lambda t: t["correct"] / t["n"])
    seeds = seeds.groupby(["method", "seed"])["share"].mean()
    gain = seeds["robust"] - seeds["plain"]
    said = differences(table).set_index(["method", "partition", "group"]).loc[("robust", "all", "all")]
    assert said["difference"] == pytest.approx(gain.mean()) and said["seeds"] == 3
    assert said["high"] - said["difference"] == pytest.approx(4.302652729911275 * gain.std(ddof=1) / np.sqrt(3))
    lost = table[~((table["method"] == "plain") & (table["seed"] == 2))]
    assert set(differences(lost)["seeds"]) == {2}, "only seeds that both have"
    with pytest.raises(RddError, match="did you mean 'plain'"):
        differences(table, "plane")


def test_tables_come_back_and_join():
    table = made_up()
    keys = table[results.KEYS].drop_duplicates()
    write_tables("a/b.csv", table, keys.assign(ipc=10, space=None))
    pd.testing.assert_frame_equal(load_table("a/b.csv"), table)
    joined = load_table("a/b.csv", runs=True)
    assert len(joined) == len(table) and set(joined["ipc"]) == {10} and set(joined["group"]) >= {"NA", "1"}
    assert runs_path("a/b.csv").is_file()
    with pytest.raises(RddError, match="cannot read the table"):
        load_table("absent.csv")
    Path("c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RddError, match="not those of a study's table"):
        load_table("c.csv")


def test_the_overview_shows_means_and_gains():
    table = made_up()
    text = results.overview(table)
    gain = differences(table).set_index(["partition", "group"]).loc[("all", "all"), "difference"]
    line = next(line for line in text.splitlines() if line.startswith("robust"))
    assert f"({100 * gain:+.1f})" in line and "none (3 seeds × 2 nets" in text
    assert "(" not in next(line for line in text.splitlines() if line.startswith("plain"))
    assert "%" in results.overview(table, baseline="absent")
