"""Which variables of libpq count: those about passwords, certificates and encryption.

Where PostgreSQL is, as whom we log in and what a session is like is said by DATABASE_URL alone.
libpq would fill from PGHOST, PGOPTIONS, PGTZ… what it leaves open; a developer has them for other
servers, and an image for other programs.
"""

import re
from collections.abc import MutableMapping

_OF_LIBPQ = re.compile(r"PG[A-Z_]+")
_COUNTS = re.compile(
    r"PGPASSWORD|PGPASSFILE|PGSERVICEFILE|PGSYSCONFDIR|PGREQUIREAUTH|PGREQUIREPEER|"
    r"PGCHANNELBINDING|PG(MIN|MAX)PROTOCOLVERSION|PG(SSL|GSS|KRB|OAUTH)[A-Z_]+"
)


def take_out(environment: MutableMapping[str, str]) -> list[str]:
    """Take out the variables that do not count; returns their names."""
    found = [
        name for name in environment if _OF_LIBPQ.fullmatch(name) and not _COUNTS.fullmatch(name)
    ]
    for name in found:
        del environment[name]
    return sorted(found)
