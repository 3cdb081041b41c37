"""A clean clone on a machine of its own (tests/machine.py), and somebody who works there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.machine import Machine

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WHO, WHAT = ("AUTHOR", "COMMITTER"), ("NAME", "EMAIL")
# In place of an installation that takes minutes: `python3 -m venv` makes an environment of links to
# the programs of ours, whose pip finds that everything is there.
SHARED = """\
#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec '{0}/bin/python' "$@"
mkdir -p "$3/bin" && ln -sf '{0}'/bin/* "$3/bin/" && ln -sf /bin/true "$3/bin/pip" &&
ln -sf '{0}/pyvenv.cfg' '{0}/lib' "$3/"
"""


class Workplace:
    """What stands in `source` is committed and cloned to `folder`, for this user.

    With `python`, the bin folder of an interpreter, environments are really installed; without, the
    one that runs us is shared.
    """

    def __init__(
        self, machine: Machine, source: Path, folder: str, user: str, python: Path | None = None
    ) -> None:
        self.machine, self.folder, self.user = machine, folder, user
        machine.run("useradd", "--create-home", "--uid=4321", "somebody", variables={"PATH": PATH})
        if python:
            machine.install(python)
        else:
            self._share()
        origin = machine.path("/srv/origin")
        shutil.copytree(source, origin, symlinks=True)
        if not (origin / ".git").exists():
            commit = "git init -q -b main && git add --all --force && git commit -qm All"
            names = {f"GIT_{who}_{what}": "x@localhost" for who in WHO for what in WHAT}
            known = {"PATH": PATH, "HOME": "/nonexistent", **names}
            machine.run("sh", "-c", commit, folder="/srv/origin", variables=known)
        machine.path(folder).parent.mkdir(parents=True, exist_ok=True)
        for place in ("/srv/origin", str(Path(folder).parent)):
            machine.run("chown", "--recursive", self.ids, place, variables={"PATH": PATH})
        self.run("git", "clone", "--quiet", "/srv/origin", folder, folder="/")

    @property
    def ids(self) -> str:
        """Of the user and of its group."""
        return "0:0" if self.user == "root" else "4321:4321"

    @property
    def variables(self) -> dict[str, str]:
        """What a login gives."""
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        return {"PATH": PATH, "HOME": home, "USER": self.user, "LANG": "C.UTF-8"}

    def command(self, *command: str, folder: str = "", **variables: str) -> list[str]:
        """What has to be run outside so that this runs in the clone, with the network."""
        return self.machine.command(
            command,
            folder=folder or self.folder,
            user=self.ids,
            network=True,
            variables={**self.variables, **variables},
        )

    def run(self, *command: str, folder: str = "", typed: str = "", **variables: str) -> str:
        """Run a command until it ends, which it has to do well; return what it prints."""
        done = subprocess.run(
            self.command(*command, folder=folder, **variables),
            env={},
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-8000:]}"
        return done.stdout

    def _share(self) -> None:
        python = self.machine.path("/usr/local/bin/python3")
        python.unlink(missing_ok=True)
        python.write_text(SHARED.format(sys.prefix))
        python.chmod(0o755)


def verbs(makefile: Path) -> set[str]:
    """What `make help` lists."""
    return set(re.findall(r"^([a-z-]+):.*## ", makefile.read_text("utf-8"), re.MULTILINE))
