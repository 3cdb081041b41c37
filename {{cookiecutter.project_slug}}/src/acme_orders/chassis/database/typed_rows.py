"""Rows as the classes that a repository gives away, instead of dictionaries."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from acme_orders.chassis.errors import QueryRefused

Kind = TypeVar("Kind")


def rows_into(kind: type[Kind], rows: Sequence[Mapping[str, Any]], *, query: str) -> list[Kind]:
    """Make an object of each row.

    Args:
        kind: a dataclass, or a model of Pydantic, with a field for each column.
        rows: by the names of their columns.
        query: that has read them.

    Raises:
        QueryRefused: the columns are not the fields, or a value is not of the type of its field.
    """
    if not rows:
        return []
    shape: Any = kind
    if rows[0].keys() != (names := names_of(shape)):
        raise QueryRefused(
            f"{query} reads {', '.join(sorted(rows[0]))}, and {kind.__name__} has "
            f"{', '.join(sorted(names))}: select the same, with .alias(…) where need be"
        )
    try:
        return _adapter(shape).validate_python(rows)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"][1:]))
        raise QueryRefused(f"{query}: {where} of {kind.__name__}: {first['msg']}") from None


@cache
def names_of(kind: Hashable) -> frozenset[str]:
    """The names of its fields."""
    if is_dataclass(kind):
        return frozenset(each.name for each in fields(kind))
    return frozenset(getattr(kind, "model_fields", ()))


@cache
def _adapter(kind: Hashable) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]
