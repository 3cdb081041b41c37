"""PostgreSQL and RabbitMQ as compose.yaml has them, at their usual ports; a script for a machine
(tests/machine.py) where these are free.

`python -m tests.neighbours POSTGRES RABBITMQ` gets both services' environments as JSON, makes their
accounts as the entry points of their images do, prints what their health checks need, and ends
with its standard input.
"""

import json
import sys

import dev.postgres
import dev.rabbitmq
from dev.postgres import Postgres
from dev.rabbitmq import RabbitMQ

USUAL = {dev.postgres: [5432], dev.rabbitmq: [5672, 15672, 25672, 4369]}


def main() -> None:
    """Run both until nobody listens any more."""
    database, broker = map(json.loads, sys.argv[1:])
    for module, ports in USUAL.items():
        module.on_free_ports = lambda _, start, *, ports=ports, **__: start(ports)
    user, password = database["POSTGRES_USER"], database["POSTGRES_PASSWORD"]
    with Postgres() as postgres, RabbitMQ() as rabbitmq:
        postgres.ask(f"CREATE ROLE \"{user}\" SUPERUSER LOGIN PASSWORD '{password}'")
        postgres.ask(f'CREATE DATABASE "{database["POSTGRES_DB"]}" OWNER "{user}"')
        rules = postgres._data / "pg_hba.conf"
        rules.write_text("host all all all scram-sha-256\n")
        postgres.ask("SELECT pg_reload_conf()")
        account = (broker["RABBITMQ_DEFAULT_USER"], broker["RABBITMQ_DEFAULT_PASS"])
        rabbitmq.ctl("add_user", *account)
        rabbitmq.ctl("set_permissions", account[0], ".*", ".*", ".*")
        rabbitmq.ctl("delete_user", "guest")
        programs = [str(postgres._binaries), str(rabbitmq._program.parent)]
        variables = {**rabbitmq._node.environment(), "PGPASSWORD": password}
        variables["PATH"] = ":".join([*programs, variables["PATH"]])
        print(json.dumps(variables), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
