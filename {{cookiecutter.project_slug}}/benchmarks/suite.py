"""What is measured beside the rate of one: latency, relay, start, memory, processes, scale."""

import argparse
from collections.abc import AsyncIterator
from statistics import median, quantiles

from benchmarks.backlog import backlog
from benchmarks.drain import BULK, drain
from benchmarks.forgetting import forgetting
from benchmarks.latency import latencies
from benchmarks.pool import rush  # feature: http_api
from benchmarks.relay import relay
from benchmarks.scale import scale
from benchmarks.servers import Servers
from benchmarks.start import start

MIB = 2**20
_REQUESTS = 1000
_PROCESSES = (1, 2, 3)
Line = tuple[str, str]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sizes; smaller ones end sooner, and say less."""
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="of each drain; medians count")
    parser.add_argument("--messages", type=int, default=50_000, help="in the queue of each drain")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="messages; 0: leave it out")
    parser.add_argument("--rows", type=int, default=10_000_000, help="per table; 0: leave it out")
    parser.add_argument(
        "--forgetting", type=float, default=0, help="seconds of an inbox that forgets; 0: leave out"
    )


async def suite(running: Servers, options: argparse.Namespace) -> AsyncIterator[Line]:
    """Measure one thing after the other; what and how much."""
    seconds = await latencies(running, messages=500, seed=options.seed)
    cuts = quantiles(seconds, n=100)
    yield "idle latency, publish to ack: median", f"{cuts[49] * 1e3:.1f} ms"
    yield "idle latency, publish to ack: 99th percentile", f"{cuts[98] * 1e3:.1f} ms"
    rounds = [await relay(running, events=20_000, seconds=20) for _ in range(options.rounds)]
    yield "relay: confirmed events/s", f"{median(each.rate for each in rounds):,.0f}"
    begun = start(running)
    yield "import of the command line", f"{begun.imported:.2f} s"
    yield "start to ready", f"{begun.ready:.2f} s"
    yield "memory at rest", f"{begun.memory / MIB:.0f} MiB"
    # feature: http_api {
    rushed = await rush(running, requests=_REQUESTS)
    statuses = ", ".join(f"{count} with {status}" for status, count in rushed.statuses.items())
    yield f"{_REQUESTS} requests at once", f"{statuses}, in {rushed.seconds:.2f} s"
    # feature: http_api }
    for number in _PROCESSES:
        work = await drain(
            BULK,
            running,
            messages=options.messages,
            seconds=8,
            seed=options.seed,
            processes=number,
        )
        yield f"drained by processes: {number}", f"{work.rate:,.0f} messages/s"
    if options.backlog:
        memory = await backlog(running, messages=options.backlog, seconds=60, seed=options.seed)
        yield (
            f"memory with {options.backlog:,} messages waiting: after 12 s, after 60 s, at most",
            f"{memory.settled / MIB:.0f}, {memory.end / MIB:.0f}, {memory.most / MIB:.0f} MiB",
        )
    if options.rows:
        small = max(options.rows // 100, 1)
        little, much = await scale(running, small=small, large=options.rows, seed=options.seed)
        for name, one, other in (
            ("message", little.message, much.message),
            ("message with random ids", little.random_message, much.random_message),
            ("batch of the relay", little.relay_batch, much.relay_batch),
            ("page", little.page, much.page),
        ):
            yield (
                f"one {name} with {options.rows:,} rows in each table, and with {small:,}",
                f"{other * 1e3:.2f} ms, {one * 1e3:.2f} ms, ratio {other / one:.2f}",
            )
    if options.forgetting:
        async for line in forgetting(
            running, rounds=options.rounds, seconds=options.forgetting, seed=options.seed
        ):
            yield line
