"""Which old rows stay, because somebody holds the person whom they are about."""

from collections.abc import Iterator, Sequence
from itertools import product

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.places import owner
from acme_orders.chassis.erasure.requests import digest
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.retention.closure import Chain, chains_to
from acme_orders.chassis.retention.holds import Stays
from acme_orders.chassis.retention.portion import met
from acme_orders.chassis.retention.target import TABLE, quoted

_OPEN = "SELECT FROM public.legal_hold AS hold WHERE hold.released_at IS NULL"
_COLUMNS = "SELECT attname::text FROM pg_attribute WHERE attrelid = %s AND attnum > 0"


def held(
    subjects: Sequence[Subject], rows: Rows, place: str, oid: int, chains: Sequence[Chain]
) -> Stays:
    """Which rows are about somebody on legal hold, or would take one with them that is.

    What only mentions a name is not found: a hold has a digest of it.

    Args:
        subjects: where people are known.
        rows: runs SQL in the open transaction.
        place: schema of the table.
        oid: of the table.
        chains: of references, to all that goes with a row of the table.
    """
    ways, reads = list(_of_all(rows, place, oid)), dict[int, str]()
    for subject in subjects:
        for known, table, columns, _, _ in rows(TABLE, (place, subject.name)):
            reads[known] = table
            below = [(), *chains_to(rows, known, all_of_them=True)]
            for chain, other in product(((), *chains), below):
                if (chain[-1].child if chain else oid) == (other[-1].child if other else known):
                    ways.append(_way(chain, other, subject, place, columns))
                    reads |= {each.child: each.table for each in other}
    if not ways:
        return Stays()
    # Mostly nobody is held, and then no row is looked at.
    return Stays(f"(EXISTS ({_OPEN}) AND EXISTS ({_OPEN} AND ({' OR '.join(ways)})))", reads)


def _of_all(rows: Rows, place: str, oid: int) -> Iterator[str]:
    """Somebody holds the tenant as a whole."""
    columns = [name for (name,) in rows(_COLUMNS, (oid,))]
    if whose := owner("t0", columns, place):
        yield f"hold.whose = {whose} AND hold.digest = {digest('hold.id::text', 'hold.whose')}"


def _way(chain: Chain, other: Chain, subject: Subject, place: str, columns: Sequence[str]) -> str:
    """From the row down to what goes with it, and from there up to the person."""
    names = [f"t{at}" for at in range(len(chain) + 1)]
    above = [*(f"s{at}" for at in range(len(other))), names[-1]]
    tables = [f"{each.table} AS {name}" for each, name in zip(chain, names[1:], strict=True)]
    parents = [other[0].parent_table, *(each.table for each in other)] if other else []
    tables += [f"{table} AS {name}" for table, name in zip(parents, above[:-1], strict=False)]
    person = above[0]
    known = " OR ".join(
        f"hold.digest = {digest('hold.id::text', f'{person}.{quoted(name)}::text')}"
        for name in subject.by
    )
    whose = owner(person, columns, place) or "''"
    joined = " AND ".join([*met(chain), *met(other, above), f"hold.whose = {whose}", f"({known})"])
    return f"EXISTS (SELECT FROM {', '.join(tables)} WHERE {joined})" if tables else f"({joined})"
