"""Something that should not be there, or has not been done."""

from dataclasses import dataclass

EXPIRED, ORPHANED, NEVER_RUN, OVERDUE, UNFIT, UNKNOWN = KINDS = (
    *("expired", "orphaned", "never_run", "overdue"),
    *("unfit", "unknown"),
)


@dataclass(frozen=True)
class Finding:
    """What `retention verify` says.

    Args:
        policy: that it is about.
        kind: `expired`, `orphaned`: rows; `never_run`, `overdue`: a policy; `unfit`: what keeps a
            pass from beginning; `unknown`: it took too long to look.
        text: what is wrong, and what helps.
        rows: that are expired or orphaned; 1 for what is not about rows.
    """

    policy: str
    kind: str
    text: str
    rows: int = 1
