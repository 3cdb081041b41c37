"""What foreign clients write into the properties of a message must not close our connection."""

import struct
from typing import Any

from pamqp import commands, encode, header

UNREADABLE = "unreadable-properties"
_FIXED = 12  # bytes of a content header before its properties
_KEPT = 4096  # bytes of what cannot be read, for whoever looks at the dead letter

_strict = header.ContentHeader.unmarshal
_encode = encode.encode_table_value


def tolerate() -> None:
    """Have pamqp hand over messages whose properties it cannot decode, and send what it can.

    A date beyond the year 9999 or a name that is no UTF-8 raises in the reader of the connection,
    which then closes. The message comes back with the next connection, to every process, until
    RabbitMQ gives it up. Now its only header says what it is, and decoding it fails instead.

    What it has read, it does not send: of bytes it raises, and of a float it raises or sends half.
    """
    header.ContentHeader.unmarshal = _lenient  # type: ignore[method-assign]
    encode.encode_table_value = _exact


def _lenient(self: header.ContentHeader, data: bytes) -> None:
    try:
        _strict(self, data)
    except Exception:  # struct.error, ValueError, OverflowError, RecursionError, decimal's …
        self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:_FIXED])
        raw = bytes(data[_FIXED : _FIXED + _KEPT])
        self.properties = commands.Basic.Properties(headers={UNREADABLE: raw})


def _exact(value: Any) -> bytes:
    match value:
        case bytes():
            return b"S" + struct.pack(">I", len(value)) + value
        case float():
            return b"d" + struct.pack(">d", value)
        case _:
            return _encode(value)
