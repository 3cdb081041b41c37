"""What a person sees who runs backfills."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chassis.backfills.tickets import FILL, Tickets, write

Ended = subprocess.CompletedProcess[str]
Command = Callable[..., Ended]


@pytest.fixture
def tickets(database_url: str, tmp_path: Path) -> Tickets:
    """The table; there is no backfill yet."""
    return Tickets(database_url, tmp_path / "backfills")


@pytest.fixture
def command(tickets: Tickets, tmp_path: Path) -> Command:
    """`acme-orders backfill …` in a folder of its own."""

    def run(*arguments: str, **environment: str) -> Ended:
        where = {"DATABASE_URL": tickets.url, "BROKER_URL": "memory://", "BACKFILL_SHARE": "1"}
        return subprocess.run(
            [sys.executable, "-m", "tests.chassis", "backfill", *arguments],
            cwd=tmp_path,
            env={**os.environ, "ENVIRONMENT": "test", **where, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_from_a_new_file_to_the_end(command: Command, tickets: Tickets) -> None:
    """Each step says what comes next."""
    made = command("new", "fill")
    assert made.stdout == "backfills/fill.py\n", made.stderr
    assert command("new", "fill").returncode == 78
    text = (tickets.folder / "fill.py").read_text("utf-8")
    for name, value in (("table", "ticket"), ("where", "note IS NULL"), ("set", "note = ''")):
        text = text.replace(f'{name} = ""', f'{name} = "{value}"')
    (tickets.folder / "fill.py").write_text(text.replace('verify = ""', 'verify = "SELECT 0"'))
    tickets.add(2000)
    done = command("run", "fill")
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last, end = done.stdout.splitlines()
    assert "rows" in first
    assert last.startswith("fill: 2000 of about 2000 rows, ")
    assert end == "fill is completed"
    (told,) = json.loads(command("status", "--json").stdout)
    assert (told["name"], told["state"], told["rows_done"]) == ("fill", "completed", 2000)
    assert "of about" not in command("status").stdout
    late = command("cancel", "fill")
    assert (late.returncode, "fill is completed: one can cancel what is" in late.stderr) == (
        1,
        True,
    )


def test_what_is_wrong_is_said_in_a_line(command: Command, tickets: Tickets) -> None:
    """An unknown name, rows that remain, a role that may not do it."""
    tickets.folder.mkdir()
    write(tickets.folder, FILL)
    unknown = command("run", "fil")
    assert unknown.returncode == 78
    assert "no backfill 'fil'; there is fill" in unknown.stderr
    write(
        tickets.folder, FILL.replace("SELECT count(*) FROM ticket WHERE note IS NULL", "SELECT 3")
    )
    remain = command("run", "fill")
    assert remain.returncode == 1
    assert "counts 3 rows that still need it" in remain.stderr
    assert "Traceback" not in remain.stderr
    role = f"nobody_{os.getpid()}"
    tickets.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        place = tickets.url.rpartition("@")[2]
        refused = command("run", "fill", DATABASE_URL=f"postgresql://{role}:x@{place}")
    finally:
        tickets.sql(f"DROP ROLE {role}")
    assert refused.returncode == 78
    assert "owner of the tables (MIGRATION_DATABASE_URL)" in refused.stderr
