"""The settings of retention."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from acme_orders.chassis.durations import Seconds

DAY = timedelta(days=1).total_seconds()


class RetentionSettings(BaseModel):
    """How long the chassis keeps what it writes, and what deleting may take."""

    model_config = ConfigDict(frozen=True)

    retention_interval: Seconds = Field(
        default=3600, description="between two passes; an hour more on disk costs nothing"
    )
    retention_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="of the time of a pass; in the rest replicas and vacuum catch up",
    )
    retention_most: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="of a table in one pass; more is a wrong clock or a wrong policy",
    )
    inbox_margin: Seconds = Field(
        default=3600,
        ge=300,
        description="on top of INBOX_RETENTION: a producer's clock may be ahead of PostgreSQL's",
    )
    dead_letters_retention: Seconds = Field(
        default=90 * DAY, description="after the decision; until then somebody may ask about it"
    )
    dead_letters_waiting_retention: Seconds | None = Field(
        default=None, description="unset: for ever; who never decided would lose the message"
    )
    runs_retention: Seconds = Field(
        default=400 * DAY,
        ge=30 * DAY,
        description="what was deleted, and how backfills went: an audit asks about a year",
    )
