"""Where things are while `make dev` runs: ports of the service, and addresses for people."""

import json
from collections.abc import Mapping
from pathlib import Path

from dev.ports import is_free

WANTED = {
    "HTTP_PORT": 8000,  # feature: http_api
    "OPERATIONS_PORT": 9000,
}
TRIED = 100
TENANT = "00000000-0000-0000-0000-000000000001"  # feature: row, rls, schema


def service_ports(settings: Mapping[str, str | None], memory: Path) -> dict[str, str]:
    """Return the ports that the service gets: those of its settings, or the next that are free.

    What another project has taken is avoided, and what was given once is given again.
    """
    known: dict[str, int] = json.loads(memory.read_text()) if memory.exists() else {}
    found: dict[str, int] = {}
    for name, default in WANTED.items():
        wanted = int(settings.get(name) or default)
        before = known.get(f"{name}={wanted}", wanted)
        # 0 is the choice of the system.
        tried = [before, *range(wanted, wanted + TRIED)] if wanted else [0]
        found[name] = next(
            (port for port in tried if port not in found.values() and (not port or is_free(port))),
            wanted,
        )
        known[f"{name}={wanted}"] = found[name]
    memory.write_text(json.dumps(known))
    return {name: str(port) for name, port in found.items()}


def places(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a developer opens, by what it is."""
    found = {
        # feature: http_api {
        "API": f"http://127.0.0.1:{environment['HTTP_PORT']}",
        "API, documentation": f"http://127.0.0.1:{environment['HTTP_PORT']}/docs",
        # feature: http_api }
        "queues, dead letters": f"http://127.0.0.1:{environment['OPERATIONS_PORT']}/",
        "metrics and probes": f"http://127.0.0.1:{environment['OPERATIONS_PORT']}/metrics",
        "RabbitMQ": environment["BROKER_URL"],
        "RabbitMQ, pages": environment.get("RABBITMQ_MANAGEMENT_URL", ""),
        "PostgreSQL": environment["DATABASE_URL"],
        "tenant": TENANT,  # feature: row, rls, schema
        "in another terminal": ".venv/bin/acme-orders doctor",
    }
    return {name: place for name, place in found.items() if place}
