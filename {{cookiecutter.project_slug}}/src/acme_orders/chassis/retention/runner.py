"""Deletes what is too old, by one policy after the other; one runner at a time in a fleet."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import (
    BackfillSession,
    backfill_session,
)
from acme_orders.chassis.errors import Conflict
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.holds import Holds, nobody
from acme_orders.chassis.retention.log import is_due, tidy
from acme_orders.chassis.retention.one_pass import LIMITS, Pass, Progress
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.settings import RetentionSettings

APPLICATION = "acme-orders retention"
# Any number, the same for every runner. The session is ours alone, and the lock ends with it.
_ALONE = "SELECT pg_try_advisory_lock(4732911)"  # lint: D4 (no pool hands this session out)


def limits_of(settings: RetentionSettings) -> Limits:
    """What a pass may take, as it is configured."""
    return replace(LIMITS, share=settings.retention_share)


class Runner:
    """Runs the policies of one database; blocking, on a session of its own.

    Args:
        url: of the database; it acts as the service does.
        policies: what goes when.
        limits: of what a pass may take.
        most: share of a table that may go in one pass.
        holds: what stays, however old it is.
    """

    def __init__(
        self,
        url: str,
        policies: Sequence[Retention],
        *,
        limits: Limits = LIMITS,
        most: float = 0.5,
        holds: Holds = nobody,
    ) -> None:
        self._url, self._policies, self._limits, self._most = url, policies, limits, most
        self._holds = holds

    def run(self, *, interval: float = 0, anyway: bool = False) -> Generator[Progress]:
        """One pass of each policy; yields after each portion, while it waits, and at each end.

        Close it to leave the rest to the next pass.

        Args:
            interval: seconds; a policy that was tried since then is left out.
            anyway: however many rows go.

        Raises:
            Conflict: another process is at it.
            ConfigurationError: PostgreSQL refuses, such as a role that may not do it.
            DatabaseUnavailable: PostgreSQL went away.
        """
        with self._alone() as session:
            with session.transaction(entered(SHARED), self._limits, statement=60):
                tidy(session.rows)
                due = [
                    each
                    for each in self._policies
                    if not interval or is_due(session.rows, each.name, interval)
                ]
            for policy in due:
                one = Pass(session, policy, self._limits, self._holds)
                yield from one.go(most=None if anyway else self._most)

    @contextmanager
    def _alone(self) -> Iterator[BackfillSession]:
        with backfill_session(self._url, application=APPLICATION) as session:
            if not session.rows(_ALONE)[0][0]:
                raise Conflict("another process deletes what is too old: let it finish")
            yield session
