"""A large table is changed while it is written and read, 200 times a second each."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from acme_orders.chassis.backfills.runner import Runner
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations import files, recipes, replacements
from acme_orders.chassis.migrations.recipes import Part

from tests.chassis.integration.migrating import Migrations, emptied, wait_until

ROWS = 2_000_000
PERIOD = 1 / 200
LONGEST = 2.5  # seconds; the lock timeout of a migration, and a half
TABLES = f"""
-- reversible: yes

CREATE TABLE accounts (id integer PRIMARY KEY);
CREATE TABLE bookings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account integer NOT NULL,
    amount integer NOT NULL, note text
);
INSERT INTO accounts SELECT generate_series(0, 99);
INSERT INTO bookings (account, amount, note)
SELECT number % 100, number, CASE WHEN number % 2 = 0 THEN 'even' END
FROM generate_series(1, {ROWS}) AS number;
"""
# The releases that run meanwhile write what the recipes say that they write.
OLD = "INSERT INTO bookings (account, amount, note) VALUES (%s, %s, 'new')"
NEW = "INSERT INTO bookings (account, amount, wide, note) VALUES (%s, %s, %s, 'new')"
LAST = "INSERT INTO bookings (account, wide, note) VALUES (%s, %s, 'new')"
READ = "SELECT account, note FROM bookings WHERE id = %s"
# It takes seconds to make, so that a recipe that keeps writers waiting meanwhile is seen.
SLOW = "CREATE INDEX ON bookings (account, md5(repeat(account::text, 2000)))"
BACKFILLS = {
    "bookings_note": ("note IS NULL", "note = ''"),
    "bookings_wide": ("wide IS NULL", "wide = amount"),
}
BACKFILL = """
from acme_orders.chassis.backfills.backfill import Backfill

class Fill(Backfill):
    table = "bookings"
    where = "{0}"
    set = "{1}"
    verify = "SELECT count(*) FROM bookings WHERE {0}"
"""


@dataclass
class Client:
    """Sends a statement again and again, and sees how long each takes."""

    parameters: Callable[[int], Sequence[Any]]
    sql: str
    longest: float = 0
    done: int = 0
    failures: list[str] = field(default_factory=list)

    def go(self, url: str, end: threading.Event) -> None:
        """Send it until the end, as often as it is meant to be, or as can be."""
        with closing(open_blocking(url)) as connection:
            cursor = connection.cursor()
            for number in count():
                began = time.monotonic()
                try:
                    cursor.execute(self.sql, self.parameters(number)[: self.sql.count("%s")])
                except Exception as error:
                    self.failures.append(f"{self.sql}: {error}")
                self.done, took = number, time.monotonic() - began
                self.longest = max(self.longest, took)
                if end.wait(max(0, PERIOD - took)):
                    return


@contextmanager
def clients(url: str) -> Iterator[tuple[Client, Client]]:
    """One that writes and one that reads."""
    end = threading.Event()
    both = (
        Client(lambda number: (number % 100, number, number), OLD),
        Client(lambda number: (number * 7919 % ROWS,), READ),
    )
    threads = [threading.Thread(target=each.go, args=(url, end)) for each in both]
    for thread in threads:
        thread.start()
    try:
        yield both
    finally:
        end.set()
        for thread in threads:
            thread.join()


@dataclass
class Reports:
    """Reads for six seconds at a time: what needs the table alone has to wait.

    Without a lock timeout everybody would wait behind it, for longer than LONGEST.
    """

    begun: int = 0

    def go(self, url: str, end: threading.Event) -> None:
        """Make one after the other, with a moment between them."""
        with closing(open_blocking(url)) as connection:
            cursor = connection.cursor()
            while not end.wait(2):
                cursor.execute("BEGIN; SELECT count(*) FROM bookings WHERE id < 10")
                self.begun += 1
                cursor.execute("SELECT pg_sleep(6); COMMIT")


@pytest.fixture
def project(empty: str, tmp_path: Path) -> Migrations:
    """The tables, and what is written down of backfills."""
    for folder in ("migrations", "backfills"):
        (tmp_path / folder).mkdir()
    made = Migrations(emptied(empty), tmp_path / "migrations")
    chassis = [
        (files.FOLDER / f"{name}.up.sql").read_text(encoding="utf-8")
        for name in ("0001_access", "chassis/0002_backfills")
    ]
    # Roles first: what they may is said of tables that come after them.
    for number, text in enumerate((chassis[0], TABLES, chassis[1]), 1):
        made.write(f"{number:04}_first", text)
    made.up()
    made.rows("ANALYZE bookings")
    for name, texts in BACKFILLS.items():
        text = BACKFILL.format(*texts)
        (tmp_path / "backfills" / f"{name}.py").write_text(text, encoding="utf-8")
    return made


def apply(
    project: Migrations, parts: Sequence[Part], numbers: Iterator[int], reports: Reports
) -> None:
    """Write the files of a recipe and apply them while a report has just begun."""
    for part in parts:
        # Releases are as far as each part requires.
        text = re.sub(r",? ?release \S+|-- requires: release \S+\n", "", part.text)
        project.write(f"{next(numbers):04}_part", text, part.down or "SELECT 1;\n")
    now = reports.begun
    wait_until(lambda: reports.begun > now)
    project.up()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nobody_waits_for_a_recipe(project: Migrations) -> None:
    """An index, NOT NULL, a foreign key and another type; nothing fails either."""
    numbers, end = count(4), threading.Event()
    other = replacements.other_column("bookings", "amount", "wide", "bigint", "integer")
    reports = Reports()
    report = threading.Thread(target=reports.go, args=(project.url, end))
    runner = Runner(project.url, folder=project.folder.parent / "backfills")
    with clients(project.url) as (writer, reader):
        report.start()
        try:
            apply(project, recipes.index(parse(SLOW)[0].stmt), numbers, reports)
            reference = "FOREIGN KEY (account) REFERENCES accounts (id)"
            apply(
                project, recipes.validated("bookings", "account_fkey", reference), numbers, reports
            )
            list(runner.run("bookings_note"))
            apply(project, recipes.not_null("bookings", "note"), numbers, reports)
            apply(project, other[:1], numbers, reports)
            renew(writer, NEW)
            list(runner.run("bookings_wide"))
            wide = recipes.not_null("bookings", "wide")
            loose = "ALTER TABLE bookings ALTER COLUMN amount DROP NOT NULL;"
            apply(project, [*wide, Part(loose)], numbers, reports)
            renew(writer, LAST)
            apply(project, other[1:], numbers, reports)
        finally:
            end.set()
            report.join()
    assert writer.failures == reader.failures == []
    assert max(writer.longest, reader.longest) <= LONGEST, (writer, reader)
    assert project.rows("SELECT count(*) FROM bookings WHERE wide IS NULL OR note IS NULL") == [
        (0,)
    ]
    assert project.rows("SELECT count(*) FROM bookings") == [(ROWS + writer.done + 1,)]
    assert project.rows(
        "SELECT count(*) FROM pg_index WHERE indrelid = 'bookings'::regclass AND indisvalid"
    ) == [(2,)]


def renew(writer: Client, sql: str) -> None:
    """The next release writes from now on; none of the old one is under way."""
    writer.sql, now = sql, writer.done
    wait_until(lambda: writer.done > now + 1)
