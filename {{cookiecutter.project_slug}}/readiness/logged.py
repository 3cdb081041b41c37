"""Which data of people stands in the log."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from structlog.testing import LogCapture
from structlog.typing import Processor

from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.erasure.classes import (
    PERSONAL,
    classes_of,
    models_beside,
)
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.rehearsal import Rehearsal
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_SHORTEST = 5  # characters; shorter values stand in other words
_ROWS = 100  # of each table


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """The log of this block: the event of each record, and all that it says."""
    found, capture, before = list[tuple[str, str]](), LogCapture(), structlog.get_config()
    each_level = structlog.make_filtering_bound_logger("NOTSET")
    processors: list[Processor] = [structlog.contextvars.merge_contextvars, capture]
    structlog.configure(processors=processors, wrapper_class=each_level)
    try:
        yield found
    finally:
        structlog.configure(**before)
        found += [(str(each.get("event")), str(each)) for each in capture.entries]


async def of_people(rehearsal: Rehearsal) -> Mapping[str, str]:
    """Values that are personal and stored, and the column of each."""
    found, manager = dict[str, str](), rehearsal.service.manager
    slices = [each for one in rehearsal.service.slices for each in one.repositories]
    work_for(TENANT)  # feature: row, rls, schema
    async with undone(manager, "readiness"):
        for known in map(classes_of, models_beside(slices)):
            for column in [name for name, kind in known.kinds.items() if kind == PERSONAL]:
                sql = f'SELECT DISTINCT "{column}"::text FROM "{known.table}" LIMIT {_ROWS}'
                for (value,) in await manager.fetch_sql(sql):
                    if value and len(value) >= _SHORTEST:
                        found[value] = f"{known.table}.{column}"
    return found


def complaints(log: Sequence[tuple[str, str]], values: Mapping[str, str]) -> Iterator[str]:
    """Records that have such a value."""
    for value, column in values.items():
        word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
        for event in dict.fromkeys(event for event, said in log if word.search(said)):
            shown = word.sub("…", event)
            yield f"the log has {column}, which is personal, in {shown!r}: log an id instead"
