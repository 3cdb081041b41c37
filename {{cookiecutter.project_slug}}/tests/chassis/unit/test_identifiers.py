"""Ids that are in the order in which they were made."""

import time
from uuid import RFC_4122, UUID

from acme_orders.chassis.identifiers import new_id


def test_it_is_a_uuid_of_version_7() -> None:
    """As others read it, whatever chance gives."""
    for _ in range(1000):
        found = UUID(str(new_id()))
        assert (found.version, found.variant) == (7, RFC_4122)


def test_they_differ() -> None:
    """Also within one millisecond."""
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_a_later_one_is_greater() -> None:
    """From one millisecond to the next; within one there is no sale."""
    before, milliseconds = new_id(), time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == milliseconds:
        pass
    after = new_id()
    assert before < after
    assert before.int >> 80 <= after.int >> 80
