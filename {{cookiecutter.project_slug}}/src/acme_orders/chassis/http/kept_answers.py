# feature: http_api
"""Answers to requests that have a key: stored with their effects, to be given again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import peewee
from playhouse.postgres_ext import DateTimeTZField

from acme_orders.chassis.database.repository import Insertion, Repository, query
from acme_orders.chassis.database.table import Table


@dataclass(frozen=True)
class Answer:
    """An answer as it went out.

    Args:
        digest: of the request.
        status: of HTTP.
        headers: names and values; without the length, which follows from the body.
        body: in full.
    """

    digest: bytes
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)


class KeptAnswer(Table):
    """A request that has had its effects, and what it was answered."""

    key = peewee.TextField(primary_key=True)
    digest = peewee.BlobField()
    status = peewee.SmallIntegerField(null=True)
    headers = peewee.JSONField(null=True)
    body = peewee.BlobField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """The name of the table."""

        table_name = "idempotency_keys"


_DIGEST = bytes(32)
_EXAMPLE = Answer(_DIGEST, 202, [("content-type", "application/json")], b"{}")


class KeptAnswers(Repository):
    """Enters keys, and keeps the answers that they lead to."""

    machinery = True

    @query(
        "idempotency_keys.enter",
        traffic="high",
        writes=True,
        example={"key": "example", "digest": _DIGEST},
    )
    async def enter(self, key: str, digest: bytes) -> bool:
        """Enter a key; False if it is there. Waits for another transaction that has entered it."""
        row = {"key": key, "digest": digest}
        return await self.insert_once(KeptAnswer, row, KeptAnswer.key) is Insertion.INSERTED

    @query("idempotency_keys.find", traffic="high", example={"key": "example"})
    async def find(self, key: str) -> Answer | None:
        """The answer that was given before."""
        found = await self.fetch_one(
            KeptAnswer.select(
                KeptAnswer.digest, KeptAnswer.status, KeptAnswer.headers, KeptAnswer.body
            ).where(KeptAnswer.key == key, KeptAnswer.status.is_null(False))
        )
        if found is None:
            return None
        parts = {name: bytes(found[name]) for name in ("digest", "body")}
        return Answer(**{**found, **parts})

    @query(
        "idempotency_keys.keep",
        traffic="high",
        writes=True,
        example={"key": "example", "answer": _EXAMPLE},
    )
    async def keep(self, key: str, answer: Answer) -> None:
        """Keep the answer that belongs to a key which this transaction has entered."""
        await self.manager.execute(
            KeptAnswer.update(status=answer.status, headers=answer.headers, body=answer.body).where(
                KeptAnswer.key == key
            )
        )
