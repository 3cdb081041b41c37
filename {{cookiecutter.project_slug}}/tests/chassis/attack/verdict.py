"""What is not as it should be, from what was sent and what is there; nothing is asked for here."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chassis.attack.causes import Cause
from tests.chassis.attack.sales import Sales

MOST_MEMORY = 200.0  # MB
_NOTED = 20  # lines; more of them say no more


@dataclass(frozen=True)
class Found:
    """What is there at the end.

    Args:
        effects: how often each sale took effect.
        articles: of sales over HTTP, each with the id of its sale.
    """

    effects: Counter[str]
    articles: Sequence[tuple[str, str]]


def misplaced(sales: Sales, ends: Mapping[str, set[str]], found: Found) -> list[str]:
    """Sales that are lost, double, not announced, or should not be there."""
    notes = []
    by_article: dict[str, set[str]] = {}
    for article, sale in found.articles:
        by_article.setdefault(article, set()).add(sale)
    notes += [f"{each} is in several sales" for each, of in by_article.items() if len(of) > 1]
    unanswered = {sale for each in sales.tried for sale in by_article.get(each, ())}
    for sale in sales.accepted.keys() | unanswered | ends["effect"]:
        if found.effects[sale] != 1:
            notes.append(f"sale {sale} took effect {found.effects[sale]} times")
        ids = {identity for _, identity in sales.announced.get(sale, ())}
        if len(ids) != 1:
            notes.append(f"sale {sale} was announced as {len(ids)} events")
    for sale in ends["dead letter"] & found.effects.keys():
        notes.append(f"sale {sale} took effect and is broken")
    known = sales.accepted.keys() | unanswered | ends["effect"] | ends["either"]
    for sale in (found.effects.keys() | sales.announced.keys()) - known - ends["dead letter"]:
        notes.append(f"nobody has sent sale {sale}")
    return notes[:_NOTED]


def lateness(sales: Sales, causes: Sequence[Cause], *, limit: float) -> dict[str, float]:
    """The longest time that each sale waited while nothing was wrong, in seconds.

    What counts is a stretch without a break. One that is not longer than the limit could hide that
    somebody is late, so the causes around it count as one.
    """
    over: list[Cause] = []
    for cause in sorted(causes, key=lambda cause: cause.began):
        if over and cause.began - over[-1].ended <= limit:
            last = over.pop()
            over.append(Cause(cause.name, last.began, max(last.ended, cause.ended)))
        else:
            over.append(cause)
    found = {}
    for sale, accepted in sales.accepted.items():
        heard = min((at for at, _ in sales.announced.get(sale, ())), default=None)
        if heard is not None:
            found[sale] = _longest(accepted, heard, over)
    return found


def _longest(accepted: float, heard: float, causes: Sequence[Cause]) -> float:
    since, longest = accepted, 0.0
    for cause in causes:
        if cause.ended < accepted or cause.began > heard:
            continue
        longest = max(longest, cause.began - since)
        since = max(since, cause.ended)
    return max(longest, heard - since, 0.0)


def late(sales: Sales, causes: Sequence[Cause], *, limit: float) -> list[str]:
    """Sales that waited longer than that, and what was before."""
    notes = []
    for sale, seconds in sorted(
        lateness(sales, causes, limit=limit).items(), key=lambda each: -each[1]
    ):
        if seconds <= limit:
            break
        before = [each.name for each in causes if each.ended <= sales.announced[sale][0][0]]
        clock = time.localtime(time.time() - time.monotonic() + sales.accepted[sale])
        notes.append(
            f"sale {sale} of {time.strftime('%H:%M:%S', clock)} waited {seconds:.1f} s, "
            f"after {before[-1] if before else 'nothing'}"
        )
    return notes[:_NOTED]
