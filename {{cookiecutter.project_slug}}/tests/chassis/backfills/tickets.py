"""A table of tickets whose note is to be filled, and what fills it."""

import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.runner import Progress, Runner

from readiness.scratch import session

# `touched` counts the changes of a row, whoever makes them. A backfill waits for a vacuum of its
# table: one that comes by itself would stand still in any of these tests.
TABLE = """
CREATE TABLE ticket (
    id bigint PRIMARY KEY, title text NOT NULL, note text, touched integer NOT NULL DEFAULT 0
) WITH (autovacuum_enabled = off);
CREATE FUNCTION count_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.touched := OLD.touched + 1; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION count_touch();
"""
FILL = """
class Fill(Backfill):
    table = "ticket"
    where = "note IS NULL"
    set = "note = upper(title)"
    verify = "SELECT count(*) FROM ticket WHERE note IS NULL"
"""
# The write-ahead log is that of the whole server, on which other tests work as well.
QUICK = Limits(share=1, look=0.05, lock=0.1, wal=2**40)
# It never sets a row aside: somebody else has one that it is not to pass.
CHILD = """
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from acme_orders.chassis.backfills.runner import Runner
from tests.chassis.backfills.tickets import QUICK
limits = replace(QUICK, patience=1000)
runner = Runner(sys.argv[1], folder=Path(sys.argv[2]), limits=limits)
with closing(runner.run(sys.argv[3])) as steps:
    for step in steps:
        print(step.rows, step.waits, flush=True)
"""


def write(folder: Path, text: str = FILL, name: str = "fill") -> Path:
    """Write a backfill to a folder."""
    file = folder / f"{name}.py"
    head = "from acme_orders.chassis.backfills.backfill import Backfill\n"
    file.write_text(head + dedent(text), encoding="utf-8")
    return file


class Tickets:
    """The table, and the folder with what fills it.

    Args:
        url: of its database.
        folder: to write backfills to.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.sql(TABLE)

    def sql(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What one statement answers, in the schema that everybody has."""
        with session(self.url) as cursor:
            cursor.execute("SET search_path = public")
            cursor.execute(text, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def add(self, count: int, *, after: int = 0) -> None:
        """Tickets without a note, as the code of the release before writes them."""
        self.sql(
            "INSERT INTO ticket (id, title) "
            f"SELECT number, 'title ' || number FROM generate_series({after + 1}, {after + count}) "
            "AS number"
        )
        self.sql("ANALYZE ticket")

    def write(self, text: str = FILL, name: str = "fill") -> Path:
        """A backfill."""
        return write(self.folder, text, name)

    def steps(
        self, name: str = "fill", *, limits: Limits = QUICK, restart: bool = False
    ) -> Generator[Progress]:
        """Run it step by step; it is left when the iterator is closed."""
        return Runner(self.url, folder=self.folder, limits=limits).run(name, restart=restart)

    def run(self, name: str = "fill", **options: Any) -> list[Progress]:
        """Run it to its end."""
        with closing(self.steps(name, **options)) as steps:
            return list(steps)

    def child(self, name: str = "fill") -> "subprocess.Popen[str]":
        """Run it in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, self.url, str(self.folder), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @contextmanager
    def held(self, row: int) -> Iterator[None]:
        """Somebody else has a row, which no runner gets past."""
        with session(self.url) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM ticket WHERE id = %s FOR UPDATE", (row,))
            yield
            cursor.execute("ROLLBACK")

    def alone(self) -> None:
        """Wait until PostgreSQL has ended the session of a runner that was killed."""
        runners = (
            "SELECT FROM pg_stat_activity WHERE application_name LIKE '% backfill' "
            "AND datname = current_database()"
        )
        while self.sql(runners):
            time.sleep(0.05)

    def state(self, name: str = "fill") -> dict[str, Any]:
        """Its row in `backfill_run`."""
        columns = "state, rows_done, batch_size, owner, last_error, attempts, cursor"
        found = self.sql(f"SELECT {columns} FROM backfill_run WHERE name = %s", name)
        return dict(zip(columns.split(", "), found[0], strict=True)) if found else {}

    def events(self, name: str = "fill") -> list[str]:
        """What happened to it."""
        sql = "SELECT what FROM backfill_event WHERE name = %s ORDER BY id"
        return [what for (what,) in self.sql(sql, name)]

    def wrong(self) -> int:
        """Rows that do not have the right note, or were touched more than once."""
        ((count,),) = self.sql(
            "SELECT count(*) FROM ticket WHERE note IS DISTINCT FROM upper(title) OR touched <> 1"
        )
        return int(count)
