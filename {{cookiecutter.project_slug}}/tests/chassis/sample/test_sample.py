"""A sample of a live database has nothing of anybody, and goes into an empty one."""

import gzip
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from uuid import (
    UUID,  # feature: row, rls, schema
    uuid4,
)

import pytest

from acme_orders.chassis.cli.export_sample import sample_of
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.sample.export import LeakError, Sample
from acme_orders.chassis.sample.leaks import Leaks

from dev.databases import Databases
from readiness.sample import SampleFile, on_sample
from readiness.scratch import rows_of, scratch_database
from tests.chassis.conftest import (
    Connect,
    apply_migrations,  # feature: schema
    home,
)
from tests.chassis.erasure.people import (
    NAME,
    SHAPES,
    WHOSE,  # feature: row, rls, schema
    People,
)
from tests.conftest import (
    add_tenant,  # feature: row, rls, schema
    server,
)

STAFF = """
CREATE TYPE public.pair AS (one text, two text);
CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 99);
CREATE TABLE public.teams (id bigint PRIMARY KEY, lead bigint);
CREATE TABLE public.staff (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, boss bigint REFERENCES public.staff,
    team bigint NOT NULL REFERENCES public.teams, email text UNIQUE CHECK (email ~ '^[^@]+@[^@]+$'),
    code char(3) UNIQUE CHECK (code ~ '^[A-Z]{3}$'), phones text[], names public.pair, photo bytea,
    scans bytea[], more jsonb, papers jsonb[], old json, born date, seen timestamptz,
    salary numeric(9, 2) CHECK (salary > 0), at inet, note varchar(40), called public.short,
    shout text GENERATED ALWAYS AS (upper(note)) STORED, secret uuid, phone bigint
);
CREATE INDEX ON public.staff (boss);
ALTER TABLE public.teams ADD FOREIGN KEY (lead) REFERENCES public.staff
"""
SOME = """
WITH team AS (INSERT INTO public.teams SELECT number, number FROM generate_series(1, 40) AS number)
INSERT INTO public.staff (id, boss, team, email, code, phones, names, photo, scans, more, papers,
    old, born, seen, salary, at, note, called, secret, phone) OVERRIDING SYSTEM VALUE
SELECT number, 1 + number % 40, 1 + number * 7 % 40, 'Hara' || number || '@example.org',
    chr(65 + number / 26) || chr(65 + number % 26) || 'H', ARRAY['+49 30 77700' || number, 'Hara'],
    ROW ('Hara', 'x"y,Hara ' || number)::public.pair, convert_to('Hara ' || number, 'UTF8'),
    ARRAY['\\x00ff'::bytea, convert_to('{"x":"Hara"}', 'UTF8')],
    jsonb_build_object('Hara @', number, 'deep', jsonb_build_array('Hara', 'Hara' || number
        || '@example.org', '1980-01-02', 7770001)),
    ARRAY['{"x": "Hara"}', '["Hara"]']::jsonb[], '"Hara"', date '1980-01-02' + number, now(),
    4711.5 + number, '192.0.2.7', 'Hara is here', 'Hara',
    md5(number::text)::uuid, 491701234567 + number
FROM generate_series(1, 40) AS number
"""
KINDS = {
    "personal": "email code phones names photo scans born seen salary at called secret phone",
    "free_text": "more old note papers",
}
MARKS = ("hara", "77700", "1980-0", "192.0.2", "4917012345", "c4ca4238")


@pytest.fixture
def empty(migrated: str) -> Iterator[str]:
    """A second database, migrated and empty."""
    databases = Databases(server("DATABASE_URL"))
    url = databases.create(template=migrated)
    yield url
    databases.drop(url)


def sampled(service: Service, *, whose: str = "", most: int = 100, seed: str = "s" * 16) -> Sample:
    """What is exported, with the tables of staff."""
    sample = sample_of(service.settings, service.slices, seed, whose=whose, most=most)
    staff = {name: kind for kind, names in KINDS.items() for name in names.split()}
    return replace(sample, said={**sample.said, "staff": staff})


def text_of(file: Path) -> str:
    """What it says."""
    return gzip.decompress(file.read_bytes()).decode()


def files(folder: Path) -> list[str]:
    """What is in it, hidden files too."""
    return sorted(each.name for each in folder.iterdir())


