"""What queries send is kept and compared; what a migration breaks for another release is found."""

import asyncio
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from peewee_async.utils import sort_models

from acme_orders.chassis.cli.export_sample import sample_of
from acme_orders.chassis.migrations.ddl import table_sql
from acme_orders.chassis.migrations.files import migrations
from acme_orders.chassis.observability import logs

from readiness.check import Result
from readiness.checklist import go_through
from readiness.contracts import release
from readiness.contracts.check import ReleasesShareTheSchema
from readiness.contracts.compatibility import column_types
from readiness.contracts.contract import Contract
from readiness.contracts.folder import Folder
from readiness.contracts.recording import Recording, record
from readiness.contracts.release import Release, State
from readiness.rehearsal import Subject, rehearse
from readiness.sample import FILE
from readiness.scratch import scratch_database
from tests.chassis.conftest import home
from tests.chassis.erasure.people import People
from tests.chassis.service import SERVICE
from tests.chassis.slices.parcels import models as parcels_models
from tests.chassis.slices.parcels.slice import parcels
from tests.conftest import server

BOTH = replace(SERVICE, slices=(*SERVICE.slices, parcels))
HEAD = "-- reversible: yes\n"
HEAD += "-- applies to: each tenant\n"  # feature: schema
VERSION = "0.0.9"  # older than the project itself
EXPAND, CONTRACT = "-- phase: expand\n", "-- phase: contract\n"


def write(folder: Path, name: str, up: str, head: str = "", *, shared: bool = False) -> None:
    """Add a migration; its way back is not what these tests are about."""
    first = HEAD.partition("\n")[0] + "\n" if shared else HEAD  # what is shared is no tenant's
    (folder / f"{name}.up.sql").write_text(f"{first}{head}{up}\n", encoding="utf-8")
    (folder / f"{name}.down.sql").write_text("SELECT 1;\n", encoding="utf-8")


def tables_of_parcels() -> str:
    """SQL that makes them."""
    kinds = [parcels_models.Depot, parcels_models.Parcel, parcels_models.Scan]
    tables = [table_sql(each) for each in sort_models(kinds)]
    return "\n".join(
        sql for each in tables for sql in (each.create(), *each.indexes, *each.policies)
    )


