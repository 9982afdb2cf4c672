"""The explorers, driven from Python: what they compute, that the picture follows, and that no error is lost."""

import dataclasses
import html
import json
import re
from pathlib import Path

import ipywidgets
import nbformat
import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from rdd_nb import clustering
from rdd_nb.core.errors import RddError
from rdd_nb.course.widgets import cockpit as cockpit_module
from rdd_nb.course.widgets.clusters import ClusterExplorer, principal_plane
from rdd_nb.course.widgets.cockpit import DistillationCockpit
from rdd_nb.course.widgets.compare import RunComparer
from rdd_nb.course.widgets.subgroups import SubgroupExplorer, permutation_band, value_table
from rdd_nb.course.widgets.tail import TailExplorer
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.loop import distill
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation import subgroups
from rdd_nb.evaluation.scores import Scores, groupings
from rdd_nb.experiments.notebook import run_notebook
from rdd_nb.models import risk


def shown(explorer):
    """The picture, checked to be one."""
    png = explorer.picture.value
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return png


def data(n=120, named=True):
    """Two classes, three named groups that differ in brightness; the third is the minority."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 2
    groups = (torch.rand(n, generator=draw) * 10).long().clamp(0, 9).apply_(lambda v: 2 if v == 9 else v % 2)
    images = (torch.rand(n, 1, 8, 8, generator=draw) * 40).to(torch.uint8) + (groups * 80).to(torch.uint8)[
        :, None, None, None
    ]
    names = {"groups": groups, "group_names": ("dark", "grey", "light"), "minority": groups == 2} if named else {}
    return ImageDataset(images, labels, ("cat", "dog"), (0.4,), (0.3,), name="toy", **names)


def scores(test, seed, nets=3):
    """Nets that are right 8 times in 10 on the majority and 3 times in 10 on the minority."""
    rng = np.random.default_rng(seed)
    chance = np.where(test.minority.numpy(), 0.3, 0.8)
    truth = test.labels.numpy()
    right = rng.random((nets, len(test))) < chance
    return Scores(
        predictions=np.where(right, truth, 1 - truth).astype(np.int16),
        losses=rng.exponential(np.where(right, 0.2, 2.0)).astype(np.float32),
        confidence=np.full(right.shape, 0.9, np.float32),
        labels=truth,
        class_names=test.class_names,
        groups=test.groups.numpy(),
        group_names=test.group_names,
        minority=test.minority.numpy(),
    )


def synthetic(seed, ipc=3):
    images = torch.randn(2 * ipc, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return SyntheticSet(images, torch.arange(2).repeat_interleave(ipc), ("cat", "dog"), (0.4,), (0.3,), ipc)


def losses(n=50):
    return torch.empty(n).exponential_(generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------------------ the tail


@pytest.mark.parametrize("tail", [0.01, 0.13, 0.5, 1.0])
def test_the_tail_slider_sets_every_number(tail):
    x = losses()
    explorer = TailExplorer(x, tail=0.2)
    before = shown(explorer)
    explorer.tail.value = tail
    state = explorer.state
    assert shown(explorer) != before
    assert state.cvar == pytest.approx(risk.cvar(x, tail).item())
    assert state.mean == pytest.approx(x.mean().item())
    np.testing.assert_allclose(state.weights, risk.cvar_weights(x.sort(descending=True).values, tail), atol=1e-6)
    assert state.curve.min() == pytest.approx(state.cvar), "the least value of the curve is CVaR"
    assert state.curve[state.etas == state.threshold] == pytest.approx(state.cvar), "and η is where it lies"
    assert state.threshold == x.sort(descending=True).values[int(np.ceil(tail * 50 - 1e-9)) - 1]
    assert f"{tail:.0%}" in explorer.words and f"{state.cvar:.3g}" in explorer.words
    explorer.check()


def test_the_tail_says_who_sits_in_it():
    x = torch.tensor([1.0, 9.0, 2.0, 8.0, 3.0, 4.0, 5.0, 6.0])
    groups = ["many", "few", "many", "few", "many", "many", "many", "many"]
    explorer = TailExplorer(x, tail=0.25, groups=groups)
    assert explorer.state.group_names == ("few", "many")
    np.testing.assert_allclose(explorer.state.tail_shares, [1, 0])
    np.testing.assert_allclose(explorer.state.shares, [0.25, 0.75])
    assert "few 100% (25%)" in explorer.words
    explorer.tail.value = 1.0
    np.testing.assert_allclose(explorer.state.tail_shares, explorer.state.shares)


def test_the_same_choice_gives_the_same_bytes():
    explorer = TailExplorer(losses(), tail=0.2)
    before = shown(explorer)
    explorer.tail.value = 0.9
    explorer.tail.value = 0.2
    assert shown(explorer) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"losses": torch.ones(2, 3)}, r"losses \[N\]"),
        ({"losses": [1.0, float("nan")]}, "not finite"),
        ({"losses": [1.0, 2.0], "tail": 0.0}, "tail=0.0"),
        ({"losses": [1.0, 2.0], "groups": ["a"]}, "one for each loss"),
    ],
)
def test_the_tail_explorer_refuses(arguments, says):
    with pytest.raises(RddError, match=says):
        TailExplorer(**arguments)


# ------------------------------------------------------------------------------------------------------------- clusters


def test_the_clusters_are_those_that_discover_groups_finds():
    d = data()
    explorer = ClusterExplorer(d, spaces=("pixels", "style"), seed=3, num_groups=3)
    for space, count, label in [("pixels", 3, 0), ("style", 3, 0), ("style", 4, 0), ("style", 4, 1)]:
        before, asked = shown(explorer), (explorer.space.value, explorer.num_groups.value, explorer.label.value)
        explorer.space.value, explorer.num_groups.value, explorer.label.value = space, count, label
        if asked != (space, count, label):
            assert shown(explorer) != before
        state = explorer.state
        found = clustering.discover_groups(d, space, num_groups=count, learnable=False, seed=3)
        mine = d.labels == label
        assert state.ids.tolist() == found.ids[mine].tolist()
        assert state.members.tolist() == mine.nonzero()[:, 0].tolist()
        assert state.rand == pytest.approx(adjusted_rand_score(d.groups[mine], found.ids[mine]))
        assert state.mass == pytest.approx(clustering.group_mass(found, d.labels, d.minority & mine))
        assert state.share == pytest.approx(d.minority[mine].float().mean().item())
        assert f"{state.rand:.2f}" in explorer.words and f"{state.mass:.0%}" in explorer.words
    explorer.check()


def test_exemplars_are_near_and_far():
    d = data()
    explorer = ClusterExplorer(d, spaces=("style",), num_groups=2)
    explorer.cluster.value = 2
    state = explorer.state
    points = clustering.space(d, "style", 0)
    mine = torch.from_numpy(state.members[state.ids == 1])
    distance = (points - points[mine].mean(0)).norm(dim=1)
    ordered = mine[distance[mine].argsort(stable=True)]
    assert state.near.tolist() == ordered[:8].tolist()
    assert distance[torch.from_numpy(state.far)].min() >= distance[torch.from_numpy(state.near)].max()
    assert set(state.chance) <= set(mine.tolist()) and len(set(state.chance)) == min(8, len(mine))


def test_a_space_is_computed_once(monkeypatch):
    asked, style = [], clustering.SPACES["style"]

    def spy(data, seed, device):
        asked.append(seed)
        return style(data, seed, device)

    monkeypatch.setitem(clustering.SPACES, "style", spy)
    explorer = ClusterExplorer(data(), spaces=("pixels", "style"))
    assert asked == []
    for label in (0, 1, 0):
        explorer.space.value = "style"
        explorer.label.value = label
        explorer.space.value = "pixels"
    assert asked == [0]


def test_fewer_clusters_move_the_selection():
    explorer = ClusterExplorer(data(), spaces=("style",), num_groups=5)
    explorer.cluster.value = 5
    assert explorer.state.cluster == 4
    explorer.num_groups.value = 2
    assert explorer.cluster.value == 2 and explorer.state.cluster == 1


def test_clusters_of_data_without_names():
    explorer = ClusterExplorer(data(named=False), spaces=("pixels",))
    assert np.isnan(explorer.state.rand) and "Rand" not in explorer.words and "inority" not in explorer.words
    with pytest.raises(RddError, match="unknown space 'pixel'"):
        ClusterExplorer(data(), spaces=("pixel",))
    with pytest.raises(RddError, match="no space"):
        ClusterExplorer(data(), spaces=())


def test_the_principal_plane_keeps_what_varies_most():
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(200, 5, generator=draw) * torch.tensor([1.0, 9.0, 0.1, 4.0, 0.1])
    plane, kept = principal_plane(points)
    values = torch.linalg.eigvalsh(points.T.cov())
    np.testing.assert_allclose(plane.T.cov().diagonal(), values.flip(0)[:2], rtol=1e-4)
    assert kept == pytest.approx((values[-2:].sum() / values.sum()).item(), rel=1e-4)
    assert torch.equal(principal_plane(points)[0], plane)
    assert principal_plane(torch.ones(4, 1))[0].tolist() == [[0.0, 0.0]] * 4


# -------------------------------------------------------------------------------------------------------------- cockpit

CONFIG = DistillConfig(
    ipc=2, iterations=6, batch_real=8, width=4, depth=1, objective="erm", augment="none", checkpoint_every=2
)


PATHS = CONFIG.model_copy(
    update={
        **{"matching": "trajectory", "num_experts": 1, "expert_epochs": 2, "match_epochs": 1, "batch_net": 40},
        "student_steps": 2,
    }
)


@pytest.mark.parametrize("config", [CONFIG, PATHS], ids=["distribution", "trajectory"])
def test_stopped_and_resumed_it_ends_with_the_bits_of_distill(tmp_path, config):
    d = data()
    whole = distill(d, config, out=tmp_path / "whole", progress=False)
    cockpit = DistillationCockpit(d, config, out=tmp_path / "parts")
    assert not cockpit.run_button.disabled and cockpit.resume_button.disabled and cockpit.stop_button.disabled
    before = shown(cockpit)
    cockpit.run(block=True, iterations=3)
    assert cockpit.state.status == "stopped" and cockpit.state.iteration == 3 and cockpit.progress.value == 3
    assert shown(cockpit) != before
    assert cockpit.run_button.disabled and not cockpit.resume_button.disabled and cockpit.stop_button.disabled
    assert "3 of 6" in cockpit.words and "Resume" in cockpit.words

    later = DistillationCockpit(d, config, out=tmp_path / "parts")  # another kernel, another day
    assert later.state.iteration == 3
    assert torch.equal(later.distilled.momentum, cockpit.distilled.momentum)
    later.resume_button.click()
    later.wait(60)
    assert later.state.status == "done" and later.resume_button.disabled
    assert torch.equal(later.synthetic.images, whole.synthetic.images)
    assert later.state.losses.tolist() == list(whole.history["loss"])
    later.check()

    files = [(tmp_path / name / "synthetic.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1], "the folder is the one that distill makes"
    assert RunFolder.open(tmp_path / "parts").complete
    again = DistillationCockpit(d, config, out=tmp_path / "whole")
    assert again.state.status == "done" and again.state.iteration == 6
    assert np.array_equal(again.state.images, later.state.images)


def test_labels_that_are_learnt_and_formations_are_part_of_the_set(tmp_path):
    config = PATHS.model_copy(update={"learn_labels": True, "formations": 2})
    cockpit = DistillationCockpit(data(), config, out=tmp_path / "run")
    cockpit.run(block=True)
    kept = RunFolder.open(tmp_path / "run").load_synthetic()
    again = DistillationCockpit(data(), config, out=tmp_path / "run")  # another kernel finds it finished
    for made in (cockpit.synthetic, again.synthetic):
        assert made.formations == 2 and torch.equal(made.images, kept.images)
        torch.testing.assert_close(made.soft_labels, kept.soft_labels)


def test_codes_are_shown_as_their_images_and_end_as_distill_has_them(tmp_path):
    coded = {"parameterisation": "latent", "latents": 4, "decoder_steps": 10, "iterations": 4, "checkpoint_every": 1}
    config = CONFIG.model_copy(update=coded)
    whole = distill(data(), config, out=tmp_path / "whole", progress=False).synthetic
    cockpit = DistillationCockpit(data(), config, out=tmp_path / "parts")
    assert cockpit.state.images.shape == (2 * 8, 1, 8, 8) and cockpit.state.iteration == 0
    cockpit.check()
    cockpit.run(block=True, iterations=2)
    later = DistillationCockpit(data(), config, out=tmp_path / "parts")
    assert later.state.iteration == 2 and torch.equal(later.distilled.codes, cockpit.distilled.codes)
    later.run(block=True)
    again = DistillationCockpit(data(), config, out=tmp_path / "whole")  # another kernel finds it finished
    for made in (later.synthetic, again.synthetic):
        assert torch.equal(made.latents.codes, whole.latents.codes) and torch.equal(made.images, whole.images)
    assert np.array_equal(again.state.images, whole.to_uint8().numpy())
    again.check()


def test_a_module_that_no_file_tells_of_can_be_brought_to_the_cockpit(tmp_path):
    class Doubled(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    config = CONFIG.model_copy(update={"parameterisation": "latent", "latents": 3, "init": "noise"})
    brought = {"out": tmp_path / "run", "decoder": Decoder(Doubled(), data().shape)}
    cockpit = DistillationCockpit(data(), config, **brought)
    cockpit.run(block=True, iterations=3)
    later = DistillationCockpit(data(), config, **brought)
    assert torch.equal(later.distilled.codes, cockpit.distilled.codes) and later.state.iteration == 3
    later.run(block=True)
    again = DistillationCockpit(data(), config, **brought)  # finished: its images are left
    assert torch.equal(again.synthetic.images, later.synthetic.images) and len(again.synthetic.labels) == 2 * 6
    with pytest.raises(RddError, match="holds another run"):
        DistillationCockpit(data(), config, **{**brought, "decoder": Decoder(torch.nn.Identity(), data().shape)})


def test_experts_can_be_stopped_too_and_are_trained_once(monkeypatch):
    long = PATHS.model_copy(update={"expert_epochs": 10_000})
    cockpit = DistillationCockpit(data(), long)
    cockpit.run_button.click()
    cockpit.stop(wait=True)
    assert cockpit.state.status == "stopped" and cockpit.state.iteration == 0 and not cockpit.run_button.disabled
    short, trained = DistillationCockpit(data(), PATHS), []
    whole = cockpit_module.load_or_train_experts
    monkeypatch.setattr(
        cockpit_module, "load_or_train_experts", lambda *given, **how: trained.append(1) or whole(*given, **how)
    )
    for _ in range(2):
        short.run(block=True, iterations=1)
    assert short.state.iteration == 2 and trained == [1]
    assert "synthetic images a second" in short.words


def test_the_buttons_run_and_stop_a_thread():
    long = CONFIG.model_copy(update={"iterations": 100_000})
    cockpit = DistillationCockpit(data(), long)
    cockpit.run_button.click()
    assert cockpit.running and not cockpit.stop_button.disabled and cockpit.run_button.disabled
    with pytest.raises(RddError, match="running already"):
        cockpit.run()
    cockpit.stop_button.click()
    cockpit.wait(60)
    assert cockpit.state.status == "stopped" and 0 < cockpit.state.iteration < 100_000
    done = cockpit.state.iteration
    cockpit.run(block=True, iterations=2)
    assert cockpit.state.iteration == done + 2
    last = np.mean(cockpit.distilled.seconds[-20:])
    assert cockpit.state.images_per_second == pytest.approx(2 * 8 / last)
    assert cockpit.state.seconds_left == pytest.approx((100_000 - done - 2) * last)
    cockpit.check()


def test_what_fails_in_the_thread_is_not_lost(tmp_path):
    d = data()
    wild = CONFIG.model_copy(update={"lr_img": 1e30})
    cockpit = DistillationCockpit(d, wild, out=tmp_path / "run")
    cockpit.run_button.click()
    cockpit.wait(60)
    assert cockpit.status == "failed" and "no longer finite" in cockpit.words and "rdd-error" in cockpit.caption.value
    with pytest.raises(RddError, match="no longer finite"):
        cockpit.check()
    with pytest.raises(RddError, match="no longer finite"):
        DistillationCockpit(d, wild).run(block=True)
    with pytest.raises(RddError, match="holds another run"):
        DistillationCockpit(d, CONFIG, out=tmp_path / "run")


# ------------------------------------------------------------------------------------------------------------ subgroups


@pytest.mark.parametrize("by", ["minority", "group", "class", "class-group"])
def test_the_groups_are_scored_as_the_table_says(by):
    d = data()
    explorer = SubgroupExplorer({"plain": scores(d, 0), "robust": scores(d, 1)}, d)
    assert by in groupings(scores(d, 0)) and by in explorer.by.options
    before, moved = shown(explorer), explorer.by.value != by
    explorer.by.value = by
    assert (shown(explorer) != before) == moved
    for name, seed in (("plain", 0), ("robust", 1)):
        table = subgroups.group_table(scores(d, seed), by)
        np.testing.assert_array_equal(explorer.state.tables[name]["value"], table["accuracy"])
        np.testing.assert_array_equal(explorer.state.tables[name]["low_simultaneous"], table["low_simultaneous"])
    first = explorer.state.tables["plain"]
    assert explorer.group.value == first.loc[first["value"].idxmin(), "group"], "the worst served is picked"
    explorer.check()


def test_choosing_a_group_shows_whom_the_nets_confuse_most():
    d = data()
    mine = scores(d, 0)
    explorer = SubgroupExplorer({"plain": mine}, d)
    explorer.by.value = "group"
    before = shown(explorer)
    explorer.group.value = "grey"
    assert shown(explorer) != before
    state = explorer.state
    assert sorted(state.images) == np.flatnonzero(mine.groups == 1).tolist()
    assert (np.diff(state.wrong) <= 0).all()
    np.testing.assert_allclose(state.wrong, 1 - mine.correct[:, state.images].mean(0))
    truth = mine.labels[state.images]
    assert (state.said == np.where(state.wrong > 0, 1 - truth, truth)).all()
    assert explorer.words.startswith("grey") and f"{state.tables['plain'].loc[1, 'value']:.1%}" in explorer.words


def test_the_grey_band_is_what_lots_would_show():
    d = data(600)
    mine = scores(d, 0)
    null = permutation_band(mine, "group").set_index("group")
    share = mine.correct.mean(0)
    sizes = np.bincount(mine.groups)
    error = share.std() / np.sqrt(sizes) * np.sqrt((len(share) - sizes) / (len(share) - 1))
    np.testing.assert_allclose(null["low"], share.mean() - 1.96 * error, atol=0.02)
    np.testing.assert_allclose(null["high"], share.mean() + 1.96 * error, atol=0.02)
    explorer = SubgroupExplorer({"plain": mine}, d)
    explorer.by.value = "group"
    light = explorer.state.tables["plain"].set_index("group").loc["light", "value"]
    assert light < null.loc["light", "low"], "nets that fail a group fall out of the band"
    assert explorer.group.value == "light" and "below the permutation band" in explorer.words
    bars = {round(bar.get_y() + bar.get_height() / 2): bar for bar in explorer.draw(explorer.state).axes[0].patches[1:]}
    assert bars[2].get_x() == pytest.approx(100 * null.loc["light", "low"])
    assert bars[2].get_x() + bars[2].get_width() == pytest.approx(100 * null.loc["light", "high"])
    explorer.metric.value = "CVaR of the loss"
    assert explorer.state.null is None and "chance" not in explorer.words
    empty = dataclasses.replace(mine, groups=np.zeros_like(mine.groups))
    assert permutation_band(empty, "group")["low"].isna().tolist() == [False, True, True]


def test_the_place_steps_from_the_worst_group_to_the_best():
    d = data()
    explorer = SubgroupExplorer({"plain": scores(d, 0)}, d)
    explorer.by.value = "class-group"
    seen = []
    for place in range(1, 7):
        explorer.place.value = place
        seen.append(explorer.state.group)
        assert explorer.group.value == seen[-1]
    table = explorer.state.tables["plain"].set_index("group")["value"]
    assert sorted(seen) == sorted(table.index) and table[seen].is_monotonic_increasing
    explorer.group.value = seen[2]
    assert explorer.place.value == 3


def test_cvar_of_the_loss_by_group():
    d = data()
    mine = scores(d, 0)
    explorer = SubgroupExplorer({"plain": mine}, d)
    assert explorer.tail.disabled
    explorer.metric.value = "CVaR of the loss"
    assert not explorer.tail.disabled
    before = shown(explorer)
    explorer.tail.value = 0.3
    assert shown(explorer) != before
    few = torch.from_numpy(mine.losses[:, mine.minority]).double()
    each = risk.cvar(few, 0.3).numpy()
    row = explorer.state.tables["plain"].iloc[1]
    assert explorer.group.value == "minority" and explorer.state.group == "minority"
    assert row["value"] == pytest.approx(each.mean())
    _, low, high = subgroups.mean_interval(each)
    assert (row["low"], row["high"]) == pytest.approx((max(low, 0), high))
    with pytest.raises(RddError, match="unknown metric"):
        value_table(mine, "group", "loss")


def test_runs_can_be_picked_but_not_none():
    d = data()
    explorer = SubgroupExplorer({"a": scores(d, 0), "b": scores(d, 1), "c": scores(d, 2)}, d)
    assert list(explorer.state.tables) == ["a", "b"]
    before = shown(explorer)
    explorer.runs["c"].value = True
    assert list(explorer.state.tables) == ["a", "b", "c"] and shown(explorer) != before
    explorer.runs["a"].value = explorer.runs["b"].value = False
    with pytest.raises(RddError, match="pick at least one"):
        explorer.runs["c"].value = False
    assert "pick at least one" in explorer.words and len(explorer.errors) == 1
    explorer.runs["b"].value = True
    assert list(explorer.state.tables) == ["b"]
    assert "rdd-error" not in explorer.caption.value, "it recovers"
    other = dataclasses.replace(d, labels=1 - d.labels)
    with pytest.raises(RddError, match="same test set"):
        SubgroupExplorer({"a": scores(d, 0)}, other)
    with pytest.raises(RddError, match="no scores"):
        SubgroupExplorer({}, d)


# -------------------------------------------------------------------------------------------------------------- compare


def test_two_runs_are_compared_on_the_same_images(tmp_path):
    d = data()
    sets = {name: (synthetic(k), scores(d, k)) for k, name in enumerate(("plain", "robust", "oracle"))}
    folder = RunFolder(tmp_path / "robust").create({"seed": 0})
    folder.save_synthetic(sets["robust"][0])
    sets["robust"][1].save(folder.path / "scores.npz")
    comparer = RunComparer({**sets, "robust": folder.path})
    expected = subgroups.paired_difference(scores(d, 1).correct, scores(d, 0).correct)
    assert comparer.state.overall == expected
    assert f"{100 * expected.value:+.1f} points" in comparer.words
    for by in ("minority", "group", "class-group"):
        before, moved = shown(comparer), comparer.by.value != by
        comparer.by.value = by
        assert (shown(comparer) != before) == moved
        ids, names = scores(d, 0).partition(by)
        table = subgroups.compare_groups(scores(d, 1).correct, scores(d, 0).correct, ids)
        np.testing.assert_array_equal(comparer.state.differences["difference"], table["difference"])
        assert list(comparer.state.differences["group"]) == [names[k] for k in table["group"]]
    comparer.check()


def test_swapping_turns_the_sign():
    d = data()
    comparer = RunComparer({"a": (synthetic(0), scores(d, 0)), "b": (synthetic(1), scores(d, 1))})
    value, before = comparer.state.overall.value, shown(comparer)
    comparer.swap.click()
    assert (comparer.left.value, comparer.right.value) == ("b", "a")
    assert comparer.state.overall.value == pytest.approx(-value)
    assert shown(comparer) != before
    comparer.left.value = "a"
    assert comparer.state.overall.value == 0
    comparer.check()


def test_the_comparer_refuses(tmp_path):
    d = data()
    with pytest.raises(RddError, match="at least two"):
        RunComparer({"a": (synthetic(0), scores(d, 0))})
    with pytest.raises(RddError, match="different test sets"):
        RunComparer({"a": (synthetic(0), scores(d, 0)), "b": (synthetic(1), scores(data(100), 0))})
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(RddError, match="synthetic"):
        RunComparer({"a": (synthetic(0), scores(d, 0)), "b": tmp_path})


# -------------------------------------------------------------------------------------------------- what all have alike


def test_an_error_in_a_callback_is_shown_kept_and_raised(monkeypatch):
    explorer = TailExplorer(losses())
    before = shown(explorer)

    def broken(tail):
        raise RuntimeError("the <curve> broke\nsecond line")

    monkeypatch.setattr(explorer, "compute", broken)
    with pytest.raises(RuntimeError, match="broke"):
        explorer.tail.value = 0.5
    assert [type(e) for e in explorer.errors] == [RuntimeError]
    assert explorer.words == "This did not work: RuntimeError: the <curve> broke"
    assert "rdd-error" in explorer.caption.value and "&lt;curve&gt;" in explorer.caption.value
    assert shown(explorer) == before, "the last good picture stays"
    (told,) = next(w for w in explorer.panel().children if hasattr(w, "outputs")).outputs
    assert told["output_type"] == "error" and told["ename"] == "RuntimeError"
    with pytest.raises(RuntimeError, match="broke"):
        explorer.check()


def test_a_notebook_with_a_broken_widget_does_not_count_as_run(tmp_path):
    """An error that a browser's click would have met is found in the widget state that the run leaves."""
    code = (
        "from rdd_nb.course.widgets import TailExplorer\nexplorer = TailExplorer([1.0, 2.0])\n"
        "explorer.compute = lambda tail: 1 / 0\n"
        "try:\n    explorer.tail.value = 0.5\nexcept ZeroDivisionError:\n    pass\nexplorer.panel()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    with pytest.raises(RddError, match="a widget raised ZeroDivisionError"):
        run_notebook(tmp_path / "broken.ipynb", tmp_path / "out.ipynb", {})


def controls_of(widget):
    for child in getattr(widget, "children", ()):
        yield from controls_of(child)
    if isinstance(widget, (ipywidgets.ValueWidget, ipywidgets.Button)) and not isinstance(widget, ipywidgets.Label):
        yield widget


@pytest.mark.parametrize("name", ["tail", "clusters", "cockpit", "subgroups", "compare"])
def test_the_panel_can_be_read_and_used_by_all(name):
    explorer = made(name)
    children = explorer.panel().children
    assert explorer.picture in children and explorer.caption in children
    assert explorer.picture.layout.max_width == "100%"
    assert len(explorer.words) > 40 and 'role="status"' in explorer.caption.value
    for control in controls_of(children[0]):
        assert control.description, f"{type(control).__name__} has no description"
        assert not isinstance(control, (ipywidgets.Dropdown, ipywidgets.SelectMultiple)), "JupyterLab takes their keys"
        if hasattr(control, "continuous_update"):
            assert control.continuous_update is False
    figure = explorer.draw(explorer.state)
    assert type(figure).__name__ == "Figure" and figure.canvas.manager is None


def made(name):
    d = data()
    if name == "tail":
        return TailExplorer(losses())
    if name == "clusters":
        return ClusterExplorer(d, spaces=("pixels", "style"), num_groups=3)
    if name == "cockpit":
        return DistillationCockpit(d, CONFIG)
    two = {"a": scores(d, 0), "b": scores(d, 1)}
    if name == "subgroups":
        return SubgroupExplorer(two, d)
    return RunComparer({k: (synthetic(i), s) for i, (k, s) in enumerate(two.items())})


@pytest.mark.parametrize("name", ["tail", "clusters", "cockpit", "subgroups", "compare"])
def test_the_pictures_are_pure_functions_of_the_choices(name):
    one, other = made(name), made(name)
    assert shown(one) == shown(other) and one.words == other.words
    state = one.compute(**one.choices())
    assert one.describe(state) == one.words


def test_no_explorer_knows_pyplot():
    for path in Path(__file__).parents[2].glob("rdd_nb/widgets*.py"):
        assert "pyplot" not in path.read_text(encoding="utf-8"), path.name


# ------------------------------------------------------------------------------------------------- names and few images

HOSTILE = ("$10k_$50k", "C$x_{$ <img src=x>", "\\(a\\) _%d " + "long " * 30)


def renamed(test, groups=HOSTILE, classes=("$\\frac{$", "<b>dog")):
    return dataclasses.replace(test, group_names=groups, class_names=classes)


def literally(explorer):
    """The caption shows its words letter by letter: no tags of theirs, and no formula for MathJax to find."""
    inside = explorer.caption.value.removeprefix('<p role="status" style="line-height:1.4; margin:0.3em 0">')
    inside = inside.removesuffix("</p>")
    assert not re.search(r"<(?!/?span>)", inside)
    assert not re.search(r"\$", re.sub(r"<span>\$</span>", "", inside)), "each by itself in its own element"
    return html.unescape(re.sub(r"</?span>", "", inside)) == explorer.words


@pytest.mark.filterwarnings("error:constrained_layout")
def test_explorers_take_every_name_literally():
    test = renamed(data())
    each = {name: scores(test, seed) for seed, name in enumerate(("$a$", "_b <i>"))}
    subgroup = SubgroupExplorer(each, test)
    for by in groupings(next(iter(each.values()))):
        subgroup.by.value = by
        shown(subgroup)
        assert literally(subgroup)
    sets = {name: (synthetic(k), s) for k, (name, s) in enumerate(each.items())}
    sets = {n: (dataclasses.replace(made, class_names=test.class_names), s) for n, (made, s) in sets.items()}
    compare = RunComparer(sets)
    shown(compare)
    assert literally(compare) and "_b <i>" in compare.words
    clusters = ClusterExplorer(test, spaces=("pixels",))
    shown(clusters)
    assert literally(clusters)
    tail = TailExplorer(losses(), tail=0.2, groups=[HOSTILE[k % 3] for k in range(50)])
    shown(tail)
    assert literally(tail) and HOSTILE[0] in tail.words
    for explorer in (subgroup, compare, clusters, tail):
        explorer.check()


@pytest.mark.parametrize("nets", [1, 2])
@pytest.mark.parametrize("flags", ["one", "none", "all"])
def test_explorers_take_groups_that_nobody_is_in(monkeypatch, nets, flags):
    monkeypatch.setattr("rdd_nb.course.widgets.explorer._DPI", 30)  # some 40 pictures, whose pixels nobody looks at
    test = data(20)
    few = torch.arange(20) == 0 if flags == "one" else torch.full((20,), flags == "all")
    test = dataclasses.replace(test, groups=torch.zeros(20, dtype=torch.int64), minority=few)
    each = {name: scores(test, seed, nets) for seed, name in enumerate(("first", "second"))}
    subgroup = SubgroupExplorer(each, test)
    ways = ("minority", "group", "class-group") if flags == "one" else ("minority",)  # the others are the same again
    for by in ways:
        subgroup.by.value = by
        for metric in ("accuracy", "CVaR of the loss"):
            subgroup.metric.value = metric
            for group in subgroup.group.options:
                subgroup.group.value = group
                shown(subgroup)
                assert "nan" not in subgroup.words
                ids, names = next(iter(each.values())).partition(by)
                n = int((ids == names.index(group)).sum())
                assert f"{group}, {n} test images" in subgroup.words and ("first –" in subgroup.words) == (n == 0)
    compare = RunComparer({name: (synthetic(k), s) for k, (name, s) in enumerate(each.items())})
    for by in ways:
        compare.by.value = by
        shown(compare)
        there = {g for g, n in zip(compare.state.tables[0]["group"], compare.state.tables[0]["n"]) if n}
        assert set(compare.state.differences["group"]) == there and "nan" not in compare.words
    clusters = ClusterExplorer(test, spaces=("pixels",))
    shown(clusters)
    assert "nan" not in clusters.words
    for explorer in (subgroup, compare, clusters):
        explorer.check()
