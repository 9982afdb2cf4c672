"""Makes fashion_mnist_sample.npz: 10,000 training and 2,000 test images of Fashion-MNIST, balanced over its classes.

    python data/make_sample.py

Fashion-MNIST itself is looked for, and downloaded where it is missing, as ``rdd_nb.load("fashion-mnist")`` does.

The choice needs no random number generator, whose stream may change between versions: within each class the images
with the smallest SHA-256 of ``"rdd_nb fashion-mnist-sample <split> <index>"`` are taken, and kept in their old order.
The zip members carry a fixed date, so the same zlib writes the same bytes; another zlib writes the same arrays, which
is what the loader checks.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from rdd_nb.data import loading, sources
from rdd_nb.data.dataset import Splits

TARGET = Path(__file__).with_name("fashion_mnist_sample.npz")
PER_CLASS = {"train": 1000, "test": 200}


def choose(labels: np.ndarray, split: str, per_class: int) -> np.ndarray:
    """The indices chosen, int32, ascending: ``per_class`` of each class."""

    def draw(index: int) -> bytes:
        return hashlib.sha256(f"rdd_nb fashion-mnist-sample {split} {index}".encode()).digest()

    chosen: list[int] = []
    for label in range(10):
        chosen += sorted(np.flatnonzero(labels == label).tolist(), key=draw)[:per_class]
    return np.array(sorted(chosen), dtype=np.int32)


def make(full: Splits, target: Path = TARGET) -> str:
    """Write the sample drawn from ``full`` to ``target``; returns the SHA-256 of its arrays."""
    arrays: dict[str, np.ndarray] = {}
    for split, data in (("train", full.train), ("test", full.test)):
        index = choose(data.labels.numpy(), split, PER_CLASS[split])
        arrays[f"{split}_images"] = data.images[:, 0].numpy()[index]
        arrays[f"{split}_labels"] = data.labels.numpy()[index].astype(np.uint8)
        arrays[f"{split}_index"] = index
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(2024, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            member.create_system = 3
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(member, buffer.getvalue(), compresslevel=9)
    return sources.digest(arrays)


if __name__ == "__main__":
    arrays_digest = make(loading.load("fashion-mnist"))
    size = TARGET.stat().st_size
    print(f"{TARGET}: {size:,} bytes")
    print(f"SHA-256 of the file:   {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")
    print(f"SHA-256 of the arrays: {arrays_digest}")
    if arrays_digest != sources.SAMPLE_DIGEST:
        sys.exit("the arrays are not those that rdd_nb.data.sources expects (SAMPLE_DIGEST)")
