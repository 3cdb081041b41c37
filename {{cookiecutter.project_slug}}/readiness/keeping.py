"""R1: for how long the rows of each table are kept."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.policy import Retention, Rule
from acme_orders.chassis.retention.refusal import NotDeletable
from acme_orders.chassis.retention.survey import survey

from readiness.check import Check
from readiness.rehearsal import Rehearsal
from readiness.seeded import models_of

Problem = tuple[str, str]  # the policy, if there is one, and the reason in the words of a pass
_TIMES = {"TIMESTAMPTZ", "DATETIME"}
_TABLES = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p')"


class RowsAreKeptAsDecided(Check):
    """Somebody has decided how long the rows of each table are kept."""

    id = "R1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Say in `retention` of the slice, in slice.py, when rows go, or why they stay.

        The age is a time that the service itself writes, and an index begins with it. What refers
        to the rows goes with them: name it in `children`. A table that stays small says
        why in the Meta of its model: `small = "the countries of the world"`. See docs/retention.md.
        """
        rules = [rule for each in rehearsal.service.slices for rule in each.retention]
        models = models_of(rehearsal)
        self.inspected = 1 + len(models)
        small = models_of(rehearsal, small=True)
        self.left_out += [(_name(each), f"stays small: {_why_small(each)}") for each in small]
        for model in small:
            if not isinstance(_why_small(model), str):
                yield (
                    f"nobody has said why {_name(model)} stays small, which spares it this check, "
                    'K1 and Q1: write small = "the reason" in its Meta in models.py'
                )
        for model in models:
            if not _decided(model, rules):
                yield f"nobody has decided how long rows of {_name(model)} are kept: {_line(model)}"
        for finding in _unknown_archives(rules, {_name(each) for each in (*models, *small)}):
            yield finding
        for about, reason in await problems_of(rehearsal):
            yield f"{about}: {reason}" if about else reason


def _decided(model: type[Table], rules: Sequence[Rule]) -> bool:
    going = {name for each in rules if isinstance(each, Retention) for name in each.children}
    return _name(model) in {*going, *(each.table for each in rules)}


def _unknown_archives(rules: Sequence[Rule], known: set[str]) -> Iterator[str]:
    """Those of which nobody says whose data they have, and how long they are kept."""
    for each in rules:
        for table, archive in each.archive.items() if isinstance(each, Retention) else ():
            if str(archive) not in known:
                yield (
                    f"{archive}, where rows of {table} are kept, has no model, so that nobody "
                    f"would be erased from it: write a class like that of {table} in models.py, "
                    f'with table_name = "{archive}" and the same foreign keys'
                )


def _name(model: type[Table]) -> str:
    return str(model._meta.table_name)  # noqa: SLF001


def _why_small(model: type[Table]) -> object:
    return model._meta.small  # type: ignore[attr-defined]  # noqa: SLF001


def _line(model: type[Table]) -> str:
    """What to write, with its own names."""
    fields = model._meta.sorted_fields  # noqa: SLF001
    times = [each.column_name for each in fields if each.field_type in _TIMES]
    parents = [_name(each.rel_model) for each in fields if hasattr(each, "rel_model")]
    keep = f'Keep("{_name(model)}", "why they stay")'
    if times:
        line = f'Retention("{_name(model)}", "{times[-1]}", timedelta(days=730))'
    elif parents:
        line = f'children=("{_name(model)}",) in the Retention of {" or ".join(parents)}'
    else:
        return f"write {keep} in `retention` in slice.py, or give it a time and a Retention"
    return f"write {line} or {keep} in `retention` in slice.py"


async def problems_of(rehearsal: Rehearsal) -> list[Problem]:
    """Policies by which nothing would be deleted, and why; several checks want to know it."""
    known: list[Problem] | None = rehearsal.memory.get(problems_of)
    if known is None:
        known = rehearsal.memory[problems_of] = await asyncio.to_thread(_problems, rehearsal)
    return known


def _problems(rehearsal: Rehearsal) -> list[Problem]:
    rules = [rule for each in rehearsal.service.slices for rule in each.retention]
    found = list[Problem]()
    with backfill_session(rehearsal.url) as session:
        known = {name for (name,) in session.rows(_TABLES)}
        for each in rules:
            if each.table not in known:
                what = f"a rule names {each.table}, and there is no such table: {each}"
                found.append(("", what))
            elif isinstance(each, Retention):
                with session.transaction(entered(SHARED), Limits(), statement=0):
                    found += _refused(session.rows, each)
    return found


def _refused(rows: Rows, policy: Retention) -> list[Problem]:
    """Why nothing of it would be deleted."""
    try:
        survey(rows, policy)
    except NotDeletable as error:
        return [(policy.name, reason) for reason in error.reasons]
    except ConfigurationError as error:
        return [(policy.name, line) for line in str(error).splitlines()]
    return []
