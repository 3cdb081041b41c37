"""The settings of the database."""

from typing import (
    Annotated,
    Literal,  # feature: row, rls, schema
    Self,
)

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from acme_orders.chassis.addresses import readable
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.durations import Seconds

_Url = Annotated[str, readable(DatabaseAddress.parse)]


class Timeouts(BaseModel):
    """Limits in seconds of every transaction; one may have others."""

    model_config = ConfigDict(frozen=True)

    statement_timeout: Seconds = Field(default=30, description="below the handler's timeout")
    lock_timeout: Seconds = Field(default=5, description="then the message is tried again")
    idle_in_transaction_timeout: Seconds = Field(
        default=60, description="PostgreSQL ends a forgotten transaction; its locks block others"
    )


class DatabaseSettings(Timeouts):
    """Where it is, how many connections there are, and what is told of statements."""

    model_config = ConfigDict(hide_input_in_errors=True)

    database_url: _Url = Field(
        repr=False, description="postgresql://user:password@host:port/database"
    )
    database_session_url: _Url | None = Field(
        default=None,
        repr=False,
        description="without a pooler of transactions, which has no locks; unset: DATABASE_URL",
    )
    migration_database_url: _Url | None = Field(
        default=None,
        repr=False,
        description="of the owner of the tables; unset: DATABASE_SESSION_URL",
    )
    pool_size: int | None = Field(
        default=None,
        ge=1,
        description="unset: one for each of 4 other parts, beside the two concurrencies",
    )
    acquire_timeout: Seconds = Field(
        default=5, description="waiting longer means the pool is too small"
    )
    connect_timeout: Seconds = Field(
        default=10, le=60, description="a new connection takes milliseconds"
    )
    connection_max_age: Seconds = Field(
        default=1800,
        ge=10,
        description="a new primary or a load balancer gets its share after this; a new one costs "
        "as much as several messages",
    )
    slow_statement: Seconds = Field(
        default=0.5, description="logged from here on; a page is read in 0.01"
    )
    repeated_statements: int = Field(
        default=10,
        ge=1,
        description="times in one unit of work; more is a query for each row of another",
    )
    sql_comments: bool = Field(
        default=False, description="the query's name in SQL, for logs and pg_stat_activity"
    )
    # feature: row, rls, schema {
    tenant_guard: Literal["log", "raise"] = Field(
        default="raise",
        description="SQL not kept to one tenant is refused; log, to find it, in development",
    )
    # feature: row, rls, schema }

    @field_validator("database_session_url", "migration_database_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if DatabaseAddress.parse(self.database_url).session_attributes == "read-write":
            raise ValueError(
                "DATABASE_URL has target_session_attrs=read-write, which no server satisfies: "
                "sessions of this service begin read-only; set target_session_attrs=primary"
            )
        for name, url in (
            ("DATABASE_SESSION_URL", self.session_url),
            ("MIGRATION_DATABASE_URL", self.owner_url),
        ):
            if DatabaseAddress.parse(url).pooler == "transaction":
                raise ValueError(
                    f"{name} is, or is by default, behind a pooler of transactions, which gives no "
                    "session to migrate, to check and to delete in: set it to PostgreSQL itself, "
                    "or to a pool with ?pooler=session"
                )
        return self

    @property
    def connections(self) -> int:
        """Most connections of the pool."""
        return self.pool_size or self.at_work + 4  # suspects, archiver, relay and probes

    @property
    def at_work(self) -> int:
        """Most connections of what comes in."""
        return 0

    @property
    def owner_url(self) -> str:
        """Where migrations are run, by the role that owns the tables."""
        return self.migration_database_url or self.session_url

    @property
    def session_url(self) -> str:
        """Where a session is one's own: for checks, retention and erasure."""
        return self.database_session_url or self.database_url
