"""Measures this service on servers of its own: `make bench`.

Rates are of this machine and this moment: compare them only with others of the same run.
"""

import argparse
import asyncio
import sys
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.drain import BULK, SINGLE, drain
from benchmarks.servers import servers
from benchmarks.suite import MIB, arguments, suite
from dev.command import ends_with_the_block


async def main() -> None:
    """Measure everything, and print a line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments(parser)
    options, console = parser.parse_args(), Console()
    table = Table("", "", title="Measured here and now")
    with ends_with_the_block(), servers() as running:
        for contender in (SINGLE, BULK):
            rounds = [
                await drain(
                    contender, running, messages=options.messages, seconds=15, seed=options.seed
                )
                for _ in range(options.rounds)
            ]
            rate, cpu = (
                median(each.rate for each in rounds),
                median(each.cpu_per_message for each in rounds),
            )
            memory = max(each.memory for each in rounds) / MIB
            line = f"{rate:,.0f} messages/s, {cpu:.0f} µs CPU each, {memory:.0f} MiB"
            console.print(f"{contender.name}: {line}")
            table.add_row(contender.name, line)
        async for what, line in suite(running, options):
            console.print(f"{what}: {line}")
            table.add_row(what, line)
    console.print(table)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
