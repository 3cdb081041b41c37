"""What `migrate lint` refuses, and what it lets pass."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.lint.findings import Finding, Rule
from acme_orders.chassis.migrations.lint.linter import RULES, WAIVER, lint
from acme_orders.chassis.migrations.lint.squawk import (
    NOISE,
    POSTGRESQL,
    SAID_BY_OURS,
)

from tests.chassis.schema.shop import SAFE, UNSAFE, Project

HEAD = "-- reversible: yes\n\n"
FREE = [  # where a table is small; which tables have a domain is not known
    name
    for name, (rule, _) in UNSAFE.items()
    if rule in {"M1", "M5", "M9", "M11", "M12", "M13"} and "domain" not in name
]
SQUAWKED = {
    "require-concurrent-index-creation": "CREATE INDEX a ON sales (note);",
    "require-concurrent-index-deletion": "DROP INDEX sales_buyer;",
    "require-concurrent-reindex": "REINDEX TABLE sales;",
    "require-concurrent-partition-detach": "ALTER TABLE visits DETACH PARTITION visits_2026;",
    "constraint-missing-not-valid": "ALTER TABLE sales ADD CONSTRAINT a CHECK (note <> '');",
    "adding-foreign-key-constraint": "ALTER TABLE sales ADD FOREIGN KEY (id) REFERENCES buyers;",
    "disallowed-unique-constraint": "ALTER TABLE sales ADD CONSTRAINT a UNIQUE (note);",
    "ban-create-domain-with-constraint": "CREATE DOMAIN a AS text CHECK (value <> '');",
    "ban-alter-domain-with-add-constraint": "ALTER DOMAIN percentage ADD CHECK (value < 9);",
    "adding-field-with-default": "ALTER TABLE sales ADD COLUMN a uuid DEFAULT gen_random_uuid();",
    "adding-serial-primary-key-field": "ALTER TABLE journal ADD COLUMN a serial PRIMARY KEY;",
    "changing-column-type": "ALTER TABLE sales ALTER COLUMN made_at TYPE text;",
    "adding-not-nullable-field": "ALTER TABLE sales ALTER COLUMN note SET NOT NULL;",
    "adding-required-field": "ALTER TABLE sales ADD COLUMN a text NOT NULL;",
    "renaming-column": "ALTER TABLE sales RENAME COLUMN note TO a;",
    "renaming-table": "ALTER TABLE sales RENAME TO a;",
    "renaming-object": "ALTER VIEW cheap RENAME TO a;",
    "ban-drop-column": "ALTER TABLE sales DROP COLUMN note;",
    "ban-drop-table": "DROP TABLE journal;",
    "ban-drop-not-null": "ALTER TABLE sales ALTER COLUMN buyer_id DROP NOT NULL;",
    "ban-truncate-cascade": "TRUNCATE sales CASCADE;",
    "ban-set-schema": "ALTER TABLE sales SET SCHEMA a;",
    "ban-alter-identity": "ALTER TABLE bookings ALTER COLUMN id DROP IDENTITY;",
    "ban-drop-constraint": "ALTER TABLE sale_lines DROP CONSTRAINT sale_lines_pkey;",
    "ban-drop-default": "ALTER TABLE sales ALTER COLUMN status DROP DEFAULT;",
    "ban-drop-domain": "DROP DOMAIN percentage;",
    "ban-drop-extension": "DROP EXTENSION a;",
    "ban-drop-function": "DROP FUNCTION touched();",
    "ban-drop-generated-expression": "ALTER TABLE sales ALTER COLUMN note DROP EXPRESSION;",
    "ban-drop-schema": "DROP SCHEMA a;",
    "ban-drop-sequence": "DROP SEQUENCE a;",
    "ban-drop-type": "DROP TYPE sale_status;",
    "ban-drop-view": "DROP VIEW cheap;",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With its tables."""
    return Project(tmp_path)


def no_squawk(*_: Any, **__: Any) -> Iterator[Any]:
    """Says nothing."""
    yield from ()


def everything(file: Path, sql: str) -> list[tuple[int, str, str]]:
    """All that squawk says, also what we pass over."""
    command: list[str | Path] = [
        Path(sys.executable).with_name("squawk"),
        "--pg-version",
        POSTGRESQL,
    ]
    command += ["--reporter", "json", "--assume-in-transaction", "--stdin-filepath", str(file)]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    return [(each["line"], each["rule_name"], each["message"]) for each in json.loads(done.stdout)]


def found(project: Project, rules: Sequence[Rule] = RULES, **more: Any) -> list[Finding]:
    """What is wrong with all migrations."""
    return list(lint(project.folder, rules=rules, **more))


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_statement_is_refused(project: Project, name: str) -> None:
    """With its place, by the rule that is for it, and by none that says the same again."""
    rule, sql = UNSAFE[name]
    file = project.add(sql, head=HEAD)

    findings = found(project)

    assert rule in {each.rule for each in findings}
    assert all(each.file == file and each.line >= 3 for each in findings)
    rules = [(each.rule, each.line) for each in findings]
    assert len(rules) == len(set(rules))


