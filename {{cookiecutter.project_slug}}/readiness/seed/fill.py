"""Fills tables with rows.

New rows are like those that are there, such as handlers store from their examples, or like one that
is made up; with keys, references and values of their own. PostgreSQL itself says which of them its
checks allow. References are skewed: a few parents have most of the children. The same seed makes
the same rows.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from readiness.seed.first import first
from readiness.seed.shape import TENANT, Parent, Shape
from readiness.seed.values import ROW, chance, quoted, value_of

_ALIKE = 0.05  # share of the rows that have the reference or the value of a row that was there
_ROUNDS = 6  # attempts to make a table full; each offers twice what is missing
_IN_ORDER = """
WITH RECURSIVE depth AS (
    SELECT pg_class.oid, 0 AS level
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname !~ '^pg_'
        AND nspname <> 'information_schema' AND relname NOT IN ('schema_migrations', 'tenants')
    UNION
    SELECT conrelid, level + 1 FROM depth JOIN pg_constraint ON confrelid = depth.oid
    WHERE contype = 'f' AND conrelid <> confrelid AND level < 20
)
SELECT oid::regclass::text FROM depth GROUP BY oid ORDER BY max(level), 1
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """How many rows a table has now; fewer than wanted if no others can be made."""

    table: str
    rows: int
    wanted: int


def fill(
    cursor: Any, rows: int, *, seed: int = 1, small: Collection[str] = (), alike: bool = False
) -> Iterator[Filled]:
    """Fill every table, parents first; yields how far it came with each.

    Args:
        cursor: of a scratch database, that commits each statement by itself and sees all rows.
        rows: of each table.
        seed: another one makes other rows.
        small: tables that do not grow; they keep the rows that they have.
        alike: let some rows have references and values of those that are there, so that a query
            whose example found one of these finds many.
    """
    # PostgreSQL cannot guess how many rows meet in a number that is drawn by lot.
    cursor.execute("SET enable_nestloop = off; SET enable_mergejoin = off")
    cursor.execute(_IN_ORDER)
    for (table,) in cursor.fetchall():
        if not (count := _count(cursor, table)):
            first(cursor, Shape.of(cursor, table))
            count = _count(cursor, table)
        before, wanted = -1, count if table in small else rows
        for turn in range(_ROUNDS if count else 0):
            if count >= wanted or count == before:
                break
            before = count
            _insert(cursor, table, wanted - count, f"{seed}.{turn}", alike=alike and not turn)
            count = _count(cursor, table)
        cursor.execute(f"ANALYZE {table}")
        yield Filled(table, count, wanted)
    cursor.execute("RESET enable_nestloop; RESET enable_mergejoin")


def empty(cursor: Any) -> None:
    """Take out all rows of the tables that `fill` fills."""
    cursor.execute(_IN_ORDER)
    for (table,) in cursor.fetchall():
        cursor.execute(f"TRUNCATE {table} CASCADE")


def _insert(cursor: Any, table: str, missing: int, salt: str, *, alike: bool) -> None:
    shape = Shape.of(cursor, table)
    columns, checks = shape.columns, shape.checks
    parents = [each for each in shape.parents if [*each.columns] != [TENANT]]
    # What one check says of several columns at once is copied with all of them.
    kept = {TENANT}.union(*(names for _, names in checks if len(names) > 1))
    values: list[str] = []
    pools: dict[str, list[str]] = {}
    for column in columns:
        own = [check for check, names in checks if names == [column.name]]
        number = next((n for n, each in enumerate(parents) if column.name in each.columns), None)
        value: str | list[str] = f"model.{quoted(column.name)}"
        if number is not None and column.name != TENANT:
            value = f"parent_{number}.{quoted(parents[number].columns[column.name])}"
            if alike:
                same = f"{chance(f'alike {number}')} < {_ALIKE}"
                value = f"CASE WHEN {same} THEN model.{quoted(column.name)} ELSE {value} END"
        elif column.name not in kept or (column.unique and column.name != TENANT):
            value = value_of(cursor, table, column, own, salt)
        if isinstance(value, list):
            name = f"pool_{len(pools)}"
            pools[name], value = value, f"{name}.text"
        if number is None:
            value = f"({value})::{column.type}"
            if column.nullable and not column.unique and not value.startswith("(model."):
                value = (
                    f"CASE WHEN {chance(column.name + ' NULL')} < 0.2 THEN NULL ELSE {value} END"
                )
            if alike and not column.unique and not value.startswith("(model."):
                same = f"{chance(column.name + ' alike')} < {_ALIKE}"
                value = f"CASE WHEN {same} THEN model.{quoted(column.name)} ELSE {value} END"
        values.append(value)
    cursor.execute(
        _statement(shape, values, parents, pools),
        {"offered": 2 * missing, "most": missing, "salt": f"{table} {salt} ", **pools},
    )


