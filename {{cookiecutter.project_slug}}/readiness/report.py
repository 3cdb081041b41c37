"""The list as people, programs and the documentation read it."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from readiness.check import Check, Result
from readiness.checklist import CHECKS

_STYLES = {"ok": "green", "FAIL": "red", "not seen": "yellow"}
_BLOCK = re.compile(r"(?<=<!-- checks (\w) -->\n).*?(?=<!-- end of checks -->)", re.DOTALL)


def show(console: Console, results: Sequence[Result]) -> None:
    """For people: a table, and below it the findings, each followed by advice.

    A terminal breaks lines between words; in a log a finding is one line, which can be searched.
    """
    table = Table("id", "title", "result", "seen", "time")
    for result in results:
        verdict = Text(result.verdict, style=_STYLES[result.verdict])
        verdict.append(f", {len(result.waived)} waived" if result.waived else "", style="yellow")
        seen, took = str(result.inspected), f"{result.seconds:.1f} s"
        table.add_row(result.id, result.title, verdict, seen, took)
    console.print(table)
    for result in results:
        for line in _details(result):
            console.print(Text(line), soft_wrap=not console.is_terminal)


def _details(result: Result) -> Iterator[str]:
    if result.why_not:
        yield f"\n{result.id} was not looked at: {result.why_not}"
    elif result.findings or result.waived:
        yield f"\n{result.id} {result.title}"
    for finding in result.findings:
        place = result.places.get(finding)
        yield f"• {finding}" + (f" ({place})" if place else "")
    if result.findings and result.advice:
        yield f"→ {result.advice}"
    for each in result.waived:
        waiver = each.waiver
        yield f"○ waived until {waiver.until}, {waiver.reason}: {each.finding} ({waiver.place})"


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
            "places": dict(result.places),
            "waived": [
                {
                    "finding": each.finding,
                    "subject": each.waiver.subject,
                    "reason": each.waiver.reason,
                    "until": each.waiver.until.isoformat(),
                    "place": each.waiver.place,
                }
                for each in result.waived
            ],
            "left_out": [{"what": what, "why": why} for what, why in result.left_out],
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
