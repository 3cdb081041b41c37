"""What every session of ours has, whatever database, role or server say.

`ALTER DATABASE`, `ALTER ROLE` and `postgresql.conf` decide how values are read and written, which
rows a statement sees and when it is ended. Without these, a date that becomes another one, a page
that shifts or a message that becomes a dead letter depends on who set up the server.
"""

from collections.abc import Mapping
from typing import Any

from acme_orders.chassis.errors import ConfigurationError

ENCODING = "UTF8"
SCHEMA = "public"  # where the tables are that all share
# Startup options: they count more than what is set for a database or a role.
PINNED: Mapping[str, str] = {
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "xmlbinary": "base64",
    "xmloption": "content",
    "row_security": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "exit_on_error": "off",
    "gin_fuzzy_search_limit": "0",
}
# Set by ourselves for each session or transaction, from our own settings.
OURS = frozenset(
    (
        "application_name",
        "client_connection_check_interval",
        "client_encoding",
        "default_transaction_read_only",
        "idle_in_transaction_session_timeout",
        "role",
        "search_path",
        "session_authorization",
        "statement_timeout",
    )
)
# What startup options cannot say: settings that only newer servers know, and where names are found
# that are not in `public`, such as those of extensions. PGTZ and PGDATESTYLE count more than they.
PIN = f"""
SELECT set_config(name, value, false) FROM (VALUES
    ('search_path', concat_ws(', ', '{SCHEMA}', nullif(current_setting('search_path'), ''))),
    ('TimeZone', '{PINNED["TimeZone"]}'), ('DateStyle', '{PINNED["DateStyle"]}'),
    ('restrict_nonsystem_relation_kind', '')
) AS pinned (name, value) WHERE current_setting(name, true) IS NOT NULL
"""
# What sessions cannot set for themselves.
_REQUIRED = {"server_encoding": ENCODING, "session_replication_role": "origin"}
_RELIED_ON = {**PINNED, **_REQUIRED, "search_path": SCHEMA}
SETTINGS = f"""
SELECT name, setting FROM pg_settings
WHERE name IN ({", ".join(f"'{name}'" for name in (*PINNED, *_REQUIRED))})
UNION ALL SELECT 'search_path', (current_schemas(false))[1]
"""


# Of a session that we cannot set up, beside `SETTINGS`.
STANDING = f"""
{SETTINGS}
UNION ALL SELECT name, setting FROM pg_settings
WHERE name IN ({", ".join(f"'{name}'" for name in sorted(OURS))}) AND name <> 'search_path'
UNION ALL SELECT 'role', current_setting('role')
"""


def startup_options(settings: Mapping[str, str]) -> str:
    """Settings as libpq's parameter `options` takes them."""
    escaped = {
        name: value.replace("\\", "\\\\").replace(" ", "\\ ") for name, value in settings.items()
    }
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def assignments(settings: Mapping[str, str]) -> str:
    """A statement that gives the session these settings."""
    calls = (f"set_config('{name}', {_quoted(value)}, false)" for name, value in settings.items())
    return f"SELECT {', '.join(calls)}"


def standing(settings: Mapping[str, str]) -> dict[str, str]:
    """What each session has to begin with where we cannot set it up, those beside ours included."""
    return {**PINNED, "search_path": SCHEMA, **settings}


def alterations(login: str, database: str, settings: Mapping[str, str]) -> str:
    """Statements that let each session of a login in a database begin with these settings."""
    login, database = (each.replace('"', '""') for each in (login, database))
    whose = f'ALTER ROLE "{login}" IN DATABASE "{database}" SET'
    return " ".join(f"{whose} {name} = {_quoted(value)};" for name, value in settings.items())


def _quoted(value: str) -> str:
    # Read as it is meant whatever standard_conforming_strings is in the session so far.
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


def refuse_others(found: Mapping[str, Any]) -> None:
    """Check what `SETTINGS` finds in a session.

    Raises:
        ConfigurationError: something is other than we rely on.
    """
    wrong = {name: value for name, value in found.items() if value != _RELIED_ON[name]}
    if encoding := wrong.get("server_encoding"):
        raise ConfigurationError(
            f"the database stores texts as {encoding}: those with other characters would be "
            f"refused, and their messages become dead letters; create it with ENCODING '{ENCODING}'"
        )
    if wrong:
        told = ", ".join(
            f"{name} = {value!r} instead of {_RELIED_ON[name]!r}" for name, value in wrong.items()
        )
        raise ConfigurationError(
            f"sessions have {told}: say in the address which pooler is in between (?pooler=session "
            "for PgBouncer, whose ignore_startup_parameters must not have options), and take back "
            "what ALTER ROLE or ALTER DATABASE sets"
        )
