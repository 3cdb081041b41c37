"""Which queries the operations page shows."""

import re
from typing import Any

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.operations.queries import Queries


async def test_most_time_in_all_comes_first() -> None:
    """Failed runs count too; one that never ran is not shown."""
    metrics = Metrics()
    metrics.begin(queries=["often", "slow", "never"])
    for query, outcome, seconds, runs in (
        ("often", "ok", 0.01, 300),
        ("often", "error", 0.01, 100),
        ("slow", "ok", 3.5, 1),
    ):
        for _ in range(runs):
            metrics.db_operation_duration.labels(query, outcome).observe(seconds)
    database: Any = None  # is asked for plans only
    shown = await Queries(metrics, database, {}, url="").slowest()
    lines = re.findall(r"<tr>((?:<td>[^<]*</td>)+)</tr>", shown)
    assert [re.findall(r"<td>([^<]*)</td>", each) for each in lines] == [
        ["often", "400", "10.0 ms", "4.0 s"],
        ["slow", "1", "3500.0 ms", "3.5 s"],
    ]