async def recorded(subject: Subject, *, keep: bool = False) -> Recording:
    """What the service sends; with `keep` it is released."""
    with scratch_database(subject.settings.database_url) as url:
        async with rehearse(subject, url, whole=False) as rehearsal:
            recording = await record(rehearsal)
            if keep:
                folder = Folder(subject.contracts)
                folder.write(recording.contracts)
                columns = await column_types(rehearsal.service.manager, recording.contracts)
                known = migrations(subject.migrations)
                checksums = {each.id: each.checksum for each in known}
                order = [each.name for each in recording.contracts]
                state = State(version=VERSION, migrations=checksums, order=order, columns=columns)
                release.keep(folder, Release(state, recording.contracts))
            return recording


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A service with two slices, as it was released."""
    folder = tmp_path_factory.mktemp("released")
    shutil.copytree(home() / "migrations", folder / "migrations")
    write(folder / "migrations", "0901_parcels", tables_of_parcels())
    write(folder / "migrations", "0902_note", "ALTER TABLE sales ADD COLUMN note text;")
    settings = SERVICE.load_settings(
        environment="test",
        database_url=server("DATABASE_URL"),
        broker_url="memory://",
        _env_file=None,
    )
    subject = Subject(BOTH, settings, folder / "migrations", contracts=folder / "contracts")
    before = structlog.get_config()
    logs.configure(level="CRITICAL", style="console")
    asyncio.run(recorded(subject, keep=True))
    structlog.configure(**before)  # else no later test of this process sees a log record
    return subject


@pytest.fixture
def subject(released: Subject, tmp_path: Path) -> Subject:
    """The same, to be changed."""
    for name in ("migrations", "contracts"):
        shutil.copytree(getattr(released, name), tmp_path / name)
    return replace(released, migrations=tmp_path / "migrations", contracts=tmp_path / "contracts")


async def sampled(subject: Subject, file: Path) -> None:
    """Write a sample of a database that has a sale."""
    with scratch_database(subject.settings.database_url) as url:
        async with rehearse(subject, url, whole=False) as rehearsal:
            service = rehearsal.service
            People(service).known("bob@example.org")
            sample = sample_of(service.settings, service.slices, "s" * 16, whose="", most=10)
            sales = {**sample.said["sales"], "note": "not_personal"}
            sample = replace(sample, said={**sample.said, "sales": sales})
            list(sample.write(file, overwrite=True))


async def update(subject: Subject) -> None:
    """Record what is sent now."""
    Folder(subject.contracts).write((await recorded(subject)).contracts)


async def inspected(subject: Subject) -> Result:
    """What the check says."""
    (result,) = await go_through(subject, [ReleasesShareTheSchema])
    return result


def contract(subject: Subject, name: str) -> Contract:
    """One that is kept."""
    return Contract.model_validate_json((subject.contracts / f"{name}.json").read_text("utf-8"))


async def test_the_same_code_has_the_same_contracts(released: Subject) -> None:
    """Each query has one, without ids and times of a run; those of the chassis are apart."""
    first, second = [await recorded(released) for _ in range(2)]

    assert first.failures == []
    assert [each.rendered() for each in first.contracts] == [
        each.rendered() for each in second.contracts
    ]
    assert Folder(released.contracts).write(first.contracts) == []
    names = {each.name: each for each in first.contracts}
    assert {"sales.add", "sales.page", "parcels.register", "inbox.enter", "outbox.lease"} <= {
        *names
    }
    assert {each.file for each in first.contracts if each.chassis} == {
        f"chassis/{name}.json"
        for name in names
        if name.partition(".")[0] not in {"sales", "parcels"}
    }


async def test_a_contract_says_what_is_sent_and_how_it_is_found(released: Subject) -> None:
    """The facts of one that reads a page."""
    (page,) = contract(released, "sales.page").statements

    assert page.text.endswith(f"ORDER BY t1.made_at, t1.id\nLIMIT ${len(page.parameters)}")
    assert page.columns[0] == "id uuid"
    assert page.parameters[-1].endswith("bigint")
    assert (page.tables, page.writes, page.max_rows) == (["sales"], False, 101)
    assert page.tenant_pinned  # feature: row, rls, schema
    access = page.plan.relations["sales"]
    assert (access.access, access.index, access.residual_filter) == ("index", "sales_made_at", [])
    assert {"made_at", "id"} <= set(access.condition)
    assert not page.plan.sorts
    add = contract(released, "sales.add")
    assert (add.writes, add.traffic, add.statements_per_call) == (True, "high", 5)
    assert add.statements[2].plan.arbiters == ["sales_pkey"]
    (page,) = contract(released, "parcels.page").statements
    assert (page.plan.joins, {*page.plan.relations}) == (["Inner"], {"parcels", "depots"})


async def test_without_contracts_there_is_nothing_to_compare(subject: Subject) -> None:
    """A new project has none; it is inspected all the same."""
    shutil.rmtree(subject.contracts)
    result = await inspected(subject)
    assert result.passed, result.findings
    assert result.inspected > 20


async def test_a_file_that_does_not_fit_is_found(subject: Subject) -> None:
    """Missing, stale or orphaned, each with the remedy; recording again puts all right."""
    (subject.contracts / "sales.page.json").unlink()
    (subject.contracts / "chassis" / "sales.gone.json").write_text("{}", encoding="utf-8")
    stale = subject.contracts / "parcels.register.json"
    stale.write_text(stale.read_text("utf-8").replace("parcels_pkey", "no_key"), encoding="utf-8")

    findings = (await inspected(subject)).findings

    for what, finding in zip(
        (
            "sales.gone.json is orphaned",
            "parcels.register.json is stale",
            "sales.page.json is missing",
        ),
        findings,
        strict=True,
    ):
        assert what in finding
        assert "make contracts-update" in finding
    assert re.search(r'^-.*"no_key"$', findings[1], re.MULTILINE)
    assert re.search(r'^\+.*"parcels_pkey"$', findings[1], re.MULTILINE)

    await update(subject)
    assert (await inspected(subject)).passed


BREAKS = [
    ("ALTER TABLE sales RENAME COLUMN currency TO unit", "sales.add", 'column "currency"'),
    ("ALTER TABLE parcels DROP COLUMN contents", "parcels.register", 'column "contents"'),
    ("ALTER TABLE sales ADD COLUMN channel text NOT NULL", "sales.add", "give it a default"),
    ("ALTER TABLE parcels ALTER signature SET NOT NULL", "parcels.register", "let the column"),
    ("ALTER TABLE sales ALTER total_cents TYPE integer", "sales.add", "becomes integer"),
    ("ALTER TABLE sale_lines ALTER sku TYPE varchar(9)", "sales.add", "varying(9)"),
    ("ALTER TABLE journal RENAME TO diary", "sales.add", 'relation "journal"'),
    ("ALTER TABLE dead_letters RENAME type TO sort", "dead_letters.page", "column t1.type"),
    ("ALTER TABLE sales ADD CHECK (total_cents > 1000)", "sales.add", "add the check"),
]


@pytest.mark.parametrize(
    ("sql", "query", "says"),
    [
        pytest.param(*each, marks=[pytest.mark.long] if place % 2 else [])
        for place, each in enumerate(BREAKS)
    ],
)
async def test_a_change_that_breaks_the_last_release_is_found(
    subject: Subject, sql: str, query: str, says: str
) -> None:
    """The finding names query, statement, migration and what helps."""
    write(subject.migrations, "0903_breaks", f"{sql};", shared="dead_letters" in sql)
    write(subject.migrations, "0904_after", "ALTER TABLE sales ADD COLUMN later text;")

    findings = [each for each in (await inspected(subject)).findings if "of release" in each]

    assert all("of release 0.0.9 breaks at 0903_breaks: " in each for each in findings), findings
    (first, *_) = [each for each in findings if each.startswith(f"{query} ")]
    assert says in first
    assert re.search(r"its statement \d is `\w+ ", first)
    assert "phase: contract" in first


async def test_the_rows_of_a_sample_are_there(subject: Subject) -> None:
    """A key for which tables without rows have room; a sample of a later schema is refused."""
    file = subject.migrations.parent / FILE
    file.parent.mkdir()
    write(subject.migrations, "0903_one", "CREATE UNIQUE INDEX one ON sales (currency);")
    await update(subject)
    assert (await inspected(subject)).findings == ()

    (subject.migrations / "0903_one.up.sql").rename(late := subject.migrations.parent / "late.sql")
    (subject.migrations / "0903_one.down.sql").rename(back := late.with_name("back.sql"))
    await sampled(subject, file)
    late.rename(subject.migrations / "0903_one.up.sql")
    back.rename(subject.migrations / "0903_one.down.sql")
    (finding,) = (await inspected(subject)).findings
    assert finding.startswith("sales.add of release 0.0.9 breaks at 0903_one: ")

    await sampled(subject, file)
    (finding,) = (await inspected(subject)).findings
    assert "has rows of a schema with 0903_one, which is not there yet" in finding


async def test_the_same_changes_in_steps_break_nothing(subject: Subject) -> None:
    """What is added may stay empty; what is taken away is used by no release; types get wider."""
    expand = (
        "ALTER TABLE sales ADD COLUMN unit text; ALTER TABLE sales ADD COLUMN channel text;"
        "ALTER TABLE sales ADD COLUMN source text NOT NULL DEFAULT 'shop';"
        "ALTER TABLE sales ADD COLUMN total integer;"
        "ALTER TABLE sale_lines ALTER quantity TYPE bigint;"
    )
    write(subject.migrations, "0903_expand", expand, EXPAND)
    write(subject.migrations, "0904_note", "ALTER TABLE sales DROP COLUMN note;", CONTRACT)
    await update(subject)

    assert (await inspected(subject)).findings == ()


async def test_a_type_may_get_narrower_for_a_release_that_keeps_to_it(subject: Subject) -> None:
    """The contract says since which release; one before that would be refused."""
    narrower = "ALTER TABLE sale_lines ALTER sku TYPE varchar(50);"
    write(subject.migrations, "0903_sku", narrower, CONTRACT + "-- requires: release 0.0.9\n")
    await update(subject)
    assert (await inspected(subject)).findings == ()

    write(subject.migrations, "0903_sku", narrower, CONTRACT + "-- requires: release 0.0.10\n")
    assert "sale_lines.sku was text" in (await inspected(subject)).findings[0]


async def test_code_that_needs_a_contract_of_its_own_release_is_found(subject: Subject) -> None:
    """It would run before: what is taken away is taken away last."""
    file = subject.migrations / "0902_note.up.sql"
    file.write_text(file.read_text("utf-8") + "ALTER TABLE sales RENAME made_at TO sold_at;\n")
    kept = release.last(Folder(subject.contracts))
    assert kept is not None
    checksums = {each.id: each.checksum for each in migrations(subject.migrations)}
    state = kept.state.model_copy(update={"migrations": checksums, "order": []})
    release.keep(Folder(subject.contracts), Release(state, []))
    back = "ALTER TABLE sales RENAME sold_at TO made_at;"
    write(subject.migrations, "0903_back", back, CONTRACT)
    found = (await inspected(subject)).findings
    assert any(each.startswith("sales.page fails until 0903_back is applied: ") for each in found)

    write(subject.migrations, "0903_back", back, EXPAND)
    assert (await inspected(subject)).findings == ()


async def test_what_was_released_stays(subject: Subject) -> None:
    """Files that are gone or changed, and contracts that were edited."""
    file = subject.migrations / "0902_note.up.sql"
    file.write_text(file.read_text("utf-8") + "-- again\n", encoding="utf-8")
    assert (
        "0902_note.up.sql was changed after its release" in (await inspected(subject)).findings[0]
    )

    (subject.contracts / "released" / "sales.page.json").write_text("{}", encoding="utf-8")
    (finding,) = (await inspected(subject)).findings
    assert "restore it from git" in finding
