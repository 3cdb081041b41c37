"""The three rules, as functions and as cookiecutter runs them on tiny templates."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_files

from hooks.post_gen_project import (
    CHOICES,
    PLACEHOLDERS,
    TemplateError,
    apply_rules,
    choose_variants,
    drop_leftovers,
    features,
    rename,
    select,
)
from tests import answers as asked
from tests.answers import HOSTILE, PROJECT, QUESTIONS, ROOT, complete
from tests.conftest import Commit, Sample, generate, git, read, write
from tests.source import imported

DEFAULTS = complete()
STATES = features(DEFAULTS)  # http_api, aiopg, github are on; tracing, psycopg, gitlab are off


def names(suffix: str = "", text: str = "", **changes: str) -> str:
    """The text renamed for a service called Shop."""
    shop = {"project_name": "Shop", "project_slug": "my-shop", "package_name": "my_shop"}
    answers = complete(shop, changes)
    return rename(text, {PLACEHOLDERS[name]: answers[name] for name in PLACEHOLDERS}, suffix)


# Rule 1: the feature pragma.


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        ("# feature: {}", "run()"),
        ("-- feature: {}", "SELECT 1;"),
        ("<!-- feature: {} -->", "A *sentence*."),
        ("#feature:{}", "x = 1  # noqa: F401"),
    ],
)
def test_a_marked_line_stays_without_its_mark_or_goes(mark: str, code: str) -> None:
    """In every style of comment, with the space before the mark."""
    text = f"first\n{code}  {{}}\nlast\n"

    assert f"first\n{code}\nlast\n" == select(text.format(mark.format("http_api")), STATES)
    assert select(text.format(mark.format("tracing")), STATES) == "first\nlast\n"


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("# feature: {} {{", "# feature: {} }}"),
        ("    # feature: {} {{", "    # feature: {} }}"),
        ("-- feature: {} {{", "-- feature: {} }}"),
        ("<!-- feature: {} {{ -->", "<!-- feature: {} }} -->"),
    ],
)
def test_a_marked_block_stays_without_its_marks_or_goes(opening: str, closing: str) -> None:
    """In every style of comment, wherever it is indented."""
    text = f"a\n{opening}\nb\nc\n{closing}\nd\n"

    assert select(text.format("http_api", "http_api"), STATES) == "a\nb\nc\nd\n"
    assert select(text.format("tracing", "tracing"), STATES) == "a\nd\n"


@pytest.mark.parametrize("mark", ["# feature: {}", "-- feature: {}", "<!-- feature: {} -->"])
def test_a_mark_on_the_first_line_owns_the_file(mark: str) -> None:
    """And the blank line below it goes with it."""
    assert select(mark.format("http_api") + "\ncode\n", STATES) == "code\n"
    assert select(mark.format("http_api") + "\n\ncode\n", STATES) == "code\n"
    assert select(mark.format("tracing") + "\n\ncode\n", STATES) is None


def test_a_marked_first_line_of_code_owns_only_itself() -> None:
    """The file's mark is one that stands alone."""
    assert select("a  # feature: tracing\nb\n", STATES) == "b\n"


def test_blocks_nest() -> None:
    """A line stays when every block around it does."""
    text = """\
a
# feature: http_api {
b
# feature: tracing {
c
d  # feature: http_api
# feature: tracing }
e  # feature: kubernetes
f  # feature: github
# feature: http_api }
g
"""

    assert select(text, STATES) == "a\nb\nf\ng\n"
    assert select(text, STATES | {"tracing": True}) == "a\nb\nc\nd\nf\ng\n"
    assert select(text, STATES | {"tracing": True, "http_api": False}) == "a\ng\n"


def test_any_of_several_features_keeps_a_line() -> None:
    """`# feature: github, gitlab` needs one of the two."""
    line = "ci  # feature: gitlab, github\n"

    assert select(line, STATES) == "ci\n"
    assert select(line, features(complete({"ci": "none"}))) == ""


def test_a_value_of_two_questions_needs_its_question() -> None:
    """`none` alone could mean tenancy or CI."""
    states = features(complete({"ci": "none"}))

    assert select("x  # feature: ci=none\n", states) == "x\n"
    assert select("x  # feature: tenancy=none\n", states) == "x\n"
    assert select("x  # feature: database_driver=aiopg\n", states) == "x\n"
    with pytest.raises(TemplateError, match="unknown feature 'none'"):
        select("x  # feature: none\n", states)


