"""An inbox that forgets while a soak goes on, and an account of what it has forgotten."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

from acme_orders.chassis.database.driver import DriverError
from acme_orders.chassis.errors import DatabaseUnavailable

from readiness.scratch import rows_of, session
from tests.chassis.faults.site import Site

WINDOW, MARGIN = 120, 300  # seconds: longer than a fault keeps a message, and the least there is
ENVIRONMENT = {
    "INBOX_RETENTION": f"{WINDOW}s",
    "INBOX_MARGIN": f"{MARGIN}s",
    "RETENTION_INTERVAL": "5s",
}
_REMEMBER = """
CREATE TABLE public.forgotten (id text NOT NULL, early boolean NOT NULL);
CREATE FUNCTION public.forget() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.forgotten
    VALUES (old.id, old.processed_at > clock_timestamp() - interval '{} seconds');
    RETURN NULL;
END $$;
CREATE TRIGGER forget AFTER DELETE ON inbox FOR EACH ROW EXECUTE FUNCTION public.forget()
"""
_AGE = """
UPDATE inbox SET processed_at = processed_at - interval '{margin} seconds'
WHERE now() - processed_at BETWEEN interval '{window} seconds' AND interval '{margin} seconds'
"""
_FORGOTTEN = "SELECT count(*), count(*) FILTER (WHERE early) FROM public.forgotten"


def forgetful(site: Site) -> Site:
    """The same site, whose inbox forgets; a copy that comes later has to be a dead letter."""
    with session(site.database_url) as cursor:
        cursor.execute(_REMEMBER.format(WINDOW + MARGIN))
    return replace(
        site,
        entered=f"{site.entered} UNION SELECT id FROM public.forgotten",
        late=" AND NOT (reason = 'beyond_dedup_window' "
        "AND message_id IN (SELECT id FROM public.forgotten))",
    )


async def age(site: Site, *, until: float) -> None:
    """Let the margin be over for each row that is as old as the window, or a soak would be long.

    Args:
        site: that is forgetful.
        until: the time of `time.monotonic()`.
    """
    while time.monotonic() < until:
        await asyncio.sleep(5)
        with suppress(DatabaseUnavailable, DriverError):  # it is under faults
            await asyncio.to_thread(
                rows_of, site.database_url, _AGE.format(window=WINDOW, margin=MARGIN)
            )


async def went(site: Site, *, seconds: float) -> tuple[int, list[str]]:
    """How many rows went, and what is wrong with it.

    Args:
        site: that is forgetful.
        seconds: that the soak took.
    """
    ((count, early),) = await site.rows(_FORGOTTEN)
    problems = [f"{early} rows of the inbox went too early"] if early else []
    if not count and seconds >= 2 * WINDOW:
        problems.append("the inbox has forgotten nothing, so nothing is proved of it")
    return int(count), problems
