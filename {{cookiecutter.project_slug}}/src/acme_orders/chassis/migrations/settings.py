"""The settings of migrations."""

from pydantic import BaseModel, ConfigDict, Field

from acme_orders.chassis.durations import Seconds


class MigrationSettings(BaseModel):
    """How long a migration may be in the way of others, and how often it tries."""

    model_config = ConfigDict(frozen=True)

    migration_lock_timeout: Seconds = Field(
        default=2, description="a waiting ALTER TABLE blocks all who come after it"
    )
    migration_attempts: int = Field(
        default=10,
        ge=1,
        description="where others are in the way; with its pauses a minute and a half",
    )
    migration_wait: Seconds = Field(
        default=3600, description="for another runner; an index of a large table takes that long"
    )


DEFAULT = MigrationSettings()
