"""What `make mutations` takes out of a slice: every place of each kind, and what agrees with it."""

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import postgast
import pytest

from dev.mutations.__main__ import main
from dev.mutations.memory import Memory
from dev.mutations.mutant import Mutant
from dev.mutations.project import changed, mutants

HANDLERS = """
from shop.chassis.messaging.outbox import Outbox

async def handle(crate, *, crates, events: Outbox, manager):
    new = crates.add(crate)
    await events.add("crate.sealed", crate, provided=new)
    if await crates.is_heavy(crate):
        raise Refused("ä crate that nobody lifts")
    try:
        async with manager.savepoint():
            await crates.book(crate)
    except ConstraintViolated:
        raise
"""
REPOSITORY = '''
class Crates:
    @query("crates.page", example={})
    async def page(self, limit):
        """Those that are there."""
        return await self.fetch_page(
            Crate.select(Crate.id)
            .where(Crate.yard == 1, Crate.grams > 0)
            .order_by(Crate.sealed_at.desc())
            .for_update()
            .limit(limit),
            limit=min(limit, 100),
        )
'''
MODELS = """
class Yard(Table):
    code = peewee.TextField(primary_key=True)

    class Meta:
        table_name = "yards"


class Crate(Table):
    label = peewee.TextField(unique=True)
    yard = peewee.ForeignKeyField(Yard)
    grams = peewee.IntegerField(constraints=[Check("grams > 0"), SQL("DEFAULT 1")])

    class Meta:
        table_name = "crates"
        indexes = ((("sealed_at", "yard"), False),)
        constraints = (Check("(grams<5) OR sealed_at IS NOT NULL"),)


Crate.add_index(Crate.index(Crate.sealed_at, using="brin"))
"""
SLICE = """
from shop.chassis.slice import Slice

def crates(chassis):
    return Slice(
        "crates",
        repositories=(repository,),
        handlers={"crate.filled": Handler(Crate, one), "crate.left": Handler(Crate, two)},
        retention=[Keep("yards", "few"), Keep("crates", "ours")],
        routes=partial(_routes, chassis),
    )
"""
UP = """-- reversible: yes
CREATE TABLE yards (code text PRIMARY KEY);
CREATE TABLE crates (
    label text NOT NULL UNIQUE CHECK (label <> ''), -- ä, and a comma
    yard_id text NOT NULL REFERENCES yards (code) ON DELETE CASCADE DEFERRABLE,
    grams integer NOT NULL DEFAULT 1 CHECK (grams>0),
    sealed_at timestamptz,
    CHECK (grams < 5 OR (sealed_at IS NOT NULL))
);
CREATE INDEX crates_sealed ON crates (sealed_at, yard_id);
CREATE INDEX crates_yard ON crates (yard_id);
CREATE INDEX crates_day ON crates USING brin (sealed_at);
ALTER TABLE crates ADD CONSTRAINT light CHECK (grams < 9);
CREATE TABLE of_nobody (id int PRIMARY KEY);
"""
EXPECTED = """
check CHECK (grams < 5 OR (sealed_at IS NOT NULL)) + models.py
check CHECK (grams>0) + models.py
check CHECK (label <> '')
check ALTER TABLE crates ADD CONSTRAINT light CHECK (grams < 9)
condition Crate.grams > 0
condition Crate.yard == 1
down DROP TABLE crates; DROP TABLE yards
effect await crates.book(crate)
event await events.add("crate.sealed", crate, provided=new)
foreign key REFERENCES yards (code) ON DELETE CASCADE DEFERRABLE
index CREATE INDEX crates_day ON crates USING brin (sealed_at) + models.py
index CREATE INDEX crates_sealed ON crates (sealed_at, yard_id) + models.py
index CREATE INDEX crates_yard ON crates (yard_id) + models.py
limit .limit(limit)
limit min(limit, 100)
lock .for_update()
order .order_by(Crate.sealed_at.desc())
primary key PRIMARY KEY
provided provided=new
refusal raise
refusal raise Refused("ä crate that nobody lifts")
registration "crate.filled"
registration "crate.left"
registration @query("crates.page", example={})
registration repository
registration routes=partial(_routes, chassis)
retention Keep("crates", "ours")
retention Keep("yards", "few")
savepoint async with manager.savepoint():
unique UNIQUE + models.py
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One with a slice, and a chassis of which nothing is taken."""
    folder = tmp_path / "src" / "shop" / "crates"
    texts = {"handlers": HANDLERS, "models": MODELS, "repository": REPOSITORY, "slice": SLICE}
    for place in (folder, tmp_path / "src/shop/chassis"):
        place.mkdir(parents=True)
        for name, text in texts.items():
            (place / f"{name}.py").write_text(text, "utf-8")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/0005_crates.up.sql").write_text(UP, "utf-8")
    down = "DROP TABLE crates;\nDROP TABLE yards;\n"
    (tmp_path / "migrations/0005_crates.down.sql").write_text(down, "utf-8")
    return tmp_path


