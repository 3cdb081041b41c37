"""`cruft` can go on from what was generated, however the template was found; or we say that not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.answers import PROJECT
from tests.conftest import Commit, Sample, git, write

FILES: dict[str, str | bytes] = {"README.md": "# Acme Orders\n", "src/acme_orders/app.py": "1\n"}
CONFIGURATION = """\
cookiecutters_dir: {0}/clones
replay_dir: {0}/replay
abbreviations: {{gh: "file://{0}/{{0}}.git"}}
"""
LATER: dict[str, str | bytes] = {"src/acme_orders/app.py": "1\n2\n"}


@pytest.fixture
def template(sample: Sample, commit: Commit, tmp_path: Path) -> Path:
    """A repository with a branch and a tag that are behind its default branch."""
    template = sample(FILES)
    commit(template)
    git(template, "branch", "stable")
    git(template, "tag", "v1")
    write(template / PROJECT, {"CHANGELOG.md": "# Changes of Acme Orders\n"})
    commit(template)
    (tmp_path / "cookiecutter.yaml").write_text(CONFIGURATION.format(tmp_path))
    return template


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A tool of Python there, in a home of its own."""
    variables = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    variables |= {"HOME": str(folder), "PWD": str(folder), "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=variables, capture_output=True, text=True
    )


def generate(folder: Path, *arguments: str) -> tuple[Path, str]:
    """What cookiecutter makes, and what it says."""
    settings = ("--no-input", "--config-file", str(folder / "cookiecutter.yaml"))
    done = run(folder, "cookiecutter", *arguments, *settings, "-o", "out", "project_name=Shop")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out/shop", done.stdout


# How somebody may get at the template: the arguments of cookiecutter, and what has to stand in
# `.cruft.json` as template, checkout and directory.
Way = Callable[[Path, Path], tuple[list[str], str, str | None, str | None]]


def url(template: Path, _: Path) -> tuple[list[str], str, str | None, str | None]:
    """Its default branch, from an address."""
    return [f"git+file://{template}"], f"file://{template}", None, None


def branch(template: Path, _: Path) -> tuple[list[str], str, str | None, str | None]:
    """Another branch."""
    return [f"git+file://{template}", "--checkout", "stable"], f"file://{template}", "stable", None


def tag(template: Path, _: Path) -> tuple[list[str], str, str | None, str | None]:
    """A version."""
    return [f"git+file://{template}", "--checkout", "v1"], f"file://{template}", "v1", None


def sha(template: Path, _: Path) -> tuple[list[str], str, str | None, str | None]:
    """A commit."""
    commit = git(template, "rev-parse", "stable")
    return [f"git+file://{template}", "--checkout", commit], f"file://{template}", commit, None


