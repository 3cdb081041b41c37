"""What foreign clients write into the properties of a message must not close our connection.

Nor must what we write ourselves: properties are encoded and measured before anything is sent.
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from pamqp import commands, encode, header

from acme_orders.chassis.errors import Unpublishable
from acme_orders.chassis.messaging.broker import Message

UNREADABLE = "unreadable-properties"
_WITHOUT_ID = "without-message-id"
_PERSISTENT = 2
_LONGEST_SHORT = 255  # bytes of a short string of AMQP, such as a routing key
_LONGEST_NAME = 128  # bytes of a header's name; pamqp cuts longer ones
_AROUND = 20  # bytes of a content header frame beside the properties
_FIXED = 12  # bytes of a content header before its properties
_KEPT = 4096  # bytes of what cannot be read, for whoever looks at the dead letter

_strict = header.ContentHeader.unmarshal
_encode = encode.encode_table_value


def tolerate() -> None:
    """Have pamqp hand over messages whose properties it cannot decode, and send what it can.

    A date beyond the year 9999 or a name that is no UTF-8 raises in the reader of the connection,
    which then closes. The message comes back with the next connection, to every process, until
    RabbitMQ gives it up. Now its only header says what it is, and decoding it fails instead.

    What it has read, it does not send: of bytes it raises, of a float it raises or sends half, and
    of a name of more than 128 bytes it sends the beginning.
    """
    header.ContentHeader.unmarshal = _lenient  # type: ignore[method-assign]
    encode.encode_table_value = _exact
    encode.field_table = encode.METHODS["table"] = _table


class Encoded(commands.Basic.Properties):
    """Properties that are encoded already."""

    def __init__(self, message_id: str | None, wire: bytes) -> None:
        super().__init__(message_id=message_id)  # aiormq finds returned messages by it
        self._wire = wire

    def marshal(self) -> bytes:
        """What goes into the content header frame."""
        return self._wire


def encoded(message: Message, *, routing_key: str, frame_max: int) -> Encoded:
    """The properties of a message, ready to be sent.

    RabbitMQ closes the connection, with all that is under way on it, over a frame that is too
    large. And an error while frames are being written leaves half of them.

    Args:
        message: whose properties.
        routing_key: that it goes with.
        frame_max: bytes of the largest frame that RabbitMQ takes; 0 if any will do.

    Raises:
        Unpublishable: AMQP has no form for them, or they do not fit into one frame.
    """
    if (size := len(routing_key.encode(errors="replace"))) > _LONGEST_SHORT:
        raise Unpublishable(
            f"the routing key {routing_key:.60}… has {size} bytes, AMQP allows {_LONGEST_SHORT}"
        )
    if not message.message_id:  # aiormq would take it for delivered when it is returned
        headers = {**message.headers, _WITHOUT_ID: True}
        message = replace(message, message_id=uuid4().hex, headers=headers)
    try:
        wire = _properties(message).marshal()
    except MemoryError:
        raise
    except Exception as error:  # TypeError, ValueError, struct.error, RecursionError, …
        raise Unpublishable(f"AMQP has no form for its properties: {error!r:.300}") from error
    if frame_max and len(wire) + _AROUND > frame_max:
        raise Unpublishable(
            f"its properties have {len(wire)} bytes, a frame of this RabbitMQ takes "
            f"{frame_max - _AROUND}: content belongs in the body"
        )
    return Encoded(message.message_id, wire)


def received_id(properties: commands.Basic.Properties, headers: dict[str, Any]) -> str | None:
    """The id that its producer gave a message; takes out of `headers` that there is none."""
    return None if headers.pop(_WITHOUT_ID, False) else properties.message_id


def _properties(message: Message) -> commands.Basic.Properties:
    return commands.Basic.Properties(
        message_id=message.message_id,
        message_type=message.type,
        app_id=message.app_id,
        timestamp=message.timestamp,
        headers=dict(message.headers),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        priority=message.priority,
        delivery_mode=_PERSISTENT,
    )


def _lenient(self: header.ContentHeader, data: bytes) -> None:
    try:
        _strict(self, data)
    except Exception:  # struct.error, ValueError, OverflowError, RecursionError, decimal's …
        self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:_FIXED])
        raw = bytes(data[_FIXED : _FIXED + _KEPT])
        self.properties = commands.Basic.Properties(headers={UNREADABLE: raw})


def _exact(value: Any) -> bytes:
    match value:
        case str():
            content = value.encode()
            return b"S" + struct.pack(">I", len(content)) + content
        case bytes():
            return b"S" + struct.pack(">I", len(value)) + value
        case float():
            return b"d" + struct.pack(">d", value)
        case _:
            return _encode(value)


def _table(value: Mapping[str, Any] | None) -> bytes:
    entries: list[bytes] = []
    for name, each in (value or {}).items():
        key = name.encode()
        if len(key) > _LONGEST_NAME:
            raise ValueError(
                f"the header {name:.60}… has a name of {len(key)} bytes, at most "
                f"{_LONGEST_NAME} are allowed"
            )
        entries += bytes((len(key),)), key, _exact(each)
    content = b"".join(entries)
    return struct.pack(">I", len(content)) + content
