"""How somebody's data are read, as a small YAML file or a part of a study says it: ``label: y``, ``group: place``."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.data.reading import Reading
from rdd_nb.experiments import yaml_reader

__all__ = ["checked_mapping", "read_mapping"]

_SEVERAL = ("group", "only_classes", "only_groups")


def read_mapping(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The fields of :class:`rdd_nb.data.reading.Reading` that a YAML file gives, for :func:`rdd_nb.data.loading.load`.

    Args:
        path: of the file; None says nothing.

    Raises:
        RddError: no such file, no mapping in it, or a key or value that means nothing.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "birds.yaml")
    >>> _ = file.write_text("label: y\\ngroup: [place, light]\\n")
    >>> read_mapping(file)
    {'label': 'y', 'group': ['place', 'light']}
    """
    return {} if path is None else checked_mapping(yaml_reader.read(path, "mapping"), str(path))


def checked_mapping(held: Any, where: str) -> dict[str, Any]:
    """``held`` if it says how data are read; ``where`` names it in an error.

    Raises:
        RddError: as :func:`read_mapping`.
    """
    if not isinstance(held, dict):
        raise RddError(f"{where} holds no mapping: write lines such as 'label: y' and 'group: place'")
    known = [
        field.name for field in dataclasses.fields(Reading) if field.name != "seed"
    ]  # which is a run's, or a study's
    for name in held:
        if name not in known:
            raise unknown("key", name, known, where=where)
    said = {name: [value] if name in _SEVERAL and isinstance(value, str) else value for name, value in held.items()}
    try:
        Reading.of(said)
    except RddError as error:
        raise RddError(f"{where}: {error}") from None
    return said
