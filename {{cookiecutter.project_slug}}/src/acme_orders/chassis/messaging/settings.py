"""The settings of what processes messages."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from acme_orders.chassis.durations import Ladder, Seconds


class MessagingSettings(BaseModel):
    """From delivery to acknowledgement."""

    model_config = ConfigDict(frozen=True)

    concurrency: int = Field(
        default=8, ge=1, le=100, description="batches at once; each uses a connection"
    )
    batch_size: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="most messages in one transaction; more gains little",
    )
    linger: Seconds = Field(
        default=0.01,
        description="wait for company, for each batch under way; none of them: no wait",
    )
    prefetch: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="unset: three batches, one at work, one gathering, one on its way",
    )
    handler_timeout: Annotated[Seconds, Field(le=1500)] = Field(
        default=60,
        description="far below 30 min, after which RabbitMQ gives the message to another",
    )
    conflict_retries: int = Field(
        default=3, ge=0, le=10, description="in process; a deadlock's winner is done by then"
    )
    retry_ladder: Ladder = Field(
        default=(5, 30, 120, 600, 3600),
        description="waits between attempts; 73 min outlive most incidents",
    )
    delivery_limit: int = Field(
        default=100, ge=1, description="explicit, because RabbitMQ 3 has none and 4 drops after 20"
    )
    suspect_after: int = Field(
        default=3,
        ge=1,
        description="returns; once may be a restart, three times may be the message",
    )
    suspect_deliveries: int = Field(
        default=3,
        ge=2,
        description="of a message that may kill the process, before it is a dead letter",
    )
    hold_timeout: Annotated[Seconds, Field(le=1500)] = Field(
        default=300,
        description="messages in hand in an outage; RabbitMQ takes them away after 30 min",
    )
    stall_timeout: Seconds = Field(
        default=15,
        description="messages wait and none arrives: the broker delivers within milliseconds",
    )
    failure_rate: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of messages failing alike: it is not the messages then",
    )
    failure_window: int = Field(
        default=100, ge=10, description="messages that FAILURE_RATE looks at; so many fail at most"
    )
    failure_pause: Seconds = Field(
        default=2,
        description="longest wait between two trials of what is broken; all goes on after one",
    )
    inbox_retention: Seconds = Field(
        default=14 * 86400,
        description="longer than messages can wait anywhere; older ones are refused",
    )
    max_body_bytes: int = Field(
        default=1024 * 1024, ge=1, description="larger belongs in object storage"
    )
    max_header_bytes: int = Field(
        default=64 * 1024,
        ge=1024,
        le=64 * 1024,
        description="ours are added, and a frame takes 128 KiB",
    )

    @model_validator(mode="after")
    def _inbox_outlives_the_ladder(self) -> Self:
        if self.inbox_retention <= sum(self.retry_ladder):
            raise ValueError(
                f"INBOX_RETENTION={self.inbox_retention:g}s must be longer than RETRY_LADDER, "
                f"together {sum(self.retry_ladder):g}s, or a retry finds its message forgotten"
            )
        return self

    @property
    def prefetch_count(self) -> int:
        """Most unacknowledged deliveries of one consumer."""
        return self.prefetch or 3 * max(self.batch_size, self.concurrency)
