"""Arrow schema of a row type, derived from its annotations so that neither can drift."""

import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa

from datasets_spec.record import Record

SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def arrow_type(annotation: Any) -> pa.DataType:
    """Arrow type of one annotation.

    Raises:
        TypeError: the annotation is none of the kinds a row may hold.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        (inner,) = [a for a in arguments if a is not type(None)]
        return arrow_type(inner)
    if origin is list or origin is tuple:
        return pa.list_(arrow_type(arguments[0]))
    if origin is Literal:
        return pa.string()
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return pa.string()
    if annotation in SCALARS:
        return SCALARS[annotation]
    raise TypeError(
        f"a row cannot hold {annotation!r}; use str, int, float, bool, an enum, a Literal, a list or tuple of these"
    )


def arrow_schema(record: type[Record]) -> pa.Schema:
    """A field for each field of the row, in order."""
    return pa.schema([pa.field(name, arrow_type(field.annotation)) for name, field in record.model_fields.items()])
