"""What is asked of a release inside its own code: `python inside.py STORIES VARIED`.

It prints which queries fail with their examples, and messages that tell so many stories, of which
some have other values; none if STORIES is 0.

Each release has this file, for its own code. Its arguments and its answer stay as they are: the
release after it asks.
"""

import asyncio
import base64
import json
import sys
from contextlib import suppress
from typing import Any

from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema
from acme_orders.service import SERVICE

from readiness.two_tenants import TENANT  # feature: row, rls, schema

_BETWEEN = 100  # stories


def messages(service: Service, count: int, others: int) -> list[dict[str, Any]]:
    """Messages for its handlers, in the order in which they are sent."""
    # It takes seconds to import, and to find other values.
    from dev.stories import stories  # noqa: PLC0415

    varied = list(stories(service.handlers, others))
    told = list(stories(service.handlers, count, varied=False))[others:]
    for number, story in enumerate(varied):  # one every few seconds
        told.insert(number * _BETWEEN, story)
    return [
        {
            "id": shot.message.message_id,
            "type": shot.message.type,
            "source": shot.message.app_id,
            "headers": dict(shot.message.headers),
            "body": base64.b64encode(shot.message.body).decode(),
        }
        for story in told
        for shot in story
    ]


async def queries(service: Service) -> list[dict[str, str]]:
    """The queries that fail with their examples on the schema as it is."""
    failed = []
    for repository in service.repositories:
        work_for(None if repository.across_tenants else TENANT)  # feature: row, rls, schema
        for query, method in repository.queries():
            sent: list[Any] = []
            service.manager.observe(sent.append)
            try:
                with suppress(_Undo):
                    async with service.manager.transaction("rehearsal"):
                        await getattr(repository, method)(**query.example)
                        await service.manager.flush()
                        raise _Undo  # noqa: TRY301  # leaving with it is what rolls back
            except Exception as error:
                last = " ".join(sent[-1].sql.split()) if sent else ""
                failed.append(
                    {
                        "query": query.name,
                        "error": " ".join(str(error).split()),
                        "sqlstate": getattr(error, "sqlstate", None) or "",
                        "statement": last,
                    }
                )
    return failed


async def main(count: int, others: int) -> None:
    """Print the answer."""
    logs.configure(level="CRITICAL", style="json")
    settings = SERVICE.load_settings(_env_file=None)
    async with connected(SERVICE, settings, Metrics()) as service:
        answer = {
            "queue": service.topology.main.name,
            "exchange": service.topology.exchange,
            "messages": messages(service, count, others) if count else [],
            "failing": await queries(service),
        }
    print(json.dumps(answer))


class _Undo(Exception):
    """Ends a transaction without a COMMIT."""


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
