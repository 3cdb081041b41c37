"""Migrates the database and becomes the service: `make run`, with servers from `dev.servers`."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

from acme_orders.service import SERVICE

COMMAND = [sys.executable, "-m", "acme_orders"]


def main() -> None:
    """Prepare the database that DATABASE_URL names, and run the service until it ends."""
    # A private database is its user's own; `.env` may name the owner of another one.
    os.environ["MIGRATION_DATABASE_URL"] = os.environ["DATABASE_URL"]
    subprocess.run([*COMMAND, "migrate", "up"], check=True)
    # feature: row, rls, schema {
    # For `curl -H X-Tenant-ID:00000000-0000-0000-0000-000000000001 …` and the header `tenant`.
    tenant = ["tenants", "add", "first", "--id", "00000000-0000-0000-0000-000000000001"]
    subprocess.run([*COMMAND, *tenant], check=True)
    # feature: row, rls, schema }
    settings = SERVICE.load_settings()
    places = {
        "API": f"http://127.0.0.1:{settings.http_port}/docs",  # feature: http_api
        "metrics and probes": f"http://127.0.0.1:{settings.operations_port}/metrics",
        "RabbitMQ": _without_login(settings.rabbitmq_management_url or settings.broker_url),
        "PostgreSQL": _without_login(settings.database_url),
        "in another terminal": ".venv/bin/acme-orders doctor",
    }
    for name, place in places.items():
        sys.stderr.write(f"{name:20}{place}\n")
    os.execv(sys.executable, [*COMMAND, "run"])


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


if __name__ == "__main__":
    main()
