"""The settings of backfills."""

from pydantic import BaseModel, ConfigDict, Field

from acme_orders.chassis.durations import Seconds


class BackfillSettings(BaseModel):
    """What a backfill leaves to others."""

    model_config = ConfigDict(frozen=True)

    backfill_share: float = Field(
        default=0.5, gt=0, le=1, description="of the time; in the rest replicas and vacuum catch up"
    )
    backfill_max_lag: Seconds = Field(
        default=10, description="of a replica; then a backfill waits, because others read from it"
    )
    backfill_oldest_transaction: Seconds = Field(
        default=600,
        description="then a backfill waits: while it is open, no dead row can be cleaned away",
    )
    backfill_wal_rate: int = Field(
        default=64, ge=1, description="MiB/s of everybody; beyond it archives and replicas are late"
    )
