"""The command that shows how PostgreSQL runs a query."""

import asyncio
import difflib
import json as json_text
from typing import Annotated
from uuid import UUID  # feature: row, rls, schema

import typer

from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.database.explain import explain as explain_query
from acme_orders.chassis.database.repository import Query, Repository  # feature: row, rls, schema
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

# feature: row, rls, schema {
_Whose = Annotated[UUID | None, typer.Option(help="Whose data; `tenants list` shows them.")]


def _work_for(tenant: UUID | None, repository: Repository, query: Query) -> None:
    if tenant is None and not repository.across_tenants:
        raise ConfigurationError(
            f"{query.name} works for one tenant: name it with --tenant; `tenants list` shows them"
        )
    work_for(None if repository.across_tenants else tenant)


# feature: row, rls, schema }


def explain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of a registered query, such as outbox.lease.")],
    *,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, measure it, and roll it back.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    tenant: _Whose = None,  # feature: row, rls, schema
) -> None:
    """Show how PostgreSQL runs a query with its example."""

    async def look() -> None:
        settings = command_settings(context.obj).model_copy(update={"broker_url": "memory://"})
        async with connected(context.obj, settings, Metrics()) as service:
            known = service.queries()
            if name not in known:
                near = difflib.get_close_matches(name, known) or sorted(known)
                raise ConfigurationError(f"no query {name!r}; there is {', '.join(near)}")
            _work_for(tenant, *known[name][:2])  # feature: row, rls, schema
            plans = await explain_query(service.manager, *known[name], analyze=analyze)
        if not plans:
            raise ConfigurationError(f"{name} sends no query with its example: give it another")
        if json:
            found = [{"sql": plan.sql, "plan": plan.lines} for plan in plans]
            typer.echo(json_text.dumps(found, indent=2))
            return
        shown = ("\n".join((typer.style(plan.sql, bold=True), *plan.lines)) for plan in plans)
        typer.echo("\n\n".join(shown))

    with explained():
        asyncio.run(look())
