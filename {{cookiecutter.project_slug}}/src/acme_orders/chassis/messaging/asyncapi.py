"""The AsyncAPI document: which messages a service takes and publishes, and their form."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic.json_schema import models_json_schema

from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.topology import EXCHANGE_TYPE

VERSION = "3.0.0"
_TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
_HEADERS: dict[str, Any] = {
    "cloudEvents:specversion": {"const": "1.0"},
    "cloudEvents:id": {**_TEXT, "description": "or the AMQP property message_id"},
    "cloudEvents:type": {**_TEXT, "description": "or the AMQP property type"},
    "cloudEvents:source": {**_TEXT, "description": "or the AMQP property app_id"},
    "cloudEvents:time": {"type": "string", "format": "date-time"},
    "cloudEvents:correlationid": {**_TEXT, "description": "of the message that led to this one"},
    # feature: row, rls, schema {
    "cloudEvents:tenant": {
        "type": "string",
        "format": "uuid",
        "description": "whose data it is about; or the header tenant, but one of the two",
    },
    # feature: row, rls, schema }
}
_ENVELOPE = "cloudEvents"


def asyncapi(
    *,
    title: str,
    version: str,
    queue: str,
    exchange: str,
    accepts: Mapping[str, type[Payload]],
    publishes: Mapping[str, type[Payload]],
) -> dict[str, Any]:
    """The document, in the form of AsyncAPI 3.0; the same for the same service.

    Args:
        title: of the service.
        version: of it.
        queue: whence it takes messages.
        exchange: where messages go, both those that it takes and those that it publishes.
        accepts: the bodies of messages that it takes, by their type.
        publishes: the bodies of messages that it publishes, by their type.
    """
    taken, taken_schemas = _schemas("accepted", accepts.values())
    sent, sent_schemas = _schemas("published", publishes.values())
    messages = {
        f"accepted.{_key(type_)}": _message(type_, kind, taken[kind])
        for type_, kind in sorted(accepts.items())
    }
    messages |= {
        f"published.{_key(type_)}": _message(type_, kind, sent[kind])
        for type_, kind in sorted(publishes.items())
    }
    types = sorted({*accepts, *publishes})
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": {_key(type_): _channel(type_, messages, exchange) for type_ in types},
        "operations": {
            **{
                f"receive.{_key(type_)}": _operation("receive", "accepted", type_, queue)
                for type_ in sorted(accepts)
            },
            **{
                f"send.{_key(type_)}": _operation("send", "published", type_)
                for type_ in sorted(publishes)
            },
        },
        "components": {
            "messages": messages,
            "schemas": dict(sorted((taken_schemas | sent_schemas).items())),
            "messageTraits": {
                _ENVELOPE: {
                    "headers": {"type": "object", "properties": _HEADERS},
                    "correlationId": {"location": "$message.header#/cloudEvents:correlationid"},
                }
            },
        },
    }


def _schemas(
    side: str, kinds: Iterable[type[Payload]]
) -> tuple[Mapping[type, Any], dict[str, Any]]:
    """References to the schemas of payloads, and these with all that they refer to."""
    published = side == "published"
    mode: Literal["validation", "serialization"] = "serialization" if published else "validation"
    wanted = [(kind, mode) for kind in sorted(set(kinds), key=lambda kind: kind.__qualname__)]
    found, definitions = models_json_schema(
        wanted,
        by_alias=not published,  # what is published has the names of the fields
        ref_template=f"#/components/schemas/{side}.{{model}}",
    )
    schemas = {f"{side}.{name}": schema for name, schema in definitions.get("$defs", {}).items()}
    for schema in schemas.values():
        schema.pop("examples", None)  # the message has them
    return {kind: schema for (kind, _), schema in found.items()}, schemas


def _message(type_: str, kind: type[Payload], schema: Any) -> dict[str, Any]:
    said = {"summary": text} if (text := (kind.__doc__ or "").strip().partition("\n")[0]) else {}
    try:
        examples = {"examples": [{"payload": each} for each in kind.examples()]}
    except LookupError:
        examples = {}
    trait = {"$ref": f"#/components/messageTraits/{_ENVELOPE}"}
    return {"name": type_, **said, "payload": schema, "traits": [trait], **examples}


def _channel(type_: str, messages: Mapping[str, Any], exchange: str) -> dict[str, Any]:
    key = _key(type_)
    sides = [side for side in ("accepted", "published") if f"{side}.{key}" in messages]
    of_exchange = {"name": exchange, "type": EXCHANGE_TYPE, "durable": True, "autoDelete": False}
    binding = {"is": "routingKey", "exchange": of_exchange, "bindingVersion": "0.3.0"}
    return {
        "address": type_,
        "messages": {side: {"$ref": f"#/components/messages/{side}.{key}"} for side in sides},
        "bindings": {"amqp": binding},
    }


def _operation(action: str, side: str, type_: str, queue: str = "") -> dict[str, Any]:
    channel = f"#/channels/{_key(type_)}"
    said = {"summary": f"Taken from the queue {queue}."} if queue else {}
    messages = [{"$ref": f"{channel}/messages/{side}"}]
    return {"action": action, "channel": {"$ref": channel}, **said, "messages": messages}


def _key(type_: str) -> str:
    """A type as a key of the document, which allows few characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", type_)
