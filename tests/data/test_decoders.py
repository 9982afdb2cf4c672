"""Decoders: what their gradient is, what their file keeps, and what hostile ones are refused for."""

from __future__ import annotations

import json
import math

import pytest
import safetensors.torch
import torch
from torch import nn

from rdd_nb.core.errors import RddError
from rdd_nb.data import decoder_layers, decoders
from rdd_nb.data.decoders import Decoder, Latents, load_decoder, save_decoder
from rdd_nb.data.synthetic_set import SyntheticSet, load_synthetic, save_synthetic
from tests.helpers import made_set, one_line, rng

CODE = (2, 2, 3)


def network(seed=0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.LeakyReLU(0.1)),
        nn.ConvTranspose2d(4, 8, 4, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.SiLU(inplace=True),
        nn.PixelShuffle(2),
        nn.Upsample(size=(9, 12), mode="bilinear"),
        nn.Conv2d(2, 1, 1),
    ).eval()


def codes(count, shape=CODE):
    return torch.randn(count, *shape, generator=rng(1))


def latent_set(count=4, decoder=None) -> SyntheticSet:
    made = Latents(codes(count), decoder or Decoder(network(), CODE))
    return made_set(images=made.images, labels=torch.arange(count) % 2, ipc=count // 2, latents=made)


def test_a_decoder_is_its_network_some_codes_at_a_time(monkeypatch):
    net = network()
    decoder = Decoder(net, CODE)
    with torch.no_grad():
        wanted = net(codes(7))
    torch.testing.assert_close(decoder.decode(codes(7)), wanted)
    monkeypatch.setattr(decoders, "AT_A_TIME", 1)
    torch.testing.assert_close(decoder.decode(codes(7)), wanted)
    assert decoder.shape == (1, 9, 12)
    weights = sum(p.numel() for p in net.parameters())
    assert decoder.numbers == weights + 16, "and BatchNorm's running means and variances"
    net[1].weight.data.zero_()
    torch.testing.assert_close(decoder.decode(codes(7)), wanted, msg="it has its own weights")


@pytest.mark.parametrize("at_a_time", [1, 2**23])
def test_the_gradient_is_carried_back_as_differences_say(monkeypatch, at_a_time):
    monkeypatch.setattr(decoders, "AT_A_TIME", at_a_time)
    decoder, z = Decoder(network(), CODE), codes(3)
    coming = torch.randn(3, 1, 9, 12, generator=rng(2))
    with torch.no_grad():  # as a step has it
        found = decoder.carried_back(z, coming)
    assert found.shape == z.shape and not found.requires_grad
    exact = network().double()
    z64, coming64, step = z.double(), coming.double(), 1e-6
    for place in torch.randint(z.numel(), (12,), generator=rng(3)).tolist():
        moved = torch.zeros_like(z64).view(-1)
        moved[place] = step
        with torch.no_grad():
            up, down = (exact(z64 + sign * moved.view_as(z64)) for sign in (1, -1))
        slope = ((up - down) * coming64).sum() / (2 * step)
        torch.testing.assert_close(found.view(-1)[place].double(), slope, rtol=1e-4, atol=1e-5)


def test_of_a_linear_decoder_it_is_the_transpose():
    linear = nn.Linear(5, 12, bias=False)
    decoder = Decoder(nn.Sequential(linear, nn.Unflatten(1, (1, 3, 4))), (5,))
    coming = torch.randn(2, 1, 3, 4, generator=rng())
    wanted = coming.flatten(1) @ linear.weight.detach()
    torch.testing.assert_close(decoder.carried_back(codes(2, (5,)), coming), wanted)


def test_its_file_keeps_all_of_it_and_its_digest_tells_it_from_others(tmp_path):
    decoder = Decoder(network(), CODE)
    read = load_decoder(save_decoder(tmp_path / "a.safetensors", decoder))
    assert torch.equal(read.decode(codes(5)), decoder.decode(codes(5)))
    assert (read.digest, read.code, read.shape, read.numbers) == (
        *(decoder.digest, decoder.code, decoder.shape, decoder.numbers),
    )
    assert decoder.digest == Decoder(network(), CODE).digest != Decoder(network(1), CODE).digest
    smooth = network()
    smooth[0][2] = nn.LeakyReLU(0.2)  # the same weights
    assert Decoder(smooth, CODE).digest != decoder.digest


class Doubled(nn.Module):
    """A module of a kind that no file tells of."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 1, 1)

    def forward(self, x):
        return 2 * self.inner(x)


@pytest.mark.parametrize(
    "module",
    [Doubled(), nn.Conv2d(2, 1, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 1, 3, padding="same")],
)
def test_a_module_that_no_file_tells_of_decodes_all_the_same(tmp_path, module):
    decoder = Decoder(module, CODE)
    assert decoder.layers is None and decoder.shape == (1, 2, 3)
    wanted = module(codes(2)).detach()
    torch.testing.assert_close(decoder.decode(codes(2)), wanted)
    assert decoder.digest == Decoder(module, CODE).digest
    with pytest.raises(RddError, match="cannot be kept in a file: build it of"):
        save_decoder(tmp_path / "a.safetensors", decoder)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def spoilt(value) -> nn.Conv2d:
    layer = nn.Conv2d(2, 1, 1)
    layer.weight.data.fill_(value)
    return layer


@pytest.mark.parametrize(
    ("module", "code", "says"),
    [
        (nn.Conv2d(3, 1, 1), CODE, "fails on codes of shape"),
        (nn.Flatten(), CODE, "it should make float32"),
        (nn.Identity(), (4,), "it should make float32"),
        (nn.Conv2d(2, 1, 1).double(), CODE, "make it float32"),
        (spoilt(math.nan), CODE, "train it again"),
        (spoilt(3e38), CODE, "train it again"),
        (Noisy(), CODE, "another image the second time"),
        (nn.BatchNorm2d(2, track_running_stats=False), CODE, "depends on the codes beside it"),
        (nn.Identity(), (), "give the shape of one code"),
        (nn.Identity(), (2, 0, 3), "give the shape of one code"),
        (nn.Identity(), (2.0, 2, 3), "give the shape of one code"),
        (nn.Identity(), (5000, 5000), "more than"),
    ],
)
def test_a_module_that_is_no_decoder_is_refused(module, code, says):
    with pytest.raises(RddError) as caught:
        Decoder(module, code)
    assert says in one_line(caught)


# ------------------------------------------------------------------------------------------------------ hostile files


def hostile(path, layers, code=CODE, tensors=None, **said):
    told = {"format": "rdd_nb.decoder", "format_version": "1", "decoder": json.dumps({"code": code, "layers": layers})}
    path.write_bytes(safetensors.torch.save(tensors or {}, told | said))
    return path


LARGE = 60_000


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([["Conv3d", {}]], "unknown kind of layer 'Conv3d'"),
        ([["Linear", {"in_feature": 2}]], "in_features"),
        ([["Linear", {"in_features": -5, "out_features": 1}]], "out of bounds"),
        ([["Linear", {"in_features": 1e300, "out_features": 1}]], "out of bounds"),
        ([["Linear", {"in_features": "__import__('os')", "out_features": 1}]], "out of bounds"),
        ([["Linear", {"in_features": [[2]], "out_features": 1}]], "out of bounds"),
        ([["Linear", {"in_features": 2.5, "out_features": 1}]], "cannot be made"),
        ([["Linear", {"in_features": True, "out_features": None}]], "cannot be made"),
        ([["Linear", {"in_features": 3}]], "cannot be made"),
        ([["GroupNorm", {"num_groups": 0, "num_channels": 2}]], "cannot be made"),
        (["Tanh"], "give a pair"),
        ([["Tanh", {}, {}]], "give a pair"),
        ([[["Tanh"], {}]], "give a pair"),
        ([], "1 to 64 layers"),
        ([["Tanh", {}]] * 65, "1 to 64 layers"),
        ({"Tanh": {}}, "1 to 64 layers"),
        ([["Upsample", {"scale_factor": LARGE}]], "too large"),
        ([["Upsample", {"size": [LARGE, LARGE]}]], "too large"),
        ([["Upsample", {"scale_factor": 8}]] * 20, "too large"),
        ([["Upsample", {"scale_factor": 0}]], "does not fit"),
        ([["Upsample", {}]], "does not fit"),
        ([["Flatten", {}], ["Upsample", {"scale_factor": 2}]], "does not fit"),
        ([["Flatten", {"start_dim": 0}], ["PixelShuffle", {"upscale_factor": 2}]], "does not fit"),
        ([["PixelShuffle", {"upscale_factor": 0}]], ""),
        ([["Unflatten", {"dim": 1, "unflattened_size": [LARGE, LARGE, LARGE]}]], "does not fit"),
    ],
)
def test_hostile_layers_are_refused_in_one_line_and_nothing_is_allocated(tmp_path, layers, says):
    path = hostile(tmp_path / "x.safetensors", layers)
    with pytest.raises(RddError) as caught:
        load_decoder(path)
    assert says in one_line(caught) and "x.safetensors" in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("layer", "weight"),
    [
        (["Conv2d", {"in_channels": 2, "out_channels": 1, "kernel_size": 1, "padding": LARGE}], (1, 2, 1, 1)),
        (["Conv2d", {"in_channels": 2, "out_channels": 1, "kernel_size": [1, 999], "padding": 999}], (1, 2, 1, 999)),
        (["ConvTranspose2d", {"in_channels": 2, "out_channels": 1, "kernel_size": 1, "stride": LARGE}], (2, 1, 1, 1)),
        (["Conv2d", {"in_channels": 2, "out_channels": 1, "kernel_size": 2, "dilation": LARGE}], (1, 2, 2, 2)),
    ],
)
def test_convolutions_that_would_fill_the_memory_are_refused(tmp_path, layer, weight):
    layer[1]["bias"] = False
    path = hostile(tmp_path / "x.safetensors", [layer], tensors={"0.weight": torch.zeros(weight)})
    with pytest.raises(RddError, match="too large for one image"):
        load_decoder(path)


def test_many_layers_of_known_kinds_cannot_add_up_beyond_the_bound():
    grown = nn.Sequential(*[nn.Upsample(scale_factor=2) for _ in range(12)])
    with pytest.raises(RddError, match="too large"):
        decoder_layers.check_sizes(grown, (1, 4, 4))
    decoder_layers.check_sizes(grown[:10], (1, 4, 4))  # 2^24 numbers, no more


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ([2, 2, 10**9], "whole numbers"),
        ([2**13, 2**13], "more than"),
        ([2, 2, -1], "whole numbers"),
        ([True], "whole numbers"),
        ("223", "code"),
        ([1, 1, 1, 1], "whole numbers"),
        (None, "code"),
    ],
)
def test_hostile_codes_are_refused(tmp_path, code, says):
    with pytest.raises(RddError) as caught:
        load_decoder(hostile(tmp_path / "x.safetensors", [["Tanh", {}]], code))
    assert says in one_line(caught)


def test_weights_that_do_not_fit_the_layers_are_named(tmp_path):
    layers = [["Conv2d", {"in_channels": 2, "out_channels": 1, "kernel_size": 1}]]
    good = {"0.weight": torch.zeros(1, 2, 1, 1), "0.bias": torch.zeros(1)}
    path = tmp_path / "x.safetensors"
    assert load_decoder(hostile(path, layers, tensors=good)).shape == (1, 2, 3)
    for tensors, says in (
        ({"0.weight": good["0.weight"]}, "'0.bias' is absent"),
        ({**good, "1.weight": torch.zeros(1)}, "'1.weight' is torch.float32 [1], and its layers need absent"),
        ({**good, "0.weight": torch.zeros(1, 3, 1, 1)}, "[1, 3, 1, 1], and its layers need torch.float32 [1, 2, 1, 1]"),
        ({**good, "0.bias": torch.zeros(1, dtype=torch.float64)}, "torch.float64 [1]"),
        ({**good, "0.bias": torch.tensor([math.inf])}, "NaN or infinite"),
    ):
        with pytest.raises(RddError) as caught:
            load_decoder(hostile(path, layers, tensors=tensors))
        assert says in one_line(caught)


def test_files_that_are_no_decoders_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for write in (
        lambda: path.write_bytes(b"no"),
        lambda: hostile(path, [["Tanh", {}]], format_version="2"),
        lambda: hostile(path, [["Tanh", {}]], format="other"),
        lambda: hostile(path, [["Tanh", {}]], decoder="[" * 100_000),
        lambda: hostile(path, [["Tanh", {}]], decoder="[" * 60_000),
        lambda: hostile(path, [["Tanh", {}]], decoder="null"),
        lambda: save_synthetic(path, made_set()),
        path.unlink,
    ):
        write()
        with pytest.raises(RddError) as caught:
            load_decoder(path)
        assert "x.safetensors" in one_line(caught) and len(str(caught.value)) < 500


# ------------------------------------------------------------------------------------------------------------ the set


def test_a_set_of_latents_is_its_images_and_counts_what_it_keeps(tmp_path):
    made = latent_set()
    assert torch.equal(made.images, made.latents.decoder.decode(codes(4)))
    assert made.stored_numbers == 4 * 12 and made.decoder_numbers == made.latents.decoder.numbers
    assert "a code of 12 numbers, 48 in all" in made.kept and f"{48 + made.decoder_numbers:,} with" in made.kept
    assert (made_set().stored_numbers, made_set().decoder_numbers, made_set().kept) == (6 * 20, 0, "")
    read = load_synthetic(save_synthetic(tmp_path / "a.safetensors", made))
    assert torch.equal(read.images, made.images) and torch.equal(read.latents.codes, codes(4))
    assert read.latents.decoder.digest == made.latents.decoder.digest and read.meta == made.meta
    assert save_synthetic(tmp_path / "b.safetensors", read).read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata()["parameterisation"] == "latent" and "images" not in file.keys()  # noqa: SIM118
    whole = made.decoded
    assert whole.latents is None and torch.equal(whole.images, made.images) and whole.ipc == made.ipc


def test_soft_labels_go_with_latents_and_are_counted(tmp_path):
    soft = torch.full((4, 2), 0.5)
    made = latent_set()
    made = made_set(images=made.images, labels=made.labels, ipc=2, latents=made.latents, soft_labels=soft)
    read = load_synthetic(save_synthetic(tmp_path / "a.safetensors", made))
    assert torch.equal(read.soft_labels, soft) and read.stored_numbers == 48 + 8
    assert read.decoded.soft_labels is not None


def test_images_that_are_not_those_of_the_codes_are_refused():
    made = latent_set()
    for changes in ({"images": made.images.clone()}, {"formations": 2}):
        with pytest.raises(RddError, match=r"must be latents\.images"):
            made_set(**{"images": made.images, "labels": made.labels, "ipc": 2, "latents": made.latents, **changes})
    for wrong in (codes(4).double(), codes(4)[:, :1], codes(0), codes(4) * math.inf):
        with pytest.raises(RddError):
            Latents(wrong, made.latents.decoder)


def test_a_file_whose_few_codes_would_become_many_images_is_refused(monkeypatch):
    decoder = Decoder(nn.Upsample(scale_factor=100), (1, 1, 1))
    monkeypatch.setattr(decoders, "LARGEST_DECODED", 4 * 10_000 * 50)
    Latents(torch.zeros(50, 1, 1, 1), decoder)
    with pytest.raises(RddError, match="would become more than"):
        Latents(torch.zeros(51, 1, 1, 1), decoder)


def test_a_set_with_a_spoilt_decoder_is_refused_by_its_file(tmp_path):
    path = save_synthetic(tmp_path / "x.safetensors", latent_set())
    with safetensors.safe_open(path, "pt") as file:
        said = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for changed, more in (
        ({"codes": torch.zeros(4, 2, 2, 2)}, {}),
        ({"decoder.0.weight": torch.zeros(1)}, {}),
        ({}, {"decoder": "{}"}),
        ({}, {"decoder": json.dumps({"code": [12], "layers": [["Upsample", {"scale_factor": LARGE}]]})}),
    ):
        path.write_bytes(safetensors.torch.save({**tensors, **changed}, {**said, **more}))
        with pytest.raises(RddError) as caught:
            load_synthetic(path)
        assert "x.safetensors" in one_line(caught)
    for missing in ("codes", "decoder.0.weight"):
        path.write_bytes(safetensors.torch.save({k: v for k, v in tensors.items() if k != missing}, said))
        with pytest.raises(RddError):
            load_synthetic(path)
