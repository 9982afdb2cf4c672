"""A script of plain PyTorch that trains a network on exported images, without this package."""

from __future__ import annotations

import math

from rdd_nb.data.synthetic_set import SyntheticSet

__all__ = ["training_script"]

_ARRAYS = """\
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

held = np.load(Path(__file__).with_name({name}))  # nothing in it is pickled
x, names = torch.tensor(held["images"]), held["class_names"]
y = torch.tensor(held["soft_labels"] if "soft_labels" in held else held["train_labels"])
"""
_PICTURES = """\
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

here, mean, std = Path(__file__).parent, np.array({mean}), np.array({std})
names = {names}
rows = list(csv.DictReader((here / "metadata.csv").open(encoding="utf-8", newline="")))
pixels = np.stack([np.asarray(Image.open(here / row["file_name"])) for row in rows])
x = torch.tensor((pixels.reshape(*pixels.shape[:3], -1) / 255 - mean) / std, dtype=torch.float32).permute(0, 3, 1, 2)
{labels}
"""
_CLASSES = 'y = torch.tensor([names.index(row["label"]) for row in rows])'
_SOFT = """\
soft = list(csv.reader((here / "soft_labels.csv").open(encoding="utf-8", newline="")))[1:]
y = torch.tensor([[float(value) for value in row[1:]] for row in soft])"""
_TRAINING = """\

def block(channels):
    return nn.Conv2d(channels, 128, 3, padding=1), nn.GroupNorm(128, 128), nn.ReLU(), nn.AvgPool2d(2)


net = nn.Sequential(*block(x.shape[1]){deeper}, nn.Flatten(), nn.LazyLinear(len(names)))
net(x[:1])  # the last layer takes its size from it
optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
for epoch in range({epochs}):
    for part in torch.randperm(len(x)).split(256):
        loss = cross_entropy(net(x[part]), y[part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
torch.save(net.state_dict(), "net.pt")
print(f"{{len(x)}} images, {epochs} epochs: loss {{loss.item():.4f}}; the weights are in net.pt")
"""


def training_script(synthetic: SyntheticSet, npz: str = "", epochs: int = 300) -> str:
    """A script that reads what was exported beside it and trains a ConvNet of up to three blocks; it needs torch alone.

    Args:
        synthetic: the set that was exported.
        npz: the name of the ``.npz`` file; without, the script reads the pictures of its folder (and needs Pillow).
        epochs: passes over the images.
    """
    head = (
        f"# Trains a network on {len(synthetic.decoded.images)} distilled images with plain PyTorch.\n"
        "# Test images need the same normalisation: (pixel / 255 - mean) / std,\n# "
        f"with mean {_numbers(synthetic.mean)} and std {_numbers(synthetic.std)}, one value a channel.\n"
    )
    blocks = max(1, min(3, int(math.log2(min(synthetic.shape[1:])))))
    training = _TRAINING.format(epochs=epochs, deeper=", *block(128)" * (blocks - 1))
    if npz:
        return head + _ARRAYS.format(name=repr(npz)) + training
    values = {"mean": _numbers(synthetic.mean), "std": _numbers(synthetic.std)}
    labels = _CLASSES if synthetic.soft_labels is None else _SOFT
    return head + _PICTURES.format(**values, names=list(synthetic.class_names), labels=labels) + training


def _numbers(values: tuple[float, ...]) -> str:
    return str([round(value, 6) for value in values])
