"""What `make lock` writes is what the image gets, and nothing else under its name."""

import json
import re
import subprocess
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import Distribution, distributions
from pathlib import Path
from threading import Thread

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


LOCKED = """\
h11==0.16.0 \\
    --hash=sha256:4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1
yarl==1.20.1 ; python_full_version >= "3.11" \\
    --hash=sha256:83b8eb083fe4683c6115795d9fc1cfaf2cbbefb19b3a1cb68f6527460f483a77
"""


class Osv(BaseHTTPRequestHandler):
    """A database of vulnerabilities in the form of https://osv.dev, which has one of h11."""

    def do_POST(self) -> None:
        """What is known about a version."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]
        known = {"id": "OSV-2026-1", "summary": "bad", "details": "bad"}
        known |= dict.fromkeys(("published", "modified"), "2026-01-31T00:00:00Z")
        found = {**known, "affected": [{"package": asked, "ranges": ranges}]}
        answer = json.dumps({"vulns": [found]} if asked["name"] == "h11" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def osv() -> Iterator[str]:
    """Options of pip-audit that have it ask such a database."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"--vulnerability-service osv --osv-url http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.matrix
def test_a_vulnerability_is_found_and_the_image_s_packages_are_listed(
    bake_fresh: Bake, osv: str
) -> None:
    """Unless somebody lets it pass; and without a lock it says what to do."""
    project = bake_fresh()

    def audit(options: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "audit", f"AUDIT={options}"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True)

    done = audit(osv)
    assert (done.returncode, "make lock writes it" in done.stdout) == (2, True), done.stderr
    (project / "requirements.lock").write_text(LOCKED, "utf-8")
    done = audit(osv)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "lets one pass" in done.stdout
    assert re.search(r"^h11 +0\.16\.0 +OSV-2026-1 +99\.0", done.stdout, re.MULTILINE), done.stdout
    done = audit(f"{osv} --ignore-vuln OSV-2026-1")
    assert done.returncode == 0, done.stdout + done.stderr
    done = audit("--vulnerability-service osv --osv-url http://127.0.0.1:9")  # nobody is there
    assert (done.returncode, "has to answer" in done.stdout) == (2, True), done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    listed = json.loads((project / "build/sbom.json").read_text("utf-8"))
    assert {each["name"] for each in listed["components"]} == {"h11", "yarl"}


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
