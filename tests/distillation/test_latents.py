"""Distilling codes in the place of images: the same steps, carried through a decoder, and the same bits again."""

from __future__ import annotations

import dataclasses
import functools
import inspect

import pytest
import safetensors.torch
import torch
from torch import nn

from rdd_nb.clustering import coresets
from rdd_nb.clustering.coresets import coreset, select
from rdd_nb.core.errors import RddError
from rdd_nb.data.decoders import Decoder, save_decoder
from rdd_nb.data.synthetic_set import load_synthetic
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import State, expect_fit, initial_state, synthetic_of
from rdd_nb.distillation.loop import distill, expect_room, saved_state
from rdd_nb.distillation.matching import coverage_losses, distribution_loss
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.distillation.step import steps
from rdd_nb.models.autoencoder import train_autoencoder, untrained_decoder
from tests.distillation.helpers import DATA, GROUPS, TINY
from tests.helpers import one_line

CODED = {**TINY, "objective": "erm", "parameterisation": "latent", "latents": 4, "decoder_steps": 20}
PATHS = {"num_experts": 1, "expert_epochs": 2, "match_epochs": 1, "student_steps": 3, "student_batch": 10}
MATCHINGS = [
    ("distribution", {}),
    ("gradient", {}),
    ("trajectory", {**PATHS, "lr_img": 1.0}),
    ("distribution", {"objective": "robust"}),
    ("distribution", {"outer": 2, "inner_data": "synthetic"}),
    ("trajectory", {**PATHS, "lr_img": 1.0, "learn_labels": True}),
]
IMAGE = DATA.shape


def same() -> Decoder:
    """Codes that are images."""
    return Decoder(nn.Identity(), IMAGE)


def mixing(seed=0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Unflatten(1, IMAGE)), (6,))


def run(config, **more):
    return distill(DATA, config, GROUPS, progress=False, device="cpu", **more)


@pytest.mark.parametrize(("matching", "settings"), MATCHINGS)
def test_codes_of_a_decoder_that_changes_nothing_move_as_pixels_do_to_the_bit(matching, settings):
    settings = {**TINY, "objective": "erm", "init": "noise", "matching": matching, **settings}
    pixels = run(DistillConfig(**settings))
    coded = run(DistillConfig(**settings, parameterisation="latent", latents=1), decoder=same())
    assert torch.equal(coded.synthetic.latents.codes, pixels.synthetic.images)
    assert torch.equal(coded.synthetic.images, pixels.synthetic.images)
    assert coded.history.loss.tolist() == pixels.history.loss.tolist()
    if pixels.synthetic.soft_labels is not None:
        assert torch.equal(coded.synthetic.soft_labels, pixels.synthetic.soft_labels)


@pytest.mark.parametrize(("matching", "settings"), MATCHINGS)
def test_every_matching_moves_every_code_and_repeats_to_the_bit_whatever_interrupted_it(tmp_path, matching, settings):
    config = DistillConfig(matching=matching, **{**CODED, **settings})
    made = run(config, out=tmp_path / "a").synthetic
    start = initial_state(DATA, config, GROUPS)
    assert made.latents.codes.shape == start.codes.shape == (3 * 8, 4, 2, 2) and made.ipc == 8
    assert all(not torch.equal(a, b) for a, b in zip(made.latents.codes, start.codes))
    assert made.latents.decoder.digest == start.decoder.digest, "the decoder stays as it is"
    assert made.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    whole = list(steps(DATA, config, GROUPS, device="cpu"))
    assert torch.equal(whole[-1].codes, made.latents.codes) and torch.equal(whole[-1].images, made.images)
    folder = RunFolder(tmp_path / "b").create({"distill": config.model_dump()})
    folder.save_checkpoint(whole[1].held())
    back = saved_state(folder, DATA, config)
    again = list(steps(DATA, config, GROUPS, back, device="cpu"))
    assert len(again) == 2 and torch.equal(again[-1].codes, made.latents.codes)
    assert torch.equal(again[-1].images, made.images)
    read = run(config, out=tmp_path / "a").synthetic
    assert torch.equal(read.images, made.images) and read.latents.decoder.digest == made.latents.decoder.digest


