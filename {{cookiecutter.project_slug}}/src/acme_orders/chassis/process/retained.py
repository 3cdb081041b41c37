"""How long rows are kept: the rules of the chassis and those of the slices, put together."""

from functools import partial

from acme_orders.chassis.erasure.holding import held
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.erased import subjects_of
from acme_orders.chassis.retention.deleter import Deleter
from acme_orders.chassis.retention.holds import Holds
from acme_orders.chassis.retention.own import own_rules
from acme_orders.chassis.retention.policy import Retention, gathered
from acme_orders.chassis.retention.reported import RetentionReport
from acme_orders.chassis.retention.runner import Runner, limits_of
from acme_orders.chassis.retention.verify import verify
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Slice

_LONGEST = 10.0  # seconds that a look may take: a process that ends waits for it


def policies_of(settings: ChassisSettings, slices: tuple[Slice, ...]) -> list[Retention]:
    """Those rules that let rows go.

    Raises:
        ConfigurationError: two say something about the same table.
    """
    own = tuple(own_rules(settings, window=settings.inbox_retention))
    rules = gathered([("the chassis", own), *((each.name, each.retention) for each in slices)])
    return [each for each in rules if isinstance(each, Retention)]


def holds_of(slices: tuple[Slice, ...]) -> Holds:
    """Rows of people on legal hold stay."""
    return partial(held, subjects_of(slices))


def runner_of(settings: ChassisSettings, policies: list[Retention], holds: Holds) -> Runner:
    """Who deletes, as it is configured."""
    limits, most = limits_of(settings), settings.retention_most
    return Runner(settings.session_url, policies, limits=limits, most=most, holds=holds)


def deleting(
    settings: ChassisSettings, slices: tuple[Slice, ...], metrics: Metrics
) -> tuple[Deleter, RetentionReport]:
    """The part of the process, and what is told of it."""
    policies, holds = policies_of(settings, slices), holds_of(slices)
    interval, names = settings.retention_interval, [each.name for each in policies]
    look = partial(verify, settings.session_url, interval=interval, holds=holds, statement=_LONGEST)
    looks = [partial(look, [each]) for each in policies]
    return (
        Deleter(runner_of(settings, policies, holds), looks, interval=interval, metrics=metrics),
        RetentionReport(settings.session_url, policies=names, interval=interval, metrics=metrics),
    )
