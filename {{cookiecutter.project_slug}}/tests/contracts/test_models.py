"""Each model says of its columns what the migrations say.

Rows go to PostgreSQL as JSON: into a column for documents that the model takes for a text, a
document that was made a text would go as a text, and nobody could look into it.
"""

import peewee
import pytest
from playhouse.postgres_ext import JSONField

import acme_orders.chassis.process.service  # every model is imported with it
from acme_orders.chassis.database.table import Table, models_in
from acme_orders.chassis.migrations.drift import drift

from readiness.scratch import rows_of, session

FIELDS = {"json": JSONField, "jsonb": peewee.JSONField, "bytea": peewee.BlobField}
COLUMNS = """
    SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


# All of the service; tests have some of their own.
_FOUND = models_in(acme_orders.__name__)
MODELS = {f"{model.__module__}.{model.__name__}": model for model in _FOUND}


def columns(url: str, model: type[Table]) -> dict[str, str]:
    """The columns of its table, and their types."""
    return {name: str(type_) for name, type_ in rows_of(url, COLUMNS, (table(model),))}


def table(model: type[Table]) -> str:
    """The name of its table."""
    return str(model._meta.table_name)


def test_there_are_models() -> None:
    """At least those of the chassis."""
    assert {table(model) for model in MODELS.values()} >= {"inbox", "outbox"}


@pytest.mark.parametrize("name", MODELS)
def test_each_column_of_a_model_is_there(database_url: str, name: str) -> None:
    """A row that names another is refused by PostgreSQL only when it is written."""
    there = columns(database_url, MODELS[name])
    assert there, f"{table(MODELS[name])} is not there"
    assert set(MODELS[name]._meta.columns) - there.keys() == set()


@pytest.mark.parametrize("name", MODELS)
def test_each_column_has_the_field_of_its_type(database_url: str, name: str) -> None:
    """Documents and bytes, which are no texts."""
    fields, special = MODELS[name]._meta.columns, tuple(FIELDS.values())
    for column, type_ in columns(database_url, MODELS[name]).items():
        if field := fields.get(column):
            fits = isinstance(field, FIELDS.get(type_, special)) is (type_ in FIELDS)
            assert fits, f"{name}.{field.name} is a {type(field).__name__} on a column of {type_}"


def test_models_say_what_the_migrations_have_made(database_url: str) -> None:
    """Columns, types, keys, checks and indexes, both ways; `migrate new` drafts the difference."""
    with session(database_url) as opened:
        found = drift(opened, list(MODELS.values()))
    chassis = {"inbox", "outbox", "dead_letters"}  # nothing is said of their keys
    chassis |= {"idempotency_keys"}  # feature: http_api
    assert [each for each in found if each.table not in chassis] == []
