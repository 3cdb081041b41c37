"""What these tests share."""

import pytest

from acme_orders.chassis.backfills import session
from acme_orders.chassis.retention import one_pass

from tests.chassis.integration.hazards_bare import DRIVERS, driver_of, use_driver
from tests.chassis.retention.papers import Papers


@pytest.fixture
def papers(database_url: str) -> Papers:
    """The tables, empty."""
    return Papers(database_url)


@pytest.fixture(params=DRIVERS)
def each_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is done with each driver."""
    use_driver(request.param, monkeypatch)
    for module in (one_pass, session):
        monkeypatch.setattr(module, "driver", driver_of(request.param))
