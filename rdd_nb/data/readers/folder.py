"""``folder:PATH``: a folder for each class, as torchvision's ``ImageFolder`` has it, or any files with our table.

Source: the layout of torchvision's ``ImageFolder`` and of Hugging Face's, see :mod:`rdd_nb.data.image_listing`.
"""

from __future__ import annotations

from rdd_nb.data.image_folder import Source
from rdd_nb.data.image_listing import listing
from rdd_nb.data.readers.catalogue import assembled, of_listing
from rdd_nb.data.reading import Reading

__all__ = ["read_folder"]


def read_folder(name: str, reading: Reading = Reading()) -> Source:  # noqa: B008 (it is frozen)
    """All images of the folder ``folder:PATH`` that ``reading`` wants.

    Raises:
        RddError: a folder that does not say what it holds, an image that cannot be read, images that differ, or that
            do not fit into the memory.
    """
    return assembled(of_listing(listing(name)), reading)