def test_what_is_cut_out_leaves_no_double_gap() -> None:
    """Of the blank lines before and after it the longer run stays, at the file's ends none."""
    block = "# feature: tracing {\nb\n# feature: tracing }\n"

    assert select(f"a\n\n{block}\nc\n", STATES) == "a\n\nc\n"
    assert select(f"a\n\n\n{block}\nc\n", STATES) == "a\n\n\nc\n"
    assert select(f"a\n\n{block}\n\nc\n", STATES) == "a\n\n\nc\n"
    assert select(f"a\n{block}c\n", STATES) == "a\nc\n"
    assert select(f"a\n\n{block}", STATES) == "a\n"
    assert select(f"{block}\nc\n", STATES) == "c\n"
    assert select("a\n\nb  # feature: tracing\n\nc\n", STATES) == "a\n\nc\n"


def test_marks_that_stand_between_blank_lines_leave_no_double_gap() -> None:
    """Kept code looks as if nobody had marked it."""
    text = "a\n\n# feature: http_api {\n\nb\n\n# feature: http_api }\n\nc\n"

    assert select(text, STATES) == "a\n\nb\n\nc\n"


def test_a_file_without_marks_is_not_touched() -> None:
    """Not even its blank lines, or the word in prose."""
    text = "\n\n# Feature: none\nfeature: x\nA feature  \n\n\n"

    assert text == select(text, STATES)


def test_windows_line_ends_stay() -> None:
    """A checkout may have them."""
    text = "a\r\n\r\nb  # feature: tracing\r\n\r\nc  # feature: http_api\r\n"

    assert select(text, STATES) == "a\r\n\r\nc\r\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a\nb  # feature: tracin\n", r"app\.py:2: unknown feature 'tracin'"),
        ("a\n# feature: tracing, x {\n# feature: tracing, x }\n", "app.py:2: unknown feature 'x'"),
        ("a  # feature: not tracing\n", "app.py:1: unknown feature 'not tracing'"),
        ("a  # feature:\n", "app.py:1: unknown feature ''"),
        ("a\n# feature: tracing {\nb\n", "app.py:2: 'tracing' is never closed"),
        ("a\nb\n# feature: tracing }\n", "app.py:3: closes 'tracing', which is not the open"),
        (
            "# feature: tracing {\n# feature: http_api {\n# feature: tracing }\n",
            "app.py:3: closes 'tracing', which is not the open",
        ),
        ("a\n# feature: tracing\nb\n", "app.py:2: a block's mark stands alone"),
        ("a\nb  # feature: tracing {\n", "app.py:2: a block's mark stands alone"),
    ],
)
def test_a_wrong_mark_is_an_error_that_names_file_and_line(text: str, complaint: str) -> None:
    """Also inside a block which is not wanted."""
    with pytest.raises(TemplateError, match=complaint):
        select(text, STATES, "app.py")


def test_a_wrong_mark_inside_an_unwanted_block_is_still_an_error() -> None:
    """Or it would wait for the first user who wants the block."""
    with pytest.raises(TemplateError, match="unknown feature 'x'"):
        select("# feature: tracing {\na  # feature: x\n# feature: tracing }\n", STATES)


def test_the_features_that_are_on() -> None:
    """Booleans answered yes and chosen values."""
    on = {name for name, state in features(complete({"tracing": True})).items() if state}

    assert {"http_api", "tracing", "MIT", "aiopg", "github"} <= on
    assert {"license=MIT", "database_driver=aiopg", "tenancy=none", "ci=github"} <= on
    assert not {"kubernetes", "psycopg", "gitlab", "ci=none", "Apache-2.0"} & on


# Rule 2: variants.


def test_a_chosen_variant_replaces_its_base_and_the_others_go(tmp_path: Path) -> None:
    """Whatever dots the value or the suffix has; folders too."""
    files = {
        "driver.py": "aiopg",
        "driver__psycopg.py": "psycopg",
        "LICENSE": "MIT",
        "LICENSE__Apache-2.0": "Apache",
        "LICENSE__Proprietary": "all rights reserved",
        "sql/0001_x.up.sql": "base",
        "sql/0001_x__psycopg.up.sql": "variant",
        "ci/main.yml": "github",
        "ci__gitlab/other.yml": "gitlab",
        "ci__gitlab/deep/a__psycopg.py": "deep variant",
        "ci__gitlab/deep/a.py": "deep base",
    }
    changed = {"database_driver": "psycopg", "license": "Apache-2.0", "ci": "gitlab"}

    choose_variants(write(tmp_path / "default", files), DEFAULTS)
    choose_variants(write(tmp_path / "changed", files), complete(changed))

    assert read(tmp_path / "default") == {
        "LICENSE": "MIT",
        "ci/main.yml": "github",
        "driver.py": "aiopg",
        "sql/0001_x.up.sql": "base",
    }
    assert read(tmp_path / "changed") == {
        "LICENSE": "Apache",
        "ci/deep/a.py": "deep variant",
        "ci/other.yml": "gitlab",
        "driver.py": "psycopg",
        "sql/0001_x.up.sql": "variant",
    }


