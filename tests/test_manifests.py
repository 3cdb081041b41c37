"""The manifests for Kubernetes fit together: what one of them names, another one has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Bake

NAME = "app.kubernetes.io/name"


def manifests(project: Path) -> Iterator[dict[str, Any]]:
    """All documents of all files, and what is in lists."""
    for file in sorted((project / "deploy/kubernetes").glob("*.yaml")):
        for found in yaml.safe_load_all(file.read_text("utf-8")):
            yield from found.get("items", [found])


def selected(manifest: dict[str, Any]) -> set[str]:
    """The pods that it is about, by their names."""
    spec = manifest["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    if expressions := selector.get("matchExpressions"):
        (values,) = [each["values"] for each in expressions if each["key"] == NAME]
        return set(values)
    return {selector.get("matchLabels", selector)[NAME]}


def named_ports(found: Any) -> Iterator[str]:
    """Whatever it calls a port by its name."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key in {"port", "targetPort"} and isinstance(value, str):
                yield value
            yield from named_ports(value)
    elif isinstance(found, list):
        for each in found:
            yield from named_ports(each)


@pytest.mark.parametrize("http_api", [True, False])
def test_what_one_names_another_has(bake: Bake, http_api: bool) -> None:
    """Else pods are in no Service, guarded by nothing, or looked at by nobody, without a word."""
    project = bake(kubernetes=True, http_api=http_api)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in manifests(project):
        kinds.setdefault(each["kind"], []).append(each)
    ports = {}
    for each in kinds["Deployment"]:
        template = each["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert (
            selected(each) == {template["metadata"]["labels"][NAME]} == {each["metadata"]["name"]}
        )
        ports[each["metadata"]["name"]] = {port["name"] for port in container["ports"]}
        assert set(named_ports(container)) <= ports[each["metadata"]["name"]]

    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        assert set().union(*map(selected, kinds[kind])) == set(ports), kind
    for kind in ("Service", "NetworkPolicy", "PodMonitor"):
        for each in kinds[kind]:
            known = set().union(*(ports[name] for name in selected(each)))
            assert set(named_ports(each["spec"])) <= known, each

    # Pods that consume are not ready while RabbitMQ is away: no client of the API is led to them.
    api = {name for name, known in ports.items() if "http" in known}
    led = [each for each in kinds["Service"] if "http" in named_ports(each["spec"])]
    assert api == set().union(*map(selected, led)) == {each["metadata"]["name"] for each in led}
    for each in kinds["Deployment"]:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        alone = container["args"] == ["run", "--only", "api"]
        assert alone == (each["metadata"]["name"] in api)
    assert bool(api) == http_api

    text = (project / "deploy/kubernetes/deployment.yaml").read_text("utf-8")
    assert set(re.findall(r"&(\w+)", text)) == set(re.findall(r"\*(\w+)", text))
    replicas = [each["spec"].get("replicas") for each in yaml.safe_load(text)["items"]]
    assert replicas == [2] * len(kinds["Deployment"])
    assert text.count("replicas: 2") == len(replicas)  # KEDA takes one of them away, not all

    # A pod of the API takes clients until nobody leads them to it, and drains after that.
    settings = (project / ".env.example").read_text("utf-8")
    shutdown = (project / "src/acme_orders/chassis/process/shutdown.py").read_text("utf-8")
    (drain,) = re.findall(r"^#DRAIN_TIMEOUT=(\d+)s$", settings, re.MULTILINE)
    (closing,) = re.findall(r"^CLOSING = ([\d.]+)", shutdown, re.MULTILINE)
    for each in kinds["Deployment"]:
        pod, waits = each["spec"]["template"]["spec"], 0.0
        if hook := pod["containers"][0].get("lifecycle"):
            command, seconds = hook["preStop"]["exec"]["command"]
            assert command == "sleep"
            waits = float(seconds)
        assert (waits > 0) == (each["metadata"]["name"] in api)
        assert waits + float(drain) + float(closing) <= pod["terminationGracePeriodSeconds"]

    (scaled,), (monitor,) = kinds["ScaledObject"], kinds["PodMonitor"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in ports
    (trigger,) = scaled["spec"]["triggers"]
    service = (project / "src/acme_orders/service.py").read_text("utf-8")
    assert f'name="{trigger["metadata"]["queueName"]}"' in service
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (job,) = endpoint["relabelings"]
    rules = (project / "deploy/prometheus/rules.yml").read_text("utf-8")
    assert set(re.findall(r"job='([^']*)'", rules)) == {job["replacement"]}
