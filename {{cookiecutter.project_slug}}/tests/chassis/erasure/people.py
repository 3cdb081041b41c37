"""A person in a database, in each shape that a value may have, and what is left of her."""

import asyncio
import base64
import html
import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import uuid4

from acme_orders.chassis.process.erased import eraser_of
from acme_orders.chassis.process.service import Service

from dev.postgres_binaries import installed_binaries
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import eventually

NAME = 'Zoë/"Ann"_O\'Hara%\\x@example.org'
WHOSE = ""
WHOSE = str(TENANT)  # feature: row, rls, schema
SHAPES = {
    "as it is": NAME,
    "in capitals": NAME.upper(),
    "in small letters": NAME.lower(),
    "decomposed": unicodedata.normalize("NFD", NAME),
    "at the end of a sentence": f"Write to {NAME}.",
    "between brackets": f"Zoë <{NAME}>, please",
    "after a line feed": f"first\n{NAME}\nlast",
    "in JSON": json.dumps({"to": NAME}),
    "in JSON with letters": json.dumps({"to": [f"\n{NAME}"]}, ensure_ascii=False),
    "in JSON in JSON": json.dumps({"body": json.dumps({"to": NAME})}),
    "a name in JSON": json.dumps({NAME: 1}),
    "in a link": f"https://x.example/?to={quote(NAME, safe='')}&a=1",
    "in a form": f"a=1&to={quote_plus(NAME)}",
    "after an encoded letter": f"%3A{quote(NAME, safe='@')}",
    "in HTML": f"<b>{html.escape(NAME)}</b>",
    "in CSV": '"a","{}","b"'.format(NAME.replace('"', '""')),
    "a key": f"buyer-{NAME}",
    "in base64": base64.b64encode(f"x{NAME}y".encode()).decode(),
    "in base64 of links": base64.urlsafe_b64encode(f"xy{NAME}".encode()).decode(),
    "as PHP writes JSON": json.dumps({"to": NAME}).replace("/", "\\/"),
}
OTHERS = ["Bob@example.org", "x" + NAME, "mary." + NAME, NAME + ".uk"]  # somebody else
_PLACE = """
SELECT nspname::text, array_agg(attname::text) FROM pg_class JOIN pg_namespace
    ON pg_namespace.oid = relnamespace JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
WHERE relname = %s GROUP BY nspname
ORDER BY nspname = 'tenant_' || replace(%s, '-', '') DESC, nspname LIMIT 1
"""
_LOCKED = """
SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4732912
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_BYTES = re.compile(r"\\\\?x((?:[0-9a-f]{2})+)")


class People:
    """The tables of a service.

    Args:
        service: that they belong to.
    """

    def __init__(self, service: Service) -> None:
        self.url, self.whose = service.settings.database_url, WHOSE
        self.eraser = eraser_of(service.settings, service.slices)

    def put(self, table: str, **columns: Any) -> None:
        """Add a row."""
        ((place, names),) = rows_of(self.url, _PLACE, (table, self.whose))
        if "tenant_id" in names:
            columns["tenant_id"] = self.whose
        given = ", ".join("%s" for _ in columns)
        rows_of(
            self.url,
            f"INSERT INTO {place}.{table} ({', '.join(columns)}) VALUES ({given})",
            tuple(columns.values()),
        )

    def scatter(self, text: str, *, number: int = 0) -> None:
        """Let this text stand everywhere."""
        body, more = json.dumps({"note": text, "n": [1, {"x": text}]}), {"tenant": self.whose}
        self.put("journal", id=str(uuid4()), event_type="told", payload=body)
        self.put(
            "outbox", message_id=str(uuid4()), type="told", body=body, extensions=json.dumps(more)
        )
        self.put("inbox", consumer=f"c{number}", source="s", id=text, type="told", payload_hash=b"")
        self.letter(headers=json.dumps({"a": {"b": [text]}, **more}), body=b"\xff\x00")
        self.letter(headers=json.dumps(more), body=b"\xff" + text.encode())
        self.letter(headers=json.dumps(more), body=b"", note=text)
        self.put("backfill_event", name="x", place="public", what="x", detail=text)

    def letter(self, **columns: Any) -> None:
        """A dead letter."""
        size = len(columns["body"])
        many = {"id": str(uuid4()), "reason": "x", "body_bytes": size, "failed_at": "now"}
        self.put("dead_letters", **many, **columns)

    def known(self, email: str) -> str:
        """A buyer with a sale; returns the id."""
        buyer, sale = str(uuid4()), str(uuid4())
        self.put("buyers", id=buyer, email=email)
        money = {"currency": "EUR", "total_cents": 1}
        self.put("sales", id=sale, buyer_id=buyer, status="booked", made_at="now", **money)
        return buyer

    def dump(self, *but: str) -> set[str]:
        """The rows of a dump of the database, with bytes as what they say.

        Args:
            but: tables that are left out.
        """
        command = [str(installed_binaries() / "pg_dump"), "--data-only", self.url]
        command += [f"--exclude-table={each}" for each in but]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = (_BYTES.sub(_said, line) for line in text.splitlines())
        return {line for line in lines if "\t" in line}

    def count(self, table: str) -> int:
        """How many rows it has."""
        ((place, _),) = rows_of(self.url, _PLACE, (table, self.whose))
        return int(rows_of(self.url, f"SELECT count(*) FROM {place}.{table}")[0][0])

    def done(self, identity: str) -> int:
        """How many rows the evidence has."""
        return sum(self.eraser.named(identity).evidence.values())

    def place(self, table: str) -> str:
        """The schema that it is in."""
        return str(rows_of(self.url, _PLACE, (table, self.whose))[0][0])

    def empty(self, table: str) -> None:
        """Take out all its rows."""
        rows_of(self.url, f"TRUNCATE {self.place(table)}.{table}")

    def erase(self, name: str, *also: str) -> Any:
        """Ask for it, and carry it out."""
        with self.eraser.requests(WHOSE) as requests:
            identity = requests.receive(name, actor="test", days=30)
        return self.eraser.carry_out(self.eraser.named(identity), (name, *also))


def _said(found: re.Match[str]) -> str:
    return bytes.fromhex(found[1]).decode("utf-8", "replace")


async def killed_after_a_portion(
    child: str, url: str, identity: str, done: Callable[[], int]
) -> None:
    """Kill whoever carries a request out, as soon as one more portion is committed.

    Args:
        child: Python that carries it out, given the two after this.
        url: of the database.
        identity: of the request.
        done: how many rows its evidence has.
    """
    before = done()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", child, url, identity)
    try:
        await eventually(lambda: done() > before)
    finally:
        process.kill()
        await process.wait()
    await eventually(lambda: not rows_of(url, _LOCKED))  # the next one would be refused
