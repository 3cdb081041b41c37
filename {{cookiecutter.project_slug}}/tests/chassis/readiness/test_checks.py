"""The checks pass on this project, and each of them can fail."""

import importlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from peewee_async.utils import sort_models
from rich.console import Console

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.ddl import table_sql
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice

from readiness import report, scratch
from readiness.check import Check
from readiness.checklist import CHECKS, go_through
from readiness.idempotency import RetriesAreIdempotent
from readiness.plans import begins_with
from readiness.rehearsal import Rehearsal, Subject
from readiness.tenants import TenantsAreKeptApart  # feature: rls
from tests.chassis.readiness.defects import DEFECTS, Defect, migrated
from tests.chassis.slices.ledger.slice import ledger
from tests.chassis.slices.parcels.slice import parcels

DOCUMENT = Path(__file__).parents[3] / "docs" / "readiness.md"
LEFT = f"SELECT datname FROM pg_database WHERE datname LIKE '{scratch.PREFIX}%'"


async def test_every_check_passes_and_has_evidence(subject: Subject) -> None:
    """The project is ready as it is shipped, and each check looked at something."""
    results = await go_through(subject)

    assert [(each.id, each.findings) for each in results] == [(each.id, ()) for each in CHECKS]
    assert all(each.inspected for each in results)


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(
            each,
            id=f"{each.check}-{each.name}",
            # `make test` shows each check its first defect, `make faults` all of them.
            marks=[pytest.mark.long] if any(each.check == e.check for e in DEFECTS[:place]) else [],
        )
        for place, each in enumerate(DEFECTS)
    ],
)
async def test_a_defect_turns_exactly_one_check_red(
    defect: Defect, subject: Subject, tmp_path: Path
) -> None:
    """A finding says what is wrong only if the other checks stay green.

    K5 looks at migrations only: it is left out where these are as they were.
    """
    changed = defect.introduce(subject, tmp_path)
    left_out = "K5" if changed.migrations == subject.migrations else ""
    results = await go_through(changed, [each for each in CHECKS if each.id != left_out])

    red = {each.id: each.findings for each in results if not each.passed}
    assert list(red) == [defect.check], red


# feature: rls {
@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("ALTER TABLE buyers ADD UNIQUE (email)", "buyers_email_key is unique without tenant_id"),
        (
            "ALTER TABLE buyers ADD EXCLUDE (email WITH =)",
            "what is stored for one tenant cannot be for another: ConstraintViolated: ",
        ),
    ],
)
async def test_what_another_tenant_cannot_store_is_told_once(
    sql: str, says: str, subject: Subject
) -> None:
    """No policy hides what is not there."""
    (result,) = await go_through(replace(subject, alter=sql), [TenantsAreKeptApart])

    (finding,) = result.findings
    assert says in finding


# feature: rls }
@pytest.mark.parametrize("make", [parcels, ledger])
async def test_messages_of_other_slices_may_come_in_any_order(
    make: Callable[[Chassis[Any]], Slice], subject: Subject
) -> None:
    """Some wait for others, and some are answered in another way when they come early."""
    module = importlib.import_module(f"tests.chassis.slices.{make.__name__}.models")
    named = module.__name__
    models = [each for each in vars(module).values() if getattr(each, "__module__", "") == named]
    tables = map(table_sql, sort_models(models))
    sql = [each for one in tables for each in (one.create(), *one.indexes, *one.policies)]
    definition = Definition("post", "Post", ChassisSettings, (make,))
    posted = replace(subject, definition=definition, alter="; ".join(sql))

    (result,) = await go_through(posted, [RetriesAreIdempotent])

    assert (result.findings, result.why_not, result.left_out) == ((), "", ())


async def test_a_migration_that_cannot_be_applied_turns_k5_red_alone(
    subject: Subject, tmp_path: Path
) -> None:
    """The other checks say that they could not look, and why."""
    changed = migrated("0900_sales.up.sql", "CREATE TABLE sales (", "CREATE TABLE sales (,")
    results = await go_through(changed(subject, tmp_path), CHECKS)

    assert [each.id for each in results if not each.passed] == ["K5"]
    assert all("0900_sales.up.sql" in each.why_not for each in results if each.id != "K5")


async def test_a_migration_may_be_irreversible_for_a_reason(
    subject: Subject, tmp_path: Path
) -> None:
    """Then its down file may be empty."""
    text = "-- reversible: no (the old column is gone)"
    introduce = migrated("0900_sales.up.sql", "-- reversible: yes", text)
    changed = introduce(subject, tmp_path)
    (changed.migrations / "0900_sales.down.sql").write_text("", encoding="utf-8")

    (result,) = await go_through(changed, [each for each in CHECKS if each.id == "K5"])

    assert result.passed, result.findings


