"""H1: what transactions do beside their statements."""

from collections.abc import AsyncGenerator

from readiness.check import Check
from readiness.observed import observed
from readiness.rehearsal import Rehearsal


class HandlersCanBeUndone(Check):
    """Transactions do only what a rollback undoes."""

    id = "H1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Add an event with `await outbox.add(…)`, and let its consumer do the rest.

        What happens inside a transaction is done again when the message is, and its time is that of
        the locks. What has to be asked of others is asked before `manager.transaction`.
        """
        self.inspected = len(rehearsal.service.handlers) + len(list(rehearsal.queries()))
        for act in (await observed(rehearsal)).acts:
            yield act
