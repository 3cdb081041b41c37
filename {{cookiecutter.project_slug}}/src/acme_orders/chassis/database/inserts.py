"""INSERT for any number of rows, as one statement whose text is always the same.

The rows travel as one JSON document, which PostgreSQL reads as rows of the table. A text for each
number of rows would be compiled, parsed, planned, and kept in pg_stat_statements, once for each.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import peewee

from acme_orders.chassis.database.documents import document
from acme_orders.chassis.database.unit_of_work import Row
from acme_orders.chassis.database.values import Column
from acme_orders.chassis.errors import QueryRefused
from acme_orders.chassis.tenancy.scope import current_scope  # feature: row, rls

_NONE: frozenset[str] = frozenset()


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
        rows: all with the same columns. A column that they do not have gets the default of its
            field; if that has none, PostgreSQL decides.
        common: columns that have the same value in all rows.
        key: columns of a unique constraint; a row whose key is there already is left alone.
        update: columns that are changed in such a row instead.
        returning: columns.

    Raises:
        QueryRefused: there are no rows; they differ in their columns, or these do not fit the
            model; `key` or `update` name others; or a field does not take its value.
    """
    if not rows:
        raise QueryRefused(f"there are no rows of {model.__name__} to insert")
    names, common = tuple(rows[0]), dict(common or {})
    # feature: row, rls {
    if (tenant := current_scope().tenant) is not None:
        common["tenant_id"] = tenant
    # feature: row, rls }
    plan = _plan(model, tuple(common), names)
    rows, spelled = _told(plan, rows, names)
    wanted = (
        tuple([field_of(model, each).column_name for each in some])
        for some in (key, update, returning)
    )
    sql = _compiled(plan, spelled, *wanted)
    try:
        travelling = document(rows)
    except ValueError as error:  # half of a surrogate pair, for instance
        raise QueryRefused(
            f"a row of {model.__name__} has a value without a form in JSON"
        ) from error
    shared = [
        column.form(value) for column, value in zip(plan.shared, common.values(), strict=True)
    ]
    return sql, (*shared, travelling)


def field_of(model: type[peewee.Model], column: Any) -> Any:
    """The field of a column, which is told as a field or by its name.

    Raises:
        QueryRefused: the model does not have it.
    """
    meta = model._meta  # noqa: SLF001
    if isinstance(column, str) and (found := meta.fields.get(column) or meta.columns.get(column)):
        return found
    if isinstance(column, peewee.Field) and column.model is model:
        return column
    if isinstance(column, peewee.Field):
        column = f"{column.model.__name__}.{column.name}"
    raise QueryRefused(f"{model.__name__} has no {column}")


