"""What tests of this layer share."""

import torch

from rdd_nb.clustering.groups import Groups
from rdd_nb.data import dataset
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.distillation.loop import distill

TINY = {"ipc": 2, "width": 4, "depth": 2, "batch_real": 6, "iterations": 4, "checkpoint_every": 1}


def make(classes=3, each=30, side=8, channels=1, seed=0) -> tuple[ImageDataset, Groups]:
    """Classes by brightness, and in each a rare group (a fifth) whose left half is dark."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    images = (
        torch.randint(0, 40, (classes * each, channels, side, side), generator=draw) + 60 * labels[:, None, None, None]
    )
    rare = (torch.arange(len(labels)) % each) < each // 5
    images[rare, :, :, : side // 2] = 0
    data = ImageDataset(
        images.to(torch.uint8), labels, tuple("abc"[:classes]), *dataset.statistics(images.to(torch.uint8)), name="toy"
    )
    return data, Groups(rare.long(), 2, "known")


DATA, GROUPS = make()


def final(config, groups=GROUPS, data=DATA):
    return distill(data, config, groups, progress=False, device="cpu").synthetic.images
