"""Goes through all migrations, rule by rule."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from postgast import nodes as ast

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import (
    FOLDER,
    Migration,
    migrations,
    text_of,
)
from acme_orders.chassis.migrations.kinds import is_alone
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.lint import (
    blocking,
    columns,
    destruction,
    files,
    rows,
)
from acme_orders.chassis.migrations.lint.findings import (
    Finding,
    Refusal,
    Rule,
    Sheet,
    head_of,
)
from acme_orders.chassis.migrations.lint.inside import (
    sql_is_hidden,
    statements_inside,
)
from acme_orders.chassis.migrations.lint.squawk import squawk
from acme_orders.chassis.migrations.sql import statements_of as read
from acme_orders.chassis.migrations.statements import Statement, statements_of

WAIVER = "waiver"
RULES = (
    Rule("M1", rows.rows_are_written),
    Rule("M2", files.way_back_is_missing, whole=True),
    Rule("M3", destruction.old_code_breaks),
    Rule("M4", destruction.nothing_is_required, whole=True),
    Rule("M5", columns.null_is_forbidden),
    Rule("M7", files.kinds_are_mixed),
    Rule("M9", files.tables_wait_for_each_other),
    Rule("M10", columns.types_are_unfit),
    Rule("M11", blocking.indexes_block),
    Rule("M12", columns.values_are_written),
    Rule("M12", columns.tables_are_rewritten),
    Rule("M13", blocking.rows_are_checked),
    Rule("M14", blocking.locks_are_held),
    Rule("M14", sql_is_hidden),
    Rule("M14", blocking.something_else_blocks, last=True),
)
_ALLOW = re.compile(
    r"^--\s*allow:\s*(?P<rule>\S+)(?:\s+\((?P<reason>[^)\s][^)]*)\))?.*$", re.MULTILINE
)
_UNLINTED = "unlinted.txt"
_LINE = re.compile(r"(?P<id>[\w/]+) \((?P<reason>[^)\s][^)]*)\)")
Ask = Callable[..., Iterator[tuple[int, str, str]]]


def lint(
    folder: Path = FOLDER, *, rules: Sequence[Rule] = RULES, ask: Ask = squawk
) -> Iterator[Finding]:
    """What is wrong with the migrations that are not listed as older than these rules.

    Raises:
        ConfigurationError: a file cannot be read or run, or squawk is missing.
    """
    every, known = migrations(folder), Known()
    older = _older(folder, every)
    for migration in every:
        sheet = _sheet(migration, known)
        if migration.id in older:
            for statement in sheet.statements:
                known.apply(statement.node)
        else:
            yield from _looked_at(sheet, rules, ask)


def _looked_at(sheet: Sheet, rules: Sequence[Rule], ask: Ask) -> Iterator[Finding]:
    found: list[tuple[Statement, str, Refusal]] = []
    for number, statement in enumerate(sheet.statements):
        for inner in (statement, *statements_inside(statement)):
            for rule in rules:
                if (number and rule.whole) or (found and rule.last and found[-1][0] is statement):
                    continue
                found += [(statement, rule.code, each) for each in rule.look(sheet, inner)]
            sheet.known.apply(inner.node)
    up = sheet.migration.up
    for line, rule_name, message in ask(up, sheet.migration.text, transaction=not sheet.alone):
        statement = sheet.at(line)
        if rule_name == "prefer-text-field" and isinstance(statement.node, ast.CreateStmt):
            continue  # nobody waits for a table that is new: its limits are the model's business
        anew = any(each is statement and rule in {"M3", "M12"} for each, rule, _ in found)
        if not (anew and rule_name.startswith("prefer-")):  # it is another column in the recipe
            found.append((statement, rule_name, Refusal(message)))
    yield from _judged(sheet, found)


def _judged(sheet: Sheet, found: list[tuple[Statement, str, Refusal]]) -> Iterator[Finding]:
    """The findings that no waiver lets pass, and the waivers that let nothing pass."""
    up, used = sheet.migration.up, set()
    for statement, rule, refusal in sorted(found, key=lambda each: each[0].line):
        waivers = {each["rule"]: each["reason"] for each in _ALLOW.finditer(statement.above)}
        used.add((statement.line, rule))
        if not waivers.get(rule):
            yield Finding(up, statement.line, rule, head_of(statement.sql), refusal)
    for statement in sheet.statements:
        for each in _ALLOW.finditer(statement.above):
            why = ""
            if not each["reason"]:
                why = f"Say why: `-- allow: {each['rule']} (the reason)`."
            elif (statement.line, each["rule"]) not in used:
                why = f"Nothing is refused by {each['rule']} here: take the line out."
            if why:
                yield Finding(up, statement.line, WAIVER, each[0], Refusal(why))
    if "squawk-ignore" in sheet.migration.text:
        why = "It gives no reason: say `-- allow: RULE (the reason)` above the statement."
        yield Finding(up, 1, WAIVER, "squawk-ignore", Refusal(why))


def _older(folder: Path, every: Sequence[Migration]) -> set[str]:
    """Migrations that were released before these rules, and can no longer change."""
    found: set[str] = set()
    for place, prefix in ((folder, ""), (folder / "chassis", "chassis/")):
        file = place / _UNLINTED
        lines = text_of(file).splitlines() if file.exists() else []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            said = _LINE.fullmatch(line.strip())
            if said is None or prefix + said["id"] not in {each.id for each in every}:
                raise ConfigurationError(
                    f"{file}:{number}: `{line}`: write the name of a migration of this folder, "
                    "without .up.sql, and in brackets why it cannot change"
                )
            found.add(prefix + said["id"])
    return found


def _sheet(migration: Migration, known: Known) -> Sheet:
    known.new = set()
    for file in (migration.up, migration.down):
        read(file)  # refuses what the runner would: a slip of the pen, a COMMIT
    statements = tuple(statements_of(migration))
    alone = any(is_alone(each.node) for each in statements)
    return Sheet(migration, migration.header, statements, known, alone)
