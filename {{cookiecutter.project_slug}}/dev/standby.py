# feature: chassis_tests
"""A private PostgreSQL server with a standby that can take over."""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from dev.child import ServerFailed
from dev.databases import Databases
from dev.postgres import Postgres

# A commit is acknowledged when the standby has it too. The standby has no such setting: when it has
# taken over it waits for nobody.
SYNCHRONOUS = {"synchronous_standby_names": "*", "synchronous_commit": "on"}
FOLLOWS_WITHIN = 30.0


class Standby(Postgres):
    """Begins as a copy of a server, follows it, and can only be read."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__()
        self._primary = primary

    def _fill(self) -> None:
        how = ("--write-recovery-conf", "--checkpoint=fast", f"--dbname={self._primary.url}")
        self._run("pg_basebackup", *how, "--no-sync", f"--pgdata={self._data}")


class PostgresPair:
    """A primary and a standby that has every acknowledged commit; both gone when the block ends.

    `with PostgresPair() as pair:` and connect to `pair.url`, which names both and finds the one
    that accepts writes. After `pair.primary.kill()`, `pair.promote()` lets the standby take over.
    Don't start the old primary again then: it would accept connections as a second one.
    """

    primary: Postgres
    standby: Postgres

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.primary = stack.enter_context(Postgres(settings=SYNCHRONOUS))
            self.standby = stack.enter_context(Standby(self.primary))
            self._await_standby()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        """Both servers, separated by a comma; libpq takes the one that accepts writes."""
        places = ",".join(f"127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        return f"postgresql://postgres@{places}/postgres?target_session_attrs=primary"

    @property
    def databases(self) -> Databases:
        """Creates and drops databases on the server that accepts writes."""
        return Databases(self.url)

    def promote(self) -> None:
        """Let the standby take over; on return it accepts writes."""
        if self.standby.ask("SELECT pg_promote()") != "t":
            raise ServerFailed("the standby doesn't accept writes after a minute; see its log")

    def _await_standby(self) -> None:
        deadline = time.monotonic() + FOLLOWS_WITHIN
        while self.primary.ask("SELECT sync_state FROM pg_stat_replication") != "sync":
            if time.monotonic() > deadline:
                raise ServerFailed(f"the standby doesn't follow within {FOLLOWS_WITHIN:.0f} s")
            time.sleep(0.05)
