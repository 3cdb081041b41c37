"""What is no backfill is refused before anything is changed, with what helps."""

from pathlib import Path

import pytest

from acme_orders.chassis.backfills.files import found
from acme_orders.chassis.backfills.runner import Failed
from acme_orders.chassis.errors import ConfigurationError

from tests.chassis.backfills.tickets import FILL, Tickets, write

REFUSED = {
    "syntax": (FILL.replace("class Fill", "klass Fill"), r"fill\.py:3: invalid syntax"),
    "models": (
        f"from acme_orders.service import SERVICE\n{FILL}",
        r"imports acme_orders\.service",
    ),
    "relative": (f"from . import other\n{FILL}", "imports backfills"),
    "import": (
        f"import acme_orders\n{FILL}",
        "imports acme_orders",
    ),
    "raises": (f"1 / 0\n{FILL}", "ZeroDivisionError: division by zero"),
    "two": (FILL + FILL.replace("Fill(", "Other("), "has 2 subclasses"),
    "none": ("", "has 0 subclasses"),
    "no verify": (FILL.replace("verify", "check"), "it has no `verify`"),
    "no set": (FILL.replace(" set ", " assign "), "needs either `set` or `process`"),
    "no table": (FILL.replace("table", "where", 1), "says no `table`"),
    "key": (f'{FILL}    key = "id"\n', r"write key = \('id',\)"),
    "where": (FILL.replace("note IS NULL", "note IS IS NULL", 1), "its `where` is not one"),
    "two statements": (
        FILL.replace("upper(title)", "1; DELETE FROM ticket"),
        "its `set` is not one piece of SQL: it has 2 statements",
    ),
}
UNFIT = {
    "table": (FILL.replace('"ticket"', '"tickets"'), "there is no table tickets"),
    "column": (f'{FILL}    key = ("number",)\n', "has no column number"),
    "not unique": (f'{FILL}    key = ("title",)\n', r"no unique index.*take \(id\)"),
    "nullable": (f'{FILL}    key = ("note",)\n', r"no unique index.*take \(id\)"),
    "order": (f'{FILL}    key = ("title", "id")\n', r"take \(id\)"),
    "verify": (FILL.replace("count(*)", "no_such"), "no_such"),
    "a word": (FILL.replace("count(*)", "'none'"), "does not give one number"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_is_no_backfill(tmp_path: Path, kind: str) -> None:
    """It is not even looked for in the database."""
    text, why = REFUSED[kind]
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=why):
        found("fill", tmp_path)


@pytest.mark.parametrize("kind", UNFIT)
def test_a_backfill_that_does_not_fit_the_schema(tickets: Tickets, kind: str) -> None:
    """It has failed, and changed nothing that it could not go on from."""
    text, why = UNFIT[kind]
    tickets.sql("CREATE UNIQUE INDEX on_note ON ticket (note)")
    tickets.sql("CREATE UNIQUE INDEX pair ON ticket (id, title)")
    tickets.add(10)
    tickets.write(text)
    with pytest.raises(Failed, match=why):
        tickets.run()
    assert tickets.state()["state"] == "failed"


def test_an_unknown_name(tmp_path: Path) -> None:
    """A similar one is named."""
    file = write(tmp_path)
    with pytest.raises(ConfigurationError, match=r"no backfill 'fil'; there is fill"):
        found("fil", tmp_path)
    file.unlink()
    with pytest.raises(ConfigurationError, match="has none"):
        found("fill", tmp_path)


@pytest.mark.parametrize(
    ("type_", "make"),
    [
        ("timestamptz", "now() + number * interval '1 day'"),
        ("uuid", "gen_random_uuid()"),
        ("text", "chr(97 + number::integer % 26) || number"),
        ("numeric", "number / 7.0"),
        ("bytea", "decode(lpad(to_hex(number), 4, '0'), 'hex')"),
    ],
)
def test_keys_of_many_types(tickets: Tickets, type_: str, make: str) -> None:
    """They travel as texts, and are compared as what they are."""
    tickets.add(500)
    tickets.sql(f'ALTER TABLE ticket ADD "The key" {type_}')
    numbered = make.replace("number", "id")
    tickets.sql(f'UPDATE ticket SET "The key" = {numbered}')
    tickets.sql('ALTER TABLE ticket ALTER "The key" SET NOT NULL, ADD UNIQUE ("The key")')
    tickets.write(f'{FILL}    key = ("The key",)\n')
    tickets.run()
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note = upper(title)") == [(500,)]
    assert tickets.state()["rows_done"] == 500


@pytest.mark.usefixtures("each_driver")
def test_what_process_makes_is_stored_as_it_is(tickets: Tickets) -> None:
    """Whatever the type; rows that it leaves out stay."""
    tickets.add(3)
    tickets.sql(
        "ALTER TABLE ticket ADD at timestamptz DEFAULT now(), ADD raw bytea DEFAULT '\\x00ff', "
        "ADD price numeric DEFAULT 0.10, ADD doc jsonb DEFAULT '{\"a\": [1, null]}', "
        "ADD tags text[] DEFAULT '{a,b}', ADD whose uuid DEFAULT gen_random_uuid()"
    )
    copied = ("at", "raw", "price", "doc", "tags", "whose")
    tickets.sql(f"CREATE TABLE copies AS SELECT id, {', '.join(copied)} FROM ticket WITH NO DATA")
    tickets.sql("ALTER TABLE copies ADD PRIMARY KEY (id)")
    tickets.sql("ALTER TABLE ticket ADD done text")
    tickets.write(
        f"""
        class Fill(Backfill):
            table = "ticket"
            where = "done IS NULL"
            columns = ("title", *{copied})
            verify = "SELECT count(*) - 1 FROM ticket WHERE done IS NULL"

            def process(self, rows):
                return [
                    {{**row, "done": "100 % it's", "title": row["title"] + "!"}}
                    for row in rows
                    if row["id"] != 2
                ]
        """
    )
    before = tickets.sql(f"SELECT {', '.join(copied)} FROM ticket ORDER BY id")
    tickets.run()
    assert tickets.sql(f"SELECT {', '.join(copied)} FROM ticket ORDER BY id") == before
    assert tickets.sql("SELECT title, done FROM ticket ORDER BY id") == [
        ("title 1!", "100 % it's"),
        ("title 2", None),
        ("title 3!", "100 % it's"),
    ]


def test_a_percent_sign_is_one(tickets: Tickets) -> None:
    """In each piece of SQL."""
    tickets.add(12)
    text = FILL.replace("note IS NULL", "title LIKE 'title 1%' AND note IS NULL")
    tickets.write(text.replace("upper(title)", "title || ' 100%'"))
    tickets.run()
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note LIKE '%100\\%'") == [(4,)]
