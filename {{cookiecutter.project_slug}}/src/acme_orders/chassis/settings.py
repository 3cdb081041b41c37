"""Every setting, its default and the reason for it. Read once, at start, and never changed."""

import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from acme_orders.chassis.addresses import is_placeholder
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.rabbitmq.addresses import (
    broker_address,
    login,
    management_address,
)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Read `250ms`, `30s`, `2m`, `1h`, `14d` or a plain number as seconds."""
    if isinstance(value, str) and (
        match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value)
    ):
        return float(match[1]) * _UNITS[match[2] or "s"]
    return value


def _parse_ladder(value: object) -> object:
    if isinstance(value, str):
        return tuple(parse_duration(step) for step in value.split(","))
    return value


def _read_by(read: Callable[[str], object]) -> AfterValidator:
    def check(value: str) -> str:
        try:
            read(value)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)


def _broker(url: str) -> object:
    return url == MEMORY or broker_address(url)


MEMORY = "memory://"
DatabaseUrl = Annotated[str, _read_by(DatabaseAddress.parse)]
BrokerUrl = Annotated[str, _read_by(_broker)]
ManagementUrl = Annotated[str, _read_by(management_address)]
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Ladder = Annotated[
    tuple[Seconds, ...], NoDecode, BeforeValidator(_parse_ladder), Field(min_length=1)
]
Port = Annotated[int, Field(ge=0, le=65535)]


class ChassisSettings(BaseSettings):
    """From the environment and `.env`; durations are written like `250ms`, `30s`, `2m`."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # Where
    environment: Literal["production", "development", "test"] = Field(
        "production", description="production refuses placeholder passwords"
    )
    database_url: DatabaseUrl = Field(
        repr=False, description="postgresql://user:password@host:port/database"
    )
    migration_database_url: DatabaseUrl | None = Field(
        None, repr=False, description="of the owner of the tables; unset: DATABASE_URL"
    )
    broker_url: BrokerUrl = Field(
        repr=False, description="amqp://user:password@host:port/vhost, or memory:// for a demo"
    )
    rabbitmq_management_url: ManagementUrl | None = Field(
        None,
        repr=False,
        description="http://user:password@host:15672; unset: bindings and policies are not seen",
    )
    listen_host: str = Field(
        "0.0.0.0",  # noqa: S104
        description="a container is reached from outside",
    )
    operations_port: Port = Field(9000, description="/metrics, /live, /ready; not for the public")
    # feature: http_api {
    http_port: Port = Field(8000, description="the API")
    http_clients: int = Field(
        500,
        ge=1,
        description="sockets at once; then the one that kept us waiting longest is closed",
    )
    http_concurrency: int = Field(
        4, ge=1, le=100, description="requests at work at once; each uses a connection"
    )
    http_wait: Seconds = Field(
        1, description="for the requests before; whoever hears 503 soon can ask another process"
    )
    http_patience: Seconds = Field(
        20, description="for a head, for a body, for an answer to be read: 50 KiB/s are enough"
    )
    http_idle: Seconds = Field(
        75,
        description="between requests; a load balancer that keeps connections for 60 s ends first",
    )
    # feature: http_api }
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = Field("json", description="json for machines")
    log_burst: int = Field(
        10, ge=1, description="lines about one cause, then they are counted; ten show the pattern"
    )
    log_interval: Seconds = Field(
        1, description="between the lines after LOG_BURST; an outage of an hour writes 3600"
    )

    # Messages
    concurrency: int = Field(8, ge=1, le=100, description="batches at once; each uses a connection")
    batch_size: int = Field(
        100, ge=1, le=1000, description="most messages in one transaction; more gains little"
    )
    linger: Seconds = Field(
        0.01, description="wait for company, for each batch under way; none of them: no wait"
    )
    prefetch: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="unset: three batches, one at work, one gathering, one on its way",
    )
    handler_timeout: Seconds = Field(60, description="far below the broker's 30 min for an ack")
    conflict_retries: int = Field(
        3, ge=0, le=10, description="in process; a deadlock's winner is done by then"
    )
    retry_ladder: Ladder = Field(
        (5, 30, 120, 600, 3600), description="waits between attempts; 73 min outlive most incidents"
    )
    delivery_limit: int = Field(
        100, ge=1, description="explicit, because RabbitMQ 3 has none and 4 drops after 20"
    )
    suspect_after: int = Field(
        3, ge=1, description="returns; once may be a restart, three times may be the message"
    )
    suspect_deliveries: int = Field(
        3, ge=2, description="of a message that may kill the process, before it is a dead letter"
    )
    hold_timeout: Annotated[Seconds, Field(le=1500)] = Field(
        300, description="messages in hand in an outage; RabbitMQ takes them away after 30 min"
    )
    stall_timeout: Seconds = Field(
        15, description="messages wait and none arrives: the broker delivers within milliseconds"
    )
    topology_check: Seconds = Field(
        30, description="until then a missing binding loses what is sent; a look takes 0.1 s"
    )
    failure_rate: float = Field(
        0.5, gt=0, le=1, description="share of messages failing alike: it is not the messages then"
    )
    failure_window: int = Field(
        100, ge=10, description="messages that FAILURE_RATE looks at; so many fail at most"
    )
    failure_pause: Seconds = Field(
        2, description="longest wait between two trials of what is broken; all goes on after one"
    )
    inbox_retention: Seconds = Field(
        14 * 86400, description="longer than messages can wait anywhere; older ones are refused"
    )
    drain_timeout: Seconds = Field(25, description="of the 30 s that orchestrators give")
    max_body_bytes: int = Field(1024 * 1024, ge=1, description="larger belongs in object storage")
    max_header_bytes: int = Field(
        64 * 1024, ge=1024, le=64 * 1024, description="ours are added, and a frame takes 128 KiB"
    )
    heartbeat: int = Field(15, ge=1, description="seconds; a dead network is seen within 48 s")
    loop_lag_limit: Seconds = Field(
        5, description="a blocked loop sends no heartbeats, and is cut off after three of them"
    )
    publish_timeout: Seconds = Field(10, description="a blocked broker never answers")
    relay_batch: int = Field(200, ge=1, le=10_000, description="outbox rows per round")
    relay_lease: Seconds = Field(30, description="another relay takes over after this")
    relay_poll: Seconds = Field(1, description="the longest an outbox row of another process waits")
    unheard_retention: Seconds = Field(
        14 * 86400, description="events that nobody listens to; INBOX_RETENTION refuses older ones"
    )

    # Database
    pool_size: int | None = Field(
        None, ge=2, description="unset: one for each of 4 other parts, beside the two concurrencies"
    )
    acquire_timeout: Seconds = Field(5, description="waiting longer means the pool is too small")
    connect_timeout: Seconds = Field(10, description="a new connection takes milliseconds")
    statement_timeout: Seconds = Field(30, description="below the handler's timeout")
    lock_timeout: Seconds = Field(5, description="then the message is tried again")
    idle_in_transaction_timeout: Seconds = Field(
        60, description="PostgreSQL ends a forgotten transaction; its locks block others"
    )
    connection_max_age: Seconds = Field(
        1800, description="a new primary or a load balancer gets its share after this"
    )
    slow_statement: Seconds = Field(0.5, description="logged from here on; a page is read in 0.01")
    repeated_statements: int = Field(
        10, ge=1, description="times in one unit of work; more is a query for each row of another"
    )
    sql_comments: bool = Field(
        default=False, description="the query's name in SQL, for logs and pg_stat_activity"
    )
    # feature: row, rls, schema {
    tenant_guard: Literal["log", "raise"] = Field(
        "raise",
        description="SQL not kept to one tenant is refused; log, to find it, in development",
    )
    # feature: row, rls, schema }
    migration_lock_timeout: Seconds = Field(
        2, description="a waiting ALTER TABLE blocks all who come after it"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.connections < self._at_work + 2:
            raise ValueError(
                f"POOL_SIZE={self.pool_size} is too small: each batch (CONCURRENCY) "
                "and each request (HTTP_CONCURRENCY) "  # feature: http_api
                f"holds a connection, the relay and the probes need one each; "
                f"set POOL_SIZE to {self._at_work + 2} or more"
            )
        if self.inbox_retention <= sum(self.retry_ladder):
            raise ValueError(
                f"INBOX_RETENTION={self.inbox_retention:g}s must be longer than RETRY_LADDER, "
                f"together {sum(self.retry_ladder):g}s, or a retry finds its message forgotten"
            )
        if DatabaseAddress.parse(self.database_url).session_attributes == "read-write":
            raise ValueError(
                "DATABASE_URL has target_session_attrs=read-write, which no server satisfies: "
                "sessions of this service begin read-only; set target_session_attrs=primary"
            )
        if self.statement_timeout >= self.handler_timeout:
            raise ValueError(
                f"STATEMENT_TIMEOUT={self.statement_timeout:g}s must be below "
                f"HANDLER_TIMEOUT={self.handler_timeout:g}s, or it never acts"
            )
        # feature: row, rls, schema {
        if self.environment == "production" and self.tenant_guard == "log":
            raise ValueError(
                "TENANT_GUARD=log would show one tenant the data of another in production; set "
                "TENANT_GUARD=raise, or ENVIRONMENT=development on your own machine"
            )
        # feature: row, rls, schema }
        return self

    @model_validator(mode="after")
    def _no_placeholders(self) -> Self:
        if self.environment != "production":
            return self
        for name, (user, password) in self._logins().items():
            if is_placeholder(user, password):
                raise ValueError(
                    f"{name} has a password that everybody knows: a placeholder such as change-me, "
                    "or the name of the user; set a real one, or ENVIRONMENT=development on your "
                    "own machine"
                )
        return self

    def _logins(self) -> dict[str, tuple[str, str]]:
        """User and password of each variable that has some."""
        found = {}
        for name in ("database_url", "migration_database_url"):
            if url := getattr(self, name):
                address = DatabaseAddress.parse(url)
                found[name.upper()] = address.user, address.password
                if not address.password:
                    found["PGPASSWORD"] = address.user, os.environ.get("PGPASSWORD", "")
        if self.broker_url != MEMORY:
            found["BROKER_URL"] = login(self.broker_url)
        if self.rabbitmq_management_url:
            management = management_address(self.rabbitmq_management_url)
            found["RABBITMQ_MANAGEMENT_URL"] = management.user, management.password
        return found

    @property
    def passwords(self) -> list[str]:
        """Those that must not be shown; what everybody knows is none."""
        return [each for user, each in self._logins().values() if not is_placeholder(user, each)]

    @property
    def owner_url(self) -> str:
        """Where migrations are run, by the role that owns the tables."""
        return self.migration_database_url or self.database_url

    @property
    def connections(self) -> int:
        """Most connections of the pool."""
        return self.pool_size or self._at_work + 4  # suspects, archiver, relay and probes

    @property
    def _at_work(self) -> int:
        """Most connections of what comes in; requests never get those of messages."""
        at_work = [self.concurrency]
        at_work.append(self.http_concurrency)  # feature: http_api
        return sum(at_work)

    @property
    def prefetch_count(self) -> int:
        """Most unacknowledged deliveries of one consumer."""
        return self.prefetch or 3 * max(self.batch_size, self.concurrency)


Kind = TypeVar("Kind", bound=ChassisSettings)


def load_settings(kind: type[Kind], **overrides: Any) -> Kind:
    """Read the settings of this kind.

    Raises:
        ConfigurationError: one line for each bad or missing variable, with what is allowed.
    """
    try:
        return kind(**overrides)
    except ValidationError as error:
        found = [_explain(kind, item) for item in error.errors()]
        raise ConfigurationError("\n".join(found)) from None


def _explain(kind: type[ChassisSettings], item: Any) -> str:
    name = "_".join(str(part) for part in item["loc"][:1]).upper()
    if not name:
        return str(item["msg"]).removeprefix("Value error, ")
    field = kind.model_fields[name.lower()]
    about = f" ({field.description})" if field.description else ""
    if item["type"] == "missing":
        return f"{name} is not set{about}; set it in the environment or in .env"
    secret = not field.repr
    value = "" if secret else f"={item['input']!r}"
    return f"{name}{value}: {str(item['msg']).removeprefix('Value error, ')}{about}"
