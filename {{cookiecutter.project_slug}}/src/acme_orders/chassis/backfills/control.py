"""Pauses, resumes and cancels backfills from another terminal, and tells how they are."""

from dataclasses import dataclass
from datetime import datetime

from acme_orders.chassis.backfills.places import all_places
from acme_orders.chassis.backfills.session import BackfillSession
from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.migrations.records import SHARED

_ALIVE = "session IS NOT NULL AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = session)"
_STATES = f"""
SELECT name, %s, state, rows_done, rows_estimate, batch_size,
    CASE WHEN owner IS NOT NULL AND {_ALIVE} THEN owner END,
    started_at, heartbeat_at, finished_at, last_error,
    (SELECT count(*) FROM public.backfill_event AS event
        WHERE event.name = run.name AND place = %s AND what = 'set aside')
FROM {{place}}.backfill_run AS run ORDER BY name
"""
_MOVES = {
    "pause": (("pending", "running", "throttled"), "paused"),
    "resume": (("paused",), "pending"),
    "cancel": (("pending", "running", "throttled", "paused", "failed"), "cancelled"),
}


@dataclass(frozen=True)
class Status:
    """How a backfill is.

    Args:
        name: of it.
        place: schema of its table.
        state: as the table `backfill_run` has it; `pending` if it has never been run.
        rows_done: that were gone through.
        rows_estimate: of all.
        batch_size: rows of the next portion.
        runner: who runs it; None if nobody does.
        started_at: first, or with --restart.
        heartbeat_at: the last sign of life.
        finished_at: completed or failed.
        why: it waits or has failed.
        set_aside: rows that could not be changed.
    """

    name: str
    place: str = SHARED
    state: str = "pending"
    rows_done: int = 0
    rows_estimate: int = 0
    batch_size: int = 0
    runner: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    why: str | None = None
    set_aside: int = 0


def statuses(session: BackfillSession, place: str = SHARED) -> list[Status]:
    """Of all that were ever begun."""
    return [Status(*row) for row in session.rows(_STATES.format(place=place), (place, place))]


def everywhere(session: BackfillSession) -> list[Status]:
    """Of all, in each place where runs are written down."""
    found = statuses(session)
    for place in all_places(session.rows):
        found += statuses(session, place) if place != SHARED else []
    return sorted(found, key=lambda each: each.name)


def move(session: BackfillSession, name: str, how: str) -> Status:
    """Pause, resume or cancel a backfill; the runner notices after its portion.

    Raises:
        ServiceError: it is in a state from which there is no such way.
    """
    states, to = _MOVES[how]
    moved = session.rows(
        "WITH moved AS (UPDATE public.backfill_run SET state = %s "
        "WHERE name = %s AND state = ANY(%s) RETURNING name) "
        "INSERT INTO public.backfill_event (name, place, what) "
        "SELECT name, 'public', %s FROM moved RETURNING 1",
        (to, name, list(states), to if how != "resume" else "resumed"),
    )
    known = {each.name: each for each in statuses(session)}
    if not moved:
        state = known[name].state if name in known else "not begun"
        raise ServiceError(
            f"{name} is {state}: one can {how} what is {', '.join(states)}; `backfill status` "
            "shows them"
        )
    return known[name]
