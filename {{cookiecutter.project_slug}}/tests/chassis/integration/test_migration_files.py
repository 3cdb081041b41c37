"""Which files are migrations, whether they are those that were applied, and in which sale."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acme_orders.chassis.errors import ConfigurationError

from tests.chassis.integration.migrating import Migrations, emptied

FIRST = "-- reversible: yes\n\nCREATE TABLE one (x text DEFAULT 'a\nb');\n"


@pytest.fixture
def project(empty: str, tmp_path: Path) -> Migrations:
    """A folder with one migration, and an empty database."""
    made = Migrations(emptied(empty), tmp_path / "migrations")
    made.folder.mkdir()
    made.write("0001_one", FIRST, "DROP TABLE one;\n")
    return made


def ways(project: Migrations) -> list[Callable[[], object]]:
    """Everything that looks at the files."""
    migrator = project.migrator
    return [migrator.pending, migrator.verify, project.up, project.down]


def _link(folder: Path, name: str, to: str) -> None:
    (folder / name).symlink_to(to)


BAD_NAMES = [
    (lambda f: (f / "0002_two.sql").touch(), r"0002_two\.sql: call it like 0007_what_it_does"),
    (lambda f: (f / "0002_two.UP.sql").touch(), r"0002_two\.UP\.sql: call it like"),
    (lambda f: (f / "0002_two.up.SQL").touch(), r"0002_two\.up\.SQL: call it like"),
    (lambda f: (f / "0002_Two.up.sql").touch(), "in lower case"),
    (lambda f: (f / "2_two.up.sql").touch(), r"2_two\.up\.sql: call it like"),
    (lambda f: (f / "00002_two.up.sql").touch(), r"00002_two\.up\.sql: call it like"),
    (lambda f: (f / "\u0660\u0660\u0660\u0662_two.up.sql").touch(), "call it like"),
    (lambda f: (f / "0002-two.down.sql").touch(), r"0002-two\.down\.sql: call it like"),
    (lambda f: (f / "dump.sql").touch(), "what is no migration belongs elsewhere"),
    (lambda f: (f / "0002_two.up.sql").touch(), r"0002_two\.down\.sql is missing: write how to"),
    (lambda f: (f / "0002_two.down.sql").touch(), r"0002_two\.up\.sql is missing: write what"),
    (lambda f: (f / "0001_other.up.sql").touch(), r"number 0001 is taken by 0001_one"),
    (lambda f: (f / "0001_other.down.sql").touch(), r"number 0001 is taken by 0001_one"),
    (lambda f: (f / "0001_one.down.sql").rename(f / "0001_two.down.sql"), "number 0001 is taken"),
    (lambda f: (f / "0002_two.up.sql").mkdir(), r"0002_two\.up\.sql is a folder"),
    (lambda f: _link(f, "0002_two.up.sql", "nowhere"), r"or a link that leads nowhere"),
    (lambda f: _link(f, "0002_two.up.sql", "0002_two.up.sql"), r"or a link that leads nowhere"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD_NAMES)
def test_a_file_that_would_be_passed_over_is_named(
    project: Migrations, spoil: Callable[[Path], object], reason: str
) -> None:
    """By everything that looks at the files."""
    project.up()
    spoil(project.folder)
    for look in ways(project):
        with pytest.raises(ConfigurationError, match=reason):
            look()
    assert project.applied() == ["0001_one"]


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_folder_that_is_none_is_named(project: Migrations, folder: str) -> None:
    """Somebody stands elsewhere."""
    (project.folder.parent / "file").touch()
    elsewhere = Migrations(project.url, project.folder.parent / folder)
    for look in ways(elsewhere):
        with pytest.raises(
            ConfigurationError, match=f"no migrations in .*{folder}: .*; run in the"
        ):
            look()


def test_an_empty_folder_is_named(project: Migrations, tmp_path: Path) -> None:
    """It would look as if nothing were pending."""
    (tmp_path / "empty").mkdir()
    for look in ways(Migrations(project.url, tmp_path / "empty")):
        with pytest.raises(
            ConfigurationError, match=r"no migrations in .*empty: run in the project"
        ):
            look()


def test_links_gaps_and_other_files_are_no_trouble(project: Migrations, tmp_path: Path) -> None:
    """Kubernetes mounts files as links; editors leave files with a dot."""
    elsewhere = Migrations(project.url, tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    elsewhere.write("0007_linked", "CREATE TABLE linked (x text);\n", "DROP TABLE linked;\n")
    for way in ("up", "down"):
        name = f"0007_linked.{way}.sql"
        _link(project.folder, name, str(elsewhere.folder / name))
    _link(project.folder, ".#0007_linked.up.sql", "me@here.1234")
    (project.folder / "README.md").touch()
    (project.folder / "0007_linked.up.sql~").touch()
    (project.folder / "notes").mkdir()
    assert project.up() == ["0001_one", "0007_linked"]
    assert project.down() == ["0007_linked"]


SPELLINGS = [
    ("as it is", lambda text: text),
    ("from Windows", lambda text: text.replace("\n", "\r\n")),
    ("with a byte-sale mark", lambda text: f"\ufeff{text}"),
    ("both", lambda text: "\ufeff" + text.replace("\n", "\r\n")),
    ("without the last end of a line", lambda text: text.rstrip("\n")),
    ("from Windows, without it", lambda text: text.rstrip("\n").replace("\n", "\r\n")),
    ("with more of them", lambda text: text + "\n\n"),
]
Spelling = tuple[str, Callable[[str], str]]


@pytest.mark.parametrize("before", SPELLINGS, ids=lambda each: each[0])
@pytest.mark.parametrize("after", SPELLINGS, ids=lambda each: each[0])
def test_the_same_text_is_the_same_migration(
    project: Migrations, before: Spelling, after: Spelling
) -> None:
    """However it is written, and whoever applied it: it does the same."""
    file = project.write("0002_body", before[1](FIRST.replace("one", "two")), "DROP TABLE two;\n")
    project.up()
    default = "SELECT column_default FROM information_schema.columns WHERE table_name = 'two'"
    assert project.rows(default) == [("'a\nb'::text",)]
    file.write_bytes(after[1](FIRST.replace("one", "two")).encode())
    assert project.up() == []
    project.migrator.verify()
    assert project.down() == ["0002_body"]


@pytest.mark.parametrize("before", SPELLINGS, ids=lambda each: each[0])
@pytest.mark.parametrize("after", SPELLINGS[:4], ids=lambda each: each[0])
def test_a_history_of_bytes_is_still_understood(
    project: Migrations, before: Spelling, after: Spelling
) -> None:
    """Earlier versions recorded the checksum of the file, whatever was in it."""
    project.up()
    raw = hashlib.sha256(before[1](FIRST).encode()).hexdigest()
    project.rows(f"UPDATE schema_migrations SET checksum = '{raw}'")
    if before[0] == "with more of them" and after[0] != "as it is":
        return  # nobody can know how many there were
    text = before[1](FIRST) if after[0] == "as it is" else after[1](FIRST)
    (project.folder / "0001_one.up.sql").write_bytes(text.encode())
    project.migrator.verify()


def test_a_file_that_ends_its_lines_in_two_ways_is_what_was_recorded(project: Migrations) -> None:
    """Its checksum was that of these very bytes."""
    mixed = FIRST.encode().replace(b"\n\n", b"\r\n\n")
    (project.folder / "0001_one.up.sql").write_bytes(mixed)
    project.up()
    raw = hashlib.sha256(mixed).hexdigest()
    project.rows(f"UPDATE schema_migrations SET checksum = '{raw}'")
    project.migrator.verify()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("TABLE", "TABLE IF NOT EXISTS"),
        lambda text: text.replace("\n\n", "\n-- in a hurry\n"),
        lambda text: text.replace(" (", "  ("),
        lambda text: "",
    ],
)
def test_an_applied_file_that_was_changed_is_refused(
    project: Migrations, change: Callable[[str], str]
) -> None:
    """In every direction: what it did is not what it says, and its way back may not fit."""
    project.up()
    project.write("0001_one", change(FIRST), "DROP TABLE one;\n")
    for look in ways(project):
        with pytest.raises(ConfigurationError, match=r"0001_one\.up\.sql was changed after it was"):
            look()
    assert project.applied() == ["0001_one"]


def test_a_way_back_may_be_mended(project: Migrations) -> None:
    """The history knows what was done, not what would undo it."""
    project.up()
    project.write("0001_one", FIRST, "DROP TABLE one CASCADE;\n")
    project.migrator.verify()
    assert project.down() == ["0001_one"]


@pytest.mark.parametrize("late", ["0002_mine", "0003_mine"])
def test_a_number_that_comes_too_late_is_refused(project: Migrations, late: str) -> None:
    """Two branches met: the other one's is applied already. Both remedies help."""
    project.write("0003_theirs", "CREATE TABLE theirs (x text);\n", "DROP TABLE theirs;\n")
    project.up()
    elsewhere = project.folder.parent
    if late == "0003_mine":  # theirs is not here yet
        move(project.folder, "0003_theirs", elsewhere)
    project.write(late, "CREATE TABLE mine (x text);\n", "DROP TABLE mine;\n")
    for look in ways(project)[:3]:
        with pytest.raises(ConfigurationError, match=f"{late} is pending, but 0003_theirs") as told:
            look()
    assert "call its files 0004_mine" in str(told.value)
    assert project.applied() == ["0001_one", "0003_theirs"]
    for file in list(project.folder.glob(f"{late}.*")):
        file.rename(project.folder / file.name.replace(late, "0004_mine"))
    move(elsewhere, "0003_theirs", project.folder)
    assert project.up() == ["0004_mine"]