def test_a_variant_may_be_named_for_the_default(tmp_path: Path) -> None:
    """It then always wins over its base when nothing else is chosen."""
    write(tmp_path, {"driver.py": "base", "driver__aiopg.py": "variant"})

    choose_variants(tmp_path, DEFAULTS)

    assert read(tmp_path) == {"driver.py": "variant"}


def test_other_names_with_two_underscores_are_plain(tmp_path: Path) -> None:
    """Only values of the questions make a variant."""
    files = dict.fromkeys(["__init__.py", "__main__.py", "0001_x__expand.up.sql", "a__b.py"], "")

    choose_variants(write(tmp_path, files), DEFAULTS)

    assert sorted(files) == sorted(read(tmp_path))


def test_a_value_of_two_questions_belongs_to_the_one_the_file_is_named_after(
    tmp_path: Path,
) -> None:
    """`ci__none` is about CI; `isolation__none` could be about anything."""
    write(tmp_path, {"ci.md": "some", "ci__none.md": "none"})
    choose_variants(tmp_path, DEFAULTS)
    assert read(tmp_path) == {"ci.md": "some"}

    write(tmp_path, {"isolation.py": "", "isolation__none.py": ""})
    with pytest.raises(TemplateError, match="none answers several questions"):
        choose_variants(tmp_path, DEFAULTS)


@pytest.mark.parametrize("driver", ["aiopg", "psycopg"])
def test_a_variant_without_a_base_is_an_error(tmp_path: Path, driver: str) -> None:
    """Whether or not it was chosen."""
    write(tmp_path, {"a/pool__psycopg.py": ""})

    with pytest.raises(TemplateError, match=r"pool__psycopg\.py: there is no pool\.py beside it"):
        choose_variants(tmp_path, complete({"database_driver": driver}))


def test_two_chosen_variants_of_one_file_are_an_error(tmp_path: Path) -> None:
    """Neither could win."""
    write(tmp_path, dict.fromkeys(["a.py", "a__psycopg.py", "a__gitlab.py"], ""))

    with pytest.raises(TemplateError, match=r"a second chosen variant of a\.py"):
        choose_variants(tmp_path, complete({"database_driver": "psycopg", "ci": "gitlab"}))


# Rule 3: names.


def test_every_placeholder_is_renamed() -> None:
    """Inside of other words too."""
    text = "Acme Orders|acme-orders-db|from acme_orders.app|Acme Team <team@acme.example>"

    assert (
        names(text=text, author_name="Me", author_email="me@here.org")
        == "Shop|my-shop-db|from my_shop.app|Me <me@here.org>"
    )
    assert names(text=PLACEHOLDERS["description"], description="It sells.") == "It sells."


def test_an_inserted_value_is_not_renamed_again() -> None:
    """One pass: a name may contain another's placeholder."""
    assert (
        names(text="Acme Orders by Acme Team", project_name="acme_orders")
        == "acme_orders by Acme Team"
    )
    assert names(text="Acme Team", author_name=r"\1 \g<0> \\") == r"\1 \g<0> \\"


@pytest.mark.parametrize("suffix", [".toml", ".json", ".yaml", ".yml", ".py"])
def test_values_are_escaped_where_they_stand_in_quotes(suffix: str) -> None:
    """And nowhere else; an emoji stays one."""
    value = 'a "b" \\ c 😀 ü'

    assert names(suffix, 'x = "Acme Team"', author_name=value) == 'x = "a \\"b\\" \\\\ c 😀 ü"'
    assert value == names(".md", "Acme Team", author_name=value)


