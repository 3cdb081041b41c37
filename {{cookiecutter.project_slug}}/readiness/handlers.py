"""H1: what transactions do beside their statements."""

from collections.abc import AsyncGenerator

from readiness.check import Check
from readiness.rehearsal import Rehearsal
from readiness.routes import rehearse_routes  # feature: http_api
from readiness.seeded import rehearse_handlers


class HandlersCanBeUndone(Check):
    """Transactions do only what a rollback undoes."""

    id = "H1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Add an event with `await outbox.add(…)`, and let its consumer do the rest.

        What happens inside a transaction is done again when the message is, and its time is that of
        the locks. What has to be asked of others is asked before `manager.transaction`.
        """
        await rehearse_handlers(rehearsal)
        await rehearse_routes(rehearsal)  # feature: http_api
        for repository, query, method in rehearsal.queries():
            await rehearsal.call(repository, query, method)
        self.inspected = len(rehearsal.service.handlers) + len(list(rehearsal.queries()))
        for act in rehearsal.watch.acts:
            yield act
