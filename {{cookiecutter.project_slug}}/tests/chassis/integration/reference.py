"""Peewee on a connection of its own, to compare with, and a manager on the same database."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import peewee
from playhouse import postgres_ext

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.table import Table

from tests.chassis.integration.kinds import Kind

UNIQUE = ["CREATE UNIQUE INDEX ON probe (number)"]
UNIQUE.append("CREATE UNIQUE INDEX ON probe (tenant_id, number)")  # feature: row, rls


class Reference:
    """Peewee on a connection of its own."""

    def __init__(self, url: str, *, psycopg3: bool) -> None:
        place = urlsplit(url)
        self._database = postgres_ext.PostgresqlExtDatabase(
            place.path[1:],
            host=place.hostname,
            port=place.port,
            user=place.username,
            password=place.password,
            options="-c TimeZone=UTC",
            register_hstore=True,
            prefer_psycopg3=psycopg3,
            **({"prepare_threshold": None} if psycopg3 else {}),  # tables come and go
        )

    def create(self, model: type[Table]) -> None:
        """Make the table, without references: nobody stores what is referred to."""
        parents = [field.rel_model for field in model._meta.refs]
        with self.bound(model):
            self._database.execute_sql("DROP TABLE IF EXISTS probe")
            self._database.create_tables([*parents, model])
            for field in model._meta.refs:
                self._database.execute_sql(
                    f"ALTER TABLE probe DROP CONSTRAINT probe_{field.column_name}_fkey"
                )
            for statement in UNIQUE:
                self._database.execute_sql(statement)

    def bound(self, model: type[Table]) -> AbstractContextManager[None]:
        """The model is bound to this database."""
        bound: AbstractContextManager[None] = self._database.bind_ctx([model])
        return bound

    @contextmanager
    def undone(self, model: type[Table]) -> Iterator[None]:
        """The model is bound to this database, and what it writes is taken back."""
        with self.bound(model), self._database.atomic() as transaction:
            try:
                yield
            finally:
                transaction.rollback()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


@dataclass(frozen=True)
class Both:
    """The reference and a manager on one database."""

    reference: Reference
    manager: Manager
    loop: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the scope of the test."""
        return self.loop.run(work, context=copy_context())


def model_of(kind: Kind) -> type[Table]:
    """A table with one column of this kind."""
    field = kind.make(**({"null": True} if kind.null else {}))
    if kind.type:
        vars(field)["ddl_datatype"] = lambda _: peewee.SQL(kind.type)

    class Probe(Table):
        number = peewee.IntegerField()
        value = field

    return Probe


def plain(value: Any) -> Any:
    """A value that is equal to what is the same."""
    match value:
        case memoryview():
            return bytes(value)
        case list():
            return [plain(each) for each in value]
        case dict():
            return {name: plain(each) for name, each in value.items()}
    return "NaN" if str(value).lower() == "nan" else value
