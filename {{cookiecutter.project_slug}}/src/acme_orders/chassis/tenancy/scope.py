# feature: row, rls, schema
"""Whose data a transaction may touch.

    with tenant_scope(tenant):                    # from a header of the message or the request
        async with manager.transaction("…"):      # PostgreSQL is told at its beginning
            …

Without a scope nothing reaches PostgreSQL. What is told holds for the transaction only, so a pooled
connection never carries one tenant's scope to another; reads need a transaction as well.
"""

import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.errors import (
    DatabaseError,
    Malformed,
    MessageError,
    TransactionMisused,
)
from acme_orders.chassis.identifiers import UUID_TEXT
from acme_orders.chassis.tenancy import isolation

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Work = Callable[Arguments, Coroutine[Any, Any, Result]]

log = structlog.get_logger()


class NoTenant(TransactionMisused):
    """No scope is open: use `with tenant_scope(tenant)` or `with system_scope(reason)`."""


class UnknownTenant(MessageError):
    """Nobody has registered this tenant."""

    reason = "unknown_tenant"


@dataclass(frozen=True, slots=True)
class Scope:
    """One tenant, or all of them (`tenant` is None) for a reason."""

    tenant: UUID | None
    reason: str = ""

    def __str__(self) -> str:
        return f"tenant {self.tenant}" if self.tenant else f"all tenants ({self.reason})"

    async def enter(self, lease: Lease) -> None:
        """Tell PostgreSQL, at the beginning of a transaction.

        Raises:
            UnknownTenant: nobody has registered it.
        """
        assert lease.transaction is not None
        lease.transaction.scope = self
        try:
            known = await isolation.enter(lease, self.tenant)
        except DatabaseError as error:
            error.own = True  # no message is to blame for it
            raise
        if not known:
            raise UnknownTenant(f"{self} is not registered: see `tenants add`")

    def admit(self, lease: Lease) -> None:
        """Check that a statement runs inside a transaction of this very scope.

        Raises:
            TransactionMisused: it does not, and so would see other data than it should.
        """
        if lease.transaction is None:
            raise TransactionMisused(
                f"a statement for {self} outside a transaction: wrap it in `async with "
                "manager.transaction(…, read_only=True)`, which tells PostgreSQL the tenant"
            )
        if lease.transaction.scope != self:
            raise TransactionMisused(
                f"a statement for {self} inside the transaction of {lease.transaction.scope}"
            )


_scope: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current_scope() -> Scope:
    """The scope that is open in this task.

    Raises:
        NoTenant: there is none.
    """
    if (scope := _scope.get()) is None:
        raise NoTenant
    return scope


def current_tenant() -> UUID:
    """The tenant whose scope is open.

    Raises:
        NoTenant: no scope is open.
        TransactionMisused: it is that of all tenants.
    """
    if (tenant := current_scope().tenant) is None:
        raise TransactionMisused("this is done for one tenant: use `with tenant_scope(tenant)`")
    return tenant


def require_scope(*, across: bool) -> None:
    """Check that a query works for whom it was written.

    Args:
        across: whether it works for all tenants at once.

    Raises:
        NoTenant: no scope is open.
        TransactionMisused: a query across tenants inside the scope of one.
    """
    scope = current_scope()
    if across and scope.tenant is not None:
        raise TransactionMisused(
            f"a query across tenants in the scope of {scope}: use system_scope(reason)"
        )


def tenant_id(value: object) -> UUID:
    """Read the id of a tenant, from outside; a text has to be a UUID in its usual form.

    Raises:
        Malformed: it is none.
    """
    if isinstance(value, UUID):
        return value
    # UUID() takes much else: braces, underscores, hyphens anywhere.
    if isinstance(value, str) and UUID_TEXT.fullmatch(value):
        return UUID(value)
    said = f"{value!r:.60} is no tenant" if value else "no tenant is named"
    raise Malformed(f"{said}: a UUID is expected, like {UUID(int=1)}")


@contextmanager
def tenant_scope(tenant: UUID | str) -> Iterator[None]:
    """Work for this tenant only.

    Raises:
        Malformed: it is no UUID.
        TransactionMisused: a scope of another tenant is open.
    """
    entered, outer = Scope(tenant_id(tenant)), _scope.get()
    if outer is not None and outer.tenant not in (None, entered.tenant):
        raise TransactionMisused(f"{entered} inside the scope of {outer}: leave that one first")
    with _opened(entered), bound_contextvars(tenant=str(entered.tenant)):
        yield


@contextmanager
def system_scope(reason: str) -> Iterator[None]:
    """Work for all tenants at once, as the relay does; it is logged with the reason.

    Raises:
        TransactionMisused: the scope of a tenant is open: it must not be widened.
    """
    outer = _scope.get()
    if outer is not None and outer.tenant is not None:
        raise TransactionMisused(f"the system's scope ({reason}) inside that of {outer}")
    if outer is None:
        log.info("database.system_scope", reason=reason)
    with _opened(Scope(None, reason)):
        yield


def work_for(tenant: UUID | str | None) -> None:
    """Open a scope that lasts as long as the task: of a tenant, or of all of them if it is None.

    For commands, which do one thing and end.

    Raises:
        Malformed: it is no UUID.
    """
    _scope.set(Scope(None, "command") if tenant is None else Scope(tenant_id(tenant)))


def in_system_scope(
    reason: str,
) -> Callable[[Work[Arguments, Result]], Work[Arguments, Result]]:
    """Run a coroutine function in the system's scope."""

    def decorate(
        work: Work[Arguments, Result],
    ) -> Work[Arguments, Result]:
        @functools.wraps(work)
        async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with system_scope(reason):
                return await work(*args, **kwargs)

        return run

    return decorate


@contextmanager
def _opened(scope: Scope) -> Iterator[None]:
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)