def told(mutant: Mutant) -> str:
    """Its kind, what it lacks, and the other file that it changes."""
    other = "".join(f" + {each.file.name}" for each in mutant.edits[1:])
    return f"{mutant.kind} {' '.join(mutant.what.split())}{other}"


def test_every_place_of_each_kind_is_found(project: Path) -> None:
    """In the code of the slice and in its migration, and nothing in the chassis."""
    assert sorted(map(told, mutants(project))) == sorted(EXPECTED.strip().splitlines())


def test_each_takes_one_place_away_and_what_is_left_can_be_read(project: Path) -> None:
    """It is different in its own files only, and its line is that of what it lacks."""
    for mutant in mutants(project):
        texts = mutant.changed(project)
        assert set(texts) == {each.file for each in mutant.edits}
        for file, text in texts.items():
            assert text != (project / file).read_bytes()
            (ast.parse if file.suffix == ".py" else postgast.parse)(text.decode())
        lines = (project / mutant.edits[0].file).read_text("utf-8").splitlines()
        assert mutant.what.splitlines()[0] in lines[mutant.line - 1]


def test_every_kind_comes_early(project: Path) -> None:
    """A run that is short of time has seen one of each."""
    kinds = [each.kind for each in mutants(project)]
    assert len(set(kinds[: len(set(kinds))])) == len(set(kinds))


def git(project: Path) -> Callable[..., None]:
    """Git in that folder."""

    def run(*arguments: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(["git", *who, *arguments], cwd=project, check=True, capture_output=True)

    return run


def test_files_that_have_changed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changed, staged and new ones, also where the project is a folder of a repository."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    package = project / "src"
    git(project)("init", "-q")
    git(project)("add", ".")
    git(project)("commit", "-qm", "one")
    assert changed(project, "HEAD") == set()
    monkeypatch.chdir(project)
    assert main([]) == 0
    assert "nothing of a slice has changed since HEAD" in capsys.readouterr().out

    (package / "shop/crates/models.py").write_text(f"{MODELS}\n\n", "utf-8")
    (package / "shop/crates/new.py").touch()
    assert changed(package, "HEAD") == {Path("shop/crates/models.py"), Path("shop/crates/new.py")}
    with pytest.raises(SystemExit):
        main(["--since", "nowhere"])
    assert "git knows no commit 'nowhere'" in capsys.readouterr().err
    assert main(["--check"]) == 0  # no server is there


def test_what_is_known_is_not_asked_again(project: Path) -> None:
    """Unless its file is another one; a survivor already if there is another test."""
    killed, survivor = mutants(project)[:2]
    memory = Memory(project)
    memory.keep(killed, "K1")
    memory.keep(survivor, "")
    memory.keep(None, "")
    assert memory.before(killed.kind) == ["K1"]

    again = Memory(project)
    assert (again.answer(killed), again.answer(survivor), again.sound) == ("K1", "", True)
    (project / "tests").mkdir()
    (project / "tests/test_crates.py").touch()
    again = Memory(project)
    assert (again.answer(killed), again.answer(survivor), again.sound) == ("K1", None, False)
    for edit in killed.edits:
        with (project / edit.file).open("a") as file:
            file.write("\n")
    assert Memory(project).answer(killed) is None