def move(before: Path, identity: str, after: Path) -> None:
    """Both files of a migration, to another folder."""
    for file in list(before.glob(f"{identity}.*")):
        file.rename(after / file.name)


@pytest.mark.parametrize("gone", ["0001_one", "0002_two", "chassis/0001_three", "chassis/000*"])
def test_a_hole_is_refused(project: Migrations, tmp_path: Path, gone: str) -> None:
    """Of whom it is: what comes later was written for what was there. Restored, it goes on."""
    (project.folder / "chassis").mkdir()
    for number, name in enumerate(("one", "two", "three"), 1):
        project.write(f"000{number}_{name}", f"CREATE TABLE {name} (x text);\n")
    for number, name in enumerate(("three", "four"), 1):
        project.write(f"chassis/000{number}_{name}", f"ALTER TABLE one ADD {name} text;\n")
    project.up()
    project.write("0004_new", "CREATE TABLE new (x text);\n")
    (away := tmp_path / "away").mkdir()
    folder = (project.folder / gone).parent
    move(folder, Path(gone).name, away)
    known = gone.replace("*", "1_three")
    for look in ways(project)[:3]:
        with pytest.raises(ConfigurationError, match=f"{known} is applied, and its files are not"):
            look()
    assert project.rows("SELECT to_regclass('new')") == [(None,)]
    move(away, "0*", folder)
    assert project.up() == ["0004_new"]


