"""Which columns may have data of a person, and what is said about them."""

from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.erasure.columns import columns_in
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.retention.own import own_rules
from acme_orders.chassis.retention.places import schemas
from acme_orders.chassis.retention.settings import RetentionSettings

from readiness.scratch import rows_of

TYPES = """
CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 99);
CREATE TYPE public.mood AS ENUM ('good', 'bad');
CREATE TYPE public.pair AS (one text, two text);
CREATE TABLE public.kinds (
    id uuid PRIMARY KEY, a text, b varchar(9), c char(3), d short, e json, f jsonb, g bytea, h xml,
    i text[], j jsonb[], k short[], l pair, m inet, n tsvector, o name, p bytea[] NOT NULL,
    n1 int, n2 numeric, n3 timestamptz, n4 boolean, n5 mood, n6 uuid[], n7 int[], n8 int4range,
    n9 mood[], n10 point, n11 interval, n12 bit(3)
);
CREATE TABLE public.codes (code text PRIMARY KEY);
CREATE TABLE public.coded (
    code text REFERENCES public.codes (code), name text,
    upper text GENERATED ALWAYS AS (upper(name)) STORED
) PARTITION BY LIST (name);
CREATE TABLE public.coded_x PARTITION OF public.coded DEFAULT;
"""


def test_each_column_is_found_whatever_its_type(database_url: str) -> None:
    """Texts, documents, bytes, lists of them, and what may contain one; partitions only once."""
    rows_of(database_url, TYPES)
    with backfill_session(database_url) as session:
        found = columns_in(session.rows, "public")
    assert "".join(each.name for each in found if each.short == "kinds") == "abcdefghijklmnop"
    assert [each.name for each in found if each.short == "kinds" and not each.nullable] == ["p"]
    follows = {(each.short, each.name): each.follows for each in found if "cod" in each.short}
    assert follows == {
        ("codes", "code"): False,
        ("coded", "code"): True,
        ("coded", "name"): False,
        ("coded", "upper"): True,
    }


def test_the_chassis_says_it_of_its_own_tables(database_url: str) -> None:
    """Of each column, and of none that is not there."""
    with backfill_session(database_url) as session:
        rows = session.rows
        columns = [each for place in schemas(rows) for each in columns_in(rows, place)]
    found = {(each.short, each.name) for each in columns if each.short in OWN and not each.follows}
    assert found == {(table, name) for table, kinds in OWN.items() for name in kinds}
    ruled = {str(each.table) for each in own_rules(RetentionSettings(), window=1)}
    assert ruled - OWN.keys() == set()