def bare(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """A repository without files."""
    git(folder, "clone", "--quiet", "--bare", str(template), "bare.git")
    return [f"git+file://{folder}/bare.git"], f"file://{folder}/bare.git", None, None


def abbreviation(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """`gh:owner/name`."""
    (folder / "owner").mkdir()
    git(folder, "clone", "--quiet", "--bare", str(template), "owner/name.git")
    address = f"file://{folder}/owner/name.git"
    return ["gh:owner/name", "--checkout", "stable"], address, "stable", None


def fetched(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """By the name under which it was fetched before."""
    (address,), *_ = bare(template, folder)
    generate(folder, address)
    shutil.rmtree(folder / "out")
    return ["bare", "--checkout", "stable"], address.removeprefix("git+"), None, None


def own(template: Path, _: Path) -> tuple[list[str], str, str | None, str | None]:
    """A repository that has not been cloned from any other."""
    return [template.name], str(template), None, None


def clone(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """A clone, at what others have too."""
    git(folder, "clone", "--quiet", str(template), "clone")
    return ["clone"], str(template), None, None


def clone_of_branch(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """A clone, at another branch that others have."""
    git(folder, "clone", "--quiet", str(template), "clone", "--branch", "stable")
    git(template, "checkout", "--quiet", "stable")
    write(template / PROJECT, {"only": "here"})
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message=Only here")
    git(template, "checkout", "--quiet", "main")
    git(folder / "clone", "pull", "--quiet")
    return ["clone"], str(template), "stable", None


def clone_ahead(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """A clone with a commit that nobody else has yet."""
    git(folder, "clone", "--quiet", str(template), "clone")
    git(folder / "clone", "commit", "--quiet", "--allow-empty", "--message=Mine")
    return ["clone"], str(folder / "clone"), None, None


def worktree(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """A second working tree of a repository."""
    git(template, "worktree", "add", "--quiet", str(folder / "tree"))
    return ["tree"], str(folder / "tree"), None, None


def directory(template: Path, folder: Path) -> tuple[list[str], str, str | None, str | None]:
    """A folder in a repository, at a branch of that."""
    several = write(folder / "several", {"README": ""})
    shutil.copytree(template, several / "deep/service", ignore=shutil.ignore_patterns(".git"))
    git(several, "init", "--quiet", "--initial-branch=main")
    git(several, "add", "--all")
    git(several, "commit", "--quiet", "--message=Several")
    git(several, "branch", "stable")
    write(several, {"README": "newer"})
    git(several, "commit", "--quiet", "--all", "--message=Newer")
    arguments = ["--directory", "deep/service", "--checkout", "stable"]
    return [f"git+file://{several}", *arguments], f"file://{several}", "stable", "deep/service"


OFTEN = [branch, own, directory]
SELDOM = [url, tag, sha, bare, abbreviation, fetched, clone, clone_of_branch, clone_ahead, worktree]
WAYS = [*OFTEN, *(pytest.param(way, marks=pytest.mark.matrix) for way in SELDOM)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_cruft_goes_on_from_it(way: Way, template: Path, tmp_path: Path) -> None:
    """It is up to date at first; what the template gets later, `cruft update` brings."""
    arguments, address, checkout, inside = way(template, tmp_path)
    made, said = generate(tmp_path, *arguments)
    known = json.loads((made / ".cruft.json").read_text())
    assert (known["template"], known["checkout"], known["directory"]) == (address, checkout, inside)
    assert (f"make template-update   later, to follow {checkout}" in said) == bool(checkout)
    git(made, "init", "--quiet")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "--message=Generated")
    where = ["--checkout", checkout] if checkout else []

    repository = Path(address.removeprefix("file://"))
    assert known["commit"] == git(repository, "rev-parse", f"{checkout or 'HEAD'}^0")

    checked = run(made, "cruft", "check", *where)
    change(repository, checkout, inside or ".", tmp_path / "work")
    where = [] if way is sha else where  # a commit stays what it is
    updated = run(made, "cruft", "update", "--skip-apply-ask", *where)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert (made / "src/shop/app.py").read_text() == "1\n2\n"
    assert not list(made.rglob("*.rej"))


def change(repository: Path, checkout: str | None, inside: str, work: Path) -> None:
    """Commit something to what the project follows."""
    named = {"stable": "refs/heads/stable", "v1": "refs/tags/v1"}.get(checkout or "")
    followed = named or git(repository, "symbolic-ref", "HEAD")
    git(repository.parent, "clone", "--quiet", str(repository), str(work))
    git(work, "checkout", "--quiet", "--detach", git(repository, "rev-parse", f"{followed}^0"))
    write(work / inside / PROJECT, LATER)
    git(work, "commit", "--quiet", "--all", "--message=Later")
    git(repository, "fetch", "--quiet", str(work), "HEAD:refs/later")
    git(repository, "update-ref", followed, "refs/later")


def test_changes_that_are_not_committed_are_said(template: Path, tmp_path: Path) -> None:
    """An update could not tell them from those of the project; new files among them."""
    write(template / PROJECT, {"new.txt": "1\n"})

    made, said = generate(tmp_path, template.name)

    assert not (made / ".cruft.json").exists()
    assert "make template-update reads: its template has changes that are not" in said


def test_what_git_ignores_or_does_not_generate_is_no_change(template: Path, tmp_path: Path) -> None:
    """Notes of somebody, and what running the tests has left."""
    write(template, {".gitignore": "__pycache__/\n", "notes.txt": "x"})
    write(template / PROJECT, {"__pycache__/a.pyc": "x"})

    made, said = generate(tmp_path, template.name)

    assert (made / ".cruft.json").exists()
    assert "template-update" not in said


def test_an_archive_is_said(template: Path, tmp_path: Path) -> None:
    """Nobody knows where it came from."""
    git(template, "archive", "--prefix=template/", "--output=template.zip", "HEAD")

    made, said = generate(tmp_path, str(template / "template.zip"))

    assert not (made / ".cruft.json").exists()
    assert "make template-update reads: git knows no repository of its template" in said
