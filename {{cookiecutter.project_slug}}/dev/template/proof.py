"""Says whether the project still starts, after an update: `python -m dev.template.proof`."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dev.template.git import attempt, last_line

_PACKAGES = ("acme_orders", "readiness")
_CLAIMS = {
    "its slices hang together": ("dev.slices",),
    "its migrations can be applied": ("acme_orders.chassis.migrations.lint",),
}
_SHOWN = 15  # lines of what a claim says against itself


def main() -> int:
    """Say it, and return the exit status: 1 if it does not start."""
    found = [*leftovers(Path.cwd()), *imports(), *rewritten(Path.cwd())]
    if not found:  # each of these would fail for the same reason
        found = list(claims())
    if found:
        print("THE PROJECT DOES NOT START:", *found, sep="\n  ", file=sys.stderr)
        return 1
    new = [path for path in _migrations(Path.cwd(), "A") if path.endswith(".up.sql")]
    print(f"the project starts: its modules are imported, {', '.join(_CLAIMS)}")
    if new:
        print("new migrations, for `acme-orders migrate up`:", *new, sep="\n  ")
    print("now: `make check test readiness`, and commit it")
    return 0


def leftovers(project: Path) -> Iterator[str]:
    """Files with a conflict."""
    unmerged = attempt(project, "diff", "--name-only", "--diff-filter=U").stdout.split("\n")
    marked = attempt(project, "grep", "-l", "-E", "^(<{7}|>{7}) ").stdout.split("\n")
    for path in sorted({*unmerged, *marked} - {""}):
        yield f"{path} has a conflict: write what is right, and `git add` it"


def imports() -> Iterator[str]:
    """Modules that cannot be imported."""
    for name in _PACKAGES:
        try:
            package = importlib.import_module(name)
        except Exception as error:
            yield f"{name} cannot be imported: {error}"
            continue
        for module in pkgutil.walk_packages(package.__path__, f"{name}.", onerror=lambda _: None):
            if not module.name.endswith("__main__"):
                try:
                    importlib.import_module(module.name)
                except Exception as error:
                    yield f"{module.name} cannot be imported: {type(error).__name__}: {error}"


def rewritten(project: Path) -> Iterator[str]:
    """Migrations that databases may have applied in another form."""
    for path in _migrations(project, "MD"):
        yield f"{path} is not what was committed: `git checkout HEAD -- {path}`, and add a new one"


def claims() -> Iterator[str]:
    """What is not so, and the end of what says it."""
    for claim, command in _CLAIMS.items():
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()[-_SHOWN:]
            said = "\n    ".join(lines) or last_line("")
            yield f"it is not so that {claim}:\n    {said}"


def _migrations(project: Path, how: str) -> list[str]:
    files = ("--", "migrations/*.sql")
    found = attempt(
        project, "diff", "HEAD", "--name-only", "--relative", f"--diff-filter={how}", *files
    )
    return found.stdout.splitlines()


if __name__ == "__main__":
    raise SystemExit(main())
