"""Each metric has been seen to move when what its help names has happened."""

import pytest

from acme_orders.chassis.observability.metrics import Metrics

from tests.chassis.conftest import Connect, eventually
from tests.chassis.integration.causes import CAUSES, database, messages, outbox, process

EVENTS = (messages, outbox, database, process)  # whose import lists them in CAUSES
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(metrics: Metrics) -> set[str]:
    """The names of all that there are."""
    return {each.name for each in metrics.registry.collect()}


def values(metrics: Metrics, family: str) -> Values:
    """The samples of one that are not 0, without when they were made."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for each in metrics.registry.collect()
        for sample in each.samples
        if each.name == family and sample.value and not sample.name.endswith("_created")
    }


def test_no_metric_is_left_out() -> None:
    """A new one needs an event here that moves it."""
    assert {each.__name__ for each in EVENTS} == {
        cause.happens.__module__ for cause in CAUSES.values()
    }
    moved = [family for cause in CAUSES.values() for family in cause.families]
    assert sorted(moved) == sorted(families(Metrics()))


@pytest.mark.parametrize("name", CAUSES)
async def test_an_event_moves_its_metrics(name: str, connect: Connect, broker_url: str) -> None:
    """From what they showed before: nothing, or that all was well."""
    cause = CAUSES[name]
    changes = cause.settings | ({"broker_url": broker_url} if cause.on_rabbitmq else {})

    async with connect(**changes) as service:
        before = {each: values(Metrics(), each) for each in cause.families}
        if name != "a_message_is_processed":  # whose pool is there before it
            before = {each: values(service.metrics, each) for each in cause.families}

        left = set(before)

        def seen() -> bool:
            """Some move for a moment only."""
            left.intersection_update(
                each for each in before if values(service.metrics, each) == before[each]
            )
            return not left

        async with cause.happens(service):
            try:
                await eventually(seen)
            except TimeoutError:
                pytest.fail(f"these did not move: {', '.join(sorted(left))}")
