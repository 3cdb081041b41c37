"""Runs a command with PostgreSQL and RabbitMQ: `python -m dev.servers -- COMMAND ...`.

COMMAND finds them in DATABASE_URL, BROKER_URL and RABBITMQ_MANAGEMENT_URL. Its exit status becomes
ours, and the servers are gone when it has ended; those of `dev.stay` stay. Servers that run
elsewhere are used instead if TEST_DATABASE_URL, TEST_BROKER_URL (and TEST_RABBITMQ_MANAGEMENT_URL)
name them. With TEST_RABBITMQ_SERVER, the path of a script `rabbitmq-server`, that RabbitMQ is
started and not the installed one. Exit status 78: a server can't be had here; the text says what
helps.

COMMAND gets none of the variables PG*, where PostgreSQL is ours, and none of RABBITMQ_* and ERL_*,
where RabbitMQ is: a PGSSLMODE for another server would keep it from connecting to this one. Nor
does it get a DATABASE_SESSION_URL or MIGRATION_DATABASE_URL, which would have it migrate another
database.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dev.child import ServerFailed
from dev.command import Ended, ends_with_the_block, run
from dev.environment import OTHER_ADDRESSES, POSTGRES, RABBITMQ, forgotten
from dev.kept import Kept
from dev.postgres import Postgres
from dev.postgres_binaries import NoPostgres
from dev.rabbitmq import NoRabbitMQ, RabbitMQ, find_rabbitmq, install_rabbitmq

MISCONFIGURED = 78
MEMORY = "memory://"

Broker = Literal["auto", "rabbitmq", "memory"]


@dataclass(frozen=True)
class Running:
    """Servers that are ready; `postgres` and `rabbitmq` are None where the server isn't ours."""

    database_url: str
    broker_url: str
    management_url: str | None
    postgres: Postgres | None
    rabbitmq: RabbitMQ | None

    def environment(self) -> dict[str, str]:
        """Return the variables in which a command finds these servers."""
        found = {"DATABASE_URL": self.database_url, "BROKER_URL": self.broker_url}
        if self.management_url:
            found["RABBITMQ_MANAGEMENT_URL"] = self.management_url
        return found


def say(line: str) -> None:
    """Print a line of progress on standard error; standard output belongs to the command."""
    sys.stderr.write(f"{line}\n")  # in one piece: both servers report from threads


@contextmanager
def servers(
    broker: Broker = "auto", *, keep: Path | None = None, report: Callable[[str], None] = say
) -> Iterator[Running]:
    """Start PostgreSQL and RabbitMQ, at the same time, and stop them when the block ends.

    `auto` takes an installed RabbitMQ, else `memory://`; `rabbitmq` also installs one, or raises
    NoRabbitMQ. Servers named by TEST_DATABASE_URL and TEST_BROKER_URL are used instead. Until the
    block ends our environment lacks what it says about other servers than these. Data and ports are
    in the folder `keep`, for the next time, or gone at the end.
    """
    database_url = os.environ.get("TEST_DATABASE_URL", "")
    broker_url = os.environ.get("TEST_BROKER_URL", "") if broker != "memory" else MEMORY
    management_url = os.environ.get("TEST_RABBITMQ_MANAGEMENT_URL") if broker != "memory" else None
    postgres = None if database_url else Postgres(folder=Kept(keep / "postgres") if keep else None)
    folder = Kept(keep / "rabbitmq") if keep else None
    rabbitmq = None if broker_url else _rabbitmq(broker, folder, report)
    others = [*OTHER_ADDRESSES, *(POSTGRES if postgres else ())]
    others += RABBITMQ if rabbitmq else ()
    # The pool is left first: a start that is under way when something else fails is finished, and
    # then undone.
    with forgotten(*others), ExitStack() as stack, ThreadPoolExecutor() as pool:
        starts = [
            pool.submit(_start, stack, name, server, report)
            for name, server in (("PostgreSQL", postgres), ("RabbitMQ", rabbitmq))
            if server
        ]
        for start in starts:
            start.result()
        yield Running(
            database_url=postgres.url if postgres else database_url,
            broker_url=rabbitmq.url if rabbitmq else broker_url or MEMORY,
            management_url=rabbitmq.management_url if rabbitmq else management_url,
            postgres=postgres,
            rabbitmq=rabbitmq,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the servers, run the command, stop the servers; return the command's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--broker", choices=("auto", "rabbitmq", "memory"), default="auto")
    parser.add_argument(
        "--only", choices=("postgres",), help="no broker; BROKER_URL stays as it is"
    )
    parser.add_argument("command", metavar="COMMAND", nargs="+", help="what to run, after --")
    options = parser.parse_args(arguments)
    broker: Broker = "memory" if options.only else options.broker
    try:
        with ends_with_the_block(), servers(broker) as running:
            found = running.environment()
            if options.only:
                del found["BROKER_URL"]
            return run(options.command, {**os.environ, **found})
    except (NoPostgres, NoRabbitMQ) as missing:
        say(str(missing))
        return MISCONFIGURED
    except ServerFailed as failure:
        say(str(failure))
        return 1
    except Ended as ended:
        return ended.status


def _rabbitmq(
    broker: Broker, folder: Kept | None, report: Callable[[str], None]
) -> RabbitMQ | None:
    if broker == "rabbitmq":
        return RabbitMQ(install_rabbitmq(), folder=folder)
    if broker == "memory":
        return None
    if installed := find_rabbitmq():
        return RabbitMQ(installed, folder=folder)
    report("No RabbitMQ is installed: memory:// takes its place, and ends with the process.")
    return None


def _start(
    stack: ExitStack, name: str, server: Postgres | RabbitMQ, report: Callable[[str], None]
) -> None:
    began = time.monotonic()
    stack.enter_context(server)
    place = urlsplit(server.url).netloc.rpartition("@")[2]
    report(f"{name} {server.version} ready on {place} ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    raise SystemExit(main())
