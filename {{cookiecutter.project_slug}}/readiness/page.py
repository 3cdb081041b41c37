"""The list as a page that needs nothing beside it, to be attached to a release."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from acme_orders.chassis.observability.redaction import Redactor

from readiness.about import About
from readiness.check import Result
from readiness.evidence import Planned
from readiness.waivers import Waived

_STYLE = Path(__file__).with_name("page.css")
_CLASSES = {"ok": "ok", "FAIL": "fail", "not seen": "unseen"}
# Nothing is fetched and nothing is executed, whatever a finding has in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Page:
    """Writes it.

    Args:
        about: what was inspected.
        results: of all checks.
        redact: takes passwords out of each text.
    """

    def __init__(self, about: About, results: Sequence[Result], redact: Redactor) -> None:
        self._about, self._results, self._redact = about, results, redact

    def __str__(self) -> str:
        title = self._text(f"{self._about.title}: readiness")
        return "\n".join(
            (
                '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                '<meta name="color-scheme" content="light dark">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                f"<title>{title}</title>",
                f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>",
                *self._head(),
                *self._table(),
                *(line for result in self._results for line in self._check(result)),
                *self._queries(),
                *self._left_out(),
                *self._waived(),
                *self._settings(),
                "</main>\n</body>\n</html>\n",
            )
        )

    def _text(self, text: object) -> str:
        return escape(self._redact(str(text)))

    def _head(self) -> Iterator[str]:
        red = [each.id for each in self._results if not each.passed]
        verdict = f"Not ready: {', '.join(red)}" if red else "Ready"
        about = self._about
        yield f"<h1>{self._text(about.title)} {self._text(about.version)}</h1>"
        yield f'<p class="verdict {"fail" if red else "ok"}">{self._text(verdict)}</p>'
        seconds = sum(each.seconds for each in self._results)
        facts = (
            ("Commit", about.commit),
            ("Date", about.date),
            ("Server", about.server),
            ("Checks", f"{len(self._results)}, in {seconds:.0f} s"),
            ("Waived", sum(len(each.waived) for each in self._results)),
        )
        yield "<dl>"
        yield from (f"<dt>{name}</dt><dd>{self._text(value)}</dd>" for name, value in facts)
        yield "</dl>"

    def _table(self) -> Iterator[str]:
        rows = (
            (
                self._link(each) if _has_section(each) else self._text(each.id),
                self._text(each.title),
                self._badge(each),
                str(each.inspected),
                f"{each.seconds:.1f} s",
            )
            for each in self._results
        )
        yield "<h2>Checks</h2>"
        yield from _table(("Id", "What holds", "Result", "Seen", "Time"), rows, "checks")

    def _link(self, result: Result) -> str:
        return f'<a href="#{self._text(result.id)}">{self._text(result.id)}</a>'

    def _badge(self, result: Result) -> str:
        more = f" <small>{len(result.waived)} waived</small>" if result.waived else ""
        return f'<b class="{_CLASSES[result.verdict]}">{result.verdict}</b>{more}'

    def _check(self, result: Result) -> Iterator[str]:
        if not _has_section(result):
            return
        yield f'<section id="{self._text(result.id)}">'
        title = f"{self._text(result.id)} {self._text(result.title)}"
        yield f"<h3>{title} {self._badge(result)}</h3>"
        if result.why_not:
            yield f"<p>It was not looked at: {self._text(result.why_not)}</p>"
        if result.findings:
            yield "<ul>"
            for finding in result.findings:
                place = result.places.get(finding, "")
                where = f" <code>{self._text(place)}</code>" if place else ""
                yield f"<li>{self._text(finding)}{where}</li>"
            advice = f'<p class="advice">{self._text(result.advice)}</p>' if result.advice else ""
            yield f"</ul>\n{advice}"
        yield "</section>"

    def _queries(self) -> Iterator[str]:
        """Each query: how it was carried out on many rows, or else how it would be."""
        seen = [plan for result in self._results for plan in result.plans]
        plans = {(each.query, each.sql, each.read is None): each for each in seen}.values()
        yield "<h2>Queries and their plans</h2>"
        if not plans:
            yield "<p>No check has asked for a plan.</p>"
        for name in sorted({each.query for each in plans}):
            of_it = [each for each in plans if each.query == name]
            found = [each for each in of_it if each.read is not None] or of_it
            how = "; ".join(dict.fromkeys(map(_cost, found)))
            about = f"<code>{self._text(name)}</code> <small>{self._text(found[0].place)}</small>"
            yield f"<details><summary>{about}<br>{how}</summary>"
            for plan in found:
                yield f"<p>{_cost(plan)}</p>" if len(found) > 1 else ""
                yield f"<pre>{self._text(inspect.cleandoc(plan.sql))}</pre>"
                yield f"<pre>{self._text(chr(10).join(plan.lines))}</pre>"
            yield "</details>"

    def _left_out(self) -> Iterator[str]:
        rows = dict[tuple[str, str], list[str]]()
        for each in self._results:
            seen = [("everything", each.why_not)] if each.why_not else each.left_out
            for what, why in seen:
                rows.setdefault((each.id, why), []).append(what)
        named = [
            (self._text(check), self._text(why), self._text(", ".join(what)))
            for (check, why), what in rows.items()
        ]
        yield "<h2>Not looked at</h2>"
        yield from _table(("Check", "Why", "What"), named) if named else ["<p>Nothing.</p>"]

    def _waived(self) -> Iterator[str]:
        rows = [self._waiver(each) for result in self._results for each in result.waived]
        yield "<h2>Waived</h2>"
        head = ("Check", "Finding", "Reason", "Until", "Where")
        yield from _table(head, rows) if rows else ["<p>Nothing.</p>"]

    def _waiver(self, each: Waived) -> tuple[str, ...]:
        found = each.waiver
        cells = (found.check, each.finding, found.reason, found.until, found.place)
        return tuple(map(self._text, cells))

    def _settings(self) -> Iterator[str]:
        rows = [
            (f"<code>{self._text(name)}</code>", self._text(value))
            for name, value in sorted(self._about.settings.items())
        ]
        yield f"<h2>Settings</h2>\n<details><summary>{len(rows)}, without secrets</summary>"
        yield from _table(("Variable", "Value"), rows)
        yield "</details>"


def _has_section(result: Result) -> bool:
    return bool(result.findings or result.why_not)


def _cost(plan: Planned) -> str:
    if plan.read is None or plan.returned is None:
        return "not carried out: the plan on empty tables"
    for_each = plan.read / max(plan.returned, 1)
    read = f"{plan.read:.0f} row{'' if round(plan.read) == 1 else 's'} read"
    return f"{read}, {plan.returned:.0f} returned: {for_each:.1f} for each"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> Iterator[str]:
    """Cells are HTML; on a narrow screen each is shown under the name of its column."""
    yield f'<table class="{kind}">\n<thead><tr>{_cells("th", head)}</tr></thead>\n<tbody>'
    for row in rows:
        cells = (f'<td data-name="{n}">{cell}</td>' for n, cell in zip(head, row, strict=True))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>"


def _cells(kind: str, texts: Iterable[str]) -> str:
    return "".join(f"<{kind}>{each}</{kind}>" for each in texts)
