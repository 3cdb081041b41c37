"""`make template-update`: what the template gets comes, what a team has done stays.

The project is made of an earlier template, changed as a team would, and updated to the template as
it stands here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.answers import PROJECT, ROOT
from tests.conftest import Commit, Sample, generate, git, read, write
from tests.first_state import arrives, empty_database, filled, first_state
from tests.test_service import edit, passes, python

NAMES = {"project_name": "My Shop", "project_slug": "my-shop", "package_name": "my_shop"}
DURATIONS = "src/acme_orders/chassis/durations.py"
NEW_MIGRATION = "migrations/chassis/0006_erasure"
EARLIER: dict[str, tuple[str, str]] = {  # how the template was, in the words of what it is
    DURATIONS: ('"""Durations in settings:', '"""Durations of settings:'),
    "src/acme_orders/orders/handlers.py": ("once.", "one time."),
    "docs/limits.md": ("# ", "# The "),
}
SETTING = """
    parcel_weight: int = Field(30_000, gt=0, description="grams; the van takes no more")
"""


def earlier(template: Path) -> None:
    """Commit what the template was before, under the tag v0.1.0, and what it is, as v0.2.0."""
    now = template.parent / "now"
    shutil.copytree(template, now, ignore=shutil.ignore_patterns(".git"))
    live = template / PROJECT
    for file, (new, old) in EARLIER.items():
        text = (live / file).read_text("utf-8")
        assert new in text
        (live / file).write_text(text.replace(new, old, 1), "utf-8")
    for way in ("up", "down"):
        (live / f"{NEW_MIGRATION}.{way}.sql").unlink()
    write(live, {"docs/gone.md": "What the template no longer has.\n"})
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message=Earlier")
    git(template, "tag", "v0.1.0")
    shutil.rmtree(live)
    shutil.copytree(now / PROJECT, live)
    changes = (now / "CHANGELOG.md").read_text("utf-8")
    news = "### What changed for you\n\n- Durations are spelled in another way.\n\n"
    write(template, {"CHANGELOG.md": changes.replace("### Added", f"{news}### Added", 1)})
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message=Now")
    git(template, "tag", "v0.2.0")


def made_of(template: Path, version: str, output: Path) -> Path:
    """A project in git, as the template was then."""
    git(template, "checkout", "--quiet", version)
    project = generate(template, output, **NAMES)
    git(template, "checkout", "--quiet", "main")
    git(project, "init", "--quiet", "--initial-branch=main")
    committed(project, "Generated")
    return project


def committed(project: Path, message: str) -> None:
    """Commit all that git does not ignore."""
    git(project, "add", "--all")
    git(project, "commit", "--quiet", f"--message={message}")


def worked_on(project: Path) -> None:
    """A team's work: a slice, a column, a setting, words, a package, and files that go."""
    done = python(project, "-m", "dev.new", "--slice", "parcels")
    assert done.returncode == 0, done.stderr
    (model,) = (project / "src/my_shop/parcels").glob("models.py")
    model.write_text(model.read_text("utf-8") + "\n# ours\n", "utf-8")
    edit(
        project, "src/my_shop/orders/messages.py", "class OrderForm", "# ours\n\n\nclass OrderForm"
    )
    settings = project / "src/my_shop/settings.py"
    text = settings.read_text("utf-8")
    first = "from my_shop.chassis.settings"
    settings.write_text(text.replace(first, f"from pydantic import Field\n\n{first}") + SETTING)
    edit(project, "README.md", "# My Shop\n", "# My Shop\n\nAsk Ada about it.\n")
    edit(project, "pyproject.toml", 'version = "0.1.0"', 'version = "1.4.0"')
    edit(project, "pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "attrs>=25",\n')
    git(project, "rm", "--quiet", "docs/limits.md")
    committed(project, "Ours")


def update(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What stands behind the verb, of the template as it is here."""
    place = str(ROOT / PROJECT)
    environment = {**os.environ, "PYTHONPATH": place, "PYTHONSAFEPATH": "1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "dev.template", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def two_versions(template: Path, tmp_path: Path) -> Path:
    """A template with an earlier release, and one that is what stands here."""
    copy = tmp_path / "template"
    shutil.copytree(template, copy)
    earlier(copy)
    return copy


def test_what_a_team_has_done_stays(two_versions: Path, tmp_path: Path) -> None:
    """And what the template has got comes; the end says whether the project starts."""
    project = made_of(two_versions, "v0.1.0", tmp_path / "out")
    worked_on(project)
    ours = {path: (project / path).read_bytes() for path in git(project, "ls-files").split()}

    done = update(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from v0.1.0 to v0.2.0" in done.stdout
    assert "Durations are spelled in another way." in done.stdout
    assert re.search(r"1 files stay away.*\n  docs/limits.md", done.stdout)

    changed = set(git(project, "diff", "--cached", "--name-only").split())
    came = {"src/my_shop/chassis/durations.py", "src/my_shop/orders/handlers.py"}
    files = {f"{NEW_MIGRATION}.{way}.sql" for way in ("up", "down")}
    assert changed == {*came, *files, ".cruft.json", "docs/gone.md"}
    assert git(project, "status", "--porcelain", "--untracked-files").count("??") == 0
    kept = {path: text for path, text in ours.items() if path not in changed}
    assert kept == {path: (project / path).read_bytes() for path in kept}
    durations = (project / "src/my_shop/chassis/durations.py").read_text("utf-8")
    assert durations.startswith('"""Durations in settings:')
    known = json.loads((project / ".cruft.json").read_text("utf-8"))
    assert known["commit"] == git(two_versions, "rev-parse", "main")

    proof = python(project, "-m", "dev.template.proof")
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert f"{NEW_MIGRATION}.up.sql" in proof.stdout
    committed(project, "Updated")
    assert update(project).stdout.startswith("up to date: v0.2.0")

    edit(project, "src/my_shop/chassis/durations.py", "def _parse_ladder", "def _parse_stairs")
    edit(project, "migrations/0003_inbox.up.sql", "CREATE TABLE inbox", "CREATE TABLE inboxes")
    broken = python(project, "-m", "dev.template.proof")
    assert broken.returncode == 1
    assert "THE PROJECT DOES NOT START" in broken.stderr
    assert "cannot be imported: NameError" in broken.stderr
    assert "migrations/0003_inbox.up.sql is not what was committed" in broken.stderr


@pytest.mark.matrix
@pytest.mark.timeout(1500)
def test_from_the_first_state_of_the_template(template: Path, tmp_path: Path) -> None:
    """As it really was, with a filled database; the team's slices pass their tests afterwards."""
    origin = first_state(tmp_path)
    git(origin, "tag", "v0.0.1")
    project = made_of(origin, "v0.0.1", tmp_path / "out")
    worked_on(project)
    with empty_database() as url:
        before = filled(project, url)
        assert "parcels" in before
        git(origin, "checkout", "--quiet", "main")
        git(origin, "rm", "-r", "--quiet", ".")
        shutil.copytree(template, origin, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
        committed(origin, "Now")
        git(origin, "tag", "v0.1.0")

        done = update(project)
        assert "conflict" not in done.stdout, done.stdout
        assert done.returncode == 0, done.stdout + done.stderr
        proof = python(project, "-m", "dev.template.proof")
        assert proof.returncode == 0, proof.stdout + proof.stderr
        arrives(project, url, before)
    passes(project, "tests/parcels", "tests/orders")


# In a template of one file, which makes a project in no time.
FILE = "src/acme_orders/app.py"
LINES = "".join(f"line {number}\n" for number in range(20))


@pytest.fixture
def small(sample: Sample, commit: Commit, tmp_path: Path) -> tuple[Path, Path]:
    """A template with a tag, and a project of it in git."""
    template = sample({FILE: LINES, "README.md": "# Acme Orders\n", "docs/old.md": "old\n"})
    commit(template)
    git(template, "tag", "v1")
    return template, made_of(template, "v1", tmp_path / "out")


def release(template: Path, version: str, files: Mapping[str, str | bytes]) -> None:
    """Commit these files under a tag."""
    write(template / PROJECT, files)
    committed(template, version)
    git(template, "tag", version)


@pytest.mark.matrix
def test_one_update_after_the_other_merges_lines_that_are_near(small: tuple[Path, Path]) -> None:
    """Git needs texts for it that this project has never had."""
    template, project = small
    path = project / "src/my_shop/app.py"
    path.write_text(LINES.replace("line 10\n", "ours\n"))
    committed(project, "Ours")
    for version, line in (("v2", 13), ("v3", 7)):
        text = (template / PROJECT / FILE).read_text().replace(f"line {line}\n", f"{version}\n")
        release(template, version, {FILE: text})
        done = update(project)
        assert done.returncode == 0, done.stdout + done.stderr
        committed(project, version)
    lines = path.read_text().splitlines()
    assert (lines[7], lines[10], lines[13]) == ("v3", "ours", "v2")


def test_a_conflict_is_shown_with_what_to_do(small: tuple[Path, Path]) -> None:
    """In each of the three forms; what is refused is that nobody has looked at it."""
    template, project = small
    (project / "src/my_shop/app.py").write_text(LINES.replace("line 10\n", "ours\n"))
    (project / "docs/old.md").write_text("ours\n")
    write(project, {"docs/new.md": "ours\n"})
    committed(project, "Ours")
    (template / PROJECT / "docs/old.md").unlink()
    release(
        template, "v2", {FILE: LINES.replace("line 10\n", "theirs\n"), "docs/new.md": "theirs\n"}
    )

    done = update(project)

    assert done.returncode == 1
    for line in (
        "src/my_shop/app.py: both changed the same lines",
        "docs/old.md: you changed it, and the template no longer has it: `git rm` it",
        "docs/new.md: both have a new file of this name",
    ):
        assert line in done.stdout
    assert "make template-proof" in done.stdout
    assert "<<<<<<< " in (project / "src/my_shop/app.py").read_text()
    git(project, "reset", "--quiet", "--hard")
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.matrix
def test_what_was_removed_stays_away(small: tuple[Path, Path]) -> None:
    """Also what the template adds to a folder that is gone, whatever else looks like it."""
    template, project = small
    git(project, "mv", "src/my_shop/app.py", "src/my_shop/mine.py")
    git(project, "rm", "--quiet", "-r", "docs")
    committed(project, "Ours")
    text = LINES.replace("line 10\n", "theirs\n")
    release(template, "v2", {FILE: text, "docs/more.md": "x\n", "new/x.md": "x\n"})

    done = update(project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 files stay away" in done.stdout
    there = git(project, "ls-files").split()
    assert there == [".cruft.json", "README.md", "new/x.md", "src/my_shop/mine.py"]
    assert (project / "src/my_shop/mine.py").read_text() == LINES


@pytest.mark.matrix
def test_a_project_in_a_folder_of_a_repository(small: tuple[Path, Path], tmp_path: Path) -> None:
    """Beside others, which are left alone."""
    template, project = small
    several = write(tmp_path / "several", {"other/README.md": "ours\n"})
    shutil.copytree(project, several / "services/shop", ignore=shutil.ignore_patterns(".git"))
    git(several, "init", "--quiet")
    committed(several, "Several")
    release(template, "v2", {FILE: LINES.replace("line 3\n", "theirs\n")})

    done = update(several / "services/shop")

    assert done.returncode == 0, done.stdout + done.stderr
    changed = git(several, "diff", "--cached", "--name-only").split()
    assert changed == ["services/shop/.cruft.json", "services/shop/src/my_shop/app.py"]


@pytest.mark.matrix
def test_what_is_not_released_has_to_be_asked_for(small: tuple[Path, Path]) -> None:
    """The newest tag is what others use; a name that is none is refused with those that are."""
    template, project = small
    write(template / PROJECT, {FILE: LINES + "more\n"})
    committed(template, "Not released")

    assert "up to date: v1" in update(project).stdout
    refused = update(project, "--to", "v7")
    assert (refused.returncode, "it has v1" in refused.stderr) == (2, True)
    assert update(project, "--to", "main").returncode == 0
    committed(project, "Updated")
    assert "up to date" in update(project).stdout  # and does not go back to v1


def in_no_repository(project: Path) -> None:
    """As it is after generation."""
    shutil.rmtree(project / ".git")


def with_work(project: Path) -> None:
    """Somebody is at it."""
    write(project, {"new.txt": "x"})


def without_its_file(project: Path) -> None:
    """As from an archive."""
    git(project, "rm", "--quiet", ".cruft.json")
    committed(project, "Without")


def known_wrongly(**changes: object) -> Callable[[Path], None]:
    """With other words in its file."""

    def change(project: Path) -> None:
        known = json.loads((project / ".cruft.json").read_text("utf-8"))
        (project / ".cruft.json").write_text(json.dumps(known | changes), "utf-8")
        committed(project, "Wrong")

    return change


REFUSED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no repository": (in_no_repository, "git has no history of this project", "git init"),
    "work": (with_work, "?? new.txt", "commit it, or `git stash --all`"),
    "no file": (without_its_file, "there is no .cruft.json", "cruft link ADDRESS"),
    "no such file": (known_wrongly(context=None), "cannot be understood", "git checkout"),
    "address": (known_wrongly(template="/nowhere"), "/nowhere cannot be fetched", '"template" in'),
    "commit": (known_wrongly(commit="0" * 40), f"no commit {'0' * 40}", 'Correct "commit" in'),
    "answers": (
        known_wrongly(context={"cookiecutter": {"package_name": "class"}}),
        "makes no project of the answers in .cruft.json",
        "Correct them there",
    ),
}


def test_what_cannot_be_updated_is_refused_with_the_remedy(
    small: tuple[Path, Path], tmp_path: Path
) -> None:
    """And nothing has changed."""
    template, project = small
    release(template, "v2", {FILE: LINES + "more\n"})
    for case, (spoil, says, helps) in REFUSED.items():
        copy = tmp_path / case
        shutil.copytree(project, copy)
        spoil(copy)
        before = read(copy)

        done = update(copy, GIT_CEILING_DIRECTORIES=str(tmp_path))

        assert done.returncode == 2, (case, done.stdout + done.stderr)
        assert says in done.stderr, (case, done.stderr)
        assert helps in done.stderr, (case, done.stderr)
        assert "Traceback" not in done.stderr
        assert read(copy) == before, case


@pytest.mark.matrix
def test_the_way_with_git_alone(small: tuple[Path, Path], tmp_path: Path) -> None:
    """As `docs/template-update.md` has it, word for word, twice."""
    template, project = small
    page = (ROOT / PROJECT / "docs/template-update.md").read_text("utf-8")
    once, each_time = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    path = project / "src/my_shop/app.py"
    path.write_text(LINES.replace("line 10\n", "ours\n"))
    committed(project, "Ours")
    fresh = tmp_path / "fresh"
    then = made_of(template, "v1", fresh / "v1")
    shutil.rmtree(then / ".git")
    run(once, project, then=then)
    for version, line in (("v2", 13), ("v3", 7)):
        text = (template / PROJECT / FILE).read_text().replace(f"line {line}\n", f"{version}\n")
        release(template, version, {FILE: text})
        now = made_of(template, version, fresh / version)
        shutil.rmtree(now / ".git")
        run(each_time, project, now=now)
        committed(project, version)
    lines = path.read_text().splitlines()
    assert (lines[7], lines[10], lines[13]) == ("v3", "ours", "v2")


def run(script: str, folder: Path, **variables: Path) -> None:
    """A shell's work there, as somebody whom git knows."""
    who = {
        f"GIT_{who}_{what}": "x@localhost"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    surroundings = {**os.environ, **who, **{name: str(path) for name, path in variables.items()}}
    subprocess.run(["sh", "-e", "-c", script], cwd=folder, env=surroundings, check=True, timeout=60)
