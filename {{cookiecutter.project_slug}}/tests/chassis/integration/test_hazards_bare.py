"""The libraries alone do what `hazards_bare` says; a failure here means that a release changed it.

Then the Manager may have become simpler than it is, or it has one more thing to do.
"""

import asyncio

import pytest

from tests.chassis.integration.hazards_bare import (
    BARE,
    INSTALLED,
    KINDS,
    TABLE,
    Bare,
    opened,
    watching,
)

# What aiopg warns of when a transaction is left behind is what is shown here.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize("driver", INSTALLED)
@pytest.mark.parametrize("hazard", BARE, ids=lambda hazard: f"{hazard.number:02} {hazard.title}")
async def test_the_hazard_is_there(hazard: Bare, driver: str, database_url: str) -> None:
    """What is observed is what was recorded."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # aiopg reports to it
    with watching(database_url) as ask:
        ask(TABLE)
    async with opened(KINDS[driver], database_url, size=hazard.size) as database:
        assert await hazard.observe(database, database_url) == hazard.expected[driver]
