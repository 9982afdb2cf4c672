"""The kinds of fields that outputs are stated with: a type, its bounds, and what a field means."""

from typing import Annotated, Any

import pydantic

from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.run_contents import Source
from rdd_nb.models.protocol import Protocol

__all__ = ["ConfigFields", "Count", "ProtocolFields", "Seconds", "Share", "SourceFields", "means"]


def means(text: str) -> Any:
    """What a field is, with its unit, and when it is null."""
    return pydantic.Field(description=text)


def _fields_of(model: Any, all_of_them: bool = False) -> Any:
    """The schema of an object whose keys are the fields of a model or dataclass, which states them itself."""
    schema = pydantic.TypeAdapter(model).json_schema()
    if all_of_them:
        schema["required"] = list(schema["properties"])
    home = f"{model.__module__}.{model.__qualname__}"
    return pydantic.WithJsonSchema({**schema, "title": model.__qualname__, "description": f"the fields of {home}"})


Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Count = Annotated[int, pydantic.Field(ge=0)]
Seconds = Annotated[float, pydantic.Field(ge=0)]
SourceFields = Annotated[dict[str, Any], _fields_of(Source)]
ConfigFields = Annotated[dict[str, Any], _fields_of(DistillConfig)]
ProtocolFields = Annotated[dict[str, Any], _fields_of(Protocol, all_of_them=True)]
