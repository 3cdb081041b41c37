"""Marks in the place of the secrets of processes under fault, and who has shown one of them."""

from collections.abc import Mapping
from urllib.parse import quote

from tests.chassis.hostile_passwords import leaks

# With what means something in an address, so that whoever shows half of it shows a part.
# No part of one could stand in a trace id or a time: each has a letter beyond f.
MARKS = {
    "DATABASE_URL": "Hq5/vKxZ@jG7%zVh",
    "DATABASE_SESSION_URL": "Gz9/xQjK@hV4%kXq",
    "MIGRATION_DATABASE_URL": "Jk7/gXvV@vH5%xHv",
    "BROKER_URL": "Kx6/qZvH@gJ3%jQz",
    "RABBITMQ_MANAGEMENT_URL": "Vh8/zJqX@kG2%hZj",
    "OPERATIONS_TOKEN": "Xv2/jHgQ@zK8%qGx",
}
_DATABASES = ("DATABASE_URL", "DATABASE_SESSION_URL", "MIGRATION_DATABASE_URL")


class Marks:
    """Of the processes of one test.

    Args:
        user: of RabbitMQ, in the place of guest; its password is the mark of BROKER_URL.
        asking: the same for the management API, with the mark of RABBITMQ_MANAGEMENT_URL.
    """

    def __init__(self, user: str, asking: str) -> None:
        self.user, self.asking = user, asking
        self.shown = set[str]()  # which secret, and where

    def planted(self, environment: Mapping[str, str]) -> dict[str, str]:
        """These settings with marks; PostgreSQL trusts everybody, whatever the password."""
        found = {**environment, "OPERATIONS_TOKEN": MARKS["OPERATIONS_TOKEN"]}
        session = found.get("DATABASE_SESSION_URL", found["DATABASE_URL"])
        found.setdefault("MIGRATION_DATABASE_URL", session)
        for name in found.keys() & set(_DATABASES):
            found[name] = _marked(found[name], MARKS[name])
        if "://guest:guest@" in found["BROKER_URL"]:  # another user's password is the mark already
            found["BROKER_URL"] = _marked(found["BROKER_URL"], MARKS["BROKER_URL"], self.user)
        name = "RABBITMQ_MANAGEMENT_URL"
        if name in found:
            found[name] = _marked(found[name], MARKS[name], self.asking)
        return found

    def look(self, where: str, text: str) -> None:
        """Remember which marks are in a text."""
        self.shown |= {f"{name} in {where}" for name, mark in MARKS.items() if leaks(mark, text)}


def _marked(url: str, mark: str, user: str | None = None) -> str:
    """An address with another password, and another user."""
    scheme, _, rest = url.partition("://")
    login, _, place = rest.rpartition("@")
    return f"{scheme}://{user or login.partition(':')[0]}:{quote(mark, safe='')}@{place}"