def test_a_run_that_is_stopped_goes_on_where_it_stood(tmp_path, monkeypatch):
    config, whole = DistillConfig(**CODED), run(DistillConfig(**CODED)).synthetic
    from rdd_nb.distillation import loop

    real = loop.steps

    def stopped(*given, **more):
        for state in real(*given, **more):
            yield state
            if state.iteration == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(loop, "steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(config, out=tmp_path)
    monkeypatch.setattr(loop, "steps", real)
    monkeypatch.setattr(loop, "initial_state", lambda *given: pytest.fail("it has begun already"))
    assert torch.equal(run(config, out=tmp_path).synthetic.images, whole.images)


def test_the_gradient_of_codes_is_that_of_the_whole_way(monkeypatch):
    """One step of distribution matching through a decoder, against autograd through decoder and loss at once."""
    from rdd_nb.distillation import step

    config = DistillConfig(**{**CODED, "iterations": 1, "momentum_img": 0.0, "lr_img": 1.0, "init": "noise"})
    decoder, seen = mixing(), {}
    real = step._match_distributions

    def watched(problem, net, index, images, transform):
        seen.update(problem=problem, net=net, index=index, transform=transform)
        return real(problem, net, index, images, transform)

    monkeypatch.setattr(step, "_match_distributions", watched)
    start = initial_state(DATA, config, GROUPS, decoder)
    (after,) = steps(DATA, config, GROUPS, start, device="cpu")
    z = start.codes.clone().requires_grad_()
    images = decoder.module(z)
    problem, net, index, transform = (seen[name] for name in ("problem", "net", "index", "transform"))
    labels = torch.arange(problem.classes).repeat_interleave(config.batch_real)
    met = net.embed(transform(problem.real(index), labels)).detach().unflatten(0, (problem.classes, -1))
    made = net.embed(transform(images, problem.synthetic_labels)).unflatten(0, (problem.classes, -1))
    weights, shares = problem.weights(index, lambda: (met, made), lambda: coverage_losses(met, made.detach()))
    loss = distribution_loss(met, made, weights, shares)
    torch.testing.assert_close(start.codes - after.codes, torch.autograd.grad(loss, z)[0])


def test_codes_start_as_those_of_as_many_real_images_as_there_are():
    config = DistillConfig(**CODED)
    start, coder = initial_state(DATA, config, GROUPS), train_autoencoder(DATA, 4, steps=20, seed=0, device="cpu")
    real = DATA.normalised(select(DATA, "random", 8, seed=0))
    assert torch.equal(start.codes, coder.encode(real)) and start.decoder.digest == coder.decoder.digest
    assert torch.equal(start.images, start.decoder.decode(start.codes)) and start.images.shape == real.shape
    for init in ("medoids", "groups"):
        other = initial_state(DATA, config.model_copy(update={"init": init}), GROUPS)
        assert other.decoder.digest == start.decoder.digest and not torch.equal(other.codes, start.codes)
    noise = initial_state(DATA, config.model_copy(update={"init": "noise"}), GROUPS)
    assert abs(noise.codes.mean()) < 0.2 and abs(noise.codes.std() - 1) < 0.1


def test_real_images_can_be_kept_as_codes_too(monkeypatch):
    steps = inspect.signature(train_autoencoder).parameters["steps"].default
    assert steps == DistillConfig().decoder_steps, "by default, as long as for a distillation"
    monkeypatch.setattr(coresets, "train_autoencoder", functools.partial(train_autoencoder, steps=100))
    config = DistillConfig(**{**CODED, "decoder_steps": 100})
    kept, start = coreset(DATA, "random", 2, seed=0, latents=4), initial_state(DATA, config, GROUPS)
    assert torch.equal(kept.latents.codes, start.codes) and torch.equal(kept.images, start.images)
    assert kept.ipc == 8 and kept.stored_numbers == 3 * 2 * 64 and kept.formations == 1
    spread = coreset(DATA, "balanced", 2, groups=GROUPS, latents=3, decoder=same())
    chosen = coreset(DATA, "balanced", 6, groups=GROUPS)
    assert spread.images.shape == chosen.images.shape and spread.labels.tolist() == chosen.labels.tolist()
    assert (spread.images - chosen.images).square().mean() < 0.5 * chosen.images.square().mean()
    for wrong, says in (({"formations": 2, "latents": 4}, "beside latents=4"), ({"latents": 17}, "fit 1 to 16")):
        with pytest.raises(RddError, match=says):
            coreset(DATA, "random", 1, **wrong)


def test_what_is_stored_has_the_numbers_of_ipc_images_or_fewer():
    for latents in (1, 2, 4, 16):
        config = DistillConfig(**{**CODED, "latents": latents, "init": "noise"})
        made = synthetic_of(initial_state(DATA, config, GROUPS, untrained_decoder(IMAGE, latents)), DATA, config)
        assert made.stored_numbers == 3 * 2 * 64 == run_pixels().stored_numbers
        assert made.ipc == 2 * latents == config.decoded_ipc
        assert made.decoder_numbers == sum(p.numel() for p in made.latents.decoder.module.parameters())


def run_pixels():
    config = DistillConfig(**TINY)
    return synthetic_of(initial_state(DATA, config, GROUPS), DATA, config)


# --------------------------------------------------------------------------------------------------- a decoder of yours


def test_a_decoder_from_a_file_is_the_one_that_is_passed_and_part_of_what_a_run_is(tmp_path):
    file = save_decoder(tmp_path / "mine.safetensors", mixing())
    settings = {**CODED, "init": "noise", "latents": 3}
    passed = run(DistillConfig(**settings), out=tmp_path / "a", decoder=mixing()).synthetic
    named = run(DistillConfig(**settings, decoder=str(file)), out=tmp_path / "b").synthetic
    assert torch.equal(passed.latents.codes, named.latents.codes) and passed.ipc == 6
    for folder, config, more in (
        ("a", DistillConfig(**settings), {"decoder": mixing(1)}),
        ("a", DistillConfig(**settings), {}),
        ("b", DistillConfig(**settings, decoder=str(save_decoder(tmp_path / "mine.safetensors", mixing(1)))), {}),
    ):
        with pytest.raises(RddError) as caught:
            run(config, out=tmp_path / folder, **more)
        assert "holds another run (decoder is " in one_line(caught)
    with pytest.raises(RddError, match="holds another run"):
        expect_room(RunFolder(tmp_path / "a"), DATA, DistillConfig(**settings, decoder=str(file)), {})


def test_a_run_goes_on_with_the_decoder_it_was_given(tmp_path):
    config = DistillConfig(**{**CODED, "latents": 3})
    whole = run(config, decoder=mixing()).synthetic
    states = list(steps(DATA, config, GROUPS, device="cpu", decoder=mixing()))
    folder = RunFolder(tmp_path).create({"distill": config.model_dump()})
    folder.save_checkpoint(states[1].held())
    back = saved_state(folder, DATA, config, mixing())
    assert torch.equal(list(steps(DATA, config, GROUPS, back, device="cpu"))[-1].codes, whole.latents.codes)
    with pytest.raises(RddError, match="no checkpoint of this run"):
        saved_state(folder, DATA, config)  # its weights are none of a decoder that is trained here


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x.view(-1, *IMAGE)


def test_what_a_module_decodes_that_no_file_tells_of_is_kept_as_images(tmp_path):
    config = DistillConfig(**{**CODED, "init": "noise", "latents": 1})
    decoder = Decoder(Doubled(), (64,))
    made = run(config, out=tmp_path, decoder=decoder).synthetic
    assert made.latents is None and made.decoder_numbers == 0 and made.stored_numbers == 3 * 2 * 64
    assert made.meta["decoded_by"] == f"Doubled {decoder.digest}"
    assert torch.equal(load_synthetic(tmp_path / "synthetic.safetensors").images, made.images)
    *_, last = steps(DATA, config, GROUPS, device="cpu", decoder=decoder)
    assert torch.equal(2 * last.codes.view(-1, *IMAGE), made.images)
    assert RunFolder(tmp_path).load_checkpoint()["decoder"] is None


@pytest.mark.parametrize(
    ("settings", "decoder", "says"),
    [
        ({"latents": 17}, None, "latents=17: in the place of one image of 1 × 8 × 8 fit 1 to 16"),
        ({"latents": 16}, None, "ipc=32 is more than class 'a' has (30 images in 'toy'): lower ipc or add images (2 "),
        ({}, untrained_decoder((1, 28, 28), 4), "makes images of 1 × 28 × 28, and 'toy' has 1 × 8 × 8"),
        ({"parameterisation": "pixels"}, mixing(), "beside parameterisation=pixels has no effect"),
        ({"decoder": "absent.safetensors"}, None, "cannot read the decoder absent.safetensors"),
        ({"decoder": "absent.safetensors"}, mixing(), "give one of the two"),
    ],
)
def test_what_does_not_fit_is_refused_before_there_is_a_folder(tmp_path, settings, decoder, says):
    config = DistillConfig(**{**CODED, **settings})
    with pytest.raises(RddError) as caught:
        run(config, out=tmp_path / "run", decoder=decoder)
    assert says in one_line(caught) and not (tmp_path / "run").exists()
    if decoder is None:
        with pytest.raises(RddError):
            expect_fit(DATA, config)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"formations": 2}, "formations beside parameterisation=latent"),
        ({"parameterisation": "pixels", "decoder": "a"}, "decoder beside parameterisation=pixels has no effect"),
        ({"parameterisation": "latents"}, "did you mean 'latent'"),
        ({"latents": 0}, "latents=0"),
    ],
)
def test_configs_that_mean_nothing_are_refused(settings, says):
    with pytest.raises(RddError) as caught:
        DistillConfig(**{"parameterisation": "latent", **settings})
    assert says in one_line(caught)