def _statement(
    shape: Shape,
    values: Sequence[str],
    parents: Sequence[Parent],
    pools: Mapping[str, Sequence[str]],
) -> str:
    table, columns = shape.table, shape.columns
    conditions = [f"({check.replace('%', '%%')}) IS NOT FALSE" for check, _ in shape.checks]
    names = ", ".join(quoted(column.name) for column in columns)
    made = ", ".join(
        f"{value} AS {quoted(column.name)}" for column, value in zip(columns, values, strict=True)
    )
    nullable = {column.name for column in columns if column.nullable}
    with_, joins, sizes, drawn = [], [], [], []
    for number, parent in enumerate(parents):
        key = ", ".join(quoted(name) for name in parent.columns.values())
        tenant = quoted(TENANT) if TENANT in parent.columns else ""
        within = f"PARTITION BY {tenant} " if tenant else ""
        with_.append(
            f"parent_{number} AS MATERIALIZED (SELECT {key}, "
            f"row_number() OVER ({within}ORDER BY {key}) AS n FROM {parent.table})"
        )
        by = (f"{tenant}, ", f" GROUP BY {tenant}") if tenant else ("", "")
        size = f"(SELECT {by[0]}count(*) AS size FROM {parent.table}{by[1]}) AS size_{number}"
        on_size = f"size_{number}.{tenant} = model.{tenant}" if tenant else "true"
        sizes.append(f"JOIN {size} ON {on_size}")
        # A few parents have most of the children.
        lot = f"1 + floor(power({chance(f'parent {number}')}, 3) * size_{number}.size)::bigint"
        may_lack = nullable.issuperset(parent.columns.keys() - {TENANT})
        if may_lack:
            lot = f"CASE WHEN {chance(f'no parent {number}')} > 0.1 THEN {lot} END"
        drawn.append(f"{lot} AS drawn_parent_{number}")
        same = f" AND parent_{number}.{tenant} = model.{tenant}" if tenant else ""
        joins.append(
            f"{'LEFT ' if may_lack else ''}JOIN parent_{number} "
            f"ON parent_{number}.n = model.drawn_parent_{number}{same}"
        )
    for name, pool in pools.items():
        with_.append(
            f"{name} AS MATERIALIZED (SELECT text, n FROM unnest(%({name})s::text[]) "
            "WITH ORDINALITY AS drawn(text, n))"
        )
        drawn.append(f"1 + floor({chance(name)} * {len(pool)})::bigint AS drawn_{name}")
        joins.append(f"JOIN {name} ON {name}.n = model.drawn_{name}")
    with_.append(
        "models AS MATERIALIZED (SELECT *, row_number() OVER () AS number_of_model, "
        f"count(*) OVER () AS models FROM (SELECT * FROM {table} LIMIT 50) AS few)"
    )
    with_.append(
        f"model AS MATERIALIZED (SELECT {', '.join((ROW, 'model.*', *drawn))} "
        f"FROM generate_series(1, %(offered)s) AS {ROW} "
        f"JOIN models AS model ON model.number_of_model = 1 + {ROW} %% model.models "
        f"{' '.join(sizes)})"
    )
    return (
        f"WITH {', '.join(with_)} INSERT INTO {table} ({names}) SELECT {names} FROM ("
        f"SELECT {ROW}, {made} FROM model {' '.join(joins)}) AS candidate "
        f"WHERE {' AND '.join(conditions) or 'true'} "
        f"ORDER BY {ROW} LIMIT %(most)s ON CONFLICT DO NOTHING"
    )


def _count(cursor: Any, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {table}")
    ((count,),) = cursor.fetchall()
    return int(count)
