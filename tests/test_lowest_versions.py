"""A project works with the lowest versions that its pyproject.toml allows."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Bake

ALL = {"database_driver": "psycopg", "tenancy": "rls", "tracing": True, "chassis_tests": True}
# Its own tests, and those of the chassis that need no server or are about a library at work.
TESTS = ["tests/orders", "tests/contracts"]


@pytest.mark.matrix
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("answers", [{}, ALL], ids=["default", "all"])
def test_a_project_works_with_them(
    bake_fresh: Bake, tmp_path: Path, answers: Mapping[str, object]
) -> None:
    """Those that it names itself; what they depend on is as new as they allow."""
    project = bake_fresh(**answers)
    own = tmp_path / "lowest"
    venv.EnvBuilder(with_pip=True).create(tmp_path / "uv")
    done(project, str(tmp_path / "uv/bin/pip"), "install", "--quiet", "uv")
    uv = str(tmp_path / "uv/bin/uv")
    done(project, uv, "venv", "--quiet", "--python", sys.executable, str(own))
    lowest = ["--resolution", "lowest-direct", "--python", str(own / "bin/python")]
    done(project, uv, "pip", "install", "--quiet", *lowest, "--editable", ".", "--group", "dev")
    done(project, "make", f"VENV={own}", "-o", str(own / ".ready"), "check")
    chassis = ["tests/chassis/unit", "tests/chassis/contracts"] if answers else []
    done(project, str(own / "bin/python"), "-m", "pytest", "-q", *TESTS, *chassis)


def done(project: Path, *command: str) -> None:
    """It ended well."""
    ended = subprocess.run(
        command, cwd=project, env=dict(os.environ), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-4000:]
