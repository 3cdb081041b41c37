"""Whoever a slice knows is erased, whatever its tables are: nothing here names a slice."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.process.by_hand import ByHand
from acme_orders.chassis.process.service import Service

from readiness.scratch import rows_of
from tests.chassis import slices
from tests.chassis.conftest import Connect
from tests.chassis.erasure.people import WHOSE, People
from tests.chassis.for_tests.conftest import make_tables
from tests.chassis.service import SERVICE

KNOWN = sorted(each.parent.name for each in Path(*slices.__path__).glob("*/slice.py"))
SAID = {"tenant": WHOSE} if WHOSE else {}


@pytest.mark.parametrize("name", KNOWN)
async def test_a_person_of_a_slice_is_erased(connect: Connect, name: str) -> None:
    """Held, then found by the digest alone; everybody else stays."""
    make = getattr(importlib.import_module(f"tests.chassis.slices.{name}.slice"), name)
    async with connect(*({make} - {*SERVICE.slices})) as service:
        people = People(service)
        if make not in SERVICE.slices:
            make_tables(people.url, name)
        await rehearse(service, name)
        (own,) = (each for each in service.slices if each.name == name)
        assert own.subjects
        for subject in own.subjects:
            mine, *known = values(people, subject)
            erase(people, mine[0], {each for one in known for each in one})
            assert list(values(people, subject)) == known


async def rehearse(service: Service, name: str) -> None:
    """Send each handler of the slice the examples of its messages."""
    hand = ByHand(service)
    await hand.listen()
    (own,) = (each for each in service.slices if each.name == name)
    for type_, handler in own.handlers.items():
        for example in handler.payload.examples():
            (outcome,) = await hand.process([hand.message(example, type_, None, SAID)])
            assert outcome.status == "done", outcome.error


def values(people: People, subject: Subject) -> Iterator[list[str]]:
    """By what each person is known who has not been erased."""
    ((place,),) = rows_of(people.url, _PLACE, (subject.name, people.whose))
    columns = ", ".join(f"{name}::text" for name in subject.by)
    for row in rows_of(people.url, f"SELECT {columns} FROM {place}.{subject.name} ORDER BY 1"):
        if known := [each for each in row if each and not each.startswith("erased-")]:
            yield known


def erase(people: People, name: str, others: set[str]) -> None:
    """Somebody is held, then erased; they are found nowhere, and others where they were."""
    before = people.dump("erasure_request", "legal_hold")
    with people.eraser.requests(WHOSE) as requests:
        requests.hold(name, actor="Legal", reason="a lawsuit")
        identity = requests.receive(name, actor="test", days=30)
    assert people.eraser.carry_out(people.eraser.named(identity)).state == "held"
    assert people.dump("erasure_request", "legal_hold") == before
    with people.eraser.requests(WHOSE) as requests:
        assert requests.release(name) == 1
    ended = people.eraser.carry_out(people.eraser.named(identity))
    assert (ended.state, ended.error) == ("verified", None)
    left = people.dump()
    assert not [line for line in left if name.lower() in line.lower()]
    for other in others:
        assert [line for line in left if other in line], other


_PLACE = """
SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = %s ORDER BY nspname = 'tenant_' || replace(%s, '-', '') DESC, nspname LIMIT 1
"""
