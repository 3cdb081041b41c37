"""Each promise of erasure can fail: where it is broken, the test that is about it turns red."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import pytest

from acme_orders.chassis.erasure import (
    owned,  # feature: row, rls
    person,
)
from acme_orders.chassis.erasure.person import Person
from acme_orders.chassis.erasure.requests import Requests
from acme_orders.chassis.erasure.search import Searched
from acme_orders.chassis.erasure.tenant import WholeTenant  # feature: row, rls, schema
from acme_orders.chassis.retention.closure import Closure

from tests.chassis.conftest import Connect
from tests.chassis.erasure import (
    test_erasing,
    test_tenant,  # feature: row, rls, schema
)


class Mutant(NamedTuple):
    """What is broken.

    Args:
        where: a class or a module.
        name: of its part.
        instead: what it is replaced with.
        test: that has to notice.
    """

    where: Any
    name: str
    instead: Any
    test: Callable[[Connect], Awaitable[None]]


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _nobody(*_: Any, **__: Any) -> tuple[list[str], frozenset[str]]:
    return [], frozenset()


def _alone(*_: Any, **__: Any) -> Closure:
    return Closure((), ())


_find = Person.find


def _by_name(self: Person, request: Any, subject: str | None) -> Any:
    return _find(self, request, subject) if subject else _nobody()


MUTANTS: Mapping[str, Mutant] = {
    "holds are not looked for": Mutant(
        Requests, "refuse_held", _nothing, test_erasing.test_one_on_legal_hold_stays
    ),
    "what is found stays": Mutant(
        Searched,
        "erase",
        lambda *_: 0,
        test_erasing.test_after_a_restore_the_digest_finds_the_person,
    ),
    "nobody is found by a digest": Mutant(
        Person, "find", _by_name, test_erasing.test_after_a_restore_the_digest_finds_the_person
    ),
    "nobody asks what refers to a row": Mutant(
        person, "closure", _alone, test_erasing.test_one_whose_rows_are_deleted
    ),
    "nothing is proved": Mutant(
        Searched,
        "left",
        lambda *_: (),
        test_erasing.test_a_column_that_nobody_has_classified_well_is_told,
    ),
    # feature: row, rls, schema {
    "holds of a tenant are not looked for": Mutant(
        WholeTenant,
        "_refuse_held",
        _nothing,
        lambda connect: test_tenant.test_a_legal_hold_keeps_the_tenant(connect, test_tenant.WHOSE),
    ),
    "what tenants share is not searched": Mutant(
        WholeTenant, "_shared", lambda _: (), test_tenant.test_all_that_a_tenant_has_goes
    ),
    # feature: row, rls, schema }
    # feature: row, rls {
    "rows of every tenant go": Mutant(
        owned,
        "_OWNER",
        "(t.tenant_id IS NOT NULL OR t.tenant_id = %s::uuid)",
        test_tenant.test_all_that_a_tenant_has_goes,
    ),
    # feature: row, rls }
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_promise_that_is_broken_is_noticed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By the test that is about it."""
    mutant = MUTANTS[name]
    monkeypatch.setattr(mutant.where, mutant.name, mutant.instead)
    with pytest.raises(AssertionError):
        await mutant.test(connect)
