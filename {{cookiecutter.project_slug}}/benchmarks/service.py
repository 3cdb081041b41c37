"""The service as a contender: `python -m benchmarks.service [--one-by-one]`, until SIGTERM.

It runs what `run --only consumer` does. With `--one-by-one` each message goes to the handler for
one, though a batch still shares a transaction.
"""

import argparse
import asyncio
from dataclasses import replace

from acme_orders.chassis.cli.session import command_settings, standard_error
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process import service as app

from tests.chassis.service import SERVICE


def main() -> None:
    """Consume until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    with standard_error():
        _consume(one_by_one=options.one_by_one)


def _consume(*, one_by_one: bool) -> None:
    metrics = Metrics()
    settings = command_settings(SERVICE, metrics)
    if one_by_one:
        assemble = app.assemble

        def without_batches(*args: object, **parts: object) -> app.Service:
            service = assemble(*args, **parts)  # type: ignore[arg-type]
            for type_, handler in service.handlers.items():
                service.handlers[type_] = replace(handler, handle_all=None)
            return service

        app.assemble = without_batches
    asyncio.run(app.run(SERVICE, settings, metrics, only="consumer"))


if __name__ == "__main__":
    main()
