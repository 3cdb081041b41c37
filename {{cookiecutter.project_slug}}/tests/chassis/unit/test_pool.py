"""The pool of connections, without a database."""

import asyncio
from typing import Any

import pytest

from acme_orders.chassis.database.pool import Pool
from acme_orders.chassis.errors import Interrupted
from acme_orders.chassis.observability.metrics import Metrics


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_what_ends_processes_is_an_error_of_who_waits(error: BaseException) -> None:
    """A driver that raises it must not stop the loop, in which everything else runs."""

    async def connect() -> Any:
        raise error

    pool = Pool(connect, size=1, max_age=60, metrics=Metrics())
    with pytest.raises(Interrupted, match=type(error).__name__):
        await pool.acquire()
    await pool.close()
