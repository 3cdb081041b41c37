"""What a contract says, and the form in which it is kept."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

_FORM = ConfigDict(frozen=True, extra="forbid")


class Access(BaseModel):
    """How a plan reaches a relation.

    Args:
        access: `index`; or `whole`, which reads all of it.
        index: its name.
        leading: the column or expression that the index begins with.
        condition: columns that the index is asked for.
        residual_filter: columns that are looked at in each row that the index found.
    """

    model_config = _FORM

    access: Literal["index", "whole"]
    index: str | None = None
    leading: str | None = None
    condition: Sequence[str] = ()
    residual_filter: Sequence[str] = ()


class Plan(BaseModel):
    """The shape of a plan. Costs are left out: they belong to a server and its data."""

    model_config = _FORM

    relations: Mapping[str, Access]
    joins: Sequence[str]
    sorts: bool
    arbiters: Sequence[str]  # the indexes that ON CONFLICT rests on


class Sent(BaseModel):
    """One statement of a query.

    Args:
        sql: with `$1` for a value; a line for each clause.
        parameters: the types that PostgreSQL finds for the values, such as `$1 uuid`.
        example: the values, as PostgreSQL writes them; None for NULL.
        executable: whether the values are the same in each run; others are prepared only.
        columns: what comes back, such as `id uuid`.
        tables: that are read or written.
        writes: whether it changes any.
        tenant_pinned: whether it is kept to one tenant.  # feature: row, rls, schema
        max_rows: the most that come back, where a LIMIT says so.
        plan: how it would be run.
    """

    model_config = _FORM

    sql: Sequence[str]
    parameters: Sequence[str]
    example: Sequence[str | None]
    executable: bool
    columns: Sequence[str]
    tables: Sequence[str]
    writes: bool
    tenant_pinned: bool  # feature: row, rls, schema
    max_rows: int | None
    plan: Plan

    @property
    def text(self) -> str:
        """The SQL in one piece."""
        return "\n".join(self.sql)


class Contract(BaseModel):
    """All that a query sends when it is called with its example.

    Args:
        name: of the query.
        repository: the class that has it.
        chassis: whether it is one of the chassis, and not the project's own.
        across_tenants: whether it works for all tenants at once.  # feature: row, rls, schema
        traffic: as it is registered.
        writes: as it is registered.
        statements_per_call: how many there are.
        statements: in their order.
    """

    model_config = _FORM

    name: str
    repository: str
    chassis: bool
    across_tenants: bool  # feature: row, rls, schema
    traffic: Literal["high", "low"]
    writes: bool
    statements_per_call: int
    statements: Sequence[Sent]

    @property
    def file(self) -> str:
        """Where it is kept; a team reviews its own without those of the chassis between them."""
        return f"{'chassis/' if self.chassis else ''}{self.name}.json"

    def rendered(self) -> str:
        """The same text for the same contract; one line for each fact."""
        return as_text(self.model_dump(mode="json"))


def as_text(content: object) -> str:
    """JSON with its keys in order, for a file that is compared line by line."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
