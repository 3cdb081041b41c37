"""Whom a request may be about: always a person, because nobody is kept apart here."""

from collections.abc import Callable

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.portions import Portions
from acme_orders.chassis.erasure.requests import Request


def is_of_all(request: Request) -> bool:  # noqa: ARG001
    """Whether it is about more than a person."""
    return False


def work_of(
    portions: Portions,  # noqa: ARG001
    otherwise: Callable[[], None],
) -> Callable[[], None]:
    """What carries a request out."""
    return otherwise


def refuse_unknown(rows: Rows, whose: str) -> None:
    """Nothing: people are of nobody in particular."""
