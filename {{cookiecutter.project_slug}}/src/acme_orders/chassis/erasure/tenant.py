# feature: row, rls, schema
"""A tenant is erased as a whole: what it owns, what the chassis has of it, and its name.

The line of the registry goes last, in the transaction that proves that nothing is left: whoever is
killed before finds the same tenant again, and afterwards PostgreSQL refuses new rows of it.
"""

from collections import Counter
from collections.abc import Iterator

from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.erasure.owned import Owned
from acme_orders.chassis.erasure.portions import LeftError, Portions, Walked
from acme_orders.chassis.erasure.requests import Requests
from acme_orders.chassis.erasure.search import Searched, Values, searched
from acme_orders.chassis.erasure.shapes import SHORTEST
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered

# All people of the tenant are erased, whoever asks.
_END = """
UPDATE public.erasure_request SET state = 'verified', error = NULL, ended_at = clock_timestamp()
WHERE whose = %s AND ended_at IS NULL
"""
# These are the evidence; an id is all that they have of a tenant.
_STAYS = {"erasure_request", "legal_hold", "tenants"}
_BLOCKS = 2000  # that are read at a time for the proof


class WholeTenant:
    """Carries out one request; the session is that of the role that owns the tables.

    Args:
        portions: of the request.
    """

    def __init__(self, portions: Portions) -> None:
        self._portions, self._whose = portions, portions.request.whose
        self._owned = Owned(portions.rows, self._whose)
        self._name, self._mentions = "", Counter[str]()

    def go(self) -> None:
        """Erase the tenant.

        Raises:
            Held: somebody has to keep its data, or that of one of its people.
            ConfigurationError: it cannot be done; says why, and what helps.
        """
        left = self._portions.until_nothing_is_left(self._search, self._end)
        if left:
            raise ConfigurationError(
                f"the tenant is still registered, because something of it is left in {left}: "
                "refresh a materialized view, take its id out of what tenants share, and let "
                "nobody send its messages; then `erase run` goes on"
            )

    def _search(self) -> None:
        with self._portions.transaction():
            self._lock()
            self._refuse_held()
            tables: list[Walked] = [*self._owned.tables(), *self._shared()]
        for each in tables:
            self._portions.walk(each)
        if len(self._name) >= SHORTEST:
            with self._portions.transaction(statement=0):
                self._mentions = Counter[str]()
                for column, count in self._mentioned():
                    self._mentions[column] += count

    def _end(self) -> None:
        """Erase what came in meanwhile, prove that nothing is left, and forget the tenant."""
        rows = self._portions.rows
        with self._portions.transaction(statement=0):
            self._lock()
            self._refuse_held()
            gone, left = Counter[str](), Counter[str]()
            for table in self._shared():
                for first in range(0, table.blocks(rows), _BLOCKS):
                    gone[table.table] += table.erase(rows, first, first + _BLOCKS)
                    for column, count in table.left(rows, first, first + _BLOCKS):
                        left[column] += count
            for name, count in self._owned.rest():
                gone[name] += count
            left.update(self._owned.left())
            if left:
                raise LeftError(left)
            self._portions.counted(gone)
            rows(_END, (self._whose,))
            told = Requests(rows, self._whose)
            told.set(self._portions.request.id, "verified", self._undecided())
            rows("SET LOCAL ROLE NONE")
            self._owned.drop()
            rows("DELETE FROM public.tenants WHERE id::text = %s", (self._whose,))

    def _lock(self) -> None:
        """Let no row of the tenant come in; whoever may not do that may not begin either."""
        rows = self._portions.rows
        rows("SET LOCAL ROLE NONE")
        name = "SELECT name FROM public.tenants WHERE id::text = %s FOR UPDATE"
        self._name = "".join(str(each) for (each,) in rows(name, (self._whose,)))
        rows(entered(SHARED))

    def _refuse_held(self) -> None:
        """Look whether somebody holds the tenant, or one of its people."""
        held = Requests(self._portions.rows, self._whose)
        held.refuse("released_at IS NULL AND whose = %s", self._whose)

    def _shared(self) -> Iterator[Searched]:
        """What says in no column whose it is, and may have its id in a text."""
        number = self._whose.replace("-", "")
        return self._with({self._whose, number, f"tenant_{number}"}, but=_STAYS)

    def _mentioned(self) -> Iterator[tuple[str, int]]:
        """Where its name stands in what tenants share, and how often."""
        rows = self._portions.rows
        for table in self._with({self._name}, but={"tenants"}):
            for first in range(0, table.blocks(rows), _BLOCKS):
                yield from table.left(rows, first, first + _BLOCKS)

    def _with(self, texts: set[str], *, but: set[str]) -> Iterator[Searched]:
        values, own = Values(frozenset(texts), self._whose, {}), self._owned.names()
        for each in searched(self._portions.rows, SHARED, OWN, values):
            if each.short not in but and each.table not in own:
                yield each

    def _undecided(self) -> str | None:
        """What is told of its name, which may be that of others, or a word that anybody uses."""
        if self._name and len(self._name) < SHORTEST:
            return f"its name has fewer than {SHORTEST} characters, and was not looked for"
        if not self._mentions:
            return None
        return (
            f"its name stands in {LeftError(self._mentions)}, where it may mean somebody else: "
            "look there, and change what means the tenant"
        )
