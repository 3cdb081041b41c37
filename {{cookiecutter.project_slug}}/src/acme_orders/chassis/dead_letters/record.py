"""What is kept of a dead letter, whatever it contains, and the message that is made of it again.

Nothing in a dead letter is trusted: it may be there because nobody could read it. So whatever
cannot be understood is left out or replaced, and nothing here raises.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from acme_orders.chassis.messaging.attributes import REPLAYS
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.copies import copy_of

UNKNOWN = "unknown"
_OF_THE_FAILURE = ("dl-", "retry-")  # headers that a replay leaves out
DELIVERY_LIMIT = "delivery_limit"
UNPUBLISHABLE = "unpublishable"  # an event of ours that no broker takes
REASONS = {"constraint", "retries_exhausted", DELIVERY_LIMIT}  # beside those of MessageError
_BROKERS = {DELIVERY_LIMIT, "expired", "rejected", "maxlen"}
_NAMESPACE = UUID("8a6e3c1a-6d0c-4b0e-9f6f-6b1c1d9b7c55")  # any, but always the same
_LONGEST_TEXT = 1000  # characters of what is a column of its own
_MOST = 2**31 - 1  # of an integer in PostgreSQL


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was set aside, and why.

    Args:
        id: the same for every copy of one failure.
        outgoing: whether it is an event from the outbox, where a replay adds it again.
        queue: where it failed.
        fingerprint: the same for failures that look alike.
        replays: how often it had been replayed before it failed.
        headers: as they were, except what PostgreSQL cannot store.
        properties: the properties of AMQP, likewise.
        body: or its beginning, if `body_bytes` says that there was more.
    """

    id: UUID
    outgoing: bool = False
    message_id: str | None = None
    source: str | None = None
    type: str | None = None
    queue: str | None = None
    reason: str = UNKNOWN
    fingerprint: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    attempts: int | None = None
    replays: int = 0
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: bytes
    body_bytes: int
    failed_at: datetime

    @property
    def whole(self) -> bool:
        """Whether nothing of the body is missing."""
        return len(self.body) == self.body_bytes

    def message(self) -> Message:
        """The message that it was, with all its attempts, and counted as a replay."""
        known = {each.name for each in fields(Message)} - {"body", "headers"}
        properties = {
            name: _original(value) for name, value in self.properties.items() if name in known
        }
        headers = {
            name: _original(value)
            for name, value in self.headers.items()
            if not name.lower().startswith(_OF_THE_FAILURE)
        }
        original = Message(self.body, headers=headers, **properties)
        return copy_of(original, {REPLAYS: min(self.replays + 1, _MOST)})


def read(message: Message, *, largest_body: int) -> DeadLetter:
    """What is kept of a message; of a body above `largest_body` bytes, the beginning."""
    # The broker removed it itself if it says so. Then what else stands there about a failure is
    # older than that, or was made up: we remove the broker's headers from what we set aside.
    death = _death(message.headers)
    ours = {} if death else message.headers
    reason = _text(death.get("reason") if death else ours.get("dl-reason"))
    if reason is None or (death and reason not in _BROKERS):
        reason = UNKNOWN
    return DeadLetter(
        id=_given(ours.get("dl-id")) or identity(message),
        message_id=_said(message, "id", message.message_id),
        source=_said(message, "source", message.app_id),
        type=_said(message, "type", message.type),
        queue=_text(death.get("queue") if death else ours.get("dl-queue")),
        reason=reason,
        fingerprint=_text(ours.get("dl-fingerprint")),
        error_type=_text(ours.get("dl-error-type")),
        error_message=_text(ours.get("dl-error-message")),
        attempts=_number(ours.get("dl-attempts")),
        replays=_number(message.headers.get(REPLAYS)) or 0,
        headers=_storable(message.headers),
        properties=_storable(
            {
                each.name: value
                for each in fields(message)
                if each.name not in {"body", "headers"}
                and (value := getattr(message, each.name)) != each.default
            }
        ),
        body=message.body[:largest_body],
        body_bytes=len(message.body),
        failed_at=_time(death.get("time") if death else ours.get("dl-failed-at")),
    )


def identity(message: Message) -> UUID:
    """The same for every copy of one failure, so that a crash does not make two of it.

    Without an id nobody can tell two messages with the same body apart; each is one of its own.
    """
    message_id = _said(message, "id", message.message_id)
    if not message_id:
        return uuid4()
    content = hashlib.sha256(message.body).hexdigest()
    replays = _number(message.headers.get(REPLAYS)) or 0
    names = [_said(message, "source", message.app_id), message_id, content, replays]
    names += [_said(message, "tenant", message.headers.get("tenant"))]  # feature: row, rls, schema
    return uuid5(_NAMESPACE, json.dumps(names))


def stripped(letter: DeadLetter) -> DeadLetter:
    """Only its id and its body, for one that PostgreSQL refuses all the same."""
    return DeadLetter(
        id=letter.id,
        replays=letter.replays,
        headers={},
        properties={},
        body=letter.body,
        body_bytes=letter.body_bytes,
        failed_at=datetime.now(UTC),
    )


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The broker's record of the last time that it gave the message up itself."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list):
        found = [each for each in deaths if isinstance(each, Mapping)]
        # One that was retried before has records of its waits, too.
        found.sort(key=lambda each: each.get("reason") != DELIVERY_LIMIT)
        if found:
            return found[0]
    if "x-first-death-reason" in headers:
        names = ("reason", "queue")
        return {name: headers.get(f"x-first-death-{name}") for name in names}
    return None


def _given(value: object) -> UUID | None:
    """The id that we gave it when we set it aside."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _said(message: Message, name: str, default: object) -> str | None:
    headers = message.headers
    return _text(headers.get(f"cloudEvents:{name}", headers.get(f"cloudEvents_{name}", default)))


def _text(value: object) -> str | None:
    return None if value is None else _clean(str(value)[:_LONGEST_TEXT])


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST else None


def _time(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(found, datetime):
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return datetime.now(UTC)


def _storable(values: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = _plain(values)
        json.dumps(found)
    except (RecursionError, ValueError, OverflowError):
        return {}  # nested without end
    return found


def _plain(value: object) -> Any:
    """As JSON; what JSON has no word for is written so that it can be restored."""
    match value:
        case Mapping():
            return {_clean(str(name)): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case bytes() | bytearray():
            return {"$bytes": base64.b64encode(value).decode()}
        case datetime():
            return {"$time": value.isoformat()}
    finite = isinstance(value, float) and math.isfinite(value)
    return value if value is None or finite or isinstance(value, int) else _clean(str(value))


def _original(value: Any) -> Any:
    match value:
        case {"$bytes": str(text), **others} if not others:
            return bytearray(base64.b64decode(text))  # aio-pika sends no bytes in headers
        case {"$time": str(text), **others} if not others:
            return _time(text)
        case dict():
            return {name: _original(each) for name, each in value.items()}
        case list():
            return [_original(each) for each in value]
    return value


def _clean(text: str) -> str:
    """Without what PostgreSQL refuses in a text: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
