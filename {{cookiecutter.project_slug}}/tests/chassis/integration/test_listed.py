# feature: http_api
"""Lists over HTTP: page after page by cursors, and what is no cursor of the list."""

import base64
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from acme_orders.chassis.database.cursors import LONGEST, Cursors
from acme_orders.chassis.errors import BadCursor, QueryRefused
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect
from tests.chassis.integration.test_api import ask
from tests.chassis.slices.sales.messages import SaleMade
from tests.chassis.slices.sales.repository import Sales

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema
CURSORS = Cursors("sales.page; at > False; id > False", query="sales.page", terms=2)


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory, with five sales of one moment."""
    async with connect() as connected:
        sales = [
            SaleMade.model_validate({**SaleMade.example(), "sale_id": uuid4()}) for _ in range(5)
        ]
        async with connected.manager.transaction("test"):
            await Sales(connected.manager).add_all(sales)
        yield connected


def forged(cursor: str) -> Iterator[str]:
    """What a client may send instead of a cursor, each of the form that the document asks for."""
    for end in range(1, len(cursor)):
        yield cursor[:end]
    for place in range(0, len(cursor), 3):
        other = "A" if cursor[place] != "A" else "B"
        yield cursor[:place] + other + cursor[place + 1 :]
    yield from (cursor * 2, cursor[::-1], "A" * LONGEST)


async def test_pages_follow_each_other_by_their_cursors(service: Service, port: int) -> None:
    """Each sale once; the last page has no next one."""
    found, query, pages = list[str](), "", 0
    while True:
        status, page = await ask(port, "GET", f"/sales?limit=2{query}")
        assert status == 200
        found, pages = found + [each["id"] for each in page["items"]], pages + 1
        if page["next"] is None:
            break
        query = f"&cursor={page['next']}"
    assert (len(set(found)), len(found), pages) == (5, 5, 3)
    assert found == sorted(found)


async def test_what_is_no_cursor_of_the_list_is_refused(service: Service, port: int) -> None:
    """Cut off, changed, of another list or made up with care: 422 that names the field."""
    first = (await ask(port, "GET", "/sales?limit=2"))[1]["next"]
    # The digest is no secret: PostgreSQL says that such a time or such an id is none.
    async with service.manager.transaction("test", read_only=True):
        page = await Sales(service.manager).page(limit=2)
    assert page.next == first
    for cursor in (*forged(first), *made_up(first), CURSORS.write(["2026-01-01", str(uuid4())])):
        status, answer = await ask(port, "GET", f"/sales?cursor={cursor}")
        assert (status, answer["errors"][0]["field"]) == (422, "query.cursor"), (cursor, answer)


def made_up(cursor: str) -> Iterator[str]:
    """Cursors with a right digest, and values that no row has."""
    order = 'sales.page; "t1"."made_at" [] > False; "t1"."id" [] > False'
    cursors = Cursors(order, query="sales.page", terms=2)
    assert cursors.write(cursors.read(cursor)) == cursor
    for moment in ("", "x", "2026-13-01", "9" * 100, "infinity and more", "\ud7ff"):
        yield cursors.write([moment, str(uuid4())])
    for id_ in ("", "x", "0" * 31):
        yield cursors.write(["2026-01-31 12:00:00+00", id_])


@pytest.mark.parametrize("place", [["a", "b"], [None, ""], ["", None], ["=", "ü=\n"]])
def test_a_cursor_has_what_was_written(place: list[str | None]) -> None:
    """NULL is no empty text, and it fits in a link as it is."""
    cursor = CURSORS.write(place)
    assert CURSORS.read(cursor) == place
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("told", [b"", b"=a", b"=a\0=b\0=c", b"a\0b", b"=a\0=\xff"])
def test_a_cursor_of_another_form_is_none(told: bytes) -> None:
    """Whatever its digest is."""
    raw = CURSORS._digest(told) + told
    with pytest.raises(BadCursor):
        CURSORS.read(base64.urlsafe_b64encode(raw).decode().rstrip("="))


@pytest.mark.parametrize("cursor", ["", "=", "ü", "a b", "AAAA", "A" * 13, "\0"])
def test_any_text_is_a_cursor_or_refused(cursor: str) -> None:
    """Also one that no client could send."""
    with pytest.raises(BadCursor):
        CURSORS.read(cursor)


def test_a_cursor_that_no_client_may_send_is_not_given() -> None:
    """The query is refused, with what helps."""
    with pytest.raises(QueryRefused, match="sort by shorter columns"):
        CURSORS.write(["x" * LONGEST, "1"])
