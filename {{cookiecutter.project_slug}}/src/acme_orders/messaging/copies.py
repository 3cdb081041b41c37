"""Which headers a copy of a message takes with it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from acme_orders.messaging.envelope import ATTEMPT, header_bytes

_MOST_BYTES = 64 * 1024  # all headers have to fit into one frame, together with those we add
_DEEPEST = 4
_LONGEST_NAME = 128  # bytes; pamqp cuts longer ones, and AMQP 0-9-1 allows no more
_DROPPED = "dropped-headers"
_ROUTING = {"CC", "BCC"}  # RabbitMQ sends copies to the queues that these name, again and again


def carried(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers without those of a broker, and without what can't be sent again.

    A broker reads some `x-` headers as its own, and a client could forge them. Names that are left
    out for their size or type are listed in `dropped-headers`, as far as there is room.
    """
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    room = _MOST_BYTES
    for name, value in _own(headers):
        room -= header_bytes({name: value})
        if room >= 0 and _can_be_sent(name, value):
            kept[name] = value
        else:
            dropped.append(name[:_LONGEST_NAME])
    if dropped:
        kept[_DROPPED] = ", ".join(dropped)[:1000]
    return kept


def _own(headers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Small ones first, so that one big header does not drive out the others."""
    own = [
        (name, value)
        for name, value in headers.items()
        if not name.lower().startswith("x-") and name not in {ATTEMPT, _DROPPED, *_ROUTING}
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
