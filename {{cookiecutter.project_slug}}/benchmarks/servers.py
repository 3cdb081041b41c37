"""PostgreSQL and RabbitMQ as in production, for one run of the benchmarks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema

from dev.environment import POSTGRES, RABBITMQ, forgotten
from dev.postgres import Postgres
from dev.rabbitmq import RabbitMQ, install_rabbitmq
from dev.virtual_hosts import VirtualHosts
from readiness.two_tenants import TENANT  # feature: row, rls, schema

# Tests do without; here a COMMIT has to cost what it costs.
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}


@dataclass(frozen=True)
class Servers:
    """Both servers, and a database that is migrated and empty."""

    postgres: Postgres
    rabbitmq: RabbitMQ
    template: str

    @contextmanager
    def site(self) -> Iterator[dict[str, str]]:
        """A database and a virtual host of one measurement alone, as a process finds them."""
        hosts = VirtualHosts(self.rabbitmq.url, self.rabbitmq.management_url)
        database = self.postgres.create_database(template=self.template)
        broker = hosts.create()
        try:
            yield {
                "ENVIRONMENT": "test",
                "LOG_LEVEL": "WARNING",
                "DATABASE_URL": database,
                "BROKER_URL": broker,
                "LISTEN_HOST": "127.0.0.1",
                "OPERATIONS_PORT": "0",
                "HTTP_PORT": "0",
                "OTEL_SDK_DISABLED": "true",  # nobody collects spans here  # feature: tracing
            }
        finally:
            hosts.drop(broker)
            self.postgres.drop_database(database)


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both; they are gone when the block ends."""
    os.environ.setdefault("ENVIRONMENT", "test")
    with (
        forgotten(*POSTGRES, *RABBITMQ),
        Postgres(settings=DURABLE) as postgres,
        RabbitMQ(install_rabbitmq()) as rabbitmq,
    ):
        template = postgres.create_database()
        list(Migrator(template).up())
        Tenants(template).add(TENANT, "bench")  # feature: row, rls, schema
        list(Migrator(template).up())  # feature: schema
        yield Servers(postgres, rabbitmq, template)
