"""A person is erased from all tables, and nobody else is."""

import json  # feature: row, rls, schema
from functools import partial
from uuid import UUID  # feature: row, rls, schema

import pytest

from acme_orders.chassis.erasure.eraser import Eraser
from acme_orders.chassis.erasure.erasing import Erasing
from acme_orders.chassis.erasure.requests import Requests
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.process.erased import eraser_of

from readiness.scratch import rows_of
from tests.chassis.conftest import (
    Connect,
    apply_migrations,  # feature: schema
)
from tests.chassis.erasure.people import (
    NAME,
    OTHERS,
    SHAPES,
    WHOSE,
    People,
    killed_after_a_portion,
)
from tests.conftest import add_tenant  # feature: row, rls, schema

IN_EACH = 7  # rows that `scatter` adds


async def test_nothing_of_a_person_is_left_in_any_shape(connect: Connect) -> None:
    """Wherever the name stands, however it is written; and what others have stays."""
    async with connect() as service:
        people = People(service)
        for other in OTHERS:
            people.known(other)
            people.scatter(f"about {other}")
        others = people.dump()
        people.known(NAME)
        for text in SHAPES.values():
            people.scatter(text)
        found = people.dump() - others
        ended = people.erase(NAME)
        left = people.dump()
    assert sum("hara" in line.lower() for line in found) >= (len(SHAPES) - 2) * IN_EACH
    assert (ended.state, ended.error) == ("verified", None)
    assert ended.evidence.pop(next(each for each in ended.evidence if "buyers" in each)) == 1
    assert sum(ended.evidence.values()) == IN_EACH * len(SHAPES)
    assert others <= left
    mine = "\n".join(left - others)
    assert "hara" not in mine.lower()
    assert not [name for name, text in SHAPES.items() if text in mine]
    for table, count in (("buyers", 5), ("sales", 5), ("outbox", 4), ("dead_letters", 12)):
        assert people.count(table) == count, table
    assert people.count("journal") == len(OTHERS) + len(SHAPES)


# feature: row, rls, schema {
async def test_somebody_of_another_tenant_stays(connect: Connect) -> None:
    """With the same email, in all that says whose it is."""
    async with connect() as service:
        people = People(service)
        add_tenant(people.url, _OTHER)
        apply_migrations(people.url)  # feature: schema
        people.whose = str(_OTHER)
        people.known(NAME)
        people.letter(headers=json.dumps({"tenant": people.whose, "x": NAME}), body=b"")
        extensions = json.dumps({"tenant": people.whose})
        people.put("outbox", message_id=_ID, type="told", body=NAME, extensions=extensions)
        others = people.dump()
        people.whose = WHOSE
        people.known(NAME)
        people.scatter(NAME)
        ended = people.erase(NAME)
        assert ended.state == "verified", ended.error
        assert sum(ended.evidence.values()) == 1 + IN_EACH
        assert others <= people.dump()


# feature: row, rls, schema }
async def test_one_on_legal_hold_stays(connect: Connect) -> None:
    """The answer says who holds the data and why; after that the request goes on by itself."""
    async with connect() as service:
        people = People(service)
        people.known(NAME)
        people.scatter(NAME)
        with people.eraser.requests(WHOSE) as requests:
            requests.hold(NAME.upper(), actor="Legal", reason="a lawsuit")
        before = people.count("outbox")
        held = people.erase(f" {NAME.lower()} ")
        assert held.state == "held"
        assert "by Legal: a lawsuit" in str(held.error)
        assert people.count("outbox") == before
        with people.eraser.requests(WHOSE) as requests:
            assert requests.release(NAME) == 1
        ended = people.eraser.carry_out(people.eraser.named(held.id))
        assert ended.state == "verified", ended.error
        assert "Hara" not in "".join(people.dump())


async def test_a_column_that_nobody_has_classified_well_is_told(connect: Connect) -> None:
    """Then the person's own rows stay until that is mended, so that the digest finds them."""
    async with connect() as service:
        people = People(service)
        people.known(NAME)
        people.put("journal", id=_ID, event_type=f"told {NAME}", payload="{}")
        ended = people.erase(NAME)
        assert ended.state == "failed"
        assert "journal.event_type (1)" in str(ended.error)
        assert "Hara" not in str(ended.error)
        place = rows_of(people.url, _JOURNAL)[0][0]
        rows_of(people.url, f"UPDATE {place}.journal SET event_type = 'told'")
        assert people.eraser.carry_out(ended).state == "verified"


