"""Installs packages of Debian that bring a server, without starting it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLICY = Path("/usr/sbin/policy-rc.d")
_STANDARD_ERROR = 2


def can_install() -> bool:
    """Whether we may, and know how to."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str) -> int:
    """Install a package; returns the status of apt-get.

    The package's service isn't started now, but its unit is enabled: it starts when a real machine
    is booted again.
    """
    with _services_stay_down():
        status = _apt_get("install", "--yes", "--no-install-recommends", package)
        if status:  # an empty or an old list of packages, as in a fresh container
            _apt_get("update")
            status = _apt_get("install", "--yes", "--no-install-recommends", package)
    return status


def _apt_get(*arguments: str) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    # When two of us come at once, the second one waits.
    command = ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=_STANDARD_ERROR,  # standard output belongs to whoever called us
    )
    return done.returncode


@contextmanager
def _services_stay_down() -> Iterator[None]:
    """Keep Debian from starting what it installs, unless this machine has its own policy."""
    try:
        policy = os.open(_POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with os.fdopen(policy, "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        yield
    finally:
        _POLICY.unlink()
