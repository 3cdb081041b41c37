"""Carries out requests to be erased, one after the other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session, told
from acme_orders.chassis.database import driver
from acme_orders.chassis.erasure.classes import Kinds
from acme_orders.chassis.erasure.erasing import Erasing
from acme_orders.chassis.erasure.portions import Portions
from acme_orders.chassis.erasure.requests import Held, Request, Requests
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.erasure.tenancy import (
    is_of_all,
    refuse_unknown,
    work_of,
)
from acme_orders.chassis.errors import ConfigurationError, Conflict
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered

APPLICATION = "acme-orders erase"
LIMITS = Limits(target=(0.1, 0.3), first=500, largest=20_000)  # blocks of a table
_HELP = {
    "42501": "; what is about more than a person needs the owner of the tables "
    "(MIGRATION_DATABASE_URL)",
    "23503": "; let it refer with ON UPDATE CASCADE to what is overwritten, and not to what goes",
}
# Any number, the same for every eraser. The session is ours alone, and the lock ends with it.
_ALONE = "SELECT pg_try_advisory_lock(4732912)"  # lint: D4 (no pool hands this session out)


class Eraser:
    """Erases people from one database; blocking, on a session of its own.

    Args:
        url: of the database; it acts as the service does.
        subjects: where people are known.
        kinds: of the columns of each table.
        limits: of what a portion may take.
        owner_url: with the role that owns the tables, which has to do what is about more than a
            person.
    """

    def __init__(
        self,
        url: str,
        subjects: Sequence[Subject],
        kinds: Kinds,
        *,
        limits: Limits = LIMITS,
        owner_url: str = "",
    ) -> None:
        self._url, self._subjects, self._kinds, self._limits = url, subjects, kinds, limits
        self._owner_url = owner_url or url

    @contextmanager
    def requests(self, whose: str = "") -> Iterator[Requests]:
        """The tables of requests, in one transaction.

        Args:
            whose: people they are about, where these are kept apart.

        Raises:
            ConfigurationError: nobody knows them.
        """
        with (
            backfill_session(self._url, application=APPLICATION) as session,
            session.transaction(entered(SHARED), self._limits, statement=self._limits.statement),
        ):
            refuse_unknown(session.rows, whose)
            yield Requests(session.rows, whose)

    def carry_out(self, request: Request, names: Sequence[str] = ()) -> Request:
        """Erase a person; whatever becomes of it is written down, and returned.

        Args:
            request: that is open.
            names: of the person: that of the request first, and others that are searched for as
                well. Without any, the digest finds the person.

        Raises:
            Conflict: another process is at it.
            DatabaseUnavailable: PostgreSQL went away; the next time it goes on.
        """
        url = self._owner_url if is_of_all(request) else self._url
        with backfill_session(url, application=APPLICATION) as session:
            if not session.rows(_ALONE)[0][0]:
                raise Conflict("another process erases somebody: let it finish")
            portions = Portions(session, request, self._limits)
            requests = Requests(session.rows, request.whose)
            with portions.transaction():
                if requests.has_ended(request.id):
                    return self.named(request.id)
                requests.set(request.id, "running")
            person = Erasing(portions, self._subjects, self._kinds)
            work = work_of(portions, partial(person.go, names))
            try:
                work()
            except Held as held:
                ended = ("held", str(held))
            except ConfigurationError as error:
                ended = ("failed", str(error))
            except driver.DriverError as error:
                if session.ended(error):
                    raise
                help_ = _HELP.get(driver.sqlstate(error) or "", "")
                ended = ("failed", f"{told(error)}{help_}")
            else:
                return self.named(request.id)
            with suppress(driver.DriverError):
                session.rows("ROLLBACK")
            with portions.transaction():
                requests.set(request.id, *ended)
        return self.named(request.id)

    def named(self, identity: str) -> Request:
        """The request with this id, as it stands now.

        Raises:
            ConfigurationError: there is none.
        """
        with self.requests() as requests:
            found = [each for each in requests.all() if each.id == identity]
        if not found:
            raise ConfigurationError(f"no request {identity}: `erase list` shows them")
        return found[0]
