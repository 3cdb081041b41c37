"""What was inspected, and where."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from acme_orders.chassis.settings import ChassisSettings

from readiness.rehearsal import Subject
from readiness.scratch import rows_of

_SECRET = ("password", "token", "secret", "key", "credential")


@dataclass(frozen=True)
class About:
    """What stands above a report.

    Args:
        title: of the service.
        version: of its package.
        commit: of the source, and whether something in it is not committed.
        date: in UTC.
        server: version of PostgreSQL.
        settings: by the names of their variables, without secrets.
    """

    title: str
    version: str
    commit: str
    date: str
    server: str
    settings: Mapping[str, str]


def about(subject: Subject) -> About:
    """Find out.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    ((server,),) = rows_of(subject.settings.session_url, "SHOW server_version")
    return About(
        title=subject.definition.title,
        version=metadata.version(subject.definition.name),
        commit=_commit(),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        server=f"PostgreSQL {server}",
        settings=shown(subject.settings),
    )


def shown(settings: ChassisSettings) -> dict[str, str]:
    """Each setting, without what must not be seen."""
    return {name.upper(): _shown(name, value) for name, value in settings}


def _shown(name: str, value: Any) -> str:
    """An address without user, password and parameters; of what has a secret, whether it is set."""
    text = str(value)
    if "://" in text:
        address = urlsplit(text)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    if any(word in name for word in _SECRET):
        return "set" if value else "not set"
    return text


def _commit() -> str:
    found = _git("rev-parse", "HEAD")
    if not found:
        return "not known: this is no work tree of git, or it has no commit"
    return f"{found}, with changes that are not committed" if _git("status", "--short") else found


def _git(*arguments: str) -> str:
    try:
        ended = subprocess.run(  # noqa: S603  # arguments are ours
            ["git", *arguments],  # noqa: S607  # whichever git is there
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return ended.stdout.strip() if not ended.returncode else ""
