"""Models and migrations say the same of every table, and where they do not it is found."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import peewee
import pytest
from peewee import SQL, Check
from peewee_async import AioModel
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

import acme_orders.service  # noqa: F401  # every model is imported with it
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.ddl import table_sql
from acme_orders.chassis.migrations.draft import Draft, draft
from acme_orders.chassis.migrations.drift import Drift, ModelRefused, drift
from acme_orders.chassis.migrations.lint.linter import lint
from acme_orders.chassis.migrations.recipes import Part
from acme_orders.chassis.migrations.trees import statement_sql

from readiness.scratch import session


class Depot(AioModel):
    """A place that parcels leave from."""

    code = peewee.CharField(max_length=8, primary_key=True)
    manager = peewee.DeferredForeignKey("Clerk", null=True)

    class Meta:
        table_name = "drift_depots"


class Clerk(AioModel):
    """Somebody who works there; the two tables refer to each other."""

    id = peewee.BigAutoField()
    depot = peewee.ForeignKeyField(Depot, backref="clerks", on_delete="CASCADE")

    class Meta:
        table_name = "drift_clerks"


class Crate(AioModel):
    """Something of everything."""

    id = peewee.UUIDField(primary_key=True)
    depot = peewee.ForeignKeyField(Depot, null=True)
    parent = peewee.ForeignKeyField("self", null=True, on_delete="SET NULL")
    weight = peewee.DecimalField(max_digits=9, decimal_places=3, constraints=[Check("weight > 0")])
    sale = peewee.TextField(column_name="sale", collation="C")
    packed_at = DateTimeTZField(constraints=[SQL("DEFAULT now()")])
    local_time = peewee.DateTimeField(null=True)
    labels = BinaryJSONField(null=True)
    size = peewee.IntegerField(null=True)
    title = peewee.TextField(null=True)
    open = peewee.BooleanField(constraints=[SQL("DEFAULT false")])
    weight_doubled = peewee.DecimalField(
        null=True, constraints=[SQL("GENERATED ALWAYS AS (weight * 2) STORED")]
    )

    class Meta:
        table_name = "drift_crates"
        indexes = ((("depot", "packed_at"), False), (("sale",), True))
        constraints = (Check("packed_at > '2000-01-01'"),)


Crate.add_index(Crate.index(Crate.packed_at, where=Crate.open, name="drift_crates_open"))
MODELS: list[type[AioModel]] = [Crate, Clerk, Depot]
DEFECTS = {
    "a column is not there": (
        "ALTER TABLE drift_crates DROP COLUMN local_time",
        "column local_time is in the model",
    ),
    "a column is there only": (
        "ALTER TABLE drift_crates ADD note text",
        "column note is in the database",
    ),
    "a type is wider": (
        "ALTER TABLE drift_crates ALTER size TYPE bigint",
        "column size is integer",
    ),
    "a length differs": (
        "ALTER TABLE drift_depots ALTER code TYPE varchar(9)",
        "column code is character varying(8)",
    ),
    "a text is a document": (
        "ALTER TABLE drift_crates ALTER title TYPE jsonb USING title::jsonb",
        "column title is text",
    ),
    "a moment has no zone": (
        "ALTER TABLE drift_crates ALTER local_time TYPE timestamptz",
        "column local_time is timestamp without time zone",
    ),
    "a precision differs": (
        "ALTER TABLE drift_crates DROP weight_doubled, ALTER weight TYPE numeric(9, 2)",
        "column weight is numeric(9,3)",
    ),
    "a collation differs": (
        'ALTER TABLE drift_crates ALTER "sale" TYPE text',
        'column sale is text COLLATE "C"',
    ),
    "a column may be NULL": (
        "ALTER TABLE drift_crates ALTER weight DROP NOT NULL",
        "nullability weight is NOT NULL in the model and NULL in the database",
    ),
    "a column may not be NULL": (
        "ALTER TABLE drift_crates ALTER local_time SET NOT NULL",
        "nullability local_time is NULL in the model",
    ),
    "a default is not there": (
        "ALTER TABLE drift_crates ALTER open DROP DEFAULT",
        "default open is in the model",
    ),
    "a default is there only": (
        "ALTER TABLE drift_crates ALTER weight SET DEFAULT 1",
        "default weight is in the database",
    ),
    "a default differs": (
        "ALTER TABLE drift_crates ALTER open SET DEFAULT true",
        "default open is false in the model",
    ),
    "numbers are not given out": (
        "ALTER TABLE drift_clerks ALTER id DROP IDENTITY",
        "default id is in the model, not in the database: GENERATED ALWAYS",
    ),
    "a column is not generated": (
        "ALTER TABLE drift_crates ALTER weight_doubled DROP EXPRESSION",
        "default weight_doubled is in the model",
    ),
    "an index is not there": (
        "DROP INDEX drift_crates_depot_id_packed_at",
        "index btree (depot_id, packed_at) is in the model",
    ),
    "an index is there only": (
        "CREATE INDEX ON drift_crates (weight)",
        "index btree (weight) is in the database",
    ),
    "an index is not partial": (
        "DROP INDEX drift_crates_open; CREATE INDEX ON drift_crates (packed_at)",
        "index btree (packed_at) WHERE open is in the model",
    ),
    "an index goes the other way": (
        """DROP INDEX drift_crates_depot_id_packed_at;
        CREATE INDEX ON drift_crates (depot_id, packed_at DESC)""",
        "index btree (depot_id, packed_at DESC) is in the database",
    ),
    "a key is not unique": (
        'ALTER TABLE drift_crates DROP CONSTRAINT "drift_crates_sale_key"',
        "unique index btree",
    ),
    "a key is unique in the database only": (
        "CREATE UNIQUE INDEX ON drift_crates (packed_at)",
        "unique index btree (packed_at) is in the database",
    ),
    "another primary key": (
        """ALTER TABLE drift_crates DROP CONSTRAINT drift_crates_parent_id_fkey,
        DROP CONSTRAINT drift_crates_pkey, ADD PRIMARY KEY (id, weight)""",
        "primary key btree (id, weight) is in the database",
    ),
    "no reference": (
        "ALTER TABLE drift_crates DROP CONSTRAINT drift_crates_depot_id_fkey",
        "foreign key FOREIGN KEY (depot_id)",
    ),
    "a reference that deletes otherwise": (
        """ALTER TABLE drift_clerks DROP CONSTRAINT drift_clerks_depot_id_fkey,
        ADD FOREIGN KEY (depot_id) REFERENCES drift_depots (code)""",
        "ON DELETE CASCADE is in the model",
    ),
    "no check": (
        "ALTER TABLE drift_crates DROP CONSTRAINT drift_crates_weight_check",
        "check CHECK ((weight > (0)::numeric)) is in the model",
    ),
    "another check": (
        """ALTER TABLE drift_crates DROP CONSTRAINT drift_crates_weight_check,
        ADD CHECK (weight > 1)""",
        "check CHECK ((weight > (1)::numeric)) is in the database",
    ),
    "a table is not there": ("DROP TABLE drift_crates", "drift_crates: table is in the model"),
    "a table is there only": (
        "CREATE TABLE drift_pallets (id int)",
        "drift_pallets: table is in the database",
    ),
}
ALIKE = {
    "names": "ALTER INDEX drift_crates_open RENAME TO x; "
    "ALTER TABLE drift_crates RENAME CONSTRAINT drift_crates_weight_check TO y",
    "a unique index instead of a constraint": "ALTER TABLE drift_crates DROP CONSTRAINT "
    '"drift_crates_sale_key"; CREATE UNIQUE INDEX ON drift_crates ("sale")',
    "a check that is not validated yet": "ALTER TABLE drift_crates DROP CONSTRAINT "
    "drift_crates_weight_check, ADD CHECK (weight > 0) NOT VALID",
    "the order of columns": "ALTER TABLE drift_crates DROP local_time; "
    "ALTER TABLE drift_crates ADD local_time timestamp",
    "a view, a function, a trigger": """
    CREATE VIEW light AS SELECT id FROM drift_crates WHERE weight < 1;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER t BEFORE INSERT ON drift_crates FOR EACH ROW EXECUTE FUNCTION f()""",
}


# Another type is another column, which the model has to name.
OTHER = {
    "a type is wider": "size_int",
    "a length differs": "code_varchar",
    "a text is a document": "title_text",
    "a moment has no zone": "local_time_timestamp_without_time_zone",
    "a precision differs": "weight_numeric",
    "a collation differs": "sale_text_collate_c",
}
LEFT = {"a column is not generated": "weight_doubled", "a table is there only": "drift_pallets"}


def found(cursor: Any) -> list[Drift]:
    """What differs, of the tables of these tests."""
    return [each for each in drift(cursor, MODELS) if each.table.startswith("drift_")]


@pytest.fixture
def cursor(database_url: str) -> Iterator[Any]:
    """On a database that has the tables of these models, made by the draft."""
    with session(database_url) as opened:
        rebuilt(opened, "SELECT 1")
        yield opened


def test_a_draft_makes_what_the_models_say(cursor: Any) -> None:
    """Also tables that refer to each other, to themselves, and names that need quotes."""
    assert found(cursor) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_differs_is_found_and_drafted_both_ways(
    cursor: Any, tmp_path: Path, defect: str
) -> None:
    """The draft's way there leaves no difference, its way back leaves the same one; it is safe."""
    sql, expected = DEFECTS[defect]
    cursor.execute(sql)
    before = found(cursor)
    assert expected in "\n".join(map(str, before))
    rebuilt(cursor, sql)
    drafted = draft(before, MODELS)

    assert drafted.parts or drafted.notes
    write(tmp_path, drafted.parts, sql)
    unfit = "prefer-"  # types that the models themselves have
    assert [str(each) for each in lint(tmp_path) if not each.rule.startswith(unfit)] == []
    # The old column goes when releases, keys and references have left it.
    parts = drafted.parts[: 1 if defect in OTHER else None]
    for part in parts:
        run(cursor, part.up)
    after = found(cursor)
    if defect in OTHER:
        assert f"column {OTHER[defect]} is in the database" in "\n".join(map(str, after))
    else:
        assert [each for each in after if LEFT.get(defect, "-") not in str(each)] == []

    rebuilt(cursor, sql)
    for part in parts:
        run(cursor, part.up)
    for part in parts[::-1]:
        run(cursor, part.down)
    assert sorted(map(str, found(cursor))) == sorted(map(str, before))


