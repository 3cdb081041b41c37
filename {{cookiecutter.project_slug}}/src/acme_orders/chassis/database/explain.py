"""How PostgreSQL would run a registered query, or how it did."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import ConfigurationError

_EXPLAINABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "DECLARE", "(")


@dataclass(frozen=True)
class Plan:
    """The plan of one statement; `sql` has no values."""

    sql: str
    lines: Sequence[str]


def explainable(sql: str) -> bool:
    """Whether PostgreSQL makes a plan for this statement."""
    return sql.lstrip().upper().startswith(_EXPLAINABLE)


async def explain(
    manager: Manager, repository: Repository, query: Query, method: str, *, analyze: bool = False
) -> list[Plan]:
    """The plans of all statements that a query sends when it is called with its example.

    Everything happens in transactions that are rolled back.

    Args:
        manager: of the database.
        repository: that has the query.
        query: what was registered.
        method: its name.
        analyze: run each statement once more, and measure it.

    Raises:
        ConfigurationError: the example does not fit the method.
    """
    call = getattr(repository, method)
    try:
        inspect.signature(call).bind(**query.example)
    except TypeError as error:
        raise ConfigurationError(
            f"{query.name} cannot be called with its example: {error}; correct it in @query(…)"
        ) from error
    with manager.observed("explain") as statements:
        async with undone(manager, "explain"):
            await call(**query.example)
            await manager.flush()
    sent, plans = [each for each in statements if explainable(each.sql)], []
    options = "ANALYZE, BUFFERS" if analyze else "COSTS"
    # From the same beginning once more: behind the call an INSERT would meet its own rows.
    async with undone(manager, "explain"):
        for each in sent:
            with manager.named("explain"):
                rows = await manager.fetch_sql(f"EXPLAIN ({options}) {each.sql}", *each.parameters)
            plans.append(Plan(inspect.cleandoc(each.sql), [line for (line,) in rows]))
    return plans
