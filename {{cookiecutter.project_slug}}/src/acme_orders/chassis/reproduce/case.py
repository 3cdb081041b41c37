"""The test that a dead letter becomes."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from acme_orders.chassis.dead_letters.record import DeadLetter

_NO_WORD = re.compile(r"[^\w.]+", re.ASCII)
_LONGEST_LINE = 100  # that the linter lets pass
_FILE = '''\
"""Dead letter {id}: {why}.

Written by `acme-orders dead-letters reproduce`.
What is personal has been replaced.
"""

import json

from acme_orders.chassis import testing
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.service import SERVICE

{imports}

BODY = json.loads(r"""
{body}
""")
ROWS = json.loads(r"""
{rows}
""")


async def test_dead_letter_{short}(settings: ChassisSettings) -> None:
    """It is processed, where these rows are."""
    store(settings.database_url, ROWS)
    async with testing.service({arguments}) as service:
        outcome = await service.process(service.message(BODY, type_={type}))
        if outcome.error:
            raise outcome.error
        assert outcome.status == "done", outcome
'''


def case(letter: DeadLetter, body: Any, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A file for the tests of a slice.

    Args:
        letter: nothing of it is shown but its id, its type and its reason.
        body: with nothing personal.
        rows: by the name of their table, parents first; likewise.
    """
    imports, arguments = ["from readiness.given import store"], ["SERVICE", "settings"]
    # feature: row, rls, schema {
    imports.append("from readiness.two_tenants import TENANT")
    arguments.append("tenant=TENANT")
    # feature: row, rls, schema }
    told = [letter.reason, letter.error_type or ""]
    text = _FILE.format(
        id=letter.id,
        short=letter.id.hex[:8],
        why=", ".join(_NO_WORD.sub("_", each) for each in told if each),
        imports="\n".join(imports),
        body=_json(body),
        rows=_json(rows),
        arguments=", ".join(arguments),
        type=_literal(letter.type or ""),
    )
    long = any(len(line) > _LONGEST_LINE for line in text.splitlines())
    return f"# ruff: noqa: E501\n{text}" if long else text


def _json(value: Any) -> str:
    """In JSON three quotes never stand together, and a raw text keeps its escapes."""
    return json.dumps(value, indent=2)


def _literal(text: str) -> str:
    return json.dumps(text) if text.isascii() and text.isprintable() else ascii(text)
