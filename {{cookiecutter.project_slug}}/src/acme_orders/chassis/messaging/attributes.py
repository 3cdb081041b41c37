"""What stands beside the body of a message: its attributes, its headers, and their size."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.broker import Message

ATTEMPT = "retry-attempt"
REPLAYS = "dl-replay-count"
_PLAIN = {
    "id": "the AMQP property message_id",
    "type": "the AMQP property type",
    "source": "the AMQP property app_id",
}
_PREFIXES = ("cloudEvents:", "cloudEvents_")
_LONGEST_ID = 255  # of an AMQP property
_FRAMING = 6  # bytes of each header beside its name and value: type and lengths


def attribute(message: Message, name: str, default: str | None) -> str:
    """One attribute of a message, from its header or else `default`.

    Raises:
        Malformed: it is missing, no text, or too long.
    """
    value = default
    for prefix in _PREFIXES:
        if (found := message.headers.get(prefix + name)) is not None:
            value = found
            break
    if value is None or value == "":
        plain = _PLAIN.get(name, f"the header {name}")
        raise Malformed(
            f"the message has no {name}: set {plain} or the header cloudEvents:{name}",
            kind=f"no {name}",
        )
    if not isinstance(value, str) or len(value) > _LONGEST_ID or "\x00" in value:
        raise Malformed(
            f"the {name} of the message is no text of at most {_LONGEST_ID} characters",
            kind=f"no such {name}",
        )
    return value


def sent_at(message: Message) -> datetime | None:
    """When the message was sent, if it says so in a form that can be understood."""
    for prefix in _PREFIXES:
        text = message.headers.get(f"{prefix}time")
        if isinstance(text, str):
            try:
                return _aware(datetime.fromisoformat(text))
            except ValueError:
                break
    return message.timestamp and _aware(message.timestamp)


def correlation_id(message: Message, identity: str) -> str:
    """What ties messages together for those who look; never a reason to refuse one."""
    try:
        return attribute(message, "correlationid", identity)
    except Malformed:
        return identity


def attempt_of(message: Message) -> int:
    """Which attempt at this message this is, from 1; our own header, not the broker's count."""
    attempt = message.headers.get(ATTEMPT, 1)
    return attempt if isinstance(attempt, int) and attempt > 0 else 1


def replays_of(message: Message) -> int:
    """How often the message was taken out of the dead letters and put back."""
    replays = message.headers.get(REPLAYS, 0)
    return replays if isinstance(replays, int) and replays > 0 else 0


def header_bytes(headers: Mapping[str, Any]) -> int:
    """About how many bytes headers take, so that nobody has to encode them to know."""
    size = _FRAMING * len(headers)
    for name, value in headers.items():
        size += _bytes(name) + (len(value) if isinstance(value, bytes) else _bytes(str(value)))
    return size


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
