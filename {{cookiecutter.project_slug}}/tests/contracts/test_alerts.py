"""Each alert fires for its cause, when it should and not before, and none fires beside it.

By Prometheus's own `promtool test rules`, without a server. Where it is not installed (Debian:
`apt-get install prometheus`) only that each alert has a cause and a runbook is looked at.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.alert_causes import BAD, CAUSES, WELL, Cause
from tests.contracts.test_dashboards import ROOT, RULES, RUNBOOK, alert_expressions, alerts

JOB = re.search(r"job='([^']*)'", RULES)
FIRING = "count by (alertname) (ALERTS{alertstate='firing'})"
BASELINE = {name: quiet for cause in CAUSES for name, (quiet, _) in cause.series.items() if quiet}


def labelled(name: str) -> str:
    """A series with the job that the rules look for."""
    assert JOB
    name, _, labels = name.rstrip("}").partition("{")
    return f"{name}{{{', '.join(filter(None, [labels, JOB[0]]))}}}"


def case(name: str, series: dict[str, str], expected: dict[int, set[str]]) -> dict[str, Any]:
    """A test of promtool: at these minutes exactly these alerts fire."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": labelled(each), "values": values} for each, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": FIRING,
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)
                ],
            }
            for minute, firing in expected.items()
        ],
    }


def case_of(cause: Cause) -> dict[str, Any]:
    """Nothing before the cause, nothing as long as `for` lasts, then this alert and no other."""
    expression = alert_expressions()[alerts().index(cause.alert)]
    window = 1 if "[" in expression else 0  # versions differ about the ends of a range
    series = BASELINE | {name: loud for name, (_, loud) in cause.series.items()}
    due = WELL + 1 + cause.after
    quiet = {minute: set[str]() for minute in (WELL, due - 1 - window)}
    return case(cause.alert, series, quiet | {due + window: {cause.alert, *cause.also}})


def test_every_alert_has_a_cause() -> None:
    """One that never fired is a hope; write a row in alert_causes.py."""
    assert {each.alert for each in CAUSES} == set(alerts())


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    """Whoever is woken up reads a sentence, then something to look at or to do."""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    for alert in alerts():
        meaning, *_ = sections[alert].strip().splitlines()
        assert len(meaning) > 20, alert
        assert not meaning.startswith("- "), f"{alert}: what does it mean?"
        to_do = "\n- " in sections[alert] or "](#" in sections[alert]
        assert to_do, f"{alert}: what is to be done?"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool is installed")
def test_every_alert_fires_for_its_cause_and_for_nothing_else(tmp_path: Path) -> None:
    """And on the baseline, where each value is just below its threshold, none does."""
    quiet = {minute: set[str]() for minute in (5, WELL, WELL + BAD)}
    tests = [case("baseline", BASELINE, quiet), *map(case_of, CAUSES)]
    rules = ROOT / "deploy/prometheus/rules.yml"
    file = tmp_path / "alerts.yml"  # JSON is YAML
    file.write_text(
        json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests})
    )
    told = subprocess.run(
        ["promtool", "test", "rules", str(file)], check=False, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr


def test_what_compose_starts_is_scraped_as_the_alerts_expect() -> None:
    """Another job, target or path, and Prometheus and Grafana start with nothing to show."""
    composed = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    mounted = re.findall(r"\./(deploy/[^:\"]+):", composed)
    assert {each.split("/")[1] for each in mounted} == {"prometheus", "grafana"}
    assert [each for each in mounted if not (ROOT / each).exists()] == []
    scraped = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    assert JOB
    assert f'job_name: "{JOB[1]}"' in scraped
    assert "127.0.0.1:9000:9000" in composed
    assert '"service:9000"' in scraped
    assert 'OPERATIONS_TOKEN: "${OPERATIONS_TOKEN:-}"' in composed  # or nobody opens the page