def test_the_rules_together(tmp_path: Path) -> None:
    """Paths are renamed, emptied folders go, binary files stay as they are."""
    picture = b"\x89PNG\xff\x00acme-orders # feature: nonsense"
    files: dict[str, str | bytes] = {
        "src/acme_orders/app.py": "import acme_orders\nx = 1  # feature: tracing\n",
        "src/acme_orders/tracing/__init__.py": "# feature: tracing\n",
        "src/acme_orders/tracing/deep/spans.py": "acme\n",
        "src/acme_orders/tracing/deep/table.sql": "acme\n",
        "src/acme_orders/api.py": "# feature: http_api\n\nname = 'Acme Orders'\n",
        "deploy/acme-orders.service": "acme-orders\n",
        "docs/acme-orders.png": picture,
        "run.sh": "#!/bin/sh\nexec acme-orders\n",
    }
    write(tmp_path, files)
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "nothing" / "here").mkdir(parents=True)
    names = {"project_name": "Shop", "project_slug": "my-shop", "package_name": "my_shop"}

    apply_rules(tmp_path, complete(names))

    assert {
        "deploy/my-shop.service": "my-shop\n",
        "docs/my-shop.png": picture.decode(errors="backslashreplace"),
        "run.sh": "#!/bin/sh\nexec my-shop\n",
        "src/my_shop/api.py": "name = 'Shop'\n",
        "src/my_shop/app.py": "import my_shop\n",
    } == read(tmp_path)
    assert {"deploy", "docs", "src", "src/my_shop"} == {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir()
    }
    assert stat.S_IMODE((tmp_path / "run.sh").stat().st_mode) == 0o755


def test_links_and_repositories_are_not_followed(tmp_path: Path) -> None:
    """What is outside the project, or its own history, is not ours to change."""
    outside = write(tmp_path / "outside", {"a.txt": "acme-orders"})
    project = write(tmp_path / "project", {".git/config": "acme-orders", "acme-orders/x": "y"})
    (project / "link.txt").symlink_to(outside / "a.txt")
    (project / "link").symlink_to(outside)

    apply_rules(project, complete({"project_slug": "shop"}))

    assert read(outside) == {"a.txt": "acme-orders"}
    assert (project / ".git/config").read_text() == "acme-orders"
    assert (project / "shop/x").exists()


def test_leftovers_of_a_contributor_are_dropped(tmp_path: Path) -> None:
    """At any depth, before any rule; what only looks alike stays."""
    left = [".venv/lib/a.py", "src/__pycache__/a.pyc", ".pytest_cache/x", ".mypy_cache/x", ".env"]
    left += [".ruff_cache/x", ".hypothesis/x", "build/lib/x", "dist/x.whl", "src/a.egg-info/PKG"]
    left += [".import_linter_cache/x"]
    kept = [".env.example", "src/a.py", "docs/building.md"]
    write(tmp_path, dict.fromkeys([*left, *kept], ""))

    drop_leftovers(tmp_path, None)

    assert sorted(kept) == sorted(read(tmp_path))


def test_leftovers_do_not_include_what_the_user_had(tmp_path: Path) -> None:
    """Generating over an existing project keeps its `.env` and `.venv`."""
    source = write(tmp_path / "template", {"src/__pycache__/a.pyc": ""})
    project = write(tmp_path / "project", dict.fromkeys([".env", "src/__pycache__/a.pyc"], ""))

    drop_leftovers(project, source)

    assert sorted(read(project)) == [".env"]


# The hooks themselves.


def test_the_hooks_know_the_questions() -> None:
    """They are rendered alone, so they repeat what cookiecutter.json says."""
    assert asked.CHOICES == CHOICES
    assert PLACEHOLDERS["project_name"] == QUESTIONS["project_name"]
    for question in ("description", "author_name", "author_email"):
        assert PLACEHOLDERS[question] == QUESTIONS[question]


@pytest.mark.parametrize("hook", ["pre_gen_project.py", "post_gen_project.py", "source.py"])
def test_a_hook_is_plain_python_of_the_standard_library(hook: str) -> None:
    """Jinja occurs once, inside a string, in what cookiecutter renders; else it would not run."""
    path = ROOT / "hooks" / hook
    source = path.read_text("utf-8")
    modules = imported(source)

    assert modules <= sys.stdlib_module_names
    assert not modules & {"random", "secrets", "uuid", "socket", "urllib", "http", "time"}
    rendered = hook != "source.py"
    assert [source.count(opening) for opening in ("{{", "{%", "{#")] == [int(rendered), 0, 0]


# As cookiecutter runs them.

