"""Every setting: those of each room of the chassis, and those of the process.

Read once, at start, and never changed. One object travels; each room sees its own part of it.
"""

import os
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from acme_orders.chassis.addresses import is_placeholder
from acme_orders.chassis.backfills.settings import BackfillSettings
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.durations import Seconds
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.http.settings import HttpSettings  # feature: http_api
from acme_orders.chassis.messaging.settings import MessagingSettings
from acme_orders.chassis.migrations.settings import MigrationSettings
from acme_orders.chassis.observability.settings import ObservabilitySettings
from acme_orders.chassis.rabbitmq.addresses import login, management_address
from acme_orders.chassis.rabbitmq.settings import MEMORY, BrokerSettings
from acme_orders.chassis.relay.settings import RelaySettings
from acme_orders.chassis.retention.settings import RetentionSettings

# Of each two durations the one that must be shorter, and what happens if it is not.
_SHORTER = (
    ("statement_timeout", "handler_timeout", "it never acts"),
    (
        "lock_timeout",
        "statement_timeout",
        "it never acts: a wait for a lock would be a slow statement, and not tried again at once",
    ),
    (
        "acquire_timeout",
        "handler_timeout",
        "it never acts: a pool that is too small would look like a handler that is too slow",
    ),
    ("statement_timeout", "http_timeout", "it never acts on a request"),  # feature: http_api
    ("slow_statement", "statement_timeout", "no statement is ever logged as slow"),
)


class ChassisSettings(
    DatabaseSettings,
    MigrationSettings,
    BrokerSettings,
    MessagingSettings,
    RelaySettings,
    BackfillSettings,
    RetentionSettings,
    HttpSettings,  # feature: http_api
    ObservabilitySettings,
    BaseSettings,
):
    """From the environment and `.env`; durations are written like `250ms`, `30s`, `2m`."""

    model_config = SettingsConfigDict(
        # The second one says where the servers of `make dev` are, and is gone when they are.
        env_file=(".env", ".env.running"),
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Literal["production", "development", "test"] = Field(
        "production", description="production refuses placeholder passwords"
    )
    listen_host: str = Field(
        "0.0.0.0",  # noqa: S104
        description="a container is reached from outside",
    )
    drain_timeout: Seconds = Field(25, description="of the 30 s that orchestrators give")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.connections < self.at_work + 2:
            raise ValueError(
                f"POOL_SIZE={self.pool_size} is too small: each "
                f"{' and each '.join(self._at_work)} holds a connection, the relay and the probes "
                f"need one each; set POOL_SIZE to {self.at_work + 2} or more"
            )
        for shorter, longer, otherwise in _SHORTER:
            if getattr(self, shorter) >= getattr(self, longer):
                raise ValueError(
                    f"{shorter.upper()}={getattr(self, shorter):g}s must be below "
                    f"{longer.upper()}={getattr(self, longer):g}s, or {otherwise}"
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
        """User and password of each variable that has some; a token has no user."""
        found = {}
        for name in ("database_url", "database_session_url", "migration_database_url"):
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
        if self.operations_token:
            found["OPERATIONS_TOKEN"] = "", self.operations_token
        return found

    @property
    def passwords(self) -> list[str]:
        """Those that must not be shown; what everybody knows is none."""
        return [each for user, each in self._logins().values() if not is_placeholder(user, each)]

    @property
    def at_work(self) -> int:
        """Most connections of what comes in; requests never get those of messages."""
        return sum(self._at_work.values())

    @property
    def _at_work(self) -> dict[str, int]:
        return {
            "batch (CONCURRENCY)": self.concurrency,
            "request (HTTP_CONCURRENCY)": self.http_concurrency,  # feature: http_api
        }


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
