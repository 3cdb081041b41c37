"""What helps, by what PostgreSQL says of a migration."""

from collections.abc import Mapping

HINTS: Mapping[str, str] = {
    "2D000": "each file is one transaction: no COMMIT or ROLLBACK in DO or in what CALL runs",
    "25001": "each file is one transaction, and this statement runs only outside of one",
    "42501": "migrations need the owner of the tables (MIGRATION_DATABASE_URL)",
    "53100": "free space on the server's disk, and run the command again",
}
GONE = (
    "its log says why. See that it runs and has room, and run the command again, which goes on "
    "where it was; `migrate status` says what is applied"
)
