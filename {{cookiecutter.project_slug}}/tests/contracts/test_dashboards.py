"""Alerts and dashboards name metrics that exist, and each alert has an answer in the runbook."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import assemble
from acme_orders.service import SERVICE

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
NOT_METRICS = re.compile(
    r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
)
SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)(=~|!~|!=|=)'([^']*)'")
GROUPED = re.compile(r"\bby\s*\(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance", "le"}
NAMES_ONE = re.compile(r"(?:.*_)?(?:ids?|uuid|key|email|user|url|path|sql|text|error)")
NAME = re.compile(r"\b(?!(?:and|or|unless|bool|offset)\b)[a-zA-Z_:][\w:]*\b(?!\s*\()")


def exposed() -> set[str]:
    """Every name that Prometheus would store."""
    return {
        metric.name + suffix
        for metric in Metrics().registry.collect()
        for suffix in SUFFIXES[metric.type]
    }


@cache
def begun() -> dict[str, list[dict[str, str]]]:
    """The labels of each series that is there before anything happens; nothing is connected."""
    settings = SERVICE.load_settings(
        environment="test",
        database_url="postgresql://nobody@localhost/none",
        broker_url="memory://",
        _env_file=None,
    )
    metrics, found = Metrics(), dict[str, list[dict[str, str]]]()
    manager, broker = Manager(settings, metrics), MemoryBroker()
    assemble(SERVICE, settings, metrics=metrics, manager=manager, broker=broker).begin()
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@cache
def declared() -> dict[str, set[str]]:
    """The labels of each metric, by the names that Prometheus would store."""
    return {
        family.name + suffix: {*metric._labelnames}
        for metric in vars(Metrics()).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
        for suffix in SUFFIXES[family.type]
    }


def nowhere(expression: str) -> list[str]:
    """Labels in an expression that its metrics do not have, and values that they never have."""
    labels, series, wrong = declared(), begun(), []
    if not used(expression) <= labels.keys():
        return []  # some are read from a table when somebody looks, and declare nothing
    for name, matchers in SELECTOR.findall(expression):
        for label, how, value in MATCHER.findall(matchers):
            values = sorted({each[label] for each in series.get(name, ()) if label in each})
            if label not in labels[name] | OF_PROMETHEUS:
                wrong.append(f"{name} has no label {label}")
            elif values and "!" not in how and not any(re.fullmatch(value, v) for v in values):
                wrong.append(f"{label} of {name} is never {value}, but {values}")
    known = OF_PROMETHEUS.union(*(labels[name] for name in used(expression)))
    grouped = {name for group in GROUPED.findall(expression) for name in group.split(", ")}
    return wrong + [f"nothing has a label {each}" for each in sorted(grouped - known)]


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


def test_alerts_and_panels_use_labels_and_values_that_occur() -> None:
    """An alert on a label or a value that no series has never fires."""
    for expression in (*alert_expressions(), *panel_expressions()):
        assert not nowhere(expression), expression


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("sum(messages_processed_total{outcme='retried'})", "has no label outcme"),
        ("sum(messages_processed_total{outcome='retryed'})", "is never retryed"),
        ("sum(dead_letters_total{reason=~'refuzed|lost'})", "is never refuzed|lost"),
        ("sum by (kueue) (queue_messages{job='x'})", "nothing has a label kueue"),
    ],
)
def test_labels_and_values_that_never_occur_are_named(expression: str, says: str) -> None:
    """With the values that do."""
    assert any(says in each for each in nowhere(expression))


def test_no_label_names_one_thing_among_many() -> None:
    """Each value of a label is a series for ever: an id or a text would fill Prometheus."""
    labels = set[str]().union(*declared().values())
    assert not {each for each in labels if NAMES_ONE.fullmatch(each)}


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
