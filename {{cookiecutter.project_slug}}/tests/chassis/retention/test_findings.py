"""What the process shows of what should not be there."""

import asyncio
from collections.abc import Iterator
from typing import Any

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.retention.deleter import Deleter
from acme_orders.chassis.retention.finding import (
    EXPIRED,
    KINDS,
    ORPHANED,
    Finding,
)
from acme_orders.chassis.retention.one_pass import Progress


class OnePass:
    """A runner that has something to do."""

    def run(self, *, interval: float) -> Iterator[Progress]:
        """One pass."""
        assert interval
        yield Progress("papers", state="ok")


def test_what_is_mended_is_zero_again() -> None:
    """A series that goes away, and comes with the next finding, shows no change to an alert."""
    metrics, found = Metrics(), [Finding("papers", EXPIRED, "", 3), Finding("papers", EXPIRED, "")]
    metrics.begin(policies=["papers"], findings=KINDS)
    runner: Any = OnePass()
    deleter = Deleter(runner, [lambda: found], interval=60, metrics=metrics)

    def shown() -> dict[str, float]:
        deleter.run_once(asyncio.Event())
        (family,) = metrics.retention_findings.collect()
        assert {each.labels["kind"] for each in family.samples} == {*KINDS}
        return {each.labels["kind"]: each.value for each in family.samples if each.value}

    assert shown() == {EXPIRED: 4}
    found[:] = [Finding("papers", ORPHANED, "", 2)]
    assert shown() == {ORPHANED: 2}
    found.clear()
    assert shown() == {}
