"""INSERT for any number of rows, as one statement whose text is always the same.

The rows travel as one JSON document, which PostgreSQL reads as rows of the table. A text for each
number of rows would be compiled, parsed, planned, and kept in pg_stat_statements, once for each.
"""

import functools
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField
from pydantic import ConfigDict, TypeAdapter

from acme_orders.database.tenancy import current_scope  # feature: row, rls
from acme_orders.database.unit_of_work import Row
from acme_orders.errors import QueryRefused

# NaN within a document is not JSON: PostgreSQL refuses it, where it would become NULL otherwise.
_JSON = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))


def insertion(
    model: type[peewee.Model],
    rows: Sequence[Row],
    *,
    common: Row | None = None,
    key: Sequence[Any] = (),
    update: Sequence[Any] = (),
    returning: Sequence[Any] = (),
) -> tuple[str, tuple[Any, ...]]:
    """The statement that inserts rows, and its parameters.

    Args:
        model: of the rows.
        rows: all with the same columns; what the others get, PostgreSQL decides.
        common: columns that have the same value in all rows.
        key: columns of a unique constraint; a row whose key is there already is left alone.
        update: columns that are changed in such a row instead.
        returning: columns.

    Raises:
        QueryRefused: the rows do not have the same columns, or the model does not have them, or a
            value cannot be written as JSON.
    """
    names, common = tuple(rows[0]), dict(common or {})
    if odd := next((row for row in rows if tuple(row) != names), None):
        raise QueryRefused(
            f"rows of {model.__name__} differ in their columns: {', '.join(names)} "
            f"and {', '.join(odd)}"
        )
    # feature: row, rls {
    if (tenant := current_scope().tenant) is not None:
        common["tenant_id"] = str(tenant)
    # feature: row, rls }
    wanted = (tuple(field.column_name for field in some) for some in (key, update, returning))
    sql, columns, forms = _compiled(model, tuple(common), names, *wanted)
    if forms:
        rows = [{**row, **{name: form(row[name]) for name, form in forms}} for row in rows]
    if columns != names:
        rows = [dict(zip(columns, row.values(), strict=True)) for row in rows]
    try:
        document = _JSON.dump_json(rows).decode()
    except ValueError as error:  # half of a surrogate pair, for instance
        raise QueryRefused(
            f"a row of {model.__name__} has a value without a form in JSON"
        ) from error
    return sql, (*common.values(), document)


@functools.lru_cache(maxsize=1024)
def _compiled(  # noqa: PLR0917  # named, they would make the cache slower
    model: type[peewee.Model],
    common: tuple[str, ...],
    names: tuple[str, ...],
    key: tuple[str, ...],
    update: tuple[str, ...],
    returning: tuple[str, ...],
) -> tuple[str, tuple[str, ...], tuple[tuple[str, Callable[[Any], Any]], ...]]:
    meta = model._meta  # noqa: SLF001
    if unknown := [name for name in (*common, *names) if name not in meta.combined]:
        raise QueryRefused(f"{model.__name__} has no {', '.join(unknown)}")
    shared, columns = (
        tuple(meta.combined[name].column_name for name in some) for some in (common, names)
    )
    table, values = _quoted(meta.table_name), ["%s" for _ in shared] + [_listed(columns)]
    sql = (
        f"INSERT INTO {table} ({_listed((*shared, *columns))}) "
        f"SELECT {', '.join(values)} FROM json_populate_recordset(NULL::{table}, %s)"
    )
    if key:
        changes = ", ".join(f"{_quoted(name)} = EXCLUDED.{_quoted(name)}" for name in update)
        action = f"UPDATE SET {changes}" if changes else "NOTHING"
        sql += f" ON CONFLICT ({_listed(key)}) DO {action}"
    if returning:
        sql += f" RETURNING {_listed(returning)}"
    forms = tuple(
        (name, form)
        for name in names
        for type_, form in _FORMS.items()
        if isinstance(meta.combined[name], type_)
    )
    return sql, columns, forms


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "\\x" + value.hex()


def _moment(value: datetime | str | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value


def _number(value: float | None) -> float | str | None:
    return str(value) if value is not None and not math.isfinite(value) else value


# Of columns whose values PostgreSQL would not read in the form that they have in JSON: bytes, zones
# with seconds in their offset (Amsterdam until 1937), and NaN.
_FORMS: dict[type[peewee.Field], Callable[[Any], Any]] = {
    peewee.BlobField: _hex,
    DateTimeTZField: _moment,
    peewee.FloatField: _number,
}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
