"""What a file or a person says, held against a model of types and bounds before anything is done with it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import pydantic

from rdd_nb.core.errors import RddError

__all__ = ["Held", "complaint", "validated"]

SHOWN = 3  # complaints in a line


class Held(pydantic.BaseModel):
    """What a file holds: no type is guessed (a text is no number), and keys that nobody asks for are left alone."""

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


M = TypeVar("M", bound=pydantic.BaseModel)


def validated(model: type[M], value: Any, where: str, mend: str = "") -> M:
    """``value`` as a ``model``.

    Args:
        model: with the types and bounds.
        value: what a file, or a person, says.
        where: named in an error.
        mend: what to do, in an error.

    Raises:
        RddError: one line on what does not fit, where.

    >>> class Size(Held):
    ...     size: int = pydantic.Field(ge=1)
    >>> validated(Size, {"size": 3, "more": "x"}, "config.json").size
    3
    >>> validated(Size, {"size": "3"}, "config.json", "write it anew")
    Traceback (most recent call last):
    ...
    rdd_nb.core.errors.RddError: config.json: size='3': input should be a valid integer: write it anew
    """
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        said = [complaint(each) for each in error.errors()]
        more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        raise RddError(f"{where}: {'; '.join(said[:SHOWN])}{more}" + (f": {mend}" if mend else "")) from None


def complaint(error: Any) -> str:
    """One of pydantic's complaints as a person would say it."""
    where = ".".join(map(str, error["loc"]))
    message = re.sub(r" or instance of \w+", "", str(error["msg"])).removeprefix("Value error, ")
    if not where:
        return message
    value = repr(error["input"])
    told = "" if error["type"] == "missing" else "=" + (value if len(value) <= 60 else value[:57] + "…")
    return f"{where}{told}: {message[0].lower()}{message[1:]}"
