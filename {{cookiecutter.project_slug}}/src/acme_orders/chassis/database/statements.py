"""What is told about statements: metrics, slow and repeated ones in the log, SQL comments.

SQL is logged as it was written, with `%s` for each value. Values may be personal data and are
never logged.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from acme_orders.chassis.database.failures import kind_of
from acme_orders.chassis.database.reading import Unreadable
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.sql_shape import remembered
from acme_orders.chassis.database.unit_of_work import Transaction
from acme_orders.chassis.errors import DatabaseError, TransactionMisused
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.guard import TenantGuard  # feature: row, rls, schema

log = structlog.get_logger()

_LONGEST_SQL = 2000  # characters of a statement in a log record
_MOST_KEYS = 10  # of rows in a log record
_NOT_IN_A_COMMENT = re.compile(r"[^\w.,:-]+")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that ran, as observers see it."""

    query: str
    sql: str
    parameters: Sequence[Any]
    seconds: float
    unit_of_work: str | None
    error: DatabaseError | None


class Reports:
    """Tells metrics, log and observers about statements."""

    def __init__(self, settings: DatabaseSettings, metrics: Metrics) -> None:
        self.observers: list[Callable[[Statement], None]] = []
        self._settings, self._metrics = settings, metrics
        self.guard = TenantGuard(settings.tenant_guard, metrics)  # feature: row, rls, schema

    def sent(self, sql: str, query: str, parameters: Sequence[Any]) -> str:
        """The SQL as it is sent: with the name of its query, if that was asked for.

        The form is that of sqlcommenter, which pg_stat_activity, auto_explain and log analysers
        show or understand.

        Raises:
            TransactionMisused: it must not be sent.
        """
        try:
            refuse_session_state(sql, filled=bool(parameters))
        except TransactionMisused as error:
            self._metrics.db_guard_violations.labels("session_state").inc()
            raise TransactionMisused(f"{query}: {error}") from None
        self.guard.look_at(sql, query, parameters)  # feature: row, rls, schema
        if not self._settings.sql_comments:
            return sql
        return f"{sql} /*query='{_NOT_IN_A_COMMENT.sub('_', query)}'*/"

    def statement(self, statement: Statement) -> None:
        """Tell of a statement that ran."""
        query, error = statement.query, statement.error
        outcome = "error" if error else "ok"
        self._metrics.db_operation_duration.labels(query, outcome).observe(statement.seconds)
        if error is not None:
            self._metrics.db_errors.labels(query, kind_of(error)).inc()
            log.info(
                "database.statement_failed",
                query=query,
                sqlstate=error.sqlstate,
                kind=kind_of(error),
                unit_of_work=statement.unit_of_work,
            )
        if statement.seconds >= self._settings.slow_statement:
            self._metrics.db_slow_statements.labels(query).inc()
            log.warning(
                "database.slow_statement",
                query=query,
                seconds=round(statement.seconds, 3),
                sql=_short(statement.sql),
                unit_of_work=statement.unit_of_work,
            )
        for observe in self.observers:
            observe(statement)

    def unreadable(self, query: str, rows: Sequence[Unreadable]) -> None:
        """Tell of rows that a statement found and nobody can read."""
        self._metrics.db_unreadable_rows.labels(query).inc(len(rows))
        log.error(
            "database.unreadable_rows",
            query=query,
            rows=len(rows),
            columns=sorted({row.column for row in rows}),
            keys=[dict(row.key) for row in rows[:_MOST_KEYS] if row.key],
        )

    def transaction(self, transaction: Transaction) -> None:
        """Tell of the statements that a transaction repeated: one for each row of another?"""
        for query, sql, count in transaction.repeated(self._settings.repeated_statements):
            self._metrics.db_repeated_statements.labels(query).inc()
            log.warning(
                "database.repeated_statement",
                query=query,
                times=count,
                items=transaction.items,
                sql=_short(sql),
                unit_of_work=transaction.name,
            )


def refuse_session_state(sql: str, *, filled: bool) -> None:
    """Check SQL before it is sent.

    Args:
        sql: one or more statements.
        filled: whether parameters go with it.

    Raises:
        TransactionMisused: it changes the session, and so what others find there; or a transaction,
            which is the manager's; or nobody can read it.
    """
    if found := _problems(sql, filled=filled):
        raise TransactionMisused("; ".join(found))


@remembered
def _problems(sql: str, *, filled: bool) -> tuple[str, ...]:
    # The parser takes a tenth of a second to import: the first statement has time for that.
    from acme_orders.chassis.database import session_state  # noqa: PLC0415

    return session_state.problems(sql, filled=filled)


def _short(sql: str) -> str:
    return " ".join(sql.split())[:_LONGEST_SQL]
