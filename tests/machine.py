"""A machine of its own for what a container or a CI job does, without a container engine.

Its files are those of this machine under an overlay, so that it can be changed like any other; its
network is a loopback interface of its own; its processes end with it. Only root can make one.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

# $1 is where its root is mounted, $2 and $3 belong to the overlay. What is on other file systems is
# there as it is. /root has to be passed through to the interpreters that may be in it.
SETUP = """
set -e
mount -t overlay -o "lowerdir=/,upperdir=$2,workdir=$3" overlay "$1"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
chmod o+x "$1/root"
ip link set lo up
echo ready
exec chroot "$1" sleep infinity
"""
NEEDED = ("unshare", "nsenter", "setpriv", "mount", "chroot", "ip", "useradd")


def impossible() -> str:
    """Why there is no such machine here; nothing if there is."""
    if missing := [program for program in NEEDED if shutil.which(program) is None]:
        return f"needs {', '.join(missing)}"
    mounts = ["unshare", "--mount", "--net", "--pid", "--fork", "true"]
    if os.geteuid() != 0 or subprocess.run(mounts, stderr=subprocess.DEVNULL).returncode:
        return "needs root with the right to mount in a namespace of its own"
    return ""


def interpreter(version: str) -> Path | None:
    """The bin folder of an installed Python of this version, such as 3.13."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    names = [f"python{version}", *map(str, sorted(pyenv.glob(f"{version}.*/bin/python{version}")))]
    for name in names:
        code = "import ensurepip, sys; print(sys._base_executable)"
        done = (
            subprocess.run([name, "-c", code], capture_output=True, text=True)
            if (shutil.which(name))
            else None
        )
        if done and done.returncode == 0:
            return Path(done.stdout.strip()).resolve().parent
    return None


class Machine:
    """Runs from the start of its block to the end; `folder` must be empty."""

    def __init__(self, folder: Path) -> None:
        self._places = [folder / name for name in ("root", "upper", "work")]

    def __enter__(self) -> Self:
        for place in self._places:
            place.mkdir(parents=True)
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self._holder = subprocess.Popen(
            [*namespaces, "sh", "-c", SETUP, "machine", *map(str, self._places)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        (inside,) = psutil.Process(self._holder.pid).children()
        self._inside = inside.pid
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder.kill()
        self._holder.communicate()

    def path(self, name: str) -> Path:
        """Where a file of it is seen from outside."""
        return Path(f"/proc/{self._inside}/root", name.lstrip("/"))

    def install(self, python: Path) -> None:
        """Make this the Python of the machine, as the images of Python have it."""
        for name in ("python", "python3", "pip"):
            link = self.path(f"/usr/local/bin/{name}")
            link.unlink(missing_ok=True)
            link.symlink_to(python / (name if name == "pip" else "python3"))
        # An environment takes the folder of that link for its home, and looks for the library near
        # it: it would find that of Debian's own Python first.
        for library in python.parent.glob("lib/python3.*"):
            link = self.path(f"/usr/local/lib/{library.name}")
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)
            link.unlink(missing_ok=True)
            link.symlink_to(library)

    def run(self, *command: str, **options: Any) -> str:
        """Run a command until it ends, which it has to do well; return what it prints.

        Options are those of `command`.
        """
        done = subprocess.run(
            self.command(command, **options),
            env={},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-8000:]}"
        return done.stdout

    def command(
        self,
        command: Sequence[str],
        *,
        folder: str = "/",
        variables: Mapping[str, str] | None = None,
        user: str = "0:0",
        network: bool = False,
        restricted: bool = False,
    ) -> list[str]:
        """What has to be run outside so that this runs in the machine.

        Args:
            command: the program and its arguments.
            folder: in which it begins.
            variables: all of its environment.
            user: uid and gid, with a colon between them.
            network: use the network of this machine, to fetch something.
            restricted: without any capability, on a file system that cannot be written.
        """
        enter = ["nsenter", f"--target={self._inside}", "--mount", "--pid", "--root", "--wd"]
        enter += [] if network else ["--net"]
        known = [f"{name}={value}" for name, value in (variables or {}).items()]
        group, become = user.partition(":")[2] or user.partition(":")[0], ["setpriv"]
        become += [f"--reuid={user.partition(':')[0]}", f"--regid={group}", "--clear-groups"]
        if restricted:
            become += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
            frozen = 'mount -o remount,bind,ro / && exec "$@"'
            enter += ["unshare", "--mount", "sh", "-c", frozen, "frozen"]
        there = ["sh", "-c", 'cd "$0" && exec "$@"', folder]
        return [*enter, *become, "env", "-i", *known, *there, *command]


def python_here() -> Path:
    """The bin folder of the Python that runs us."""
    base: str = sys._base_executable  # type: ignore[attr-defined]
    return Path(base).resolve().parent
