"""Foreign keys that no index serves: to delete a row of the parent reads its whole child."""

from collections.abc import Collection, Iterator

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.closure import Reference, references
from acme_orders.chassis.retention.places import entered


def references_in(url: str) -> list[Reference]:
    """Each foreign key that PostgreSQL knows, once, whoever made it."""
    with (
        backfill_session(url) as session,
        session.transaction(entered(SHARED), Limits(), statement=0),
    ):
        found = references(session.rows)
    return list({(each.short, *each.columns, _parent(each)): each for each in found}.values())


def unserved(known: Collection[Reference], small: Collection[str]) -> Iterator[Reference]:
    """Those without an index that need one.

    Args:
        known: all there are.
        small: tables that stay small: they may be read whole, and rows of them go seldom.
    """
    for each in known:
        if not each.covered and not {each.short, _parent(each)} & {*small}:
            yield each


def remedy(unserved: Reference) -> str:
    """What is wrong, and what to write."""
    child, parent = unserved.short, _parent(unserved)
    columns = ", ".join(unserved.columns)
    return (
        f"no index of {child} begins with ({columns}), which refer to {parent}: whoever deletes a "
        f"row of {parent} reads all of {child}, under locks. Write CREATE INDEX CONCURRENTLY "
        f"{child}_{unserved.columns[-1]} ON {child} ({columns}); in a new migration. If one of "
        'the two tables has few rows for ever, say why in the Meta of its model: small = "…"'
    )


def _parent(reference: Reference) -> str:
    """Without its schema, as `short` is."""
    return reference.parent_table.rpartition(".")[2].strip('"')
