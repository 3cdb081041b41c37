"""Single mistakes in a migration, and the check that tells of each."""

from tests.chassis.readiness.change import HEAD, KEY, Change, asked

_DROP = "DROP INDEX CONCURRENTLY changed;\n"
_LAST = "    booked_at = DateTimeTZField(constraints=NOW)\n"
_NOTE = "    note = peewee.IntegerField(null=True)"
_NOTES = f"class Note(Table):\n{_NOTE}\n\n    class Meta:\n        table_name = 'notes'\n\n\n"
_OTHER = "peewee.ForeignKeyField(Buyer, backref='others', column_name='note', null=True)"
_ADD, _BACK = "ALTER TABLE sales ADD note", "ALTER TABLE sales DROP note"
_VALUE = '        "made_at": sale.made_at,\n'
_BEHIND = f"CREATE INDEX CONCURRENTLY sales_buyer_id ON sales ({KEY}buyer_id);"


def migration(name: str, says: str, up: str, down: str, check: str = "K5") -> Change:
    """A migration that comes with the change."""
    return Change(check, name, says, (), f"{HEAD}\n{up}\n", f"{down}\n")


def modelled(name: str, says: str, old: str, new: str, up: str = "", down: str = "") -> Change:
    """Models that say another thing than the migrations."""
    edits = (("models", old, new),)
    return Change("K7", name, says, edits, up and f"{HEAD}\n{up}\n", down and f"{down}\n")


_STATUS = "    status = peewee.TextField("
_SKU = "    sku = peewee.TextField("

