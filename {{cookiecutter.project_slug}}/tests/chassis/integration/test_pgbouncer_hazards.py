"""The hazards of `test_hazards.py` through PgBouncer, in both of its modes."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from acme_orders.chassis.database import session
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings

from dev.pgbouncer import Mode
from readiness.scratch import rows_of
from tests.chassis.integration import test_hazards
from tests.chassis.integration.test_pgbouncer import MODES, bouncing

pytestmark = pytest.mark.long
DEFAULTS = {
    "default_transaction_read_only": "on",
    "client_connection_check_interval": "1000",
    "statement_timeout": "30000",
}
database = test_hazards.database
globals().update(
    {name: test for name, test in vars(test_hazards).items() if name.startswith("test_")}
)
del test_every_hazard_is_closed  # type: ignore[name-defined]  # noqa: F821


@pytest.fixture(autouse=True, params=MODES)
def pooled(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Every manager of these tests is behind PgBouncer, if its address is that of the server."""
    mode: Mode = request.param
    server, direct = os.environ["DATABASE_URL"], test_hazards.managing
    with bouncing(database_url, mode, size=6) as bouncer:

        def managing(url: str, **limits: Any) -> Manager:
            same = urlsplit(url).port == urlsplit(server).port
            if not same:
                return direct(url, **limits)
            if mode == "transaction":
                name = urlsplit(url).path[1:]
                wanted = session.standing(DEFAULTS)
                rows_of(url, session.alterations("postgres", name, wanted))
            return direct(bouncer.url(url), **limits)

        monkeypatch.setattr(test_hazards, "managing", managing)
        settings = partial(DatabaseSettings, database_session_url=server)
        monkeypatch.setattr(test_hazards, "DatabaseSettings", settings)
        yield
    if mode == "transaction":
        for url in (database_url, server):
            rows_of(url, f'ALTER ROLE postgres IN DATABASE "{urlsplit(url).path[1:]}" RESET ALL')
