"""SQL that would leave the history of migrations untrue is refused, and nothing else."""

from pathlib import Path

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.script import script_of

ENDS_THE_TRANSACTION = [
    "COMMIT",
    "COMMIT AND CHAIN",
    "commit work",
    "END",
    "end transaction",
    "ROLLBACK",
    "ABORT",
    "/**/ROLLBACK/**/",
    "BEGIN",
    "START TRANSACTION",
    "SAVEPOINT half",
    "RELEASE half",
    "ROLLBACK TO half",
    "PREPARE TRANSACTION 'half'",
    "COMMIT PREPARED 'half'",
    "ROLLBACK PREPARED 'half'",
]
NO_SQL = [
    (b"\\connect other\nSELECT 1;\n", 1, r"`\\connect other SELECT 1`: this is a command of psql"),
    (b"SELECT 1\n\\gexec\n", 2, r"`\\gexec`: this is a command of psql"),
    (b"\\restrict q8\nSET lock_timeout = 0;\n", 1, r"dumps of pg_dump"),
    (
        b"CREATE TABLE a (x int);\n\nCOPY public.a (x) FROM stdin;\n1\tit's; so\n\\.\n\n",
        3,
        r"`COPY public.a \(x\) FROM stdin`: its rows travel outside of SQL",
    ),
    (b"COPY a FROM STDIN WITH (FORMAT csv);\n", 1, "its rows travel outside of SQL"),
    (b"COPY a TO STDOUT;\n", 1, "its rows travel outside of SQL"),
    (b"SELECT 1;\n\0DROP TABLE fine;\n", 2, "what follows a NUL would not run"),
    ("-- für alle\nSELECT 'ü';\n".encode("latin-1"), 1, "byte 5 of this line, 0xFC, is not UTF-8"),
    ("SELECT 1;\n".encode("utf-16"), 1, "byte 1 of this line, 0xFF, is not UTF-8"),
    ("-- ä\nSELECT 'ä';\nCREATE TABEL a (x int);\n".encode(), 3, 'syntax error at or near "TABEL"'),
    ("SELECT 'ä😀'; SELEC 'ü';\n".encode(), 1, "`SELEC 'ü'`: syntax error"),
    ("SELECT 'ä'; -- 😀\nSELECT 'ü'; COMMIT;\n".encode(), 2, "`COMMIT`: a file is one transaction"),
    (
        "SELECT 'ä😀';\nCOPY a (x) FROM stdin;\nü\n\\.\n".encode(),
        2,
        r"`COPY a \(x\) FROM stdin`: its rows travel outside of SQL",
    ),
    (b"CREATE TABLE a (\n    id integer,\n", 3, "syntax error at end of input"),
    (b"SELECT 'open;\n", 1, "unterminated quoted string"),
    (b"/* open\nSELECT 1;\n", 1, r"unterminated /\* comment"),
]
NO_TRANSACTION = [
    "-- COMMIT;\n/* ROLLBACK; /* COMMIT; */ */ SELECT 'COMMIT;'",
    'SELECT "; END;" FROM (SELECT 1) AS t("; END;")',
    "CREATE FUNCTION f() RETURNS integer BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "DO $$ BEGIN PERFORM 1; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
    "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
    "SELECT E'\\'; COMMIT; --'",
    "SELECT CASE WHEN true THEN 1 END",
    "SELECT 'a'" + " || 'b'" * 300,
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a migration."""
    return tmp_path / "0002_new.up.sql"


@pytest.mark.parametrize("statement", ENDS_THE_TRANSACTION)
def test_a_file_that_ends_its_transaction_is_refused(file: Path, statement: str) -> None:
    """Half of it would be applied and not recorded, or the other way round."""
    file.write_text(f"CREATE TABLE half (id integer);\n\n{statement};\nSELECT 1;\n", "utf-8")
    with pytest.raises(ConfigurationError) as refused:
        script_of(file)
    shown = statement.strip("/*")
    assert f"{file}:3: `{shown}" in str(refused.value)
    assert "a file is one transaction" in str(refused.value)
    assert "leave it out" in str(refused.value)


@pytest.mark.parametrize(("content", "line", "reason"), NO_SQL)
def test_a_file_that_is_not_all_sql_is_refused(
    file: Path, content: bytes, line: int, reason: str
) -> None:
    """A part of it would silently not run. The line is named, and what helps."""
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"0002_new\.up\.sql:{line}: .*{reason}"):
        script_of(file)


@pytest.mark.parametrize("sql", NO_TRANSACTION)
def test_words_in_strings_comments_and_bodies_are_no_statements(file: Path, sql: str) -> None:
    """A parser tells them apart."""
    file.write_text(f"{sql};\n", "utf-8")
    assert script_of(file).sql == f"{sql};\n"


@pytest.mark.parametrize("nothing", ["", "\n", "-- a comment", "/* no */;;\n", "\ufeff"])
def test_a_file_without_a_statement_is_nothing_to_run(file: Path, nothing: str) -> None:
    """A driver would refuse to send it."""
    file.write_text(nothing, "utf-8")
    assert script_of(file).sql == ""


def test_what_an_editor_writes_around_the_sql_is_not_sent(file: Path) -> None:
    """A byte-sale mark is no SQL, and a body has the same lines wherever it was checked out."""
    file.write_bytes("\ufeffSELECT 'a\r\nb';\r\n".encode())
    assert script_of(file).sql == "SELECT 'a\nb';\n"
