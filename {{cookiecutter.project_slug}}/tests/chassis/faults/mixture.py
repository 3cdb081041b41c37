"""Traffic as it is: most of it well, some twice, some failing at first, some for ever."""

import asyncio
from dataclasses import replace
from uuid import uuid4

from tests.chassis.conftest import sold
from tests.chassis.faults.load import End, Load, Sent

# The fate of a message in the handler, its end, and the share of such.
_HANDLED: tuple[tuple[str, End, float], ...] = (
    ("", "effect", 0.87),
    ("fail-1", "effect", 0.05),
    ("fail-2", "effect", 0.02),
    ("slow-0.1", "effect", 0.02),
    ("refuse", "dead letter", 0.02),
)
_MALFORMED = 0.02
_TWICE = 0.1


async def send(load: Load, messages: int, *, seconds: float) -> None:
    """Publish so many messages, spread over the time; returns when all are confirmed or given up.

    Args:
        load: publishes them.
        messages: different ones; a tenth of them is published twice.
        seconds: that it takes if nothing fails.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(_malformed(load, max(1, round(messages * _MALFORMED)), seconds))
        for fate, expected, share in _HANDLED:
            count = max(1, round(messages * share))
            twice = round(count * _TWICE)
            rate = (count + twice) / seconds
            group.create_task(
                load.send(count, fate=fate, expected=expected, duplicates=twice, rate=rate)
            )


async def _malformed(load: Load, count: int, seconds: float) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            message = replace(sold(), body=b"{ no JSON")
            sent = Sent(str(message.message_id), str(uuid4()), "dead letter", message)
            group.create_task(load.publish(sent))
            await asyncio.sleep(seconds / count)
