"""Messages for whatever handlers a service has: made from the examples of their payloads.

All examples that name the same id are about the same thing. A story replaces each id by another
one, in all messages at once, so what belongs together stays together. Every second story also has
other values where the payload allows them.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from polyfactory.factories.pydantic_factory import ModelFactory
from pydantic import ValidationError

from acme_orders.chassis.identifiers import UUID_TEXT
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, Payload, encode

from readiness.two_tenants import TENANT  # feature: row, rls, schema


@dataclass(frozen=True, slots=True)
class Shot:
    """One message of a story."""

    story: int
    type: str
    message: Message

    @property
    def id(self) -> str:
        """Of the message."""
        return self.message.message_id or ""


def stories(
    handlers: Mapping[str, Handler], count: int, *, seed: int = 1, varied: bool = True
) -> Iterator[list[Shot]]:
    """Stories: one message for each example of each handler, in their order.

    Args:
        handlers: by the type of their messages.
        count: of stories.
        seed: of the other values that every second story has.
        varied: whether it has them.
    """
    lots = random.Random(seed)
    for story in range(count):
        shots = []
        for type_, handler in handlers.items():
            for number, example in enumerate(_examples(handler.payload)):
                text = json.dumps(example, default=str)
                body = json.loads(UUID_TEXT.sub(partial(_replaced, story=story), text))
                if varied and story % 2:
                    body = _varied(handler.payload, body, lots)
                identity = _other(f"{type_} {number}", story)
                shots.append(Shot(story, type_, _message(identity, type_, body)))
        yield shots


def _examples(payload: type[Payload]) -> Sequence[Mapping[str, Any]]:
    payload.example()  # raises if there is none
    extra = payload.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    examples: Any = extra["examples"]
    return list(examples)


def _replaced(found: re.Match[str], story: int) -> str:
    return _other(found[0], story)


def _other(identity: str, story: int) -> str:
    """Always the same one in this story, so that a run can be repeated."""
    return str(uuid5(NAMESPACE_URL, f"{identity.lower()} {story}"))


def _varied(payload: type[Payload], body: dict[str, Any], lots: random.Random) -> dict[str, Any]:
    """The same body with other values in the fields that are no ids, as far as they are valid."""
    factory = ModelFactory.create_factory(payload, __randomize_collection_length__=False)
    factory.seed_random(lots.randrange(2**31))
    for name in payload.model_fields:
        if UUID_TEXT.search(json.dumps(body.get(name))):
            continue
        try:
            drawn = factory.build(
                **{**payload.model_validate(body).__dict__, name: _drawn(factory, name)}
            )
            changed = {**body, name: json.loads(drawn.model_dump_json())[name]}
            payload.model_validate_json(json.dumps(changed))
        except (ValidationError, ValueError, TypeError):
            continue
        body = changed
    return body


def _drawn(factory: Any, name: str) -> Any:
    (field,) = [each for each in factory.get_model_fields() if each.name == name]
    return factory.get_field_value(field)


def _message(identity: str, type_: str, body: Mapping[str, Any]) -> Message:
    return encode(
        identity,
        type_,
        "stories",
        datetime.now(UTC),
        json.dumps(body).encode(),
        extensions={"tenant": str(TENANT)},  # feature: row, rls, schema
    )
