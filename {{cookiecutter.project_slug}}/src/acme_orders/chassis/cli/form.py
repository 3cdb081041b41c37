"""A message as somebody describes it on the command line: the example of its type, changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError, Malformed
from acme_orders.chassis.identifiers import UUID_TEXT, new_id
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, encode


@dataclass(frozen=True, slots=True)
class Form:
    """What is sent.

    Args:
        type: of the messages.
        fields: values by their places, such as `{"lines.0.quantity": 3}`.
        file: with a body, instead of the example.
        invalid: the body is cut off, so that nobody can read it.
        headers: beside those that every message has.
    """

    type: str
    fields: Mapping[str, Any]
    file: Path | None
    invalid: bool
    headers: Mapping[str, str]

    def message(self, handler: Handler, *, largest: int) -> Message:
        """Another message each time, about new ids.

        Args:
            handler: of its type.
            largest: bytes of a body that are accepted.

        Raises:
            ConfigurationError: the file cannot be read, there are fields beside it, one has no
                such place, or the service would not accept the body.
        """
        if self.file and self.fields:
            raise ConfigurationError(
                "--file stands for the example that --set changes: give one of them"
            )
        body = _content(self.file) if self.file else self._changed(handler.payload.example())
        if self.invalid:
            body = body[:-1]
        else:
            try:
                handler.decoder.from_json(body, largest=largest)
            except Malformed as error:
                raise ConfigurationError(
                    f"the service would not accept this: {error}; --invalid sends a body that "
                    "cannot be read"
                ) from None
        now = datetime.now(UTC)
        return encode(str(new_id()), self.type, "send", now, body, extensions=self.headers)

    def unread(self, handler: Handler, message: Message, *, largest: int) -> list[str]:
        """Those of `fields` that the service ignores: its payload has none of that name.

        Args:
            handler: of its type.
            message: that was made of this.
            largest: bytes of a body that are accepted.
        """
        if self.invalid:
            return []
        read = handler.decoder.from_json(message.body, largest=largest).model_dump(by_alias=True)
        return [place for place in self.fields if not _is_in(read, place)]

    def _changed(self, example: Mapping[str, Any]) -> bytes:
        ids: dict[str, str] = {}
        text = json.dumps(example, default=str)
        content = json.loads(
            UUID_TEXT.sub(lambda found: ids.setdefault(found[0], str(new_id())), text)
        )
        for place, value in self.fields.items():
            _put(content, place, value)
        return json.dumps(content).encode()


def named(text: str) -> tuple[str, str]:
    """Read `NAME=VALUE`.

    Raises:
        ConfigurationError: it is something else.
    """
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ConfigurationError(f"{text}: write NAME=VALUE, such as lines.0.quantity=3")
    return name, value


def field(text: str) -> tuple[str, Any]:
    """Read `FIELD=VALUE`; what is no JSON is a text."""
    name, value = named(text)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error


def _is_in(content: Any, place: str) -> bool:
    for each in place.split("."):
        if isinstance(content, list | tuple):
            content = content[int(each)]
        elif not isinstance(content, Mapping):
            return True  # it was read into something else
        elif each not in content:
            return False
        else:
            content = content[each]
    return True


def _put(content: Any, place: str, value: Any) -> None:
    *parents, last = place.split(".")
    try:
        for each in parents:
            content = content[int(each)] if isinstance(content, list) else content[each]
        if isinstance(content, list):
            content[int(last)] = value
        else:
            content[last] = value
    except (LookupError, ValueError, TypeError):
        raise ConfigurationError(f"--set {place}: the example has no such place") from None