@pytest.mark.parametrize(
    ("up", "down", "place"),
    [
        ("CREATE TABEL a ();", "SELECT 1;", r"up\.sql:3: `TABEL a \(\)`: syntax error"),
        ("SELECT 1;\nCOMMIT;", "SELECT 1;", r"up\.sql:4: `COMMIT`: a file is one transaction"),
        ("SELECT 1;", "DROP TABEL a;", r"down\.sql:1: `TABEL a`: syntax error"),
        ("SELECT 1;", "COMMIT;", r"down\.sql:1: `COMMIT`: a file is one transaction"),
    ],
)
def test_what_the_runner_would_refuse_is_refused(
    project: Project, up: str, down: str, place: str
) -> None:
    """With its place, long before somebody deploys it."""
    project.add(up, down, head=HEAD)

    with pytest.raises(ConfigurationError, match=place):
        found(project)


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_statement_passes(project: Project, name: str) -> None:
    """Nothing is said of it."""
    project.add(SAFE[name], head=HEAD)

    assert [str(each) for each in found(project)] == []


@pytest.mark.parametrize("code", sorted({rule.code for rule in RULES}))
def test_without_a_rule_its_statements_pass(tmp_path: Path, code: str) -> None:
    """So each rule is what refuses them; the net for whatever is left is taken away as well."""
    others = [rule for rule in RULES if rule.code != code and not rule.last]
    for number, name in enumerate(name for name, each in UNSAFE.items() if each[0] == code):
        (tmp_path / str(number)).mkdir()
        project = Project(tmp_path / str(number))
        project.add(UNSAFE[name][1], head=HEAD)

        assert code in {each.rule for each in found(project, ask=no_squawk)}, name
        assert code not in {each.rule for each in found(project, others, ask=no_squawk)}, name


def test_the_net_holds_what_no_rule_knows(project: Project) -> None:
    """Whatever works on a table in use under a lock that keeps writers waiting."""
    project.add("ALTER TABLE sales SET TABLESPACE pg_default;", head=HEAD)
    net = [rule for rule in RULES if rule.last]

    assert [each.rule for each in found(project, net, ask=no_squawk)] == ["M14"]


@pytest.mark.parametrize("name", FREE)
def test_a_small_table_is_free(project: Project, name: str) -> None:
    """Somebody has said why it will never be large."""
    tables = ("sales", "buyers", "journal", "bookings", "sale_lines", "visits", "visits_2025")
    small = "".join(f"-- small: {each} (a test has few rows)\n" for each in (*tables, "totals"))
    rule, sql = UNSAFE[name]
    project.add(sql, head=f"-- reversible: yes\n{small}-- small: visits_2026 (few rows)\n\n")

    assert rule not in {each.rule for each in found(project, ask=no_squawk)}


def test_a_small_table_is_used_by_the_release_before_all_the_same(project: Project) -> None:
    """A dropped column fails its queries however few rows there are."""
    sql = "ALTER TABLE sales DROP COLUMN rebate;"
    project.add(sql, head="-- reversible: yes\n-- small: sales (few rows)\n\n")

    assert [each.rule for each in found(project)] == ["M3"]


@pytest.mark.parametrize("name", [name for name, each in UNSAFE.items() if each[0] == "M3"])
def test_what_is_taken_away_in_the_last_phase_passes(project: Project, name: str) -> None:
    """Its head says which release no longer uses it."""
    head = "-- reversible: no (it is gone)\n-- phase: contract\n-- requires: release 0.2\n\n"
    project.add(UNSAFE[name][1], head=head)

    assert "M3" not in {each.rule for each in found(project)}


def test_the_last_phase_says_what_it_waits_for(project: Project) -> None:
    """Otherwise nothing would keep it from running too early."""
    head = "-- reversible: no (it is gone)\n-- phase: contract\n\n"
    project.add("ALTER TABLE sales DROP COLUMN rebate;", head=head)

    (finding,) = found(project)

    assert finding.rule == "M4"
    assert "requires: release" in str(finding)


@pytest.mark.parametrize("down", ["", "-- soon\n", "/* later */"])
def test_a_way_back_that_is_promised_is_there(project: Project, down: str) -> None:
    """A file without a statement takes nothing back."""
    project.add("ALTER TABLE sales ADD COLUMN extra jsonb;", down, head=HEAD)

    (finding,) = found(project)

    assert finding.rule == "M2"