def test_configs_of_pixels_say_nothing_of_latents():
    told = DistillConfig().model_dump()
    assert not told.keys() & {"parameterisation", "latents", "decoder", "decoder_steps"}
    coded = DistillConfig(parameterisation="latent").model_dump()
    assert coded.keys() - told.keys() == {"parameterisation", "latents", "decoder", "decoder_steps"}
    assert DistillConfig(**coded) == DistillConfig(parameterisation="latent")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda held: held.update(decoder=None),
        lambda held: held.update(decoder={"0.weight": torch.zeros(1)}),
        lambda held: held.update(decoder={**held["decoder"], "0.bias": held["decoder"]["0.bias"].double()}),
        lambda held: held.update(decoder={**held["decoder"], "0.bias": torch.full((16,), float("nan"))}),
        lambda held: held.update(decoder={**held["decoder"], 0: torch.zeros(1)}),
        lambda held: held.update(decoder=[1]),
        lambda held: held.update(codes=None),
        lambda held: held.update(codes=held["codes"][:, :1]),
        lambda held: held.update(momentum=held["images"]),
        lambda held: held.update(images=held["images"][:1]),
    ],
)
def test_a_checkpoint_that_is_none_of_this_run_is_refused(tmp_path, spoil):
    config = DistillConfig(**CODED)
    first = next(steps(DATA, config, GROUPS, device="cpu"))
    folder, held = RunFolder(tmp_path).create({"distill": config.model_dump()}), first.held()
    spoil(held)
    folder.save_checkpoint(held)
    with pytest.raises(RddError) as caught:
        saved_state(folder, DATA, config)
    assert "no checkpoint of this run" in one_line(caught)


