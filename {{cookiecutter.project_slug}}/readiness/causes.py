"""Causes that several checks meet: each is told once, by the check that says how to mend it."""

import re
from collections.abc import Sequence

from acme_orders.chassis.retention.refusal import NoIndex

from readiness.keeping import problems_of
from readiness.rehearsal import Rehearsal


async def told_by_retention(rehearsal: Rehearsal) -> list[NoIndex]:
    """Indexes that are missing, of which R1 tells."""
    found = await problems_of(rehearsal)
    return [reason for _, reason in found if isinstance(reason, NoIndex)]


def is_of(complaint: str, told: Sequence[NoIndex]) -> bool:
    """Whether a complaint about a query is about one of these tables and columns."""
    words = {*re.findall(r"\w+", complaint)}
    return any({each.table, each.columns[-1]} <= words for each in told)
