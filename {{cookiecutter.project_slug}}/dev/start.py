"""Migrates the database and becomes the service: `make run`, with servers from `dev.servers`."""

import os
import subprocess
import sys

SERVICE = [sys.executable, "-m", "acme_orders"]


def main() -> None:
    """Prepare the database that DATABASE_URL names, and run the service until it ends."""
    # A private database is its user's own; `.env` may name the owner of another one.
    os.environ["MIGRATION_DATABASE_URL"] = os.environ["DATABASE_URL"]
    subprocess.run([*SERVICE, "migrate", "up"], check=True)
    # feature: row, rls, schema {
    # For `curl -H X-Tenant-ID:00000000-0000-0000-0000-000000000001 …` and the header `tenant`.
    tenant = ["tenants", "add", "first", "--id", "00000000-0000-0000-0000-000000000001"]
    subprocess.run([*SERVICE, *tenant], check=True)
    # feature: row, rls, schema }
    os.execv(sys.executable, [*SERVICE, "run"])


if __name__ == "__main__":
    main()
