"""The list as people, programs and the documentation read it."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from readiness.check import Check, Result
from readiness.checklist import CHECKS

_BLOCK = re.compile(r"(?<=<!-- checks (\w) -->\n).*?(?=<!-- end of checks -->)", re.DOTALL)


def as_table(results: Sequence[Result]) -> Group:
    """For a terminal; findings stand below, in the whole width, and are followed by advice."""
    table = Table("id", "title", "result", "seen", "time")
    details = []
    for result in results:
        verdict = "[green]ok[/]" if result.passed else "[red]FAIL[/]"
        if result.why_not:
            verdict = "[yellow]not seen[/]"
            details.append(Text(f"\n{result.id} was not looked at: {result.why_not}"))
        seen, took = str(result.inspected), f"{result.seconds:.1f} s"
        table.add_row(result.id, result.title, verdict, seen, took)
        if result.findings:
            lines = [f"• {finding}" for finding in result.findings]
            lines = [f"\n{result.id} {result.title}", *lines, f"→ {result.advice}"]
            details.append(Text("\n".join(lines), overflow="fold"))
    return Group(table, *details)


def as_json(results: Sequence[Result]) -> str:
    """For programs."""
    checks = [
        {
            "id": result.id,
            "title": result.title,
            "passed": result.passed,
            "not_looked_at": result.why_not or None,
            "inspected": result.inspected,
            "seconds": round(result.seconds, 2),
            "findings": list(result.findings),
        }
        for result in results
    ]
    return json.dumps({"checks": checks}, indent=2, ensure_ascii=False)


def as_markdown(checks: Sequence[type[Check]] = CHECKS) -> str:
    """For the documentation: each check and its advice."""
    return "".join(["| Check | What holds | If it fails |\n", "|---|---|---|\n", *map(row, checks)])


def row(check: type[Check]) -> str:
    """A line of the documentation."""
    return f"| {check.id} | {check.title()} | {check.advice()} |\n"


def with_checks(text: str) -> str:
    """A document with the table of each family between its two marks brought up to date."""
    return _BLOCK.sub(
        lambda block: as_markdown([check for check in CHECKS if check.id[0] == block[1]]), text
    )


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(with_checks(document.read_text(encoding="utf-8")), encoding="utf-8")