@pytest.mark.parametrize("change", ALIKE)
def test_what_says_the_same_is_no_drift(cursor: Any, change: str) -> None:
    """Names, the order of columns, and what models have no words for."""
    cursor.execute(ALIKE[change])
    assert found(cursor) == []


def test_a_policy_is_told_in_the_words_of_sql(cursor: Any) -> None:
    """Whoever has to write it by hand reads what to write."""
    narrow = f"AS RESTRICTIVE FOR SELECT TO {SERVICE_ROLE} USING ((size > 0))"
    cursor.execute(
        f"CREATE POLICY narrow ON drift_crates {narrow}; "
        'CREATE POLICY "Wide" ON drift_crates WITH CHECK (true)'
    )
    assert {each.what for each in found(cursor)} == {
        f"narrow {narrow}",
        '"Wide" WITH CHECK (true)',
    }


def test_a_model_that_postgresql_refuses_is_named(cursor: Any) -> None:
    """With what PostgreSQL says, and the statement."""

    class Wrong(AioModel):
        id = peewee.IntegerField(primary_key=True, constraints=[Check("no_such_column > 0")])

        class Meta:
            table_name = "drift_wrong"

    with pytest.raises(ModelRefused, match=r"Wrong: .*no_such_column.*CREATE TABLE drift_wrong"):
        drift(cursor, [Wrong])


def rebuilt(cursor: Any, sql: str) -> None:
    """The tables with the defect again: looking for drift makes them anew."""
    for table in ("drift_crates", "drift_clerks", "drift_depots", "drift_pallets"):
        cursor.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
    for part in made().parts:
        run(cursor, part.up)
    cursor.execute(sql)


def made() -> Draft:
    """The tables of all models."""
    return draft([Drift(table_sql(each).name, "table", "", "", None) for each in MODELS], MODELS)


def run(cursor: Any, sql: str) -> None:
    """Each statement by itself, as where a file has CONCURRENTLY."""
    for each in parse(sql):
        cursor.execute(statement_sql(each.stmt))


def write(folder: Path, parts: Sequence[Part], defect: str) -> None:
    """The migrations: of the tables as they are, and those of the draft."""
    made_before = Part("\n".join([*(part.up for part in made().parts), defect]))
    for number, part in enumerate([made_before, *parts], 1):
        (folder / f"{number:04}_change.up.sql").write_text(part.text, "utf-8")
        down = part.down if number > 1 else "SELECT 1;"
        (folder / f"{number:04}_change.down.sql").write_text(down, "utf-8")
    (folder / "unlinted.txt").write_text("0001_change (of this test)\n", "utf-8")
