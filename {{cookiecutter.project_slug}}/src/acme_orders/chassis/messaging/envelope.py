"""From a message on the wire to one that can be trusted, and back. Everything untrusted ends here.

CloudEvents 1.0 in binary mode: attributes are headers, the body is the data. A plain client that
sets only the AMQP properties `message_id`, `type`, `app_id` and `timestamp` is understood as well.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID  # feature: row, rls, schema

from pydantic import BaseModel, ConfigDict

from acme_orders.chassis.errors import Malformed, UnknownType
from acme_orders.chassis.messaging.attributes import (
    attempt_of,
    attribute,
    correlation_id,
    header_bytes,
    replays_of,
    sent_at,
)
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.decoder import Decoder
from acme_orders.chassis.observability import spans  # feature: tracing
from acme_orders.chassis.rabbitmq.properties import UNREADABLE
from acme_orders.chassis.tenancy.scope import tenant_id  # feature: row, rls, schema


class Payload(BaseModel):
    """The base of every message body; unknown fields are ignored, so that producers can add some.

    Give each an example in `model_config["json_schema_extra"]`: the documentation shows it and the
    readiness checks send it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def example(cls) -> Mapping[str, Any]:
        """A body that is valid."""
        return cls.examples()[0]

    @classmethod
    def examples(cls) -> Sequence[Mapping[str, Any]]:
        """All of them; together they should lead a handler everywhere that it can go.

        Raises:
            LookupError: there is none.
        """
        extra = cls.model_config.get("json_schema_extra")
        if not isinstance(extra, dict) or not extra.get("examples"):
            raise LookupError(f'{cls.__name__} has no example in model_config["json_schema_extra"]')
        examples: Any = extra["examples"]
        return list(examples)


Body_co = TypeVar("Body_co", bound=Payload, covariant=True)


@dataclass(frozen=True, slots=True)
class Handler:
    """What is done with one type of message.

    Args:
        payload: of the message.
        handle: called with the payload of one message.
        handle_all: called instead with all `Received` messages of a batch, if there are several.
            If it fails, its effects are undone and `handle` gets each message alone.
        given: rows that have to be there before the examples of the payload, by the name of their
            table; the readiness checks store them first.
    """

    payload: type[Payload]
    handle: Callable[[Any], Awaitable[None]]
    handle_all: Callable[[Sequence[Any]], Awaitable[None]] | None = None
    given: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict, compare=False)
    decoder: Decoder[Payload] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", Decoder(self.payload))


class Received(Protocol[Body_co]):
    """A message as a handler of many gets it."""

    @property
    def correlation_id(self) -> str:
        """What the messages that follow from it carry on."""

    @property
    def payload(self) -> Body_co:
        """Its content."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A decoded message. `source` and `id` together tell it from every other.

    `correlation_id` is handed on to all messages that follow from this one.
    """

    id: str
    type: str
    source: str
    correlation_id: str
    tenant: UUID  # feature: row, rls, schema
    time: datetime | None
    payload: Payload
    payload_hash: bytes
    attempt: int
    replays: int
    trace: Mapping[str, str] = field(default_factory=dict)  # feature: tracing

    @property
    def kind(self) -> tuple[object, ...]:
        """What those have in common that all fail if a table or a right is missing."""
        kind: tuple[object, ...] = (self.type,)
        kind += (self.tenant,)  # feature: row, rls, schema
        return kind

    @property
    def key(self) -> tuple[object, ...]:
        """What two deliveries of the same message have in common, and no two messages do."""
        return (
            self.source,
            self.id,
            self.payload_hash,
            self.tenant,  # feature: row, rls, schema
        )


def decode(
    message: Message,
    handlers: Mapping[str, Handler],
    *,
    max_body_bytes: int,
    max_header_bytes: int,
) -> Envelope:
    """Decode and validate a message.

    Raises:
        Malformed: too large, without id or type, no JSON, or not of the expected form.
        UnknownType: there is no handler for its type.
    """
    if len(message.body) > max_body_bytes:
        raise Malformed(
            f"the body has {len(message.body)} bytes, the limit is {max_body_bytes} "
            "(MAX_BODY_BYTES): send a reference to large content",
            kind="body too large",
        )
    if (size := header_bytes(message.headers)) > max_header_bytes:
        raise Malformed(
            f"the headers have about {size} bytes, the limit is {max_header_bytes} "
            "(MAX_HEADER_BYTES): content belongs in the body",
            kind="headers too large",
        )
    if UNREADABLE in message.headers:
        raise Malformed("the properties of the message are not what AMQP 0-9-1 prescribes")
    identity = attribute(message, "id", message.message_id)
    type_ = attribute(message, "type", message.type)
    handler = handlers.get(type_)
    if handler is None:
        raise UnknownType(f"no handler for type {type_!r}; known are {', '.join(sorted(handlers))}")
    try:
        payload = handler.decoder.from_json(message.body, largest=max_body_bytes)
    except Malformed as error:
        kind = f"{type_}: {error.kind}"
        raise Malformed(f"the body is no {type_}: {error}", kind=kind) from None
    return Envelope(
        id=identity,
        type=type_,
        source=attribute(message, "source", message.app_id or "unknown"),
        correlation_id=correlation_id(message, identity),
        # feature: row, rls, schema {
        tenant=tenant_id(attribute(message, "tenant", message.headers.get("tenant"))),
        # feature: row, rls, schema }
        time=sent_at(message),
        payload=payload,
        payload_hash=hashlib.sha256(message.body).digest(),
        attempt=attempt_of(message),
        replays=replays_of(message),
        trace=spans.carried(message.headers),  # feature: tracing
    )


def encode(
    identity: str,
    type_: str,
    source: str,
    time: datetime,
    body: bytes,
    *,
    extensions: Mapping[str, Any] | None = None,
) -> Message:
    """A message with its attributes as CloudEvents headers and as AMQP properties.

    An extension cannot take the place of an attribute.
    """
    return Message(
        body=body,
        message_id=identity,
        type=type_,
        app_id=source,
        timestamp=time,
        headers={
            **{f"cloudEvents:{name}": value for name, value in (extensions or {}).items()},
            **spans.carried(extensions or {}),  # feature: tracing
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": identity,
            "cloudEvents:type": type_,
            "cloudEvents:source": source,
            "cloudEvents:time": time.isoformat(),
        },
    )
