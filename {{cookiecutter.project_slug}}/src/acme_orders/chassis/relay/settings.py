"""The settings of the relay."""

from pydantic import BaseModel, ConfigDict, Field

from acme_orders.chassis.durations import Seconds


class RelaySettings(BaseModel):
    """From the outbox to the broker."""

    model_config = ConfigDict(frozen=True)

    relay_batch: int = Field(default=200, ge=1, le=10_000, description="outbox rows per round")
    relay_lease: Seconds = Field(default=30, description="another relay takes over after this")
    relay_poll: Seconds = Field(
        default=1,
        le=120,
        description="the longest an outbox row of another process waits; after three minutes "
        "without a poll PartSilent warns",
    )
    unheard_retention: Seconds = Field(
        default=14 * 86400,
        description="events that nobody listens to; INBOX_RETENTION refuses older ones",
    )
