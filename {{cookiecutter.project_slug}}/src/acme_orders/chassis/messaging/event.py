"""What a slice publishes."""

from dataclasses import dataclass

from acme_orders.chassis.messaging.envelope import Payload


@dataclass(frozen=True, slots=True)
class Event:
    """A type of event.

    Args:
        name: its type, which is its routing key.
        payload: its body.
        needs_listener: whether somebody has to listen. As long as no queue is bound to such a type
            an alert says so, and none of its events is dropped.
    """

    name: str
    payload: type[Payload]
    needs_listener: bool = False
