"""What `make lock` writes is what the image gets, and nothing else under its name."""

import re
import subprocess
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import Bake
from tests.image import Image
from tests.machine import impossible

HASH = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.mark.matrix
@pytest.mark.timeout(1200)
def test_the_image_has_what_is_locked(bake_fresh: Bake, tmp_path: Path) -> None:
    """Each package in its version; one with another hash ends the build."""
    if why := impossible():
        pytest.skip(f"no image can be built here: {why}")
    project, own = bake_fresh(), tmp_path / "venv"
    venv.EnvBuilder(with_pip=True).create(own)
    command = ["make", f"VENV={own}", "-o", str(own / ".ready"), "lock"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    with Image(project, tmp_path / "image") as image:
        (library,) = image.last.place("/opt/venv/lib").glob("python3.*")
        found = dict(map(installed, distributions(path=[str(library / "site-packages")])))
    locked = pins(project / "requirements.lock", library.name.removeprefix("python"))
    for beside in ("acme-orders", "pip", "setuptools"):
        found.pop(beside, None)
    assert found == locked

    lock = project / "requirements.lock"
    lock.write_text(HASH.sub(f"sha256:{'0' * 64}", lock.read_text("utf-8")), "utf-8")
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        Image(project, tmp_path / "forged").__enter__()


def pins(lock: Path, python: str) -> dict[str, str]:
    """The version of each package that this system gets, with that Python."""
    lines = re.findall(r"^([a-z][^\\\n]*)", lock.read_text("utf-8"), re.MULTILINE)
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in map(Requirement, lines)
        if not each.marker or each.marker.evaluate(here)
    }


def installed(each: Distribution) -> tuple[str, str]:
    """Its name and version."""
    return canonicalize_name(each.name), each.version