def test_only_the_last_files_of_each_owner_may_be_missing(
    project: Migrations, tmp_path: Path
) -> None:
    """A release is taken back that brought some of both."""
    (project.folder / "chassis").mkdir()
    own = ("0002_two", "0003_three", "0004_four", "0005_five")
    for each in (*own, "chassis/0001_a", "chassis/0002_b", "chassis/0003_c"):
        project.write(each, f"CREATE TABLE t{each[-3:]} (x text);\n")
    project.up()
    for each in own[2:]:
        move(project.folder, each, tmp_path)
    for each in ("0002_b", "0003_c"):
        move(project.folder / "chassis", each, tmp_path)
    project.migrator.verify()
    assert project.up() == []


def test_taking_back_what_came_too_early_helps_as_well(project: Migrations) -> None:
    """Where the late one is applied elsewhere under its number."""
    project.write("0003_theirs", "CREATE TABLE theirs (x text);\n", "DROP TABLE theirs;\n")
    project.up()
    project.write("0002_mine", "CREATE TABLE mine (x text);\n", "DROP TABLE mine;\n")
    assert project.down() == ["0003_theirs"]
    assert project.up() == ["0002_mine", "0003_theirs"]


def test_an_update_of_the_template_takes_no_number_of_the_project(project: Migrations) -> None:
    """Its migrations come after those that were there, and are no reason to refuse the next one."""
    project.write("0002_mine", "CREATE TABLE mine (x text);\n", "DROP TABLE mine;\n")
    project.up()
    (project.folder / "chassis").mkdir()
    project.write("chassis/0001_theirs", "CREATE TABLE theirs (x text);\n", "DROP TABLE theirs;\n")
    assert project.up() == ["chassis/0001_theirs"]
    project.write("0003_mine", "ALTER TABLE theirs ADD y text;\n", "ALTER TABLE theirs DROP y;\n")
    project.write("chassis/0003_theirs", "CREATE TABLE third (x text);\n", "DROP TABLE third;\n")
    assert project.up() == ["0003_mine", "chassis/0003_theirs"]
    project.write("chassis/0002_late", "CREATE TABLE late (x text);\n", "DROP TABLE late;\n")
    with pytest.raises(ConfigurationError, match="chassis/0002_late is pending, but chassis/0003"):
        project.up()
    for file in list((project.folder / "chassis").glob("0002_late.*")):
        file.unlink()
    assert project.down() == ["chassis/0003_theirs"]
    assert project.down() == ["0003_mine"]
    assert project.down() == ["chassis/0001_theirs"]
    assert project.down() == ["0002_mine"]


def test_a_newer_version_that_was_here_before_is_no_trouble(project: Migrations) -> None:
    """While a release is taken back, the older one starts and has nothing to do."""
    project.write("0002_newer", "CREATE TABLE newer (x text);\n", "DROP TABLE newer;\n")
    project.up()
    for file in project.folder.glob("0002_newer.*"):
        file.unlink()
    assert project.up() == []
    project.migrator.verify()
    with pytest.raises(ConfigurationError, match="0002_newer is applied, and its files are not in"):
        project.down()


def run(project: Migrations, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where the migrations are."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chassis", *arguments],
        cwd=project.folder.parent,
        env={
            **os.environ,
            "ENVIRONMENT": "test",
            "DATABASE_URL": project.url,
            "BROKER_URL": "memory://",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_command_says_what_is_wrong_with_the_files(project: Migrations) -> None:
    """In one line and with exit status 78; `status` shows what is applied all the same."""
    project.up()
    project.write("0002_half", "CREATE TABLE half (x text);\nCOMMIT;\n")
    for arguments in (["plan"], ["up"]):
        ended = run(project, "migrate", *arguments)
        assert (ended.returncode, ended.stdout) == (78, "")
        assert "0002_half.up.sql:2: `COMMIT`: a file is one transaction" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    (project.folder / "0001_one.up.sql").write_bytes(b"-- \xe4\n")
    for arguments in (["down"], ["status"]):
        ended = run(project, "migrate", *arguments)
        assert ended.returncode == 78
        assert "0001_one.up.sql:1: byte 4 of this line, 0xE4, is not UTF-8" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert "0001_one" in ended.stdout
