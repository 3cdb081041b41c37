"""Requests to be erased, and legal holds. Nothing here tells who it is about."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ServiceError

# What a person is known by; %s is the id of the row, and {value} SQL for the name.
_DIGEST = "encode(sha256(convert_to({id} || chr(10) || lower(btrim({value})), 'UTF8')), 'hex')"
_COLUMNS = ["id::text", "digest", "whose", "state", "actor", "trace_id AS trace", "error"]
_COLUMNS += ["evidence::text", "requested_at", "due_at", "ended_at"]


class Held(ServiceError):
    """Somebody may not be erased now."""


@dataclass(frozen=True)
class Request:
    """A request to be erased.

    Args:
        id: of it.
        digest: of the name of the person, made with the id.
        state: `received`, `held`, `running`, `verified` or `failed`.
        actor: who has entered it.
        trace: id that the evidence is found by; the name of the session has it.
        error: why it is `held` or `failed`; once it is `verified`, what somebody has to look at.
        evidence: how many rows were erased in which table.
        requested_at: when it was.
        due_at: until when it has to be done.
        ended_at: when it was verified.
        whose: people it is about, where they are kept apart.
    """

    id: str
    digest: str
    state: str
    actor: str
    trace: str
    error: str | None
    evidence: Mapping[str, int]
    requested_at: datetime
    due_at: datetime
    ended_at: datetime | None
    whose: str = ""


def digest(identity: str, value: str) -> str:
    """SQL for the digest of a name; both arguments are SQL for texts."""
    return _DIGEST.format(id=identity, value=value)


class Requests:
    """The tables.

    Args:
        rows: runs SQL in the open transaction.
        whose: people they are about, where these are kept apart.
    """

    def __init__(self, rows: Rows, whose: str = "") -> None:
        self._rows, self._whose = rows, whose

    def receive(self, subject: str, *, actor: str, days: float) -> str:
        """Enter a request, unless there is an open one; returns its id.

        Args:
            subject: the name of the person.
            actor: who enters it.
            days: until it is due.
        """
        open_ = self._of("erasure_request", subject, "ended_at IS NULL")
        if open_:
            return open_[0]
        identity = str(uuid4())
        self._rows(
            "INSERT INTO public.erasure_request (id, digest, whose, actor, trace_id, due_at) "
            f"SELECT id::uuid, {digest('id', '%s::text')}, %s, %s, %s, "
            "clock_timestamp() + make_interval(secs => %s) FROM (SELECT %s::text) AS new (id)",
            (subject, self._whose, actor, uuid4().hex, days * 86400, identity),
        )
        return identity

    def hold(self, subject: str, *, actor: str, reason: str) -> str:
        """Nobody may erase this person until `release`; returns the id of the hold."""
        identity = str(uuid4())
        self._rows(
            "INSERT INTO public.legal_hold (id, digest, whose, actor, reason) "
            f"SELECT id::uuid, {digest('id', '%s::text')}, %s, %s, %s "
            "FROM (SELECT %s::text) AS new (id)",
            (subject, self._whose, actor, reason, identity),
        )
        return identity

    def release(self, subject: str) -> int:
        """End what holds this person; returns how many holds there were.

        Requests that were held are open again, as if nobody had tried.
        """
        holds = self._of("legal_hold", subject, "released_at IS NULL")
        for each in holds:
            self._rows(
                "UPDATE public.legal_hold SET released_at = clock_timestamp() WHERE id = %s::uuid",
                (each,),
            )
        if holds:
            self._rows(
                "UPDATE public.erasure_request SET state = 'received', error = NULL "
                "WHERE state = 'held' AND whose = %s",
                (self._whose,),
            )
        return len(holds)

    def refuse_held(self, names: frozenset[str]) -> None:
        """Look whether somebody holds the person with these names.

        Raises:
            Held: says who, since when and why.
        """
        for name in {*names, self._whose}:
            for each in self._of("legal_hold", name, "released_at IS NULL"):
                self.refuse("id = %s::uuid", each)

    def refuse(self, condition: str, value: str) -> None:
        """Look whether there is a hold.

        Args:
            condition: SQL.
            value: of it.

        Raises:
            Held: says who, since when and why.
        """
        held = "SELECT actor, reason, since::date::text FROM public.legal_hold"
        for actor, reason, since in self._rows(f"{held} WHERE {condition} LIMIT 1", (value,)):
            raise Held(
                f"on legal hold since {since}, by {actor}: {reason}; `erase release` ends "
                "that, and `erase run` goes on"
            )

    def all(self) -> list[Request]:
        """All there are, the oldest first."""
        return self._found("ORDER BY requested_at")

    def open(self, *, most: int) -> list[Request]:
        """Those that have not ended, what is due first before the others."""
        return self._found("WHERE ended_at IS NULL ORDER BY due_at LIMIT %s", (most,))

    def restored(self, known: Request) -> bool:
        """Enter a request of before a restore; whether it was not there."""
        names = ("id", "digest", "whose", "actor", "trace", "requested_at", "due_at")
        new = self._rows(
            "INSERT INTO public.erasure_request (id, digest, whose, actor, trace_id, requested_at, "
            "due_at) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING 1",
            [getattr(known, name) for name in names],
        )
        return bool(new)

    def has_ended(self, identity: str) -> bool:
        """Whether nothing is left to be done, such as for somebody of a tenant that is erased."""
        sql = "SELECT 1 FROM public.erasure_request WHERE id = %s::uuid AND ended_at IS NOT NULL"
        return bool(self._rows(sql, (identity,)))

    def set(self, identity: str, state: str, error: str | None = None) -> None:
        """The request is in this state now."""
        self._rows(
            "UPDATE public.erasure_request SET state = %s, error = %s, ended_at = "
            "CASE WHEN %s = 'verified' THEN clock_timestamp() END WHERE id = %s::uuid",
            (state, error, state, identity),
        )

    def count(self, identity: str, evidence: Mapping[str, int]) -> None:
        """So many rows are erased, if the open transaction is committed."""
        self._rows(
            "UPDATE public.erasure_request SET evidence = %s::jsonb WHERE id = %s::uuid",
            (json.dumps(evidence), identity),
        )

    def _found(self, which: str, parameters: Sequence[object] = ()) -> list[Request]:
        found = self._rows(
            f"SELECT {', '.join(_COLUMNS)} FROM public.erasure_request {which}", parameters
        )
        names = [each.partition(" AS ")[2] or each.partition("::")[0] for each in _COLUMNS]
        told = (dict(zip(names, row, strict=True)) for row in found)
        return [Request(**{**each, "evidence": json.loads(each["evidence"])}) for each in told]

    def _of(self, table: str, subject: str, condition: str) -> list[str]:
        same = f"digest = {digest('id::text', '%s::text')} AND whose = %s"
        found = self._rows(
            f"SELECT id::text FROM public.{table} WHERE {condition} AND {same}",
            (subject, self._whose),
        )
        return [identity for (identity,) in found]
