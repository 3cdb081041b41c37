"""What Peewee offers on a field works in a repository as it does with a database of its own."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import peewee
import pytest
from playhouse import postgres_ext as ext

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.database.values import read_hstore
from acme_orders.chassis.errors import DatabaseError, TransactionMisused

from tests.chassis.integration.kinds import PEEWEE
from tests.chassis.integration.reference import Both, model_of, plain

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

DOCUMENT = {"a": {"b": [1, 2]}, "c": "text", "n": 5}
AT = datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC)
KEY = UUID(int=7)
# One value of each class of fields.
SAMPLES: dict[type[peewee.Field], Any] = {
    peewee.AnyField: "abc",
    peewee.AutoField: 5,
    peewee.BareField: "abc",
    peewee.BigAutoField: 5,
    peewee.BigBitField: b"abc",
    peewee.BigIntegerField: 5,
    peewee.BinaryUUIDField: KEY,
    peewee.BitField: 5,
    peewee.BlobField: b"abc",
    peewee.BooleanField: True,
    peewee.CharField: "abc",
    peewee.DateField: AT.date(),
    peewee.DateTimeField: AT.replace(tzinfo=None),
    peewee.DecimalField: 5,
    peewee.DoubleField: 5.5,
    peewee.FixedCharField: "abc",
    peewee.FloatField: 5.5,
    peewee.ForeignKeyField: b"abc",
    peewee.IPField: "10.0.0.1",
    peewee.IdentityField: 5,
    peewee.IntegerField: 5,
    peewee.JSONField: DOCUMENT,
    peewee.SmallIntegerField: 5,
    peewee.TextField: "abc",
    peewee.TimeField: AT.time(),
    peewee.TimestampField: AT.replace(tzinfo=None),
    peewee.UUIDField: KEY,
    ext.ArrayField: [1, 2, 3],
    ext.BinaryJSONField: DOCUMENT,
    ext.DateTimeTZField: AT,
    ext.HStoreField: {"a": "1", "b": None},
    ext.IntervalField: timedelta(days=400),
    ext.JSONField: DOCUMENT,
    ext.TSVectorField: "fat:1 cat:2",
}
MORE = [(kind, [1, 2]) for kind in (ext.JSONField, ext.BinaryJSONField, peewee.JSONField)]
# Arguments to try, by the name of what is called; without them the value itself, and some others.
ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {
    "__rshift__": [(None,)],
    "alias": [("name",)],
    "cast": [("text",)],
    "collate": [('"C"',)],
    "contains_all": [("a", "c")],
    "extract": [("a", "b")],
    "flag": [(1,)],
    "has_any_keys": [(["a", "z"],)],
    "has_keys": [(["a", "c"],)],
    "match": [("fat",), ("english", "fat cat"), ("fat cat", "english", True)],
    "path": [("a", "b")],
    "path_exists": [("$.a",)],
    "path_match": [("$.n == 5",)],
    "path_query": [("$.b",)],
    "path_query_array": [("$.b",)],
    "path_query_first": [("$.b",)],
    "slice": [("a", "b")],
    "truncate": [("month",)],
}
OTHERS = ("a", "n", 1, 5, [1, 2], ["a"], {"a": "1"}, {"b": [1]}, [1], [5])
# What makes no expression, but is for Peewee itself, for its DDL, or for single values.
NOTHING = {
    "accessor_class", "adapt", "backref_accessor_class", "bind", "bind_to", "case_value", "clone",
    "column", "converter", "copy", "create", "db_value", "ddl", "ddl_datatype", "field_type",
    "foreign_key_constraint", "get_constraint_name", "get_modifiers", "get_sort_key",
    "get_timestamp", "is_alias", "python_value", "to_value", "unalias", "unwrap",
    "__getattr__", "__hash__", "__iter__", "__sql__",
}  # fmt: skip


def offered(subject: Any) -> Iterator[tuple[type, str]]:
    """What somebody may call on a field or an expression, and the class that has it from."""
    compared = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"}
    for name in sorted(set(dir(type(subject))) - NOTHING):
        found = inspect.getattr_static(type(subject), name)
        if not callable(found) and not isinstance(found, property | staticmethod):
            continue
        if (
            not name.startswith("_")
            or name in compared
            or (name.startswith("__") and not hasattr(object, name))
        ):
            yield next(each for each in type(subject).__mro__ if name in vars(each)), name


def subjects(model: Any) -> Iterator[Callable[[], Any]]:
    """The field, and what it leads to."""
    yield lambda: model.value
    if isinstance(model.value, peewee.JSONField | ext.JSONField):
        yield lambda: model.value["a"]
        yield lambda: model.value["n"]
        yield lambda: model.value.path("a", "b")
    if isinstance(model.value, ext.ArrayField):
        yield lambda: model.value[0]


def attempts(place: tuple[type, str], sample: Any) -> list[tuple[Any, ...]]:
    """Arguments to try, in turn."""
    kind, name = place
    usual = [(), (sample,), (sample, sample), ([sample],)]
    others = [] if kind is peewee.ColumnBase else [(each,) for each in OTHERS]
    return ARGUMENTS.get(name) or [*usual, *others]


def query_of(model: Any, subject: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    """A query with this expression."""
    found = getattr(subject, name)
    made = found if isinstance(found, peewee.Node) else found(*arguments)
    if isinstance(made, peewee.Ordering):
        return model.select(model.number).order_by(made).limit(5)
    assert isinstance(made, peewee.ColumnBase)
    named = made if isinstance(made, peewee.Alias) else made.alias("found")
    return model.select(named).limit(5)


async def compare(manager: Manager, wanted: Mapping[str, tuple[Any, Any]]) -> None:
    """Look for the same rows in a repository: by name a query, and what it finds."""
    async with manager.transaction("test", read_only=True):
        for name, (query, rows) in wanted.items():
            try:
                found = [tuple(row.values()) for row in await Repository(manager).fetch_all(query)]
            except DatabaseError as error:
                pytest.fail(f"{name}: {error}")
            assert plain(as_fields(found, rows)) == plain(rows), name


def first_that_works(
    both: Both, model: Any, subject: Callable[[], Any], place: Any, sample: Any
) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]] | None:
    """The first arguments that Peewee's own database takes, and the rows that it finds."""
    with both.reference.bound(model):
        for arguments in attempts(place, sample):
            with suppress(Exception):
                return arguments, list(query_of(model, subject(), place[1], arguments).tuples())
    return None


