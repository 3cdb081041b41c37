"""What a consumer takes upon itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one consumer.

    Args:
        concurrency: batches at once.
        batch_size: most messages in one transaction.
        linger: seconds that messages wait for company while others are being processed.
        prefetch: most deliveries not yet acknowledged.
        handler_timeout: seconds for one message.
        conflict_retries: how often a batch runs again after a conflict.
        hold_timeout: seconds that messages are held in an outage before they are put back.
        stall_timeout: seconds without a delivery, although messages wait, until we consume anew.
        max_body_bytes: larger messages are dead letters.
        max_header_bytes: likewise.
        suspect_after: how often a message may come back before it is set apart; None: never.
    """

    concurrency: int
    batch_size: int
    linger: float
    prefetch: int
    handler_timeout: float
    conflict_retries: int
    hold_timeout: float
    stall_timeout: float
    max_body_bytes: int
    max_header_bytes: int
    suspect_after: int | None
