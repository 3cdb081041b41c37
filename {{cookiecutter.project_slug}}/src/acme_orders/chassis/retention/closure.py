"""What refers to the rows of a table, at any depth, as PostgreSQL has it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.policy import Named, table_name
from acme_orders.chassis.retention.refusal import NoIndex

_REFERENCES = """
SELECT conname::text, child.oid::bigint, format('%I.%I', space.nspname, child.relname),
    child.relname::text, confrelid::bigint,
    (SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace
        ON pg_namespace.oid = relnamespace WHERE pg_class.oid = confrelid),
    ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place),
    ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place),
    confdeltype IN ('n', 'd'),
    EXISTS (
        SELECT FROM pg_index JOIN pg_class AS served ON served.oid = indexrelid
            JOIN pg_am ON pg_am.oid = served.relam
        WHERE indrelid = conrelid AND indisvalid AND amname IN ('btree', 'hash')
            AND (
                (indkey::smallint[])[0:least(cardinality(conkey), indnkeyatts) - 1] @> conkey
                OR indisunique AND indexprs IS NULL
                    AND (indkey::smallint[])[0:indnkeyatts - 1] <@ conkey
            )
            AND (
                indpred IS NULL
                OR EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)
                        AND pg_get_expr(indpred, indrelid) = format('(%I IS NOT NULL)', attname)
                )
            )
    ),
    convalidated
FROM pg_constraint JOIN pg_class AS child ON child.oid = conrelid
    JOIN pg_namespace AS space ON space.oid = child.relnamespace
WHERE contype = 'f' AND conparentid = 0 ORDER BY 1
"""


class Reference(NamedTuple):
    """A foreign key.

    Args:
        name: of it.
        child: the table that has it.
        table: the same, with its schema, as SQL writes it.
        short: the same, without.
        parent: the table that it refers to.
        parent_table: the same, as SQL writes it.
        columns: of the child.
        referred: columns of the parent.
        forgets: the child stays, and only forgets its parent.
        covered: an index of the child begins with its columns, or they are a key of the child.
            It may leave out rows that refer to nothing.
        valid: PostgreSQL has looked at all rows.
    """

    name: str
    child: int
    table: str
    short: str
    parent: int
    parent_table: str
    columns: list[str]
    referred: list[str]
    forgets: bool
    covered: bool
    valid: bool


class Declared(Protocol):
    """Who says which rows go with a row."""

    @property
    def name(self) -> str:
        """Of the rule."""

    @property
    def children(self) -> Sequence[Named]:
        """The tables whose rows go."""


Chain = tuple[Reference, ...]


@dataclass(frozen=True)
class Closure:
    """All that goes with a row.

    Args:
        chains: of references, from the table down to one whose rows go; the deepest first.
        problems: because of which nothing may be deleted.
    """

    chains: tuple[Chain, ...]
    problems: tuple[str, ...]


def closure(rows: Rows, oid: int, table: str, rule: Declared) -> Closure:
    """Follow every reference to this table, whoever made it.

    Args:
        rows: runs SQL in the open transaction.
        oid: of the table.
        table: the same, as SQL writes it.
        rule: that names the children.
    """
    chains, problems = list[Chain](), list[str]()
    declared = set(map(table_name, rule.children))
    for chain in chains_to(rows, oid):
        last = chain[-1]
        if not last.covered:
            columns = ", ".join(last.columns)
            problems.append(
                NoIndex(
                    f"no index of {last.table} begins with ({columns}), so each row of "
                    f"{last.parent_table} that goes would read all of it: CREATE INDEX "
                    f"CONCURRENTLY {last.name.removesuffix('_fkey')} ON {last.short} ({columns})",
                    table=last.short,
                    columns=last.columns,
                )
            )
        if last.forgets:
            continue
        if last.child in {oid, *(each.child for each in chain[:-1])}:
            problems.append(
                f"{last.table} refers to itself ({last.name}), so old rows may have young ones "
                "below them: say ON DELETE SET NULL, or Keep(…, reason)"
            )
        elif last.short not in declared:
            named = ", ".join(f'"{each}"' for each in sorted({*declared, last.short}))
            problems.append(
                f"{last.table} refers to {last.parent_table} ({last.name}), and nobody says that "
                f"its rows go too: write children=({named},) in {type(rule).__name__}("
                f"{rule.name!r}, …), or let it refer with ON DELETE SET NULL"
            )
        chains.append(chain)
    reached = {chain[-1].short for chain in chains}
    problems += [
        f"{name} is among the children of {table}, and does not refer to it: take it out, "
        "or add the foreign key"
        for name in sorted(declared - reached)
    ]
    chains.sort(key=len, reverse=True)
    return Closure(tuple(chains), tuple(dict.fromkeys(problems)))


def references(rows: Rows) -> list[Reference]:
    """All foreign keys there are."""
    return [Reference(*row) for row in rows(_REFERENCES)]


def chains_to(rows: Rows, oid: int, *, all_of_them: bool = False) -> Iterator[Chain]:
    """The chains of references that end at this table.

    Args:
        rows: runs SQL in the open transaction.
        oid: of the table.
        all_of_them: those as well that go on where a child only forgets its parent.
    """
    yield from _chains(references(rows), oid, (), all_of_them=all_of_them)


def _chains(
    known: list[Reference], parent: int, above: Chain, *, all_of_them: bool
) -> Iterator[Chain]:
    for each in known:
        if each.parent == parent:
            chain = (*above, each)
            yield chain
            known_above = {parent, *(higher.parent for higher in chain)}
            if (all_of_them or not each.forgets) and each.child not in known_above:
                yield from _chains(known, each.child, chain, all_of_them=all_of_them)
