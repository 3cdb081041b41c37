"""What these tests share."""

from pathlib import Path

import pytest

from acme_orders.chassis.backfills import runner, session

from tests.chassis.backfills.tickets import Tickets
from tests.chassis.integration.hazards_bare import DRIVERS, driver_of, use_driver


@pytest.fixture
def tickets(database_url: str, tmp_path: Path) -> Tickets:
    """The table, empty, and the backfill that fills it."""
    made = Tickets(database_url, tmp_path)
    made.write()
    return made


@pytest.fixture(params=DRIVERS)
def each_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is done with each driver."""
    use_driver(request.param, monkeypatch)
    for module in (runner, session):
        monkeypatch.setattr(module, "driver", driver_of(request.param))