OF_SCHEMA = (
    # What code relies on, and nobody has made.
    *(
        modelled(name, says, old, new)
        for name, says, old, new in (
            ("an index of the model alone", "sales: index", _STATUS, f"{_STATUS}index=True, "),
            ("a unique key of the model alone", "unique index", _SKU, f"{_SKU}unique=True, "),
            (
                "a unique index of the model alone",
                "sales: unique index",
                '(("made_at", "id"), False),)',
                '(("made_at", "id"), False), (("made_at", "currency"), True))',
            ),
            (
                "a check of the model alone",
                "sales: check CHECK ((currency = 'EUR'::text))",
                "Check(\"currency ~ '^[A-Z]{3}$'\")",
                "Check(\"currency ~ '^[A-Z]{3}$'\"), Check(\"currency = 'EUR'\")",
            ),
            ("a column of the model alone", "sales: column note", _LAST, f"{_LAST}{_NOTE}\n"),
            (
                "a value of the model alone",
                "sales: default currency",
                "    currency = peewee.TextField(constraints=[",
                "    currency = peewee.TextField(constraints=[SQL(\"DEFAULT 'EUR'\"), ",
            ),
            ("a table of the model alone", "notes: table", "class Line(", f"{_NOTES}class Line("),
        )
    ),
    *(
        modelled(name, says, _LAST, f"{_LAST}    note = {field}\n", f"{_ADD} {type_};", f"{_BACK};")
        for name, says, field, type_ in (
            ("a reference of the model alone", "foreign key", _OTHER, "uuid"),
            (
                "a number that is too short",
                "column note is bigint in",
                "peewee.BigIntegerField(null=True)",
                "integer",
            ),
            (
                "a column that may be NULL after all",
                "nullability note",
                "peewee.IntegerField(constraints=[SQL('DEFAULT 1')])",
                "integer DEFAULT 1",
            ),
            (
                "a column that may not be NULL",
                "nullability note",
                "peewee.IntegerField(null=True, constraints=[SQL('DEFAULT 1')])",
                "integer NOT NULL DEFAULT 1",
            ),
        )
    ),
    Change(
        "K7",
        "a number that is a text",
        "column note is integer in the model and text in the database",
        (
            ("models", _LAST, f"{_LAST}{_NOTE}\n"),
            ("models", '("status", "currency")', '("status", "currency", "note")'),
        ),
        f"{HEAD}\n{_ADD} text;\n",
        f"{_BACK};\n",
    ),
    Change(
        "K5",
        "a time without its zone",
        "prefer-timestamp-tz",
        (("models", _LAST, f"{_LAST}    note = DateTimeTZField(null=True)\n"),),
        f"{HEAD}\n{_ADD} timestamp;\n",
        f"{_BACK};\n",
    ),
    # Each query that needs it fails, and the cause is told.
    Change(
        "K7",
        "a column that a query asks for",
        "sales: column note is in the model, not in the database: integer",
        (
            ("models", _LAST, f"{_LAST}{_NOTE}\n"),
            asked("return await self.fetch_all(Sale.select(Sale.note).limit(1))"),
        ),
    ),
    Change(
        "K7",
        "a column that a handler fills",
        "sales: column note is in the model",
        (
            ("models", _LAST, f"{_LAST}{_NOTE}\n"),
            ("repository", _VALUE, f'{_VALUE}        "note": 1,\n'),
        ),
    ),
    # The slice stores a value: else each of its writes fails, and more checks tell of that.
    Change(
        "K5",
        "a column that rows have no value for",
        "M5",
        (
            ("models", _LAST, f"{_LAST}    note = peewee.IntegerField()\n"),
            ("repository", _VALUE, f'{_VALUE}        "note": 1,\n'),
        ),
        f"{HEAD}\nALTER TABLE sales ADD note integer NOT NULL;\n",
        "ALTER TABLE sales DROP note;\n",
    ),
    # A list needs it as well, and one of them tells.
    migration(
        "no index for what has been kept long enough",
        "begins with made_at",
        "DROP INDEX CONCURRENTLY sales_made_at;",
        f"CREATE INDEX CONCURRENTLY sales_made_at ON sales ({KEY}made_at, id);",
        check="R1",
    ),
    # To delete what is referred to looks for those that refer to it.
    migration(
        "no index behind a reference",
        f"no index of sales begins with ({KEY}buyer_id), which refer to buyers",
        "DROP INDEX CONCURRENTLY sales_buyer_id;",
        _BEHIND,
        check="K1",
    ),
    *(
        migration(
            name,
            f"Write CREATE INDEX CONCURRENTLY sales_buyer_id ON sales ({KEY}buyer_id);",
            f"CREATE INDEX CONCURRENTLY changed ON sales {index};\n"
            "DROP INDEX CONCURRENTLY sales_buyer_id;",
            f"{_BEHIND}\n{_DROP}",
            check="K1",
        )
        for name, index in (
            ("an index that begins with another column", f"({KEY}status, buyer_id)"),
            ("an index of some of the rows that refer", f"({KEY}buyer_id) WHERE status = 'booked'"),
            ("an index of ranges of blocks", f"USING brin ({KEY}buyer_id)"),
        )
    ),
    migration(
        "a new reference without an index",
        f"no index of journal begins with ({KEY}buyer_id)",
        "ALTER TABLE journal ADD buyer_id uuid;\n"
        f"ALTER TABLE journal ADD CONSTRAINT changed FOREIGN KEY ({KEY}buyer_id) "
        f"REFERENCES buyers ({KEY}id) NOT VALID;",
        "ALTER TABLE journal DROP buyer_id;",
        check="K1",
    ),
    *(
        migration(name, says, up, down)
        for name, says, up, down in (
            (
                "a way back that loses what was there",
                "does not bring back what was in sales.booked_at",
                "UPDATE sales SET booked_at = now() WHERE booked_at < now();",
                "SELECT 1;",
            ),
            (
                "a way back that knows one value only",
                "does not bring back what was in sales.currency",
                "UPDATE sales SET currency = 'EUR' WHERE currency <> 'EUR';",
                "UPDATE sales SET currency = 'CHF' WHERE currency = 'EUR';",
            ),
            (
                "a way back without the rows",
                "does not bring back",
                "DELETE FROM journal WHERE event_type <> 'sale.booked';",
                "SELECT 1;",
            ),
            (
                "a way back that is empty",
                "0950_changed.down.sql is empty",
                "ALTER TABLE sales ADD note integer;",
                "-- nothing to do",
            ),
            (
                "a way back that leaves a column",
                "leaves column sales.note",
                "ALTER TABLE sales ADD note integer;",
                "SELECT 1;",
            ),
            (
                "a way back to another type",
                "makes of column sales.currency",
                "ALTER TABLE sales ALTER currency TYPE varchar(3);",
                "ALTER TABLE sales ALTER currency TYPE varchar(9);",
            ),
            (
                "NOT NULL where rows may have none",
                "M5",
                (
                    "ALTER TABLE journal ADD n integer;\n"
                    "ALTER TABLE journal ALTER n SET DEFAULT 1;\n"
                    "ALTER TABLE journal ALTER n SET NOT NULL;"
                ),
                "ALTER TABLE journal DROP n;",
            ),
            (
                "an index that stops writes",
                "M11",
                f"CREATE INDEX changed ON sales ({KEY}status);",
                "DROP INDEX changed;",
            ),
            (
                "a unique index that stops writes",
                "M11",
                f"CREATE UNIQUE INDEX changed ON journal ({KEY}id, event_type);",
                "DROP INDEX changed;",
            ),
            (
                "a constraint that makes its index",
                "M13",
                f"ALTER TABLE journal ADD CONSTRAINT changed UNIQUE ({KEY}id, event_type);",
                "ALTER TABLE journal DROP CONSTRAINT changed;",
            ),
            (
                "another type for a number",
                "M12",
                "ALTER TABLE sale_lines ALTER position TYPE bigint;",
                "ALTER TABLE sale_lines ALTER position TYPE integer;",
            ),
            (
                "another type for a time",
                "M12",
                "ALTER TABLE buyers ALTER created_at TYPE timestamp;",
                "ALTER TABLE buyers ALTER created_at TYPE timestamptz;",
            ),
            (
                "a value that is drawn for each row",
                "M12",
                "ALTER TABLE sales ADD token uuid DEFAULT gen_random_uuid();",
                "ALTER TABLE sales DROP token;",
            ),
            (
                "a column with another name",
                "M3",
                "ALTER TABLE buyers RENAME created_at TO seen_at;",
                "ALTER TABLE buyers RENAME seen_at TO created_at;",
            ),
            (
                "a column that the old release reads goes",
                "M3",
                "ALTER TABLE buyers DROP created_at;",
                "ALTER TABLE buyers ADD created_at timestamptz NOT NULL DEFAULT now();",
            ),
            ("what the old release has stored goes", "M3", "TRUNCATE journal;", "SELECT 1;"),
            ("all rows of a table change", "M1", "UPDATE sales SET currency = 'EUR';", "SELECT 1;"),
            (
                "all rows of a table are copied",
                "M1",
                "INSERT INTO journal SELECT * FROM journal WHERE false;",
                "SELECT 1;",
            ),
            (
                "a reference that reads all rows",
                "M13",
                (
                    f"ALTER TABLE sale_lines ADD CONSTRAINT changed FOREIGN KEY ({KEY}sale_id) "
                    f"REFERENCES sales ({KEY}id);"
                ),
                "ALTER TABLE sale_lines DROP CONSTRAINT changed;",
            ),
            (
                "a second reference that reads all rows",
                "M13",
                (
                    f"ALTER TABLE sales ADD CONSTRAINT changed FOREIGN KEY ({KEY}buyer_id) "
                    f"REFERENCES buyers ({KEY}id) ON DELETE RESTRICT;"
                ),
                "ALTER TABLE sales DROP CONSTRAINT changed;",
            ),
            (
                "a reference of lines that reads all rows",
                "M13",
                (
                    f"ALTER TABLE sale_lines ADD CONSTRAINT changed FOREIGN KEY ({KEY}sale_id) "
                    f"REFERENCES sales ({KEY}id) DEFERRABLE;"
                ),
                "ALTER TABLE sale_lines DROP CONSTRAINT changed;",
            ),
            (
                "a check that reads all rows",
                "M13",
                "ALTER TABLE sales ADD CONSTRAINT changed CHECK (total_cents < 1000000000000000);",
                "ALTER TABLE sales DROP CONSTRAINT changed;",
            ),
        )
    ),
    migration(
        "an index goes that busy queries need",
        "sales begins with made_at",
        "DROP INDEX CONCURRENTLY sales_made_at;",
        f"CREATE INDEX CONCURRENTLY sales_made_at ON sales ({KEY}made_at, id);",
        "R1",
    ),
)
