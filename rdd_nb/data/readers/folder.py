"""``folder:PATH``: a folder for each class, as torchvision's ``ImageFolder`` has it, or any files with our table.

Source: the layout of torchvision's ``ImageFolder`` and of Hugging Face's, see :mod:`rdd_nb.data.image_listing`.
"""

from __future__ import annotations

from rdd_nb.data.image_folder import Source
from rdd_nb.data.image_listing import listing
from rdd_nb.data.readers.catalogue import Catalogue, assembled, of_listing
from rdd_nb.data.reading import Reading

__all__ = ["of_folder", "read_folder"]


def of_folder(name: str, reading: Reading) -> Catalogue:
    """The images of the folder ``folder:PATH``.

    Raises:
        RddError: a folder that does not say what it holds (:func:`rdd_nb.data.image_listing.listing`).
    """
    return of_listing(listing(name))


def read_folder(name: str, reading: Reading = Reading()) -> Source:  # noqa: B008 (it is frozen)
    """All images of the folder ``folder:PATH`` that ``reading`` wants; what has no test set keeps all for training.

    Raises:
        RddError: a folder that does not say what it holds, an image that cannot be read, images that differ, or that
            do not fit into the memory.
    """
    return assembled(of_folder(name, reading), reading)