def refuse_repeated(model: type[peewee.Model], rows: Sequence[Row], key: Sequence[Any]) -> None:
    """Check that no two rows have the same key: one row is not changed twice.

    Raises:
        QueryRefused: two have.
    """
    columns = [(field, Column(field)) for field in (field_of(model, each) for each in key)]
    keys = Counter(
        tuple(
            column.form(row.get(field.name, row.get(field.column_name)))
            for field, column in columns
        )
        for row in rows
    )
    if any(count > 1 and None not in values for values, count in keys.items()):
        names = ", ".join(field.name for field, _ in columns)
        raise QueryRefused(
            f"several rows of {model.__name__} have the same {names}: keep one of each, because "
            "PostgreSQL changes no row twice in one statement"
        )


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is done with each row that has certain columns."""

    model: type[peewee.Model]
    shared_names: tuple[str, ...]
    shared: Sequence[Column]
    names: tuple[str, ...]
    columns: Sequence[Column]
    plain: Sequence[frozenset[type]]  # types by column: values of these travel as they are
    defaults: Sequence[Callable[[], Any]]  # of the last columns, which the rows do not have


@functools.lru_cache(maxsize=1024)
def _plan(model: type[peewee.Model], common: tuple[str, ...], names: tuple[str, ...]) -> _Plan:
    shared, own = ([field_of(model, name) for name in some] for some in (common, names))
    given = Counter(field.column_name for field in (*shared, *own))
    if twice := [name for name, count in given.items() if count > 1]:
        raise QueryRefused(
            f"{model.__name__} gets {', '.join(twice)} twice: in each row or in common, by one name"
        )
    defaults = {
        field: default
        for field, default in model._meta.defaults.items()  # noqa: SLF001
        if field.column_name not in given
    }
    if not given and not defaults:
        raise QueryRefused(f"a row of {model.__name__} has no column")
    own += defaults
    return _Plan(
        model,
        tuple(field.column_name for field in shared),
        [Column(field) for field in shared],
        tuple(field.column_name for field in own),
        (columns := [Column(field) for field in own]),
        [column.plain for column in columns],
        [each if callable(each) else functools.partial(_same, each) for each in defaults.values()],
    )


@functools.lru_cache(maxsize=1024)
def _compiled(
    plan: _Plan,
    spelled: frozenset[str],
    key: tuple[str, ...],
    update: tuple[str, ...],
    returning: tuple[str, ...],
) -> str:
    _check_conflict(plan, key, update)
    meta = plan.model._meta  # noqa: SLF001
    table = ".".join(_quoted(name) for name in (meta.schema, meta.table_name) if name)
    values = ["%s" for _ in plan.shared]
    values += [
        f"({_quoted(name)} #>> '{{}}')::json" if name in spelled else _quoted(name)
        for name in plan.names
    ]
    # In a row that is there but empty, PostgreSQL does not look at the columns that are not given:
    # those of a domain may refuse to be NULL.
    sql = (
        f"INSERT INTO {table} ({_listed((*plan.shared_names, *plan.names))}) "
        f"SELECT {', '.join(values)} "
        f"FROM json_populate_recordset(ROW((NULL::{table}).*)::{table}, %s)"
    )
    if key:
        changes = ", ".join(f"{_quoted(name)} = EXCLUDED.{_quoted(name)}" for name in update)
        action = f"UPDATE SET {changes}" if changes else "NOTHING"
        sql += f" ON CONFLICT ({_listed(key)}) DO {action}"
    if returning:
        sql += f" RETURNING {_listed(returning)}"
    return sql


def _check_conflict(plan: _Plan, key: tuple[str, ...], update: tuple[str, ...]) -> None:
    model, given = plan.model.__name__, len(plan.names) - len(plan.defaults)
    theirs = set(key)
    theirs.discard("tenant_id")  # feature: row, rls
    if unknown := theirs.difference(plan.shared_names, plan.names):
        raise QueryRefused(
            f"the key of {model} has {', '.join(sorted(unknown))}, and the rows do not: give it "
            "to each row, or to all with common="
        )
    if unknown := set(update).difference(plan.shared_names, plan.names[:given]):
        raise QueryRefused(
            f"update= of {model} names {', '.join(sorted(unknown))}, and the rows do not: what "
            "is stored would be lost; give it to each row, or leave it out"
        )
    if update and not key:
        raise QueryRefused(f"update= of {model} needs the key by which a row is found")


def _told(
    plan: _Plan, rows: Sequence[Row], names: tuple[str, ...]
) -> tuple[Sequence[Row], frozenset[str]]:
    """The rows as they travel, and the columns whose documents are told as texts."""
    values = [
        each.values() if tuple(each) == names else _ordered(plan.model, each, names)
        for each in rows
    ]
    columns: list[Any] = list(zip(*values, strict=True))
    columns += [[default() for _ in rows] for default in plan.defaults]
    own = [n for n, each in enumerate(columns) if not plan.plain[n].issuperset(map(type, each))]
    if not own and plan.names == names:
        return rows, _NONE
    spelled = set()
    for n in own:
        columns[n], spells = plan.columns[n].forms(columns[n])
        if spells:
            spelled.add(plan.names[n])
    told = [dict(zip(plan.names, each, strict=True)) for each in zip(*columns, strict=True)]
    return told, frozenset(spelled)


def _ordered(model: type[peewee.Model], row: Row, names: tuple[str, ...]) -> Collection[Any]:
    if row.keys() == set(names):
        return [row[name] for name in names]
    raise QueryRefused(
        f"rows of {model.__name__} differ in their columns: {', '.join(names)} and {', '.join(row)}"
    )


def _same(value: Any) -> Any:
    return value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
