"""The SQL that makes a model's table: its columns, keys, references, checks and indexes.

The drift check runs it in a scratch database and compares what comes out with what the migrations
have made; `migrate new` puts the difference into a file.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import peewee
import postgast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.dialect import Dialect
from acme_orders.chassis.migrations.keys import Keys  # feature: tenancy=none, schema
from acme_orders.chassis.migrations.tenant_keys import TenantKeys  # feature: row, rls

Model = type[peewee.Model]

_KEYS = Keys()  # feature: tenancy=none, schema
_KEYS = TenantKeys()  # feature: row, rls

_RESERVED = (enums.RESERVED_KEYWORD, enums.TYPE_FUNC_NAME_KEYWORD)
_AUTO = {"AUTO": "integer", "BIGAUTO": "bigint"}
_SPELLINGS = {"int": "integer", "bool": "boolean"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key.

    Args:
        to: the model that it refers to; None: one that no model describes.
        sql: the constraint, without a name.
    """

    to: Model | None
    sql: str


@dataclass(frozen=True, slots=True)
class TableSQL:
    """What makes one table, in parts.

    Args:
        name: quoted where PostgreSQL needs it, with its schema if the model names one.
        columns: the definition of each column, by its name.
        constraints: keys and checks.
        references: foreign keys.
        indexes: `CREATE INDEX` statements.
        policies: statements that keep its rows to their tenant.
    """

    name: str
    columns: dict[str, str]
    constraints: tuple[str, ...]
    references: tuple[Reference, ...]
    indexes: tuple[str, ...]
    policies: tuple[str, ...]

    def create(self, *, without: Iterable[Reference] = ()) -> str:
        """The `CREATE TABLE` statement; references in `without` are left for later."""
        left = set(without)
        parts = [f"{quoted(name)} {definition}" for name, definition in self.columns.items()]
        parts += [*self.constraints, *(each.sql for each in self.references if each not in left)]
        return f"CREATE TABLE {self.name} (\n    " + ",\n    ".join(parts) + "\n);"


def table_sql(model: Model) -> TableSQL:
    """What makes the table of a model."""
    meta = model._meta  # noqa: SLF001
    fields = [field for field in meta.sorted_fields if not field.primary_key]
    keys: Any = meta.get_primary_keys() if meta.primary_key else ()  # type: ignore[no-untyped-call]
    key = tuple(each.column_name for each in keys)
    listed = list(_listed(model))
    unique: list[tuple[str, ...]] = [(field.column_name,) for field in fields if field.unique]
    unique += [columns for columns, is_unique in listed if is_unique]
    indexes = [columns for columns, is_unique in listed if not is_unique]
    led = {columns[:1] for columns in (key, *unique, *indexes)}  # an index begins with these
    indexed = [f for f in fields if f.index and not f.unique]
    name, primary = name_of(model), _KEYS.within(model, key) if key else ()
    columns = {field.column_name: _column(field) for field in meta.sorted_fields}
    if len(primary) == 1:
        columns[primary[0]] = columns[primary[0]].replace(" NOT NULL", "", 1) + " PRIMARY KEY"
    return TableSQL(
        name=name,
        columns=dict(sorted(columns.items(), key=lambda column: column[0] != _KEYS.first)),
        constraints=(
            *([f"PRIMARY KEY ({_names(primary)})"] if len(primary) > 1 else []),
            *(f"UNIQUE ({_names(_KEYS.within(model, each))})" for each in unique),
            *(_text(each) for each in meta.constraints or ()),
        ),
        references=tuple(_references(model, key)),
        indexes=(
            *(_field_index(model, f) for f in indexed if _method(f) or (f.column_name,) not in led),
            *(_index(model, columns) for columns in indexes),
            *(_text(each.safe(_safe=False)) + ";" for each in meta.indexes if _is_whole(each)),
        ),
        policies=tuple(_KEYS.policies(model, name)),
    )


def name_of(model: Model) -> str:
    """The name of a model's table, as SQL."""
    meta = model._meta  # noqa: SLF001
    return ".".join(quoted(part) for part in (meta.schema, meta.table_name) if part)


def _column(field: Any) -> str:
    if isinstance(field, peewee.AutoField) and field.field_type in _AUTO:
        return f"{_AUTO[field.field_type]} GENERATED ALWAYS AS IDENTITY"
    type_ = _text(field.ddl_datatype(_context()))
    type_ = _SPELLINGS.get(type_.lower(), type_.lower() if type_.isupper() else type_)
    parts = [type_]
    if field.collation:
        parts.append(f"COLLATE {quoted(field.collation)}")
    if not field.null:
        parts.append("NOT NULL")
    return " ".join([*parts, *map(_text, field.constraints or ())])


def _references(model: Model, key: Iterable[str]) -> Iterator[Reference]:
    if owner := _KEYS.owner(model, key):
        yield Reference(None, owner)
    for field in model._meta.sorted_fields:  # noqa: SLF001
        if not isinstance(field, peewee.ForeignKeyField):
            continue
        other, to = field.rel_model, field.rel_field.column_name
        columns, referred = _KEYS.referring(model, other, field.column_name, to)
        sql = f"FOREIGN KEY ({_names(columns)}) REFERENCES {name_of(other)} ({_names(referred)})"
        sql += f" ON DELETE {field.on_delete}" if field.on_delete else ""
        sql += f" ON UPDATE {field.on_update}" if field.on_update else ""
        sql += f" DEFERRABLE {field.deferrable}" if field.deferrable else ""
        yield Reference(other, sql)


def _field_index(model: Model, field: Any) -> str:
    return _index(model, (field.column_name,), _method(field))


def _method(field: Any) -> str:
    """The index method of a field, such as GIN; empty for the usual one."""
    method = field.index_type or ""
    return "" if method.lower() == "btree" else method


def _index(model: Model, columns: tuple[str, ...], method: str = "") -> str:
    # Methods other than btree have no operators for ids of tenants.
    listed = columns if method else _KEYS.within(model, columns)
    name = "_".join((model._meta.table_name, *columns))[:63]  # noqa: SLF001
    using = f" USING {method}" if method else ""
    return f"CREATE INDEX {quoted(name)} ON {name_of(model)}{using} ({_names(listed)});"


def _listed(model: Model) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Columns of each pair in `Meta.indexes`, and whether they are unique."""
    meta = model._meta  # noqa: SLF001
    for each in meta.indexes:
        if not _is_whole(each):
            names, unique = each
            yield tuple(meta.combined[name].column_name for name in names), bool(unique)


def _is_whole(index: object) -> bool:
    """Whether it was made with `Model.index(…)`: partial, of expressions, or with a method."""
    return isinstance(index, peewee.Index)


def _context() -> Any:
    return Dialect().get_sql_context(value_literals=True)


def _text(node: Any) -> str:
    sql, parameters = _context().sql(node).query()
    if parameters:
        raise ValueError(f"{sql!r} of a model has parameters: write the values into the SQL")
    return str(sql)


def _names(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))


def quoted(name: str) -> str:
    """A name as SQL, in quotes where it needs them."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name) and not _is_reserved(name)
    return name if plain else '"' + name.replace('"', '""') + '"'


def _is_reserved(word: str) -> bool:
    (token,) = postgast.scan(word).tokens
    return token.keyword_kind in _RESERVED
