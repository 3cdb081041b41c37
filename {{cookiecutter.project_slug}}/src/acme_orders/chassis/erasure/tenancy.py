"""Whom a request may be about: a person of a tenant, or a tenant as a whole."""

import hashlib
from collections.abc import Callable

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.portions import Portions
from acme_orders.chassis.erasure.requests import Request
from acme_orders.chassis.erasure.tenant import WholeTenant
from acme_orders.chassis.errors import ConfigurationError


def is_of_all(request: Request) -> bool:
    """Whether it is about a tenant as a whole: then its digest is that of the tenant's id."""
    told = f"{request.id}\n{request.whose.strip().lower()}".encode()  # what `digest` says in SQL
    return bool(request.whose) and hashlib.sha256(told).hexdigest() == request.digest


def work_of(portions: Portions, otherwise: Callable[[], None]) -> Callable[[], None]:
    """What carries a request out.

    Args:
        portions: of the request.
        otherwise: erases a person.
    """
    return WholeTenant(portions).go if is_of_all(portions.request) else otherwise


def refuse_unknown(rows: Rows, whose: str) -> None:
    """Look whether a tenant is registered; nobody in particular is fine.

    Raises:
        ConfigurationError: it is not.
    """
    if whose and not rows("SELECT 1 FROM public.tenants WHERE id::text = %s", (whose,)):
        raise ConfigurationError(f"there is no tenant {whose}: `tenants list` shows them")
