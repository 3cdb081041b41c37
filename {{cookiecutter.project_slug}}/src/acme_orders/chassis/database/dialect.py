"""PostgreSQL's SQL for Peewee, without a connection.

Models are bound to it, because Peewee asks the database of a model how to write the year of a date
or a JSON document. What it compiles, the Manager sends.
"""

from typing import Any, NoReturn

import peewee
from playhouse.postgres_ext import Json

from acme_orders.chassis.database.values import hstore, told
from acme_orders.chassis.errors import TransactionMisused


class _Values:
    """How Peewee wraps values for a driver: so that each driver takes them."""

    json_type = jsonb_type = Json
    cast_json_case = True

    def get_binary_type(self) -> type[bytes]:
        return bytes

    def isolation_level_int(self, level: Any) -> Any:
        return level


class _Context(peewee.Context):
    """Writes values that drivers do not take as PostgreSQL reads them."""

    def value(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Add a value."""
        values: list[Any] = self._values  # type: ignore[attr-defined]
        before = len(values)
        super().value(value, *args, **kwargs)
        match values[before:]:
            case [dict() as texts]:
                values[before] = hstore(texts)
                self.literal("::hstore")
            case [list() as some] if any(isinstance(each, Json | list) for each in some):
                values[before] = told(some)
        return self


class Dialect(peewee.PostgresqlDatabase):
    """Compiles queries, and opens no connection.

    Raises:
        TransactionMisused: a model or a query was asked to run by itself.
    """

    context_class = _Context
    psycopg2_adapter = psycopg3_adapter = _Values

    def __init__(self) -> None:
        super().__init__(None)

    def compiled(self, query: Any) -> tuple[str, list[Any]]:
        """The SQL of a query, and its parameters."""
        sql, parameters = self.get_sql_context().sql(query).query()
        return sql, parameters

    def connect(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: connections are the Manager's."""
        raise TransactionMisused(
            "a model opens no connection: read with fetch_one, fetch_all or fetch_page of its "
            "repository, write with insert_all or manager.execute, in manager.transaction"
        )

    connection = cursor = execute = execute_sql = close = connect

    def __getattr__(self, name: str) -> Any:
        if name.startswith("aio_"):
            return self.connect
        raise AttributeError(f"{type(self).__name__} has no {name}")
