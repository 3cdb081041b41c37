"""Events to be published: written in the transaction that makes them true."""

import asyncio
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField
from pydantic import TypeAdapter
from structlog.contextvars import get_contextvars

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.database.unit_of_work import Later
from acme_orders.chassis.errors import Unpublishable
from acme_orders.chassis.identifiers import new_id
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.schema_tree import has_json
from acme_orders.chassis.observability import spans  # feature: tracing
from acme_orders.chassis.tenancy.scope import current_tenant  # feature: row, rls, schema

_LONGEST_TEXT = 255  # bytes of a short string of AMQP, such as a routing key
_LONGEST_ID = 4 * 255  # bytes of a correlation id; that of a message may have 255 characters


class OutboxRow(Table):
    """An event that the broker has not confirmed yet; the row is deleted when it has."""

    id = peewee.BigAutoField()
    message_id = peewee.UUIDField()
    ordering_key = peewee.TextField(null=True)
    type = peewee.TextField()
    body = peewee.TextField()
    extensions = peewee.JSONField()
    created_at = DateTimeTZField()
    available_at = DateTimeTZField()
    attempts = peewee.IntegerField()
    lease = peewee.UUIDField(null=True)
    last_error = peewee.TextField(null=True)

    class Meta:
        """The name of the table."""

        table_name = "outbox"


class Outbox(Repository):
    """Collects events in the caller's transaction.

    Args:
        manager: of the database.
        largest_body: most bytes of the body of an event.
    """

    machinery = True

    def __init__(self, manager: Manager, *, largest_body: int = 1024 * 1024) -> None:
        super().__init__(manager)
        self._largest_body = largest_body
        self._with_json: dict[type[Payload], bool] = {}
        self.committed = asyncio.Event()

    @query(
        "outbox.add",
        traffic="high",
        writes=True,
        example={"type_": "example", "payload": Payload()},
    )
    async def add(
        self,
        type_: str,
        payload: Payload,
        *,
        key: str | None = None,
        correlation_id: str | None = None,
        provided: Later | None = None,
    ) -> UUID:
        """Publish this event if, and only if, the open transaction commits; returns its id.

        Args:
            type_: its routing key, at most 255 bytes.
            payload: its body, as JSON at most MAX_BODY_BYTES.
            key: events with the same key, such as `parcel-17`, are published one after the other,
                in the order in which they were added. Two transactions that add to one key at the
                same time have no order: lock the row that it stands for, as an UPDATE does.
            correlation_id: of the message that it follows from; unset: that of the one in hand.
            provided: publish it only if this has had an effect.

        Raises:
            Unpublishable: no broker would ever take this event. Nothing was stored; the relay
                could only set it aside.
        """
        message_id = new_id()
        type_ = _text(type_, "the type of an event")
        key = None if key is None else _text(key, "the key of an event")
        key = None if key is None else f"{current_tenant()} {key}"  # feature: row, rls, schema
        self.add_later(
            OutboxRow,
            {
                "message_id": message_id,
                "ordering_key": key,
                "type": type_,
                "body": self._body(type_, payload),
                "extensions": _inherited(correlation_id),
            },
            provided=provided,
        )
        self.manager.current_transaction().after_commit.add(self.committed.set)
        return message_id

    def _has_json(self, kind: type[Payload]) -> bool:
        """Whether a field is JSON in a text, and has to become one again to be decoded."""
        found = self._with_json.get(kind)
        if found is None:
            found = self._with_json[kind] = has_json(TypeAdapter(kind).core_schema)
        return found

    def _body(self, type_: str, payload: Payload) -> str:
        if not isinstance(payload, Payload):
            raise Unpublishable(
                f"the payload of {type_!r} has to be a Payload, this is a {type(payload).__name__}"
            )
        try:
            body = payload.model_dump_json(round_trip=self._has_json(type(payload)))
        except ValueError as error:  # pydantic's for what JSON has no form for
            raise Unpublishable(f"the payload of {type_!r} is no JSON: {error}") from error
        size = len(body) if body.isascii() else len(body.encode())
        if size > self._largest_body:
            raise Unpublishable(
                f"the payload of {type_!r} has {size} bytes, the limit is {self._largest_body} "
                "(MAX_BODY_BYTES): send a reference to large content"
            )
        return body


def _text(value: object, what: str, longest: int = _LONGEST_TEXT) -> str:
    """A text that AMQP and PostgreSQL both take, at once or never."""
    if not isinstance(value, str):
        raise Unpublishable(f"{what} has to be a text, this is a {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Unpublishable(f"{what} {value!r:.60} has half of a surrogate pair") from error
    if not 0 < size <= longest:
        raise Unpublishable(f"{what} {value!r:.60} has {size} bytes: 1 to {longest} are allowed")
    if "\x00" in value:
        raise Unpublishable(f"{what} {value!r:.60} contains NUL, which PostgreSQL does not store")
    return value


def _inherited(correlation_id: str | None) -> dict[str, Any]:
    """What an event has of the message or request that led to it."""
    inherited: dict[str, Any] = {}
    if found := correlation_id or get_contextvars().get("correlation_id"):
        inherited["correlationid"] = _text(found, "the correlation id of an event", _LONGEST_ID)
    inherited |= spans.current()  # feature: tracing
    inherited["tenant"] = str(current_tenant())  # feature: row, rls, schema
    return inherited