async def test_a_sample_goes_round_and_nothing_of_anybody_is_in_it(
    connect: Connect, tmp_path: Path, empty: str
) -> None:
    """Whatever the type of a column, whoever refers to whom."""
    async with connect() as service:
        people = People(service)
        rows_of(people.url, STAFF)
        rows_of(people.url, SOME)
        people.known(NAME)
        people.scatter(NAME)
        for text in SHAPES.values():
            people.put("journal", id=str(uuid4()), event_type="told", payload=json.dumps([text]))
        people.known("x.Hara@example.org")
        people.put(
            "journal",
            id=str(uuid4()),
            event_type="told",
            payload=json.dumps({"to": "x.Hara@example.org"}),
        )
        file = tmp_path / "a.gz"
        counts = {each.name: each.rows for each in sampled(service).write(file)}
        list(sampled(service).write(tmp_path / "b.gz"))
        list(sampled(service, seed="another secret").write(tmp_path / "c.gz"))
        assert file.read_bytes() == (tmp_path / "b.gz").read_bytes()
        assert text_of(file) != text_of(tmp_path / "c.gz")
        told = text_of(file)
        for line in told.splitlines():
            assert not [mark for mark in MARKS if mark in line.lower()], line
        assert not [name for name, text in SHAPES.items() if text in told]
        rows_of(empty, STAFF)
        sample = SampleFile(file)
        _register(sample, empty)
        assert sample.load(empty) == sum(map(len, sample.rows.values())) - _registered(sample)
        assert rows_of(empty, "SELECT count(*), count(DISTINCT email) FROM staff") == [(40, 40)]
        assert rows_of(empty, "SELECT count(*) FROM staff JOIN teams ON lead = staff.id") == [(40,)]
        joined = "SELECT count(*) FROM staff WHERE more -> 'deep' ->> 1 = email"
        assert rows_of(empty, joined) == [(40,)]
        assert counts["public.staff"] == 40
        people.url = empty
        assert people.count("buyers") == people.count("sales") == 2
        assert people.count("dead_letters") == 3
        dump = "\n".join(people.dump()).lower()
        assert "hara" not in dump
        letters = rows_of(empty, _JOINED.format(people.place("journal"), people.place("buyers")))
        assert letters == [(1,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_planted_leak_is_found(shape: str) -> None:
    """In any shape, in a text, a document or bytes; what others have is none."""
    for value in (SHAPES[shape], {"a": [SHAPES[shape]]}, "\\x" + SHAPES[shape].encode().hex()):
        leaks = Leaks(set())
        leaks.read(json.dumps({"table": "sales", "row": {"sku": value}}))
        assert leaks.find(NAME, free=False) == "sales.sku"
        assert not leaks.find("bob@example.org", free=False)


async def test_a_value_that_only_others_have_is_found_too(connect: Connect, tmp_path: Path) -> None:
    """Somebody whose rows are not in the sample, in a document of bytes."""
    async with connect() as service:
        people = People(service)
        for number in range(30):
            people.known(f"somebody{number:02}@example.org")
        people.put("journal", id=_ID, event_type='{"x": ["somebody1"]}', payload="{}")
        list(sampled(service, most=2).write(tmp_path / "x.gz"))
        people.empty("journal")
        text = '{"x": ["somebody17@example.org"]}'
        people.put("journal", id=_ID, event_type=text, payload="{}")
        with pytest.raises(LeakError, match=r"buyers\.email .* .*journal\.event_type"):
            list(sampled(service, most=2).write(tmp_path / "y.gz"))
        assert files(tmp_path) == ["x.gz"]


async def test_migrations_are_applied_to_its_rows(connect: Connect, tmp_path: Path) -> None:
    """One that these do not survive is found."""
    async with connect() as service:
        people, file = People(service), tmp_path / "x.gz"
        people.known(NAME)
        people.scatter(NAME)
        list(sampled(service).write(file))
        folder = tmp_path / "migrations"
        copytree(home() / "migrations", folder)
        with scratch_database(people.url) as url:
            assert not list(on_sample(url, folder, file))
            assert rows_of(url, "SELECT count(*) FROM dead_letters") == [(3,)]
        text = (
            "-- reversible: yes\n\nALTER TABLE outbox ADD CONSTRAINT never CHECK (attempts > 0);\n"
        )
        (folder / "0999_never.up.sql").write_text(text)
        (folder / "0999_never.down.sql").write_text("ALTER TABLE outbox DROP CONSTRAINT never;\n")
        with scratch_database(people.url) as url:
            (finding,) = on_sample(url, folder, file)
        assert "on the rows of x.gz" in finding
        assert "never" in finding


async def test_what_nobody_has_classified_is_refused(connect: Connect, tmp_path: Path) -> None:
    """With the line to write."""
    async with connect() as service:
        people = People(service)
        people.scatter(NAME)
        rows_of(people.url, STAFF)
        rows_of(people.url, SOME)
        sample = sampled(service)
        kinds = {table: each for table, each in sample.said.items() if table != "journal"}
        kinds["staff"] = {name: kind for name, kind in kinds["staff"].items() if name != "note"}
        with pytest.raises(ConfigurationError) as refused:
            list(replace(sample, said=kinds).write(tmp_path / "x.gz"))
        assert "not_personal = ('event_type', 'payload',)".replace("'", '"') in str(refused.value)
        assert "in the Meta of JournalEntry in models.py" in str(refused.value)
        assert "public.staff has personal data in note (character varying(40))" in str(
            refused.value
        )
        assert not files(tmp_path)


async def test_bad_input_has_an_answer(connect: Connect, tmp_path: Path) -> None:
    """And leaves what was there."""
    async with connect() as service:
        people, file = People(service), tmp_path / "x.gz"

        def refused(file: Path = file, **changes: str) -> str:
            with pytest.raises(ConfigurationError) as error:
                list(sampled(service, **changes).write(file))  # type: ignore[arg-type]
            return str(error.value)

        assert "there are no rows" in refused()
        people.known(NAME)
        assert "there is no folder" in refused(tmp_path / "none" / "x.gz")
        assert "no tenant" in refused(whose=str(UUID(int=9)))  # feature: row, rls, schema
        file.write_text("mine")
        assert "--overwrite replaces it" in refused()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        try:
            assert "File too large" in refused(tmp_path / "y.gz")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert files(tmp_path) == ["x.gz"]
        list(sampled(service).write(file, overwrite=True))
        assert SampleFile(file).rows
        file.write_text("mine")
        with pytest.raises(ConfigurationError, match="is no sample"):
            SampleFile(file)


# feature: row, rls, schema {
async def test_one_tenant_alone(connect: Connect, tmp_path: Path) -> None:
    """Nothing of another one is in it."""
    async with connect() as service:
        people = People(service)
        other = UUID("00000000-0000-0000-0000-00000000000b")
        add_tenant(people.url, other)
        apply_migrations(people.url)  # feature: schema
        people.known(NAME)
        people.whose = str(other)
        people.known(NAME)
        list(sampled(service, whose=WHOSE).write(tmp_path / "x.gz"))
        list(sampled(service).write(tmp_path / "all.gz"))
        assert other.hex not in text_of(tmp_path / "x.gz").replace("-", "")
        assert other.hex in text_of(tmp_path / "all.gz").replace("-", "")


# feature: row, rls, schema }
@pytest.mark.long
@pytest.mark.timeout(480)
def test_memory_does_not_grow_with_the_database(database_url: str, tmp_path: Path) -> None:
    """Two million rows: the process is no larger than with two thousand; a bar tells how far."""
    rows_of(database_url, MANY)
    small, _ = peak(database_url, 2000, tmp_path / "a.gz")
    large, compared = peak(database_url, 2_000_000, tmp_path / "b.gz")
    assert compared >= 4_000_000
    assert large < small + 24 * 2**10, (small, large)
    assert len(SampleFile(tmp_path / "b.gz").rows["public.many"]) == 50


def peak(url: str, count: int, file: Path) -> tuple[int, int]:
    """KiB that a process needs for a sample of so many rows, and how many values its bar counts."""
    rows_of(url, "TRUNCATE public.many")
    rows_of(url, FILL, (count,))
    rows_of(url, "ANALYZE public.many")
    command = [sys.executable, "-c", CHILD, url, str(file)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    bars = re.findall(r"([\d,]+) of ([\d,]+)", told)
    done, total = (int(each.replace(",", "")) for each in bars[-1])
    assert done == total
    assert len(set(bars)) > 1, told
    return int(told.splitlines()[-1]), done


MANY = "CREATE TABLE public.many (id bigint PRIMARY KEY, email text NOT NULL, note text NOT NULL)"
FILL = """
INSERT INTO public.many SELECT number, 'hara' || number || '@example.org', 'of Hara ' || number
FROM generate_series(1, %s) AS number
"""
CHILD = """
import resource, sys
from pathlib import Path
from rich.console import Console
from acme_orders.chassis.cli.bar import watched
from acme_orders.chassis.cli.export_sample import steps_of
from acme_orders.chassis.erasure.classes import Classes
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.sample.export import Sample
many = Classes("many", "Many", {"email": "personal", "note": "free_text"})
sample = Sample(sys.argv[1], {**OWN, "many": many.kinds}, [many], "s" * 16, most=50)
watched("x", steps_of(sample.write(Path(sys.argv[2]))), Console(force_terminal=True, width=120))
print()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _register(sample: SampleFile, url: str) -> None:
    rows_of(url, "SELECT 1")
    sample.register(url)  # feature: row, rls, schema


def _registered(sample: SampleFile) -> int:
    return len(sample.rows.get("public.tenants", []))


_JOINED = """
SELECT count(*) FROM {}.journal JOIN {}.buyers ON payload ->> 'to' = email
"""
_ID = "00000000-0000-0000-0000-00000000000a"
