from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rdd_nb.clustering import reference_networks
from rdd_nb.clustering.reference_networks import (
    biased_network,
    biased_probabilities,
    generalised_cross_entropy,
    held_out_probabilities,
    outputs,
)
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
from tests.helpers import rng

SHADES = (torch.arange(3) * 80)[torch.arange(240) % 3, None, None, None]
IMAGES = (torch.randint(90, (240, 1, 8, 8), generator=rng(3)) + SHADES).to(torch.uint8)
DATA = ImageDataset(IMAGES, torch.arange(240) % 3, ("dark", "grey", "light"), *statistics(IMAGES))


def randn(*shape):
    return torch.randn(*shape, generator=rng(1))


# --- generalised cross-entropy ------------------------------------------------------------------------------------


def test_generalised_cross_entropy_lies_between_cross_entropy_and_one_minus_p():
    logits, labels = 2 * randn(20, 4).double(), torch.arange(20) % 4
    p = logits.softmax(1)[torch.arange(20), labels]
    plain = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(generalised_cross_entropy(logits, labels, 1e-7), plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(generalised_cross_entropy(logits, labels, 1.0), 1 - p)
    torch.testing.assert_close(generalised_cross_entropy(logits, labels, 0.5), 2 * (1 - p.sqrt()))


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_its_gradient_is_that_of_cross_entropy_times_p_to_the_q(q):
    logits, labels = randn(12, 4).double().requires_grad_(), torch.arange(12) % 4
    (found,) = torch.autograd.grad(generalised_cross_entropy(logits, labels, q).sum(), logits)
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), logits)
    p = logits.detach().softmax(1)[torch.arange(12), labels]
    torch.testing.assert_close(found, plain * (p**q)[:, None])


def test_it_is_finite_however_wrong_the_network_is():
    logits = torch.tensor([[200.0, -200.0]]).requires_grad_()
    loss = generalised_cross_entropy(logits, torch.tensor([1]))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all() and torch.isfinite(slope).all()


# --- the biased network -------------------------------------------------------------------------------------------


def test_the_biased_network_can_be_asked_about_other_images_in_the_terms_of_its_own():
    found = biased_probabilities(DATA, seed=1, epochs=4, width=4, device="cpu")
    torch.testing.assert_close(found.sum(1), torch.ones(240))
    part = torch.arange(0, 240, 5)
    others = DATA.subset(part).with_statistics((0.9,), (0.1,))  # its own would shift every image
    again = biased_probabilities(DATA, seed=1, asked=others, epochs=4, width=4, device="cpu")
    torch.testing.assert_close(again, found[part])
    net = biased_network(DATA, seed=1, epochs=4, width=4, device="cpu")
    assert not net.training
    torch.testing.assert_close(outputs(net, DATA, torch.device("cpu")).softmax(1), found)
    wide = replace(DATA, images=torch.zeros(240, 1, 8, 9, dtype=torch.uint8))
    with pytest.raises(RddError, match="images of one shape"):
        biased_probabilities(DATA, asked=wide)


# --- held-out probabilities ---------------------------------------------------------------------------------------


def held_out(data=DATA, weights=None, seed=0, **options):
    weights = torch.ones(len(data)) if weights is None else weights
    return held_out_probabilities(data, weights, seed, width=4, device="cpu", **options)


def test_they_are_probabilities_of_a_network_that_learnt_something_and_repeat():
    found = held_out()
    torch.testing.assert_close(found.sum(1), torch.ones(240))
    assert float((found.argmax(1) == DATA.labels).float().mean()) > 0.8
    assert torch.equal(found, held_out()) and not torch.equal(found, held_out(seed=1))


def test_no_sample_is_judged_by_a_network_that_met_it():
    before = held_out()
    others = []
    for at in (0, 17, 101):
        labels = DATA.labels.clone()
        labels[at] = (labels[at] + 1) % 3
        after = held_out(replace(DATA, labels=labels))
        assert torch.equal(after[at], before[at])  # its label is news to the network that is asked about it
        others.append(int((after != before).any(1).sum()))
    assert all(100 <= count <= 120 for count in others)  # and tells on the half that it is not in


def test_a_sample_of_weight_zero_is_never_met():
    weights = torch.ones(240)
    weights[:60] = 0
    labels = DATA.labels.clone()
    labels[:60] = (labels[:60] + 1) % 3
    assert torch.equal(held_out(weights=weights), held_out(replace(DATA, labels=labels), weights))
    assert not torch.equal(held_out(), held_out(replace(DATA, labels=labels)))


def test_batches_are_a_quarter_of_a_small_half(monkeypatch):
    met = []
    monkeypatch.setattr(
        reference_networks, "_fit", lambda net, data, batches, *rest: met.append({len(b) for b in batches})
    )
    for size, batch in ((40, 16), (240, 30), (1200, 128)):
        met.clear()
        data = replace(DATA, images=torch.zeros(size, 1, 8, 8, dtype=torch.uint8), labels=torch.arange(size) % 3)
        held_out(data)
        assert met == [{batch}] * 2


def test_weights_of_another_length_are_refused_in_one_line():
    with pytest.raises(RddError, match=r"240 samples and weights \[3\]: give two samples at least, a weight each"):
        held_out(weights=torch.ones(3))
