"""Asks squawk, a linter for PostgreSQL; it belongs to development, not to the service."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError

# Our own rules say the same with the lock and the recipe, and know small tables, phases, and what
# earlier files have made.
SAID_BY_OURS = {
    "require-concurrent-index-creation": "M11",
    "require-concurrent-index-deletion": "M11",
    "require-concurrent-reindex": "M11",
    "require-concurrent-partition-detach": "M13",
    "constraint-missing-not-valid": "M13",
    "adding-foreign-key-constraint": "M13",
    "disallowed-unique-constraint": "M13",
    "ban-create-domain-with-constraint": "M13",
    "ban-alter-domain-with-add-constraint": "M13",
    "adding-field-with-default": "M12",
    "adding-serial-primary-key-field": "M12",
    "changing-column-type": "M12",
    "adding-not-nullable-field": "M5",
    "adding-required-field": "M5",
    "renaming-column": "M3",
    "renaming-table": "M3",
    "renaming-object": "M3",
    "ban-set-schema": "M3",
    "ban-alter-identity": "M3",
    "ban-drop-constraint": "M3",
    "ban-drop-default": "M3",
    "ban-drop-domain": "M3",
    "ban-drop-extension": "M3",
    "ban-drop-function": "M3",
    "ban-drop-generated-expression": "M3",
    "ban-drop-schema": "M3",
    "ban-drop-sequence": "M3",
    "ban-drop-type": "M3",
    "ban-drop-view": "M3",
    "ban-drop-column": "M3",
    "ban-drop-table": "M3",
    "ban-drop-not-null": "M3",
    "ban-truncate-cascade": "M3",
}
NOISE = {
    "ban-concurrent-index-creation-in-transaction": "the runner sends it outside of one, see M7",
    "transaction-nesting": "the runner itself refuses BEGIN and COMMIT",
    "ban-uncommitted-transaction": "the runner commits",
    "prefer-robust-stmts": "a failed transaction leaves nothing, and the runner removes an index "
    "that CONCURRENTLY left invalid, which IF NOT EXISTS would keep",
    "prefer-bigint-over-int": "a count or a position fits; keys are seen to by M10",
    "prefer-bigint-over-smallint": "likewise",
    "require-lock-timeout": "the runner sets it for each kind of statement",
    "require-statement-timeout": "what takes long, such as VALIDATE, blocks nobody",
}
POSTGRESQL = "15"  # the oldest that is supported
_LONGEST = 60


def squawk(file: Path, sql: str, *, transaction: bool) -> Iterator[tuple[int, str, str]]:
    """The line, the rule and the message of each finding that is neither ours nor noise.

    Args:
        file: that it says.
        sql: exactly what is sent.
        transaction: whether it is sent within one.

    Raises:
        ConfigurationError: squawk is not installed, or ended otherwise than with findings.
    """
    command = [_program(), "--pg-version", POSTGRESQL, "--reporter", "json"]
    command += ["--assume-in-transaction"] if transaction else []
    done = subprocess.run(  # noqa: S603  # no shell
        [*command, "--stdin-filepath", str(file)],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST,
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise ConfigurationError(
            f"squawk does not read {file}: {(done.stderr or done.stdout).strip()}"
        ) from None
    for each in found:
        if each["rule_name"] not in {*SAID_BY_OURS, *NOISE}:
            yield each["line"] + 1, each["rule_name"], _message(each)


def _message(found: dict[str, Any]) -> str:
    return " ".join(part for part in (found["message"], found.get("help")) if part)


def _program() -> str:
    beside = Path(sys.executable).with_name("squawk")
    found = str(beside) if beside.exists() else shutil.which("squawk")
    if found is None:
        raise ConfigurationError(
            "squawk is not installed, which `migrate lint` needs: it belongs to development, as in "
            "`make setup`, and is not in the image"
        )
    return found
