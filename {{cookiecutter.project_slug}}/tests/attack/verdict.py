"""What is not as it should be, from what was sent and what is there; nothing is asked for here."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.attack.causes import Cause
from tests.attack.orders import Orders

MOST_MEMORY = 200.0  # MB
_NOTED = 20  # lines; more of them say no more


@dataclass(frozen=True)
class Found:
    """What is there at the end.

    Args:
        effects: how often each order took effect.
        articles: of orders over HTTP, each with the id of its order.
    """

    effects: Counter[str]
    articles: Sequence[tuple[str, str]]


def misplaced(orders: Orders, ends: Mapping[str, set[str]], found: Found) -> list[str]:
    """Orders that are lost, double, not announced, or should not be there."""
    notes = []
    by_article: dict[str, set[str]] = {}
    for article, order in found.articles:
        by_article.setdefault(article, set()).add(order)
    notes += [f"{each} is in several orders" for each, of in by_article.items() if len(of) > 1]
    unanswered = {order for each in orders.tried for order in by_article.get(each, ())}
    for order in orders.accepted.keys() | unanswered | ends["effect"]:
        if found.effects[order] != 1:
            notes.append(f"order {order} took effect {found.effects[order]} times")
        ids = {identity for _, identity in orders.announced.get(order, ())}
        if len(ids) != 1:
            notes.append(f"order {order} was announced as {len(ids)} events")
    for order in ends["dead letter"] & found.effects.keys():
        notes.append(f"order {order} took effect and is broken")
    known = orders.accepted.keys() | unanswered | ends["effect"] | ends["either"]
    for order in (found.effects.keys() | orders.announced.keys()) - known - ends["dead letter"]:
        notes.append(f"nobody has sent order {order}")
    return notes[:_NOTED]


def lateness(orders: Orders, causes: Sequence[Cause], *, limit: float) -> dict[str, float]:
    """The longest time that each order waited while nothing was wrong, in seconds.

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
    for order, accepted in orders.accepted.items():
        heard = min((at for at, _ in orders.announced.get(order, ())), default=None)
        if heard is not None:
            found[order] = _longest(accepted, heard, over)
    return found


def _longest(accepted: float, heard: float, causes: Sequence[Cause]) -> float:
    since, longest = accepted, 0.0
    for cause in causes:
        if cause.ended < accepted or cause.began > heard:
            continue
        longest = max(longest, cause.began - since)
        since = max(since, cause.ended)
    return max(longest, heard - since, 0.0)


def late(orders: Orders, causes: Sequence[Cause], *, limit: float) -> list[str]:
    """Orders that waited longer than that, and what was before."""
    notes = []
    for order, seconds in sorted(
        lateness(orders, causes, limit=limit).items(), key=lambda each: -each[1]
    ):
        if seconds <= limit:
            break
        before = [each.name for each in causes if each.ended <= orders.announced[order][0][0]]
        clock = time.localtime(time.time() - time.monotonic() + orders.accepted[order])
        notes.append(
            f"order {order} of {time.strftime('%H:%M:%S', clock)} waited {seconds:.1f} s, "
            f"after {before[-1] if before else 'nothing'}"
        )
    return notes[:_NOTED]
