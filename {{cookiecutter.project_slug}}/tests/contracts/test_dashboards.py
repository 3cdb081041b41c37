"""Alerts and dashboards name metrics that exist, and each alert has an answer in the runbook."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from acme_orders.chassis.observability.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
NOT_METRICS = re.compile(
    r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
)
NAME = re.compile(r"\b(?!(?:and|or|unless|bool|offset)\b)[a-zA-Z_:][\w:]*\b(?!\s*\()")


def exposed() -> set[str]:
    """Every name that Prometheus would store."""
    return {
        metric.name + suffix
        for metric in Metrics().registry.collect()
        for suffix in SUFFIXES[metric.type]
    }


def used(expression: str) -> set[str]:
    """The metrics in a PromQL expression."""
    return set(NAME.findall(NOT_METRICS.sub(" ", expression)))


def alert_expressions() -> list[str]:
    """Every `expr: "…"` of the rules."""
    return re.findall(r'^ +expr: "(.*)"$', RULES, re.MULTILINE)


def alerts() -> list[str]:
    """The name of every alert."""
    return re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)


def panel_expressions() -> Iterator[str]:
    """Every expression of the dashboard."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_every_alert_is_read() -> None:
    """No rule escapes the pattern that reads the file."""
    assert RULES.count("alert:") == len(alerts()) == len(alert_expressions()) > 0


def test_metrics_are_found_in_expressions() -> None:
    """Functions, labels, numbers and words of PromQL are no metrics."""
    expression = "sum by (a) (rate(b_total{c='d'}[5m])) / max(e) > 0.5 and f unless g"
    assert used(expression) == {"b_total", "e", "f", "g"}


def test_alerts_use_metrics_that_exist() -> None:
    """An alert on a name that nobody exposes never fires."""
    for expression in alert_expressions():
        assert used(expression), expression
        assert used(expression) <= exposed(), expression


def test_panels_use_metrics_that_exist() -> None:
    """A panel of a name that nobody exposes stays empty."""
    for expression in panel_expressions():
        assert used(expression), expression
        assert used(expression) <= exposed(), expression


def test_every_alert_has_a_heading_in_the_runbook() -> None:
    """Whoever is woken up finds what to do, and the order is the same."""
    headings = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert headings == alerts()


def test_a_panel_has_the_unit_of_what_it_shows() -> None:
    """Seconds among counts look like counts, and the other way round."""
    seconds = re.compile(r"_seconds(?:_bucket|_sum)?\{")
    for panel in DASHBOARD["panels"]:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert (unit == "s") == bool(seconds.search(target["expr"])), target["expr"]
