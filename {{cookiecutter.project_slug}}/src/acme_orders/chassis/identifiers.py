"""Ids that are in the order in which they were made."""

import re
import secrets
import time
from uuid import UUID

# A UUID in a text, whatever made it.
UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_VERSION, _VARIANT = 0x7 << 76, 0b10 << 62
_CHANCE = (1 << 80) - 1 - (0xF << 76) - (0b11 << 62)  # the bits that are neither of both


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562): milliseconds since 1970, then chance.

    Neighbours in time are neighbours in an index. Each random id touches a page of its own, which
    PostgreSQL has to read when the table is large, and writes to its log as a whole after each
    checkpoint.
    """
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | secrets.randbits(80) & _CHANCE | _VERSION | _VARIANT)
