"""Which queries and statements take longest, and how PostgreSQL runs them."""

from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlencode

from acme_orders.chassis.background import begun
from acme_orders.chassis.database.busy_statements import Busy, busiest_at
from acme_orders.chassis.database.explain import explain
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.operations.access import Refused
from acme_orders.chassis.operations.markup import Html, table, tag
from acme_orders.chassis.operations.tenancy import scope_for

_SHOWN = 10
Registered = Mapping[str, tuple[Repository, Query, str]]


class Queries:
    """What this process has measured of its queries since it began, and their plans.

    Args:
        metrics: of this process.
        manager: of the database.
        registered: repository, query and method, by the name of the query.
        url: of the database, for a session of its own.
    """

    def __init__(
        self, metrics: Metrics, manager: Manager, registered: Registered, *, url: str
    ) -> None:
        self._metrics, self._manager, self._registered = metrics, manager, registered
        self._url = url

    async def slowest(self) -> Html:
        """Those that PostgreSQL and the network have been busy with for longest."""
        took, runs = defaultdict[str, float](float), defaultdict[str, float](float)
        (family,) = self._metrics.db_operation_duration.collect()
        for sample in family.samples:
            if sample.name.endswith("_sum"):
                took[sample.labels["query"]] += sample.value
            elif sample.name.endswith("_count"):
                runs[sample.labels["query"]] += sample.value
        longest = sorted(filter(runs.get, runs), key=lambda name: -took[name])
        rows = [
            (self._link(name), f"{runs[name]:.0f}", _ms(took[name] / runs[name]), _s(took[name]))
            for name in longest[:_SHOWN]
        ]
        return table(("query", "runs", "on average", "in all"), rows)

    async def busiest(self) -> Html | None:
        """Statements of all processes, as PostgreSQL counts them; None where it does not."""
        found: list[Busy] | None = None

        def read() -> None:
            nonlocal found
            found = busiest_at(self._url, _SHOWN)

        await begun(read)
        if found is None:
            return None
        rows = [
            (tag("code", sql), calls, _ms(seconds / calls), _s(seconds))
            for sql, calls, seconds in found
        ]
        return table(("statement", "runs", "on average", "in all"), rows)

    async def plans(self, name: str) -> list[Html]:
        """How PostgreSQL runs what this query sends with its example; nothing of it stays.

        Raises:
            ConfigurationError: the example does not fit.
            DatabaseError: PostgreSQL refuses what the example leads to.
            Refused: there is no such query.
        """
        if name not in self._registered:
            raise Refused(404, f"There is no query {name}.")
        repository, query, method = self._registered[name]
        with await scope_for(repository, self._manager):
            plans = await explain(self._manager, repository, query, method)
        shown = [tag("pre", "\n".join((each.sql, "", *each.lines))) for each in plans]
        none = tag("p", "sends nothing with its example", class_="none")
        return [tag("h2", f"Plan of {name}, with its example"), *(shown or [none])]

    def _link(self, name: str) -> object:
        if name not in self._registered:
            return name
        return tag("a", name, href=f"/plan?{urlencode({'query': name})}")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s"