async def test_after_a_restore_the_digest_finds_the_person(connect: Connect) -> None:
    """The list tells nobody's name, and brings the requests to a database that lost them."""
    async with connect() as service:
        people = People(service)
        people.known(NAME)
        with people.eraser.requests(WHOSE) as requests:
            identity = requests.receive(NAME, actor="test", days=30)
            assert requests.receive(NAME.upper(), actor="test", days=30) == identity
        kept = people.eraser.named(identity)
        assert "Hara" not in str(kept)
        rows_of(people.url, "DELETE FROM erasure_request")
        people.scatter(NAME)
        with people.eraser.requests() as requests:
            assert requests.restored(kept)
            assert not requests.restored(kept)
        ended = people.eraser.carry_out(people.eraser.named(identity))
        assert ended.state == "verified", ended.error
        assert "Hara" not in "".join(people.dump())


async def test_one_whose_rows_are_deleted(connect: Connect) -> None:
    """With all that refers to them, if the slice says so; otherwise nothing goes."""
    async with connect() as service:
        people = People(service)
        people.known(NAME)
        people.known(OTHERS[0])
        kinds = eraser_of(service.settings, service.slices)._kinds
        alone = Subject("buyers", by=("email",), delete=True)
        people.eraser = Eraser(people.url, [alone], kinds)
        refused = people.erase(NAME)
        assert refused.state == "failed"
        assert "write children=(\"sales\",) in Subject('buyers', …)" in str(refused.error)
        assert people.count("buyers") == 2
        children = ("sales", "sale_lines")
        whole = Subject("buyers", by=("email",), delete=True, children=children)
        people.eraser = Eraser(people.url, [whole], kinds)
        assert people.eraser.carry_out(refused).state == "verified"
        assert (people.count("buyers"), people.count("sales")) == (1, 1)


async def test_a_count_is_a_part_of_its_portion(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be written down, nothing is erased; and the person's own rows come last."""
    async with connect() as service:
        people = People(service)
        people.known(NAME)
        people.scatter(NAME)
        before = people.dump("erasure_request")
        with monkeypatch.context() as patch:
            patch.setattr(Requests, "count", _killed)
            with pytest.raises(KeyboardInterrupt):
                people.erase(NAME)
        assert people.dump("erasure_request") == before
        with monkeypatch.context() as patch:
            patch.setattr(Erasing, "_end", _killed)
            with pytest.raises(KeyboardInterrupt):
                people.erase(NAME)
        with people.eraser.requests() as requests:
            (open_,) = requests.all()
        assert people.eraser.carry_out(open_).state == "verified"
        assert people.done(open_.id) == 1 + IN_EACH


async def test_one_who_is_killed_goes_on(connect: Connect) -> None:
    """Again and again in the middle: at the end nothing is left, and the counts are exact."""
    async with connect() as service:
        people = People(service)
        people.known(NAME)
        for number in range(40):
            people.scatter(NAME, number=number)
        with people.eraser.requests(WHOSE) as requests:
            identity = requests.receive(NAME, actor="test", days=30)
        for _ in range(3):
            await killed_after_a_portion(
                CHILD, people.url, identity, partial(people.done, identity)
            )
        ended = people.eraser.carry_out(people.eraser.named(identity))
        assert ended.state == "verified", ended.error
        assert sum(ended.evidence.values()) == 1 + 40 * IN_EACH
        assert "Hara" not in "".join(people.dump())


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


_OTHER = UUID("00000000-0000-0000-0000-00000000000b")  # feature: row, rls, schema
_ID = "00000000-0000-0000-0000-00000000000a"
_JOURNAL = """
SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'journal'
"""
CHILD = """
import sys
from dataclasses import replace
from acme_orders.chassis.erasure.classes import classes_of
from acme_orders.chassis.erasure.eraser import LIMITS, Eraser
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.erasure.subject import Subject
from tests.chassis.slices.sales.models import Buyer, JournalEntry
kinds = {each.table: each.kinds for each in map(classes_of, (Buyer, JournalEntry))}
limits = replace(LIMITS, first=1, largest=1, share=0.05)
eraser = Eraser(sys.argv[1], [Subject("buyers", by=("email",))], {**kinds, **OWN}, limits=limits)
eraser.carry_out(eraser.named(sys.argv[2]))
"""
