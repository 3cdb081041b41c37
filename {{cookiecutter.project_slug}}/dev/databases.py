"""Databases of their own for tests, on any PostgreSQL server."""

import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from dev.postgres_binaries import installed_binaries


class Databases:
    """Creates and drops databases on the server at `url`, whose user must be allowed to.

    It runs PostgreSQL's own `createdb` and `dropdb`, so it works whichever driver the service has
    chosen. They get `environment`, or ours: somebody's own server may want a PGPASSWORD.
    """

    def __init__(
        self,
        url: str,
        *,
        binaries: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._binaries = binaries or installed_binaries()
        self._environment = environment

    def create(self, name: str | None = None, *, template: str | None = None) -> str:
        """Create a database, empty or a copy of `template` (a URL or a name); return its URL.

        Nobody may be connected to the template meanwhile; PostgreSQL refuses then.
        """
        name = name or f"test_{secrets.token_hex(6)}"
        copied = [] if template is None else ["--template", _name(template)]
        self._run("createdb", *copied, name)
        return urlsplit(self.url)._replace(path=f"/{quote(name, safe='')}").geturl()

    def drop(self, url: str) -> None:
        """Drop the database at `url`, also with connections open; it may be gone already."""
        if urlsplit(url).netloc != urlsplit(self.url).netloc:
            raise ValueError(f"{url} is not a database of {self.url}, so it isn't dropped")
        self._run("dropdb", "--force", "--if-exists", _name(url))

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), f"--maintenance-db={self.url}", *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self._environment,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")


def _name(url: str) -> str:
    return unquote(url.rpartition("/")[2].partition("?")[0])
