"""How PostgreSQL would run a registered query, or how it did."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from acme_orders.database.manager import Manager
from acme_orders.database.repository import Query, Repository
from acme_orders.database.statements import Statement

_EXPLAINABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "(")


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

    Everything happens in a transaction that is rolled back.

    Args:
        manager: of the database.
        repository: that has the query.
        query: what was registered.
        method: its name.
        analyze: run each statement once more, and measure it.
    """
    statements: list[Statement] = []
    manager.observe(statements.append)
    options = "ANALYZE, BUFFERS" if analyze else "COSTS"
    plans = []
    with suppress(_Undo):
        async with manager.transaction("explain"):
            await getattr(repository, method)(**query.example)
            await manager.flush()
            for sent in [each for each in statements if explainable(each.sql)]:
                with manager.named("explain"):
                    rows = await manager.fetch_sql(
                        f"EXPLAIN ({options}) {sent.sql}", sent.parameters
                    )
                plans.append(Plan(sent.sql, [line for (line,) in rows]))
            raise _Undo
    return plans


class _Undo(Exception):
    """Ends a transaction without a COMMIT."""