def test_the_four_steps_may_be_in_earlier_files(project: Project) -> None:
    """Whether a check has been validated is known from the files before."""
    contract = "-- reversible: yes\n-- phase: contract\n-- requires: backfill notes\n\n"
    check = "ALTER TABLE sales ADD CONSTRAINT noted CHECK (note IS NOT NULL) NOT VALID;"
    project.add(check, head=contract)
    set_ = "ALTER TABLE sales ALTER COLUMN note SET NOT NULL;"
    early = project.add(set_, head=HEAD)
    assert [(each.file, each.rule) for each in found(project)] == [(early, "M5")]

    early.write_text(f"{HEAD}ALTER TABLE sales VALIDATE CONSTRAINT noted;\n", "utf-8")
    project.add(f"{set_} ALTER TABLE sales DROP CONSTRAINT noted;", head=HEAD)
    assert found(project) == []


WAIVED = "-- allow: M11 (the table is read at night only)\nCREATE INDEX sales_note ON sales (note);"


def test_a_waiver_with_a_reason_lets_its_statement_pass(project: Project) -> None:
    """And no other one."""
    file = project.add(f"{WAIVED}\nCREATE INDEX sales_more ON sales (made_at);", head=HEAD)

    assert [(each.rule, each.line) for each in found(project)] == [("M11", 5)]
    file.write_text(f"{HEAD}{WAIVED}\n", "utf-8")
    assert found(project) == []


@pytest.mark.parametrize("reason", ["", " ()", " ( )", " because"])
def test_a_waiver_without_a_reason_waives_nothing(project: Project, reason: str) -> None:
    """Both are said."""
    project.add(WAIVED.replace(" (the table is read at night only)", reason), head=HEAD)

    assert {each.rule for each in found(project)} == {"M11", WAIVER}


@pytest.mark.parametrize("rule", ["M11", "M99", "prefer-text-field"])
def test_a_waiver_for_nothing_is_refused(project: Project, rule: str) -> None:
    """It would let pass what somebody writes there later."""
    project.add(f"-- allow: {rule} (why)\nALTER TABLE sales ADD COLUMN a jsonb;", head=HEAD)

    (finding,) = found(project)

    assert (finding.rule, rule in str(finding)) == (WAIVER, True)


def test_what_squawk_says_can_be_waived_and_its_own_waivers_cannot(project: Project) -> None:
    """A reason is wanted for each."""
    column = "ALTER TABLE sales ADD COLUMN title varchar(40);"
    file = project.add(f"-- allow: prefer-text-field (another system's limit)\n{column}", head=HEAD)
    assert found(project) == []

    file.write_text(f"{HEAD}-- squawk-ignore prefer-text-field\n{column}\n", "utf-8")
    assert [each.rule for each in found(project)] == [WAIVER]


def test_what_squawk_says_and_we_say_better_is_said_by_us() -> None:
    """Each rule of squawk that is passed over has one of ours."""
    assert set(SAID_BY_OURS.values()) <= {rule.code for rule in RULES}
    assert all(NOISE.values())


@pytest.mark.parametrize("said", SAID_BY_OURS)
def test_what_squawk_would_refuse_we_refuse(project: Project, said: str) -> None:
    """A statement that squawk refuses by this rule is refused by ours."""
    sql = SQUAWKED[said]
    refused = {rule for _, rule, _ in everything(project.folder / "x.sql", sql)}
    assert said in refused
    project.add(sql, head=HEAD)

    assert SAID_BY_OURS[said] in {each.rule for each in found(project, ask=no_squawk)}


def test_without_squawk_it_says_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the image of production."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    project.add("SELECT 1;", head=HEAD)

    with pytest.raises(ConfigurationError, match=r"squawk is not installed.*make setup"):
        found(project)


@pytest.mark.parametrize("line", ["0001_change", "0001_change ()", "0009_gone (old)", "x"])
def test_an_older_migration_is_named_with_a_reason(project: Project, line: str) -> None:
    """One that is not there may have been meant for another."""
    (project.folder / "unlinted.txt").write_text(f"# why\n{line}\n", "utf-8")

    with pytest.raises(ConfigurationError, match=rf"unlinted\.txt:2: `{re.escape(line)}`"):
        found(project)


def test_a_finding_says_place_lock_reason_and_recipe(project: Project) -> None:
    """With the names of this very statement."""
    file = project.add("\n-- words\nALTER TABLE buyers\n  ADD UNIQUE (email);", head=HEAD)

    (finding,) = found(project)

    text = str(finding)
    assert text.startswith(f"{file}:5: M13 `ALTER TABLE buyers ADD UNIQUE (email)`\n")
    assert "ACCESS EXCLUSIVE on buyers, reads all of it" in " ".join(text.split())
    assert "CREATE UNIQUE INDEX CONCURRENTLY buyers_email_key ON buyers (email);" in text
    assert "ADD CONSTRAINT buyers_email_key UNIQUE USING INDEX buyers_email_key;" in text


def test_our_own_migrations_pass() -> None:
    """Those that were released before the rules are listed."""
    assert [str(each) for each in lint()] == []