def test_codes_in_a_run_of_pixels_are_refused(tmp_path):
    config = DistillConfig(**TINY)
    first = next(steps(DATA, config, GROUPS, device="cpu"))
    folder = RunFolder(tmp_path).create({"distill": config.model_dump()})
    folder.save_checkpoint(dataclasses.replace(first, codes=torch.zeros(6, 4)).held())
    with pytest.raises(RddError, match="no checkpoint of this run"):
        saved_state(folder, DATA, config)


def test_a_checkpoint_from_before_there_were_latents_still_loads(tmp_path):
    config = DistillConfig(**TINY)
    *_, last = steps(DATA, config, GROUPS, device="cpu")
    held = last.held()
    del held["codes"], held["decoder"]
    folder = RunFolder(tmp_path).create({"distill": config.model_dump()})
    folder.save_checkpoint(held)
    assert isinstance(saved_state(folder, DATA, config), State)


def test_the_set_of_a_run_is_whole_in_one_file(tmp_path):
    config = DistillConfig(**CODED)
    made = run(config, out=tmp_path).synthetic
    file = tmp_path / "elsewhere.safetensors"
    file.write_bytes((tmp_path / "synthetic.safetensors").read_bytes())
    read = load_synthetic(file)
    tensors = safetensors.torch.load_file(file)
    plain = nn.Sequential(  # as the documentation describes it, with nothing of this package
        *(nn.Conv2d(4, 16, 1), nn.SiLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.PixelShuffle(2), nn.SiLU()),
        *(nn.Conv2d(8, 32, 3, padding=1), nn.PixelShuffle(2), nn.SiLU()),
        nn.Conv2d(8, 1, 3, padding=1),
    )
    plain.load_state_dict({k.removeprefix("decoder."): v for k, v in tensors.items() if k.startswith("decoder.")})
    with torch.no_grad():
        torch.testing.assert_close(plain(tensors["codes"]), read.images)
    assert torch.equal(read.images, made.images)
