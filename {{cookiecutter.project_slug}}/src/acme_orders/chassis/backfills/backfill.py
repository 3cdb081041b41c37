"""What a backfill is: a class, in a file of its own in `backfills/`."""

from typing import Any, ClassVar


class Backfill:
    """Changes those rows of a table that still need it, in portions.

    It has `set`, or `process` with `columns`. What it says is SQL, without parameters.

    Attributes:
        table: whose rows are changed.
        key: columns of a unique index, in its order; rows are gone through in this order.
        where: which rows still need it. It is false for a row that is done.
        set: what is assigned, as after SET in an UPDATE.
        columns: those that `process` gets, beside the key.
        verify: counts what remains; only 0 completes the backfill.
        throttle: a number; the backfill waits while it is above 0.
        max_lag: seconds that a replica may be behind; BACKFILL_MAX_LAG without it.
        each_tenant: the table is in the schema of each tenant.  # feature: schema
    """

    table: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ("id",)
    where: ClassVar[str] = "true"
    set: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ()
    verify: ClassVar[str] = ""
    throttle: ClassVar[str] = ""
    max_lag: ClassVar[float | None] = None
    each_tenant: ClassVar[bool] = False  # feature: schema

    def process(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What rows become: the key of each, and the columns that change, the same for all.

        A row that is left out stays as it is. The rows are locked until they are stored.
        """
        raise NotImplementedError
