"""The table of dead letters, and how one becomes a row and comes back."""

import json
from collections.abc import Mapping
from typing import Any

import peewee
from peewee_async import AioModel
from playhouse.postgres_ext import DateTimeTZField

from acme_orders.chassis.dead_letters.record import DeadLetter

_LONGEST_TEXT = 1000  # characters of JSON that cannot be read


class DeadLetterRow(AioModel):
    """A dead letter. It belongs to no tenant: one that cannot be read says of none."""

    id = peewee.UUIDField(primary_key=True)
    outgoing = peewee.BooleanField()
    message_id = peewee.TextField(null=True)
    source = peewee.TextField(null=True)
    type = peewee.TextField(null=True)
    queue = peewee.TextField(null=True)
    reason = peewee.TextField()
    fingerprint = peewee.TextField(null=True)
    error_type = peewee.TextField(null=True)
    error_message = peewee.TextField(null=True)
    attempts = peewee.IntegerField(null=True)
    replays = peewee.IntegerField()
    headers = peewee.TextField()  # a JSON object
    properties = peewee.TextField()  # likewise
    body = peewee.BlobField()
    body_bytes = peewee.BigIntegerField()
    failed_at = DateTimeTZField()
    archived_at = DateTimeTZField()
    state = peewee.TextField()
    decided_at = DateTimeTZField(null=True)
    note = peewee.TextField(null=True)

    class Meta:
        """The name of the table."""

        table_name = "dead_letters"


def whole(*more: Any) -> Any:
    """Everything of a dead letter; JSON as text, because drivers differ in what they make of it."""
    row = DeadLetterRow
    texts = ("headers", "properties")
    others = [getattr(row, name) for name in DeadLetter.__dataclass_fields__ if name not in texts]
    return row.select(
        *others, *(getattr(row, name).cast("text").alias(name) for name in texts), *more
    )


def row_of(letter: DeadLetter) -> Mapping[str, Any]:
    """The columns of a dead letter that waits."""
    row = {name: getattr(letter, name) for name in DeadLetter.__dataclass_fields__}
    return {**row, **{name: json.dumps(row[name]) for name in ("headers", "properties")}}


def letter_of(row: Mapping[str, Any]) -> DeadLetter:
    """The dead letter that `whole` has found."""
    found = {name: row[name] for name in DeadLetter.__dataclass_fields__}
    found |= {name: _read(found[name]) for name in ("headers", "properties")}
    return DeadLetter(**{**found, "body": bytes(found["body"])})


def _read(text: str) -> Any:
    """JSON as Python; PostgreSQL stores numbers and depths that Python refuses."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"unreadable": text[:_LONGEST_TEXT]}
