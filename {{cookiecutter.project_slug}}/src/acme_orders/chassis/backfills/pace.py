"""How much a backfill does at a time, and how much of the database it leaves to others."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a backfill may take.

    Args:
        share: of the time that it works; it rests for the remainder.
        max_lag: seconds that a replica may be behind.
        oldest: seconds; while a transaction is older, no dead row of ours can be cleaned away.
        wal: bytes of write-ahead log in a second, of everybody together.
        lock: seconds to wait for a row or a table.
        statement: seconds for a statement.
        target: seconds that a portion takes, at least and at most.
        first: rows of the first portion.
        smallest: rows; a portion that fails is halved down to this, and then goes row by row.
        largest: rows of a portion.
        patience: attempts at a single row that somebody else holds.
        aside: rows that may be set aside before it is the backfill that is wrong.
        look: seconds between two looks at what would slow it down.
        lease: seconds without a sign of life after which another runner takes over.
    """

    share: float = 0.5
    max_lag: float = 10
    oldest: float = 600
    wal: float = 64 * 2**20
    lock: float = 1
    statement: float = 10
    target: tuple[float, float] = (0.5, 1)
    first: int = 1000
    smallest: int = 10
    largest: int = 50_000
    patience: int = 4
    aside: int = 100
    look: float = 1
    lease: float = 60


class Pace:
    """How many rows the next portion has.

    Args:
        limits: of it.
        size: that it begins with.
    """

    def __init__(self, limits: Limits, size: int) -> None:
        self._limits, self.size, self.failures = limits, size, 0

    def took(self, seconds: float) -> float:
        """A portion is done; returns how many seconds to rest."""
        least, most = self._limits.target
        if seconds < least:
            self.size = min(max(self.size + 1, int(self.size * 1.2)), self._limits.largest)
        elif seconds > most:
            self.size = max(1, int(self.size * 0.8))
        self.failures = 0
        return seconds * (1 / self._limits.share - 1)

    def failed(self, *, held: bool) -> float | None:
        """A portion has failed; returns the seconds until the next attempt, None for none.

        Args:
            held: somebody else was in the way, and may be gone soon.
        """
        if self.size > 1:
            half = self.size // 2
            self.size = half if half >= self._limits.smallest else 1
            return 0
        self.failures += 1
        if held and self.failures < self._limits.patience:
            return 0.5 * float(2**self.failures)
        self.failures = 0
        return None
