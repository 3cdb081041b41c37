"""What a copy of a message takes with it, and what it says about the rest."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from acme_orders.chassis.messaging.attributes import ATTEMPT, header_bytes
from acme_orders.chassis.messaging.broker import Message

_MOST_BYTES = 64 * 1024  # all headers have to fit into one frame, together with those we add
_DEEPEST = 4
_LONGEST_NAME = 128  # bytes; pamqp cuts longer ones, and AMQP 0-9-1 allows no more
_DROPPED = "dropped-headers"
_DROPPED_PROPERTIES = "dropped-properties"
_LONGEST_LIST = 1000  # characters
# RabbitMQ sends copies to the queues that CC and BCC name, again and again. Its plugin drops what
# has a deduplication header that it has seen, and a copy has.
_OBEYED = {"cc", "bcc", "x-deduplication-header", "x-delay"}
# Written by the broker about one delivery. A client can forge them, and ours believe them.
_BROKERS = re.compile(
    r"x-(?:death|(?:first|last)-death-.*|delivery-count|acquired-count|opt-.*|stream-.*|"
    r"received-from|shovelled(?:-.*)?)"
)


def copy_of(message: Message, headers: Mapping[str, Any]) -> Message:
    """A message that can be published in place of this one, with some headers of ours.

    Properties that it cannot have are listed in `dropped-properties`, with their values.
    """
    # RabbitMQ refuses a user who is not ours; an expiration would end a wait in the retry ladder.
    found = {"expiration": message.expiration, "user_id": message.user_id}
    dropped = ", ".join(f"{name}={value}" for name, value in found.items() if value is not None)
    said = {_DROPPED_PROPERTIES: dropped[:_LONGEST_LIST]} if dropped else {}
    return replace(
        message,
        headers={**carried(message.headers), **said, **headers},
        expiration=None,
        user_id=None,
    )


def carried(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers without those that a broker wrote or would obey, or that can't be sent again.

    Names that are left out are listed in `dropped-headers`, as far as there is room; but not what a
    broker wrote about a delivery.
    """
    kept: dict[str, Any] = {}
    before = headers.get(_DROPPED)
    dropped = [before] if isinstance(before, str) and before else []
    room = _MOST_BYTES
    for name, value in _own(headers):
        room -= header_bytes({name: value})
        if room >= 0 and name.lower() not in _OBEYED and _can_be_sent(name, value):
            kept[name] = value
        else:
            dropped.append(name[:_LONGEST_NAME])
    if dropped:
        kept[_DROPPED] = ", ".join(dropped)[:_LONGEST_LIST]
    return kept


def _own(headers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Small ones first, so that one big header does not drive out the others."""
    own = [
        (name, value)
        for name, value in headers.items()
        if not _BROKERS.fullmatch(name.lower()) and name not in {ATTEMPT, _DROPPED}
    ]
    return iter(sorted(own, key=lambda header: header_bytes(dict([header]))))


def _can_be_sent(name: str, value: Any, depth: int = 0) -> bool:
    if len(name.encode()) > _LONGEST_NAME or depth > _DEEPEST:
        return False
    match value:
        case None | bool() | float() | str() | bytes() | bytearray() | datetime():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case list():
            return all(_can_be_sent("", each, depth + 1) for each in value)
        case dict():
            return all(_can_be_sent(key, each, depth + 1) for key, each in value.items())
        case _:
            return False