@pytest.mark.parametrize("head", ["reversible: no", "phase: contrakt", "reversable: yes"])
async def test_a_head_that_cannot_be_understood_is_told_once(
    subject: Subject, tmp_path: Path, head: str
) -> None:
    """By K5, with file and line; every other check goes on without that line."""
    changed = migrated("0003_inbox.up.sql", "-- reversible: yes", f"-- {head}")(subject, tmp_path)

    results = await go_through(changed, [each for each in CHECKS if each.id in {"K4", "K5"}])

    observable, reversible = results
    assert observable.passed, observable.findings
    (finding,) = reversible.findings
    assert "0003_inbox.up.sql:1: " in finding


async def test_a_check_without_evidence_or_with_an_error_fails_alone(subject: Subject) -> None:
    """Findings before the error count, and the next check is not concerned."""

    class Idle(Check):
        """Nothing."""

        id = "X1"

        async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
            """Look."""
            if self.inspected:
                yield "never"

    class Broken(Idle):
        """Something."""

        id = "X2"

        async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
            """Look again."""
            self.inspected += 1
            yield "seen before"
            raise ZeroDivisionError

    idle, broken, well = await go_through(subject, [Idle, Broken, CHECKS[0]])

    assert idle.findings == ("nothing to inspect",)
    assert broken.findings == ("seen before", "the check itself ended with ZeroDivisionError()")
    assert well.passed


async def test_no_scratch_database_is_left(subject: Subject) -> None:
    """It is there inside the block and gone after it."""
    url = subject.settings.database_url
    with scratch.scratch_database(url) as inside:
        name = inside.rpartition("/")[2]
        assert (name,) in scratch.rows_of(url, LEFT)
    assert (name,) not in scratch.rows_of(url, LEFT)


async def test_a_role_that_may_not_create_databases_is_told_so(subject: Subject) -> None:
    """The checks cannot run at all then, which is no finding."""
    url = subject.settings.database_url
    role = "readiness_test_role"
    scratch.rows_of(url, f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'x'")
    host = url.rpartition("@")[2]
    settings = subject.settings.model_copy(update={"database_url": f"postgresql://{role}:x@{host}"})
    try:
        with pytest.raises(ConfigurationError, match="CREATEDB"):
            await go_through(replace(subject, settings=settings))
    finally:
        scratch.rows_of(url, f"DROP ROLE {role}")


async def test_the_report_names_findings(subject: Subject) -> None:
    """Programs find the query in them."""
    broken = replace(subject, alter="DROP INDEX outbox_available")

    results = await go_through(broken, CHECKS[:1])
    (told,) = json.loads(report.as_json(results))["checks"]

    assert told["id"] == "K1"
    assert told["passed"] is False
    assert "outbox.lease" in told["findings"][0]
    for terminal, width in ((True, 80), (False, 80), (True, 160)):  # False: a log
        console = Console(width=width, file=StringIO(), record=True, force_terminal=terminal)
        report.show(console, results)
        lines = console.export_text().splitlines()
        assert told["findings"][0] in " ".join(map(str.strip, lines))  # nothing is cut off
        whole = any(told["findings"][0] in line for line in lines)
        assert max(map(len, lines)) <= width if terminal else whole


def test_the_documentation_shows_the_checks_as_they_are() -> None:
    """`docs/readiness.md` says how to bring it up to date."""
    text = DOCUMENT.read_text(encoding="utf-8")

    assert all(report.row(check) in text for check in CHECKS)
    assert report.with_checks(text) == text


@pytest.mark.parametrize(
    ("condition", "leading", "expected"),
    [
        ("(available_at <= now())", "available_at", True),
        ("(ROW(made_at, id) > ROW('1970'::timestamptz, 'x'::uuid))", "made_at", True),
        ("((a = 'x AND b = 1'::text) AND (b = 2))", "b", True),
        ("((a = 'x AND b = 1'::text) AND (c = 2))", "b", False),
        ("(k = other.id)", "id", False),
        ("(o.id = other.k)", "id", True),
        ("((email)::text = 'x'::text)", "email", True),
        ("(lower((email)::text) = 'x'::text)", "lower((email)::text)", True),
        ("(id2 = 1)", "id", False),
    ],
)
def test_a_condition_must_begin_with_the_leading_column(
    condition: str, leading: str, *, expected: bool
) -> None:
    """An index that is read as a whole serves no filter."""
    assert begins_with(condition, leading) is expected
