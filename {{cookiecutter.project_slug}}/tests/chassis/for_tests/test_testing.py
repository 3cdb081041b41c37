"""What a team tests its slices with says the truth, also about slices that it has never seen."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from acme_orders.chassis.errors import ConstraintViolated, Refused, TryLater
from acme_orders.chassis.slice import Chassis
from acme_orders.chassis.testing import ServiceUnderTest

from tests.chassis.for_tests.conftest import Open
from tests.chassis.for_tests.examples import DELIVERED, PAYMENT, REGISTERED, SCANNED, slice_of
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver
from tests.chassis.slices.ledger.messages import PaymentBooked, PaymentRejected
from tests.chassis.slices.ledger.repository import Books
from tests.chassis.slices.ledger.slice import ledger
from tests.chassis.slices.parcels.messages import ParcelClosed, ParcelMoved, ParcelRegistered
from tests.chassis.slices.parcels.models import Depot, Parcel
from tests.chassis.slices.parcels.repository import Parcels
from tests.chassis.slices.parcels.slice import parcels


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_message_is_done_and_its_events_are_typed(
    open_service: Open, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """On both drivers."""
    use_driver(driver, monkeypatch)
    async with open_service(parcels, tables="parcels") as post:
        outcome = await post.process(REGISTERED)
        assert (outcome.status, outcome.error) == ("done", None)
        moved = ParcelMoved(parcel_id=REGISTERED.parcel_id, depot="BER", scans=0)
        assert post.published(ParcelMoved) == [moved]
        assert post.published(ParcelClosed) == []


async def test_what_is_retried_can_be_tried_again(post: ServiceUnderTest) -> None:
    """It says when, and why; the next attempt needs no waiting."""
    early = await post.process(SCANNED)
    assert (early.status, early.after, type(early.error)) == ("retried", 0.2, TryLater)
    await post.process(REGISTERED)
    assert (await post.process(early.message)).status == "done"
    assert [each.scans for each in post.published(ParcelMoved)] == [0, 1]


async def test_the_ladder_ends(post: ServiceUnderTest) -> None:
    """After its last step the message is a dead letter."""
    outcome = await post.process(SCANNED)
    waits = []
    while outcome.status == "retried":
        waits.append(outcome.after)
        outcome = await post.process(outcome.message)
    assert waits == [0.2, 0.3]
    assert (outcome.status, outcome.reason) == ("dead_lettered", "retries_exhausted")


async def test_what_is_refused_says_why(post: ServiceUnderTest) -> None:
    """The error is the handler's own."""
    await post.process(REGISTERED)
    outcome = await post.process(DELIVERED.model_copy(update={"signature": " "}))
    assert (outcome.status, outcome.reason) == ("dead_lettered", "refused")
    assert isinstance(outcome.error, Refused)
    assert "signature" in str(outcome.error)


async def test_a_duplicate_is_called_one(post: ServiceUnderTest) -> None:
    """Alone and in one batch; with other content it is a dead letter."""
    message = post.message(REGISTERED, identity="1")
    assert [each.status for each in await post.process_all([message, message])] == [
        *["done", "duplicate"]
    ]
    assert (await post.process(message)).status == "duplicate"
    other = REGISTERED.model_copy(update={"weight_grams": 5})
    outcome = await post.process(post.message(other, identity="1"))
    assert (outcome.status, outcome.reason) == ("dead_lettered", "payload_mismatch")
    assert len(post.published(ParcelMoved)) == 1


async def test_a_bad_one_of_many_is_told_from_its_neighbours(post: ServiceUnderTest) -> None:
    """Each outcome belongs to its message."""
    bad = post.message({**ParcelRegistered.example(), "depot": "x"}, type_="parcel.registered")
    unknown = post.message({}, type_="parcel.eaten")
    messages = [post.message(SCANNED), bad, post.message(REGISTERED), unknown]
    outcomes = await post.process_all(messages)
    assert [(each.status, each.reason) for each in outcomes] == [
        ("retried", None),
        ("dead_lettered", "malformed"),
        ("done", None),
        ("dead_lettered", "unknown_type"),
    ]
    assert "depot" in str(outcomes[1].error)


async def test_a_bug_is_shown_with_its_error(open_service: Open) -> None:
    """As it was raised, with its traceback."""

    async def divide(_: Chassis[Any], parcel: ParcelRegistered) -> None:
        parcel.weight_grams / 0

    async with open_service(slice_of(divide)) as service:
        outcome = await service.process(REGISTERED)
    assert outcome.status == "retried"
    assert isinstance(outcome.error, ZeroDivisionError)
    assert "divide" in str(pytest.ExceptionInfo.from_exception(outcome.error).traceback[-1])


async def test_what_fails_only_at_commit_is_shown(open_service: Open) -> None:
    """Rows are written just before it."""

    async def store(chassis: Chassis[Any], parcel: ParcelRegistered) -> None:
        await chassis.manager.insert(Depot, [{"code": "BER"}])
        row = {"id": parcel.parcel_id, "depot_id": "BER", "state": "lost"}
        more = {"weight_grams": 1, "contents": [], "registered_at": parcel.registered_at}
        repository = Parcels(chassis.manager)
        repository.add_later(Parcel, {**row, **more})

    async with open_service(slice_of(store), tables="parcels") as service:
        outcome = await service.process(REGISTERED)
        assert (outcome.status, outcome.reason) == ("dead_lettered", "constraint")
        assert isinstance(outcome.error, ConstraintViolated)
        async with service.transaction():
            assert await service.manager.fetch(Depot.select(Depot.code)) == []


async def test_what_no_message_pays_for_says_what_helps(open_service: Open) -> None:
    """A table that is not there would keep the message waiting."""
    async with open_service(parcels) as post:
        with pytest.raises(RuntimeError, match=r"depots.*apply the migration") as caught:
            await post.process(REGISTERED)
    assert caught.value.__cause__ is not None


async def test_what_does_not_fit_says_what_helps(post: ServiceUnderTest) -> None:
    """A payload without a handler, an event that no slice has."""
    with pytest.raises(LookupError, match=r"0 handlers take a PaymentSubmitted.*slice\.py"):
        post.message(PAYMENT)
    with pytest.raises(LookupError, match=r"PaymentBooked is no event.*`publishes`.*ParcelMoved"):
        post.published(PaymentBooked)


async def test_the_tests_own_transaction_is_not_around_the_service(post: ServiceUnderTest) -> None:
    """Nor its tenant: what is processed meanwhile commits by itself."""
    with pytest.raises(ZeroDivisionError):
        async with post.transaction():
            await post.process(REGISTERED)
            raise ZeroDivisionError
    async with post.transaction():
        assert len(await post.manager.fetch(Parcel.select(Parcel.id))) == 1


async def test_money_moves_and_its_events_have_decimals(open_service: Open) -> None:
    """A savepoint fails alone; rows that a test begins with are committed."""
    async with open_service(ledger, tables="ledger") as service:
        books = Books(service.manager)
        async with service.transaction():
            await books.open(["ADA-1"])
        payments = [
            PAYMENT.model_copy(update={"payment_id": UUID(int=number), "amount": Decimal(amount)})
            for number, amount in ((1, "999.99"), (2, "0.02"))
        ]
        for each in payments:
            assert (await service.process(each)).status == "done"
        async with service.transaction():
            assert await books.balance("ADA-1") == Decimal("-999.99")
        booked = PaymentBooked(payment_id=UUID(int=1), amount=Decimal("999.99"))
        assert service.published(PaymentBooked) == [booked]
        assert [each.payment_id.int for each in service.published(PaymentRejected)] == [2]
