"""What is stored is what Peewee would store, and what is read what it would read; any driver.

Peewee's own INSERT, on a connection of its own, is the reference.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playhouse import postgres_ext

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.errors import DatabaseError

from tests.chassis.integration.kinds import OWN, PEEWEE, WITHOUT_COLUMN, Kind, kinds_of
from tests.chassis.integration.reference import Both, model_of, plain

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

KINDS = {f"{kind.__module__}.{kind.__name__}": each for kind, each in PEEWEE.items()} | OWN
WAYS = ("rows", "common", "later", "upsert", "returning", "peewee")


class Undone(Exception):
    """Ends a transaction without a COMMIT."""


@dataclass(frozen=True)
class Outcome:
    """What PostgreSQL has, and what is read; or why not."""

    stored: Any = None
    read: Any = None
    error: Exception | None = None


def queries(model: Any, kind: Kind) -> tuple[Any, Any]:
    """What is stored, as PostgreSQL shows it, and what is read."""
    shown = model.value.cast(kind.shown).cast("text").alias("shown")
    return tuple(
        model.select(each).order_by(model.number).limit(10) for each in (shown, model.value)
    )


def expected(both: Both, model: Any, kind: Kind, rows: Sequence[Any]) -> Outcome:
    """Insert rows with Peewee alone, look at them, and take them back."""
    try:
        with both.reference.undone(model):
            model.insert_many(rows).execute()
            stored, read = (list(query.dicts()) for query in queries(model, kind))
            return Outcome(stored, read)
    except Exception as error:
        return Outcome(error=error)


async def insert(repository: Repository, model: Any, rows: Sequence[Any], way: str) -> None:
    """Insert rows in one of the ways that there are."""
    match way:
        case "rows":
            await repository.insert_all(model, rows)
        case "common":
            for row in rows:
                given = {name: value for name, value in row.items() if name != "number"}
                await repository.insert_all_once(
                    model, [{"number": row["number"]}], model.number, common=given
                )
        case "later":
            for row in rows:
                repository.add_later(model, row)
            await repository.manager.flush()
        case "upsert":
            await repository.insert_all(model, rows)
            await repository.upsert(model, rows, model.number, update=[model.value])
        case "returning":
            columns = (model.number, model.value)
            returned = await repository.manager.insert(model, rows, returning=columns)
            read = await repository.fetch_all(model.select(*columns).limit(10))
            assert plain(dict(returned)) == plain({row["number"]: row["value"] for row in read})
        case "peewee":
            await repository.manager.execute(model.insert_many(rows))


async def ours(manager: Manager, model: Any, kind: Kind, rows: Any, way: str) -> Outcome:
    """Do the same through a repository."""
    repository, outcome = Repository(manager), Outcome()
    with suppress(Undone):
        async with manager.transaction("test"):
            try:
                await insert(repository, model, rows, way)
                stored, read = [await repository.fetch_all(each) for each in queries(model, kind)]
                outcome = Outcome(stored, read)
            except DatabaseError as error:
                outcome = Outcome(error=error)
            raise Undone
    return outcome


def test_each_class_of_fields_is_compared() -> None:
    """Also one that a new version of Peewee brings."""
    assert kinds_of(peewee, postgres_ext) - WITHOUT_COLUMN == PEEWEE.keys()


@pytest.mark.parametrize("name", KINDS)
def test_values_are_stored_and_read_as_with_peewee(both: Both, name: str) -> None:
    """In each way to write, where Peewee stores them at all."""
    kind, refusals, compared = KINDS[name], list[Exception](), 0
    model = model_of(kind)
    some = st.none() | kind.values if kind.null else kind.values
    examples = st.lists(some, min_size=1, max_size=3, unique_by=repr)
    both.reference.create(model)

    @settings(max_examples=10, deadline=None, database=None)
    @given(given_=examples, way=st.sampled_from(WAYS))
    def compare(given_: list[Any], way: str) -> None:
        nonlocal compared
        rows = [{"number": number, "value": value} for number, value in enumerate(given_)]
        wanted = expected(both, model, kind, rows)
        if wanted.error is not None:
            refusals.append(wanted.error)
        else:
            found = both.run(ours(both.manager, model, kind, rows, way))
            assert found.error is None, f"{found.error}, because of {found.error.__cause__}"
            assert plain(found.stored) == plain(wanted.stored)
            assert plain(found.read) == plain(wanted.read)
            compared += 1

    compare()
    assert compared, refusals
