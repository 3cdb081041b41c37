"""What stands beside a body, and what is said where it does not."""

import pytest

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.attributes import attribute
from acme_orders.chassis.messaging.broker import Message


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("id", "the AMQP property message_id"),
        ("type", "the AMQP property type"),
        ("source", "the AMQP property app_id"),
        ("tenant", "the header tenant"),
    ],
)
def test_a_missing_one_is_told_with_where_it_may_stand(name: str, plain: str) -> None:
    """Whoever sent the message has to find it."""
    with pytest.raises(Malformed, match=f"has no {name}: set {plain} or .* cloudEvents:{name}$"):
        attribute(Message(body=b"{}"), name, None)
