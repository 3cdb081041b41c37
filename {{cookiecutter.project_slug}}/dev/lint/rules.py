"""All rules, and what they find in a file."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dev.lint.labels import unbounded_labels
from dev.lint.manager import (
    models_outside_repositories,
    results_and_tests_of_the_orm,
    unfit_fields,
    ways_around_the_manager,
)
from dev.lint.source import Found, Source
from dev.lint.sql import built_sql, session_state
from dev.lint.transactions import (
    lost_cancellations,
    swallowed_errors,
    tasks_inside_transactions,
)
from dev.lint.zones import business_in_the_chassis, insides_of_another_slice

_NOTE = re.compile(r"# lint:\s*(\w*)\s*(\([^#]*?\w[^#]*?\))?")


@dataclass(frozen=True, order=True)
class Finding:
    """Something to change, and what helps."""

    path: str
    line: int
    code: str
    message: str
    helps: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.message} — {self.helps}"


@dataclass(frozen=True)
class Rule:
    """What `look` finds; its docstring is the reason, and below that what helps.

    The folders in `exempt`, rooms of the chassis or the checklist, do it for all others.
    """

    code: str
    look: Callable[[Source, ast.Module], Found]
    exempt: frozenset[str] = frozenset()
    tests: bool = False

    @property
    def reason_and_help(self) -> tuple[str, str]:
        """Why it is a rule, and what to do instead."""
        reason, _, helps = inspect.cleandoc(self.look.__doc__ or "").partition("\n\n")
        return reason, helps.rstrip(".")

    def concerns(self, source: Source) -> bool:
        """Whether the rule looks at this file."""
        if source.test:
            return self.tests
        return not {source.parts[0], ".".join(source.parts[:2])} & self.exempt


_DATABASE = frozenset({"chassis.database", "chassis.migrations", "chassis.tenancy"})
_TABLES = frozenset({"chassis.messaging", "chassis.relay", "chassis.dead_letters", "chassis.http"})
RULES = (
    Rule("D1", models_outside_repositories, exempt=_DATABASE | _TABLES),
    Rule("D2", ways_around_the_manager, exempt=_DATABASE),
    Rule("D3", unfit_fields, exempt=_DATABASE),
    Rule("D4", session_state, exempt=_DATABASE | {"readiness"}),
    Rule("D5", built_sql, exempt=_DATABASE | {"readiness"}),
    Rule("D6", swallowed_errors),
    Rule("D7", results_and_tests_of_the_orm, exempt=_DATABASE, tests=True),
    Rule("D8", tasks_inside_transactions),
    Rule("D9", lost_cancellations),
    Rule("D10", business_in_the_chassis),
    Rule("D11", insides_of_another_slice),
    Rule("D12", unbounded_labels),
)


def findings(source: Source) -> Iterator[Finding]:
    """What the rules find and no note lets pass, and notes that are wrong themselves."""
    try:
        tree = ast.parse(source.text)
    except SyntaxError as error:
        yield Finding(source.path, error.lineno or 1, "D0", "is not Python", error.msg)
        return
    notes, used = list(_notes(source.text)), set()
    for rule in RULES:
        for node, message in rule.look(source, tree) if rule.concerns(source) else ():
            lines = {node.lineno, node.end_lineno}
            passing = {note for note in notes if note[0] in lines and note[1] == rule.code}
            used |= passing
            if not passing:
                helps = rule.reason_and_help[1]
                yield Finding(source.path, node.lineno, rule.code, message, helps)
    for line, code, reason in notes:
        note = f"`# lint: {code}`"
        if (line, code, reason) not in used:
            yield Finding(source.path, line, "D0", f"{note} lets nothing pass", "remove it")
        elif not reason:
            yield Finding(source.path, line, "D0", f"{note} gives no reason", "add it: (why)")


def _notes(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, code and reason of each note."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            for code, reason in _NOTE.findall(token.string):
                yield token.start[0], code, reason