def as_fields(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What is found, where only a field itself is read as a dict, and an expression as a text."""
    return [
        tuple(
            read_hstore(one) if isinstance(other, dict) else one
            for one, other in zip(*rows, strict=True)
        )
        for rows in zip(found, wanted, strict=True)
    ]


def test_what_peewee_offers_on_fields_works(both: Both) -> None:
    """Each method and operator of each class of fields that works with a database of Peewee's."""
    there, works = set[tuple[type, str]](), set[tuple[type, str]]()
    for kind, sample in [*SAMPLES.items(), *MORE]:
        model, wanted = model_of(PEEWEE[kind]), dict[str, tuple[Any, Any]]()
        both.reference.create(model)
        with both.reference.bound(model):
            model.insert_many([{"number": 1, "value": sample}]).execute()
        for subject in subjects(model):
            for place in offered(subject()):
                there.add(place)
                found = first_that_works(both, model, subject, place, sample)
                if found is not None:
                    works.add(place)
                    query = query_of(model, subject(), place[1], found[0])
                    wanted[f"{kind.__name__}: {place} {len(wanted)}"] = query, found[1]
        both.run(compare(both.manager, wanted))
    assert SAMPLES.keys() == PEEWEE.keys()
    assert {f"{kind.__name__}.{name}" for kind, name in there - works} == set()


@pytest.mark.parametrize(
    "run",
    [
        lambda model: model.create(number=1),
        lambda model: model.get(model.number == 1),
        lambda model: model.get_or_none(model.number == 1),
        lambda model: model.get_by_id(1),
        lambda model: list(model.select()),
        lambda model: model.select().count(),
        lambda model: model.select().exists(),
        lambda model: model.insert(number=1).execute(),
        lambda model: model.update(number=1).execute(),
        lambda model: model.delete().execute(),
        lambda model: model(number=1).save(),
        lambda model: model.create_table(),
        lambda model: model.table_exists(),
        lambda model: model.raw("SELECT 1").execute(),
        lambda model: model._meta.database.connect(),
        lambda model: model._meta.database.atomic().__enter__(),
        lambda model: model._meta.database.execute_sql("SELECT 1"),
        lambda model: model._meta.database.cursor(),
        lambda model: model._meta.database.get_tables(),
        lambda model: model.aio_create(number=1).send(None),
        lambda model: model.aio_get(model.number == 1).send(None),
        lambda model: model.select().aio_execute().send(None),
        lambda model: model._meta.database.aio_atomic(),
    ],
)
def test_a_model_does_nothing_by_itself(run: Callable[[Any], Any]) -> None:
    """It would open a connection beside the pool; its text says what does the same."""
    with pytest.raises(TransactionMisused, match=r"a model opens no connection: read with fetch_"):
        run(model_of(PEEWEE[peewee.TextField]))
