"""The service as a contender: `python -m benchmarks.service [--one-by-one]`, until SIGTERM.

It runs what `run --only consumer` does. With `--one-by-one` each message goes to the handler for
one, though a batch still shares a transaction.
"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from acme_orders.chassis.cli.session import command_settings
from acme_orders.chassis.cli.standard_error import standard_error
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.run import run
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.service import SERVICE


def main() -> None:
    """Consume until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    with standard_error():
        _consume(one_by_one=options.one_by_one)


def _consume(*, one_by_one: bool) -> None:
    metrics, definition = Metrics(), SERVICE
    settings = command_settings(definition, metrics)
    if one_by_one:
        slices = tuple(partial(_without_batches, make) for make in SERVICE.slices)
        definition = replace(SERVICE, slices=slices)
    asyncio.run(run(definition, settings, metrics, only="consumer"))


def _without_batches(
    make: Callable[[Chassis[ChassisSettings]], Slice], chassis: Chassis[ChassisSettings]
) -> Slice:
    made = make(chassis)
    return replace(
        made,
        handlers={type_: replace(each, handle_all=None) for type_, each in made.handlers.items()},
    )


if __name__ == "__main__":
    main()
