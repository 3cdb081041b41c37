"""Causes that several checks meet: each is told once, by the check that says how to mend it."""

import asyncio
import re

from readiness.keeping import problems_of
from readiness.rehearsal import Rehearsal

_MISSING = re.compile(r"no index of (?:\w+\.)?(\w+) begins with \(?(\w+)")


async def told_by_retention(rehearsal: Rehearsal) -> list[tuple[str, str]]:
    """Tables without an index, and the columns that it has to begin with, of which R1 tells."""
    found = await asyncio.to_thread(problems_of, rehearsal)
    return [(match[1], match[2]) for each in found if (match := _MISSING.search(each))]


def is_of(complaint: str, told: list[tuple[str, str]]) -> bool:
    """Whether a complaint about a query is about one of these tables and columns."""
    words = {*re.findall(r"\w+", complaint)}
    return any({table, column} <= words for table, column in told)
