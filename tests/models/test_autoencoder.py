"""The small auto-encoder: what it gives back of images it never saw, and what its codes are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rdd_nb.core.errors import RddError
from rdd_nb.data import loading
from rdd_nb.data.decoders import Decoder
from rdd_nb.models import autoencoder
from rdd_nb.models.autoencoder import check_decoder, code_shape, step_seconds, train_autoencoder, untrained_decoder
from tests.helpers import one_line, rng

TRAIN, TEST = loading.load("digits", size=8).train.hold_out(0.2, 0)  # grey, 8 × 8
HOW = {"steps": 150, "seed": 0, "device": "cpu"}


def error(made, data=TEST) -> float:
    images = data.normalised()
    return F.mse_loss(made.decoder.decode(made.encode(images)), images).item()


def test_images_it_never_saw_come_back_better_than_the_mean_and_than_by_as_many_averages():
    made = train_autoencoder(TRAIN, 2, **{**HOW, "steps": 500})
    mean = F.mse_loss(TRAIN.normalised().mean(0).expand_as(TEST.normalised()), TEST.normalised()).item()
    assert error(made) < 0.5 * mean
    averages = F.adaptive_avg_pool2d(TEST.normalised(), (4, 8))  # 32 numbers, as the codes have
    assert error(made) < F.mse_loss(F.interpolate(averages, size=8, mode="bilinear"), TEST.normalised()).item()


def test_codes_have_mean_0_and_variance_1_and_the_images_stay_what_they_were(monkeypatch):
    made = train_autoencoder(TRAIN, 4, **HOW)
    codes = made.encode(TRAIN.normalised())
    assert codes.shape == (len(TRAIN), 4, 2, 2)
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes.std((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    monkeypatch.setattr(autoencoder, "_standardise", lambda *layers: None)
    raw = train_autoencoder(TRAIN, 4, **HOW)
    images = TEST.normalised()
    wanted = raw.decoder.decode(raw.encode(images))
    torch.testing.assert_close(made.decoder.decode(made.encode(images)), wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(raw.encode(images), made.encode(images), atol=0.01)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_state_alone():
    before, told = torch.random.get_rng_state(), []
    first = train_autoencoder(TRAIN, 4, **{**HOW, "steps": 5}, progress=lambda *done: told.append(done))
    again, other = (train_autoencoder(TRAIN, 4, **{**HOW, "steps": 5, "seed": s}) for s in (0, 1))
    assert first.decoder.digest == again.decoder.digest != other.decoder.digest
    assert torch.equal(first.encode(TEST.normalised()), again.encode(TEST.normalised()))
    assert torch.equal(before, torch.random.get_rng_state()) and told == [(n, 5) for n in range(1, 6)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 30, 21), (2, 4, 5), (1, 1, 1)])
def test_as_many_codes_as_said_have_at_most_the_numbers_of_an_image(shape):
    numbers = shape[0] * shape[1] * shape[2]
    for many in (1, 2, 3, 4, 8):
        try:
            code = code_shape(shape, many)
        except RddError as problem:
            assert "\n" not in str(problem) and f"latents={many}" in str(problem)
            assert many * -(-shape[1] // 4) * -(-shape[2] // 4) > numbers
            continue
        mine = code[0] * code[1] * code[2]
        assert many * mine <= numbers < many * (mine + code[1] * code[2]), "and no channel more would fit"
        decoder = untrained_decoder(shape, many)
        assert decoder.shape == shape and decoder.code == code
        assert Decoder.rebuilt(*decoder.told()).digest == decoder.digest


def test_an_encoder_is_learnt_for_a_decoder_that_is_given_and_that_stays_as_it_is():
    """An orthogonal map of 64 numbers to 8 × 8 pixels: what it cannot give back is the encoder's part alone."""
    linear = nn.Linear(64, 64, bias=False)
    linear.weight.data = torch.linalg.qr(torch.randn(64, 64, generator=rng()))[0]
    decoder = Decoder(nn.Sequential(linear, nn.Unflatten(1, (1, 8, 8))), (64,))
    made = train_autoencoder(TRAIN, 1, **HOW, decoder=decoder)
    assert made.decoder is decoder and made.encode(TEST.normalised()).shape == (len(TEST), 64)
    assert torch.equal(decoder.module[0].weight, linear.weight)
    untrained = train_autoencoder(TRAIN, 1, **{**HOW, "steps": 1}, decoder=decoder)
    assert error(made) < 0.6 * error(untrained)


def test_a_decoder_that_spreads_is_met_with_smaller_steps_and_one_too_wild_is_refused():
    wide = nn.Conv2d(1, 1, 1, bias=False)
    wide.weight.data.fill_(30.0)
    made = train_autoencoder(TRAIN, 1, **{**HOW, "steps": 60}, decoder=Decoder(wide, (1, 8, 8)))
    assert error(made) < 2
    wide.weight.data.fill_(1e12)
    with pytest.raises(RddError) as caught:
        train_autoencoder(TRAIN, 1, **{**HOW, "steps": 60}, decoder=Decoder(wide, (1, 8, 8)))
    assert "the encoder diverged at every step size from 0.1 to 0.003" in one_line(caught)


def test_a_decoder_of_other_images_is_refused():
    decoder = untrained_decoder((1, 28, 28), 4)
    for refused in (
        lambda: check_decoder(TRAIN, decoder),
        lambda: train_autoencoder(TRAIN, 4, **HOW, decoder=decoder),
    ):
        with pytest.raises(RddError) as caught:
            refused()
        assert "makes images of 1 × 28 × 28, and 'digits" in one_line(caught)
    check_decoder(TRAIN, untrained_decoder((1, 8, 8), 4))


def test_a_class_of_one_image_is_enough_and_a_step_takes_time():
    few = dataclasses.replace(TRAIN, images=TRAIN.images[:1], labels=TRAIN.labels[:1])
    made = train_autoencoder(few, 4, **{**HOW, "steps": 2})
    assert made.encode(few.normalised()).isfinite().all()
    assert 0 < step_seconds(TRAIN, 4, torch.device("cpu")) < 10
