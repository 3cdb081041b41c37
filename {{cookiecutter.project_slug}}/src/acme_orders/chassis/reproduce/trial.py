"""What a message comes to in this database: it is handled once more, and everything is undone."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import MessageError
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, decode
from acme_orders.chassis.messaging.settings import MessagingSettings
from acme_orders.chassis.tenancy.scope import tenant_scope  # feature: row, rls, schema

Value = str | int | UUID


@dataclass(frozen=True)
class Trial:
    """How it ended.

    Args:
        error: with which; None if nothing failed.
        values: that its statements were given.
        decoded: it can be read; otherwise no handler ever sees it.
        whose: rows it may touch; empty for those of all.
    """

    error: Exception | None = None
    values: frozenset[Value] = frozenset()
    decoded: bool = True
    whose: str = ""


async def try_again(
    manager: Manager,
    handlers: Mapping[str, Handler],
    message: Message,
    settings: MessagingSettings,
    *,
    handle: bool = True,
) -> Trial:
    """Handle a message alone, without the inbox, and roll back whatever that did.

    Args:
        manager: of the database.
        handlers: by type.
        message: to try.
        settings: with the limits of messages.
        handle: False only decodes it.
    """
    sent = list[Statement]()
    try:
        envelope = decode(
            message,
            handlers,
            max_body_bytes=settings.max_body_bytes,
            max_header_bytes=settings.max_header_bytes,
        )
    except MessageError as error:
        return Trial(error, decoded=False)
    trial = Trial()
    scope: AbstractContextManager[None] = nullcontext()
    # feature: row, rls, schema {
    trial = Trial(whose=str(envelope.tenant))
    scope = tenant_scope(envelope.tenant)
    # feature: row, rls, schema }
    if not handle:
        return trial
    manager.observe(sent.append)
    try:
        with scope:
            async with undone(manager, "dead_letters.reproduce"):
                async with asyncio.timeout(settings.handler_timeout):
                    await handlers[envelope.type].handle(envelope.payload)
                await manager.flush()
    except Exception as error:  # it is what is asked for
        trial = replace(trial, error=error)
    return replace(trial, values=_given(sent))


def values_in(content: Any) -> Iterator[Value]:
    """What a row could be found by: texts, whole numbers and ids, at any depth."""
    match content:
        case Mapping():
            for each in content.values():
                yield from values_in(each)
        case list() | tuple() | set() | frozenset():
            for each in content:
                yield from values_in(each)
        case bool() | date():
            return
        case str() | int() | UUID():
            yield content


def _given(sent: list[Statement]) -> frozenset[Value]:
    return frozenset(value for each in sent for value in values_in(each.parameters))
