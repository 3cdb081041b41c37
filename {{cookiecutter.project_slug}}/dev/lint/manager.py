"""Rules D1 to D3, and D7: nothing goes around the manager."""

import ast
import re

from dev.lint.reading import ORM, calls, imports, names_of_the_orm, texts, without_values
from dev.lint.source import Found, Source

_AROUND = re.compile(r"aio_(?!pika$)\w+|execute_sql|(?:set_)?allow_sync|connection_context")
_UNFIT = {
    "AutoField": "is a serial of 32 bits",
    "BinaryJSONField": "wants a GIN index, and its == fails",
    "DateTimeField": "has no time zone",
    "HStoreField": "is a text in every expression",
    "ManyToManyField": "sends blocking statements (a model for the pairs does not)",
    "PrimaryKeyField": "is a serial of 32 bits",
    "TimestampField": "is an integer",
}


def models_outside_repositories(source: Source, tree: ast.Module) -> Found:
    """A model that leaves its repository sends queries without a name, which nobody checks.

    Import it in models.py and repository.py of a slice only; these hand out plain data.
    """
    if len(source.parts) > 1 and source.parts[-1] in {"models", "repository"}:
        return
    for node, name in imports(tree):
        first, *parts = name.split(".")
        if first in ORM or (first in {source.package, ""} and "models" in parts):
            yield node, f"imports {name.lstrip('.')}"


def ways_around_the_manager(_: Source, tree: ast.Module) -> Found:
    """They know nothing of our transactions, use connections of other tasks, and may block.

    Use fetch and execute, transaction and savepoint of the Manager.
    """
    for node, name in names_of_the_orm(tree):
        if _AROUND.fullmatch(name):
            yield node, f"{name} is a way around the Manager"


def unfit_fields(_: Source, tree: ast.Module) -> Found:
    """Times lose their zone, keys run out, and statements block or fail.

    Use BigAutoField, UUIDField, peewee.JSONField, DateTimeTZField of playhouse.postgres_ext.
    """
    for node, name in names_of_the_orm(tree):
        if name in _UNFIT:
            yield node, f"{name} {_UNFIT[name]}"


def results_and_tests_of_the_orm(source: Source, tree: ast.Module) -> Found:
    """They load the whole result, or test with transactions turned off.

    Read with Manager.stream; test on a database that belongs to the test.
    """
    for node, name in names_of_the_orm(tree):
        if name == "TransactionTestCase":
            yield node, "TransactionTestCase turns transactions off"
    if not source.test:
        yield from ((call, "iterator() loads every row") for call in calls(tree, {"iterator"}))
        for node, text in texts(tree):
            if re.search(r"(?s)(?:^|;)\s*DECLARE\s.*?\bCURSOR\b", without_values(text)):
                yield node, "a cursor is declared by hand"