ABOUT = PLACEHOLDERS["description"]
FILES: dict[str, str | bytes] = {
    "pyproject.toml": f'name = "acme-orders"\ndescription = "{ABOUT}"\nauthor = "Acme Team"\n',
    "about.json": f'["Acme Orders", "{ABOUT}"]\n',
    "README.md": f"# Acme Orders\n\n{ABOUT}\n",
    "src/acme_orders/app.py": "import acme_orders.driver\ntrace()  # feature: tracing\n",
    "src/acme_orders/driver.py": "import aiopg\n",
    "src/acme_orders/driver__psycopg.py": "import psycopg\n",
    "rules.yml": "text: '{{ $labels.queue }} {% x %} ${{ y }}'\n",
}


def test_a_bake_of_a_tiny_template(sample: Sample, commit: Commit, tmp_path: Path) -> None:
    """All rules, and the file which later updates need."""
    template = sample(FILES)
    write(template / PROJECT, {"__pycache__/a.pyc": b"\xff", ".env": "SECRET=1"})
    head = commit(template)
    git(template, "remote", "add", "origin", "https://me:token@git.example/x/template.git")
    git(template, "update-ref", "refs/remotes/origin/main", head)  # as if it had been pushed
    git(template, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")

    made = generate(
        template, tmp_path, project_name="My Shop", database_driver="psycopg", tracing="yes"
    )

    files = read(made)
    update = json.loads(files.pop(".cruft.json"))
    assert made.name == "my-shop"
    assert sorted(files)[:4] == ["README.md", "about.json", "pyproject.toml", "rules.yml"]
    assert sorted(files)[4:] == ["src/my_shop/app.py", "src/my_shop/driver.py"]
    assert files["src/my_shop/app.py"] == "import my_shop.driver\ntrace()\n"
    assert files["src/my_shop/driver.py"] == "import psycopg\n"
    assert FILES["rules.yml"] == files["rules.yml"]
    template_url = "https://git.example/x/template.git"
    expected = complete(
        {"project_name": "My Shop", "project_slug": "my-shop", "package_name": "my_shop"},
        {"database_driver": "psycopg", "tracing": True, "_template": template_url},
    )
    assert {
        "template": template_url,
        "commit": head,
        "checkout": None,
        "context": {"cookiecutter": expected},
        "directory": None,
        "skip": [".cruft.json", ".env"],
    } == update


def test_hostile_answers_end_where_they_belong(sample: Sample, tmp_path: Path) -> None:
    """Quotes, backslashes, shell and HTML are text, in every format."""
    made = generate(sample(FILES), tmp_path, **HOSTILE)

    about = json.loads((made / "about.json").read_text("utf-8"))
    pyproject = tomllib.loads((made / "pyproject.toml").read_text("utf-8"))
    assert about == [HOSTILE["project_name"], HOSTILE["description"]]
    assert HOSTILE["description"] == pyproject["description"]
    assert HOSTILE["author_name"] == pyproject["author"]
    assert HOSTILE["description"] in (made / "README.md").read_text("utf-8")


def test_two_bakes_are_the_same(sample: Sample, commit: Commit, tmp_path: Path) -> None:
    """Nothing random, no time, no machine: else updates would find differences."""
    template = sample(FILES)
    commit(template)

    assert read(generate(template, tmp_path / "1")) == read(generate(template, tmp_path / "2"))


def test_without_hooks_the_project_keeps_its_placeholder_names(
    sample: Sample, tmp_path: Path
) -> None:
    """`--accept-hooks no`: everything, under its own name."""
    template = sample(FILES)

    done = run(template, tmp_path, "--accept-hooks", "no", "project_name=Shop")

    assert done.returncode == 0, done.stderr
    assert read(template / PROJECT) == read(tmp_path / "shop")


def test_generating_again_keeps_what_the_user_had(sample: Sample, tmp_path: Path) -> None:
    """`-f` over a project with history and secrets."""
    template = sample(FILES)
    made = generate(template, tmp_path, project_name="Shop")
    write(made, {".env": "SECRET=acme", ".git/HEAD": "acme-orders", ".venv/bin/python": "x"})
    before = read(made)

    done = run(template, tmp_path, "--overwrite-if-exists", "project_name=Shop")

    assert done.returncode == 0, done.stderr
    assert before == read(made)
    assert (made / ".git/HEAD").read_text() == "acme-orders"


def test_a_broken_template_says_where(sample: Sample, tmp_path: Path) -> None:
    """And leaves nothing behind."""
    template = sample({**FILES, "src/acme_orders/bad.py": "a\nb  # feature: nope\n"})

    done = run(template, tmp_path)

    assert done.returncode == 1
    assert "The template is broken: src/acme_orders/bad.py:2: unknown feature 'nope'" in done.stderr
    assert not (tmp_path / "acme-orders").exists()


def test_the_next_commands_are_printed(sample: Sample, tmp_path: Path) -> None:
    """Where it is and what to do, also on a terminal that cannot show the path."""
    template, output = sample(FILES), tmp_path / "größe"
    output.mkdir()

    done = run(template, output, "project_name=Shop", PYTHONIOENCODING="ascii")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Shop is in ")
    assert "  cd shop" in lines
    assert [line.split()[1] for line in lines if line.startswith("  make ")] == [
        "demo",
        "test",
        "readiness",
    ]
    assert len(lines) <= 8


# What `make template-update` needs.


def test_a_relative_template_is_found(sample: Sample, commit: Commit, tmp_path: Path) -> None:
    """`cookiecutter sample -o out` runs the hook in another folder than the user's."""
    template = sample(FILES)
    head = commit(template)

    done = run(Path("sample"), Path("out"), cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    update = json.loads((tmp_path / "out/acme-orders/.cruft.json").read_text())
    assert [str(template), head] == [update["template"], update["commit"]]


def test_a_worktree_is_a_checkout_too(sample: Sample, commit: Commit, tmp_path: Path) -> None:
    """Its `.git` is a file."""
    template = sample(FILES)
    head = commit(template)
    git(template, "worktree", "add", "--quiet", str(tmp_path / "tree"))

    made = generate(tmp_path / "tree", tmp_path)

    assert head == json.loads((made / ".cruft.json").read_text())["commit"]


def test_a_surrounding_git_command_does_not_matter(
    sample: Sample, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside of a git hook `GIT_DIR` names another repository."""
    template, other = sample(FILES), write(tmp_path / "other", {"a": ""})
    head = commit(template)
    commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    made = generate(template, tmp_path)

    assert head == json.loads((made / ".cruft.json").read_text())["commit"]


def test_a_template_which_is_no_checkout_is_no_matter(
    sample: Sample, commit: Commit, tmp_path: Path
) -> None:
    """A downloaded archive, even one unpacked inside somebody's repository."""
    write(tmp_path, {"theirs": ""})
    commit(tmp_path)

    made = generate(sample(FILES), tmp_path)

    assert not (made / ".cruft.json").exists()


def test_a_missing_git_is_no_matter(
    sample: Sample, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project is complete without it."""
    template = sample(FILES)
    commit(template)
    monkeypatch.setenv("PATH", str(tmp_path))

    made = generate(template, tmp_path)

    assert not (made / ".cruft.json").exists()
    assert (made / "README.md").exists()


def test_the_hooks_run_under_cruft(
    sample: Sample, commit: Commit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It tells neither where the template is nor where the project will be, so neither do they."""
    template = sample(FILES)
    commit(template)
    context = {"cookiecutter": {**complete(), "_template": "x", "_copy_without_render": ["*"]}}

    made = Path(generate_files(template, context, tmp_path, overwrite_if_exists=True))

    assert not (made / ".cruft.json").exists()
    assert (made / "src/acme_orders/app.py").read_text() == "import acme_orders.driver\n"
    assert capfd.readouterr().out == ""


def test_answers_are_data_to_the_hooks(sample: Sample, tmp_path: Path) -> None:
    """Typed at a prompt they reach the hooks unrendered; they must not be evaluated there."""
    typed = complete(HOSTILE, {"author_name": '"""+__import__("os").getcwd()+"""'})
    context = {"cookiecutter": {**typed, "_copy_without_render": ["*"]}}

    made = Path(generate_files(sample(FILES), context, tmp_path))

    assert typed["author_name"] in (made / "pyproject.toml").read_text().replace("\\", "")
    context["cookiecutter"]["author_name"] = "{{ 7 * 7 }}"
    with pytest.raises(FailedHookException):
        generate_files(tmp_path / "sample", context, tmp_path / "again")


def run(
    template: Path, output: Path, *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command line, as a user runs it."""
    command = [sys.executable, "-m", "cookiecutter", str(template), *arguments]
    command += ["--no-input", "--default-config", "--output-dir", str(output)]
    home = {"HOME": str(cwd or output), "PWD": str(cwd or Path.cwd())}
    return subprocess.run(
        command, cwd=cwd, env=os.environ | home | environment, capture_output=True, text=True
    )
