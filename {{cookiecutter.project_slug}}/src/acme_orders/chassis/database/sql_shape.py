"""One key for SQL texts that differ in the number of their values only."""

import functools
import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Judge = Callable[Concatenate[str, Rest], Result]

_KEPT = 1024  # texts; a service has some hundreds
_LONGEST = 8192  # characters of a text that is kept
# Whole rows of placeholders, and lists behind IN. Elsewhere the number of them has a meaning.
REPEATED = re.compile(r"(\bVALUES )(\(%s(?:, %s)*\))(?:, \2)+|(\bIN )\(%s(?:, %s)+\)")


def shape(sql: str) -> str:
    """The text with one row for all equal rows, and one value for all values of a list."""
    if "IN (%s, " not in sql and "%s), (%s" not in sql:  # as nearly always, and much quicker
        return sql
    return REPEATED.sub(lambda found: f"{found[1]}{found[2]}" if found[1] else "IN (%s)", sql)


def remembered(judge: Judge[Rest, Result]) -> Judge[Rest, Result]:
    """Let each shape be judged once, as long as it is used; neither number nor size grows."""
    cached = functools.lru_cache(maxsize=_KEPT)(judge)

    @functools.wraps(judge)
    def look(sql: str, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
        key = shape(sql)
        return (cached if len(key) <= _LONGEST else judge)(key, *args, **kwargs)

    return look
