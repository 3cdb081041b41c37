"""The service as a contender: `python -m benchmarks.service [--one-by-one]`, until SIGTERM.

It runs what `run --only consumer` does. With `--one-by-one` each message goes to the handler for
one, though a batch still shares a transaction.
"""

import argparse
import asyncio
from dataclasses import replace

from acme_orders import app
from acme_orders.observability import logs
from acme_orders.settings import load_settings


def main() -> None:
    """Consume until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    settings = load_settings()
    logs.configure(level=settings.log_level, style=settings.log_format)
    if options.one_by_one:
        assemble = app.assemble

        def one_by_one(*args: object, **parts: object) -> app.Service:
            service = assemble(*args, **parts)  # type: ignore[arg-type]
            for type_, handler in service.handlers.items():
                service.handlers[type_] = replace(handler, handle_all=None)
            return service

        app.assemble = one_by_one
    asyncio.run(app.run(settings, only="consumer"))


if __name__ == "__main__":
    main()
