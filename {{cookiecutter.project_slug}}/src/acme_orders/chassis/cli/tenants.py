# feature: row, rls, schema
"""Commands that register whose data is kept apart."""

from typing import Annotated
from uuid import UUID, uuid4

import typer

from acme_orders.chassis.cli.migrate import migrator as migrator_of  # feature: schema
from acme_orders.chassis.cli.session import command_settings, explained
from acme_orders.chassis.tenancy.registry import Tenants

tenants = typer.Typer(help="Register whose data is kept apart.", no_args_is_help=True)


@tenants.command("add")
def add_tenant(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    identity: Annotated[UUID | None, typer.Option("--id", help="A new one without it.")] = None,
) -> None:
    """Register a tenant and print its id, which messages and requests name."""
    with explained():
        tenant = identity or uuid4()
        Tenants(command_settings(context.obj).owner_url).add(tenant, name)
        list(migrator_of(context).up())  # feature: schema
        typer.echo(tenant)


@tenants.command("list")
def list_tenants(context: typer.Context) -> None:
    """Show every tenant."""
    with explained():
        known = Tenants(command_settings(context.obj).owner_url).all()
        for tenant, name in known:
            typer.echo(f"{tenant}  {name}")
        if not known:
            typer.echo("there is none yet: `tenants add NAME` registers one", err=True)
