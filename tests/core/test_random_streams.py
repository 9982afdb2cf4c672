"""Random streams: named apart, and repeated."""

import torch

from rdd_nb.core.random_streams import seed_of, stream


def test_streams_are_named_apart_and_repeat():
    def draw(*names):
        return torch.rand(3, generator=stream(*names)).tolist()

    assert draw(0, "a") == draw(0, "a")
    assert len({tuple(draw(*names)) for names in ((0, "a"), (0, "b"), (1, "a"), (0, "a", 1), (0, "a1"))}) == 5
    assert 0 <= seed_of(0, "x") < 2**63
