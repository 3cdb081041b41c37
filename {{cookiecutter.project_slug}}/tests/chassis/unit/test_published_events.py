"""What is published has the fields of the payload that the slice names, and no others."""

from typing import Any

import pytest
from pydantic import ConfigDict, Field, computed_field, model_serializer

from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.slice import Slice

from readiness.nameless import unannounced


class Sent(Payload):
    """Two fields."""

    number: int
    note: str = ""


class Seen(Sent):
    """One more."""

    at: int = 0


class Named(Payload):
    """Every way in which a field may stand elsewhere."""

    model_config = ConfigDict(serialize_by_alias=True)

    number: int = Field(alias="no")
    secret: str = Field(default="x", exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        """Twice the number."""
        return 2 * self.number


class Made(Payload):
    """Not what its fields say."""

    number: int

    @model_serializer
    def made(self) -> dict[str, Any]:
        """Something else."""
        return {"whole": self.number}


class Open(Payload):
    """Whatever somebody adds."""

    model_config = ConfigDict(extra="allow")


def told(kind: type[Payload], *published: Payload) -> list[str]:
    """What is said of these events, if the slice names this payload."""
    slices = [Slice("parcels", publishes=[Event("sent", kind)])]
    return list(unannounced(slices, [("sent", each.model_dump_json()) for each in published]))


@pytest.mark.parametrize(
    "payload",
    [
        Sent(number=1),
        Seen(number=1),
        Named(no=1),
        Made(number=1),
        Open.model_validate({"more": 1}),
        Payload(),
    ],
)
def test_the_payload_that_is_named_is_fine(payload: Payload) -> None:
    """However its fields are written."""
    assert told(type(payload), payload) == []


@pytest.mark.parametrize(
    ("kind", "payload", "says"),
    [
        (Seen, Sent(number=1), "sent is published without at, which Seen has: "),
        (Sent, Seen(number=1), "sent is published with at, which Sent has not: "),
        (Sent, Named(no=1), "sent is published without number, note, which Sent has: "),
        (Open, Sent(number=1), ""),
    ],
)
def test_another_payload_is_found(kind: type[Payload], payload: Payload, says: str) -> None:
    """Once, with the fields that are more or less; also behind one that is right."""
    found = told(
        kind, *([kind.model_validate({"number": 1})] if kind is not Open else []), payload, payload
    )
    assert len(found) == bool(says)
    assert "".join(found).startswith(says)
