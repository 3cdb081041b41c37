"""One person is erased: first what is found elsewhere, at the end their own rows, with a proof.

The rows by which a person is known go last, in the transaction that proves that nothing is left:
whoever is killed before finds the same person again.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from acme_orders.chassis.backfills.pace import Limits, Pace
from acme_orders.chassis.backfills.session import BackfillSession
from acme_orders.chassis.database import driver
from acme_orders.chassis.erasure.classes import Kinds
from acme_orders.chassis.erasure.person import Person
from acme_orders.chassis.erasure.places import schemas_of
from acme_orders.chassis.erasure.requests import Request, Requests
from acme_orders.chassis.erasure.search import Searched, Values, searched
from acme_orders.chassis.erasure.shapes import SHORTEST
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered

_TIMES = 5  # what comes in while it is searched for is found the next time
_BUSY = {"40001", "40P01", "55P03", "57014"}  # others write, or it was too much at once
_BLOCKS = 2000  # that are read at a time for the proof
_EXISTS = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL"
Found = tuple[Person, list[str]]  # rows of somebody, by their keys


class _LeftError(Exception):
    """Values still stand somewhere: how often in which column."""

    def __init__(self, places: Mapping[str, int]) -> None:
        super().__init__()
        self.places = places


class Erasing:
    """Carries out one request.

    Args:
        session: of this eraser, and of no other.
        request: that is carried out.
        subjects: where people are known.
        kinds: of the columns of each table.
        limits: of what a portion may take.
    """

    def __init__(
        self,
        session: BackfillSession,
        request: Request,
        subjects: Sequence[Subject],
        kinds: Kinds,
        limits: Limits,
    ) -> None:
        self._session, self._request, self._limits = session, request, limits
        self._subjects, self._kinds = subjects, kinds
        self._evidence = Counter[str](request.evidence)

    def go(self, names: Sequence[str]) -> None:
        """Erase the person.

        Args:
            names: of the person, as far as they are known: that of the request first, and others
                that are searched for as well.

        Raises:
            Held: somebody has to keep the data.
            ConfigurationError: it cannot be done; says why, and what helps.
        """
        left: Mapping[str, int] = {}
        for _ in range(_TIMES):
            with self.transaction():
                _, values = self._found(names)
            for each in self._tables(values):
                self._walk(each)
            try:
                self._end(names)
            except _LeftError as error:
                left = error.places
            except driver.DriverError as error:
                if self._session.ended(error) or driver.sqlstate(error) not in _BUSY:
                    raise
                self._session.rows("ROLLBACK")
                left = {"rows that somebody else has in hand": 1}
            else:
                return
        told = ", ".join(f"{place} ({count})" for place, count in left.items())
        raise ConfigurationError(
            f"the person's own rows are as they were, because the values are still in {told}: "
            "a column with data of people is personal or free_text in the Meta of its model; then "
            "`erase run` goes on"
        )

    def transaction(self, *, statement: float | None = None) -> AbstractContextManager[None]:
        """One that the trace of the request can be seen at."""
        trace = f"SET LOCAL application_name = 'erase {self._request.trace}'"
        seconds = self._limits.statement if statement is None else statement
        begin = f"{trace}; {entered(SHARED)}"
        return self._session.transaction(begin, self._limits, statement=seconds)

    def _found(self, names: Sequence[str]) -> tuple[list[Found], Values]:
        """The rows of the person, locked, and what is searched for."""
        rows, found = self._session.rows, list[Found]()
        known = {name.strip() for name in names}
        for place in schemas_of(rows, self._request.whose):
            for subject in self._subjects:
                if rows(_EXISTS, (place, subject.name))[0][0]:
                    person = Person(rows, subject, place, self._kinds)
                    keys, values = person.find(self._request, names[0] if names else None)
                    found.append((person, keys))
                    known |= values
        if not known:
            raise ConfigurationError(
                "nobody here has this name; `erase SUBJECT` searches for it in all tables as well"
            )
        if any(len(value) < SHORTEST for value in known):
            raise ConfigurationError(
                f"a value with fewer than {SHORTEST} characters cannot be searched for, because it "
                "stands in what belongs to others: let `by` of the Subject name longer ones"
            )
        Requests(rows, self._request.whose).refuse_held(frozenset(known))
        spared = {person.table: (person.key("t"), keys) for person, keys in found if keys}
        return found, Values(frozenset(known), self._request.whose, spared)

    def _tables(self, values: Values) -> Iterator[Searched]:
        with self.transaction():
            rows = self._session.rows
            tables = [
                each
                for place in schemas_of(rows, self._request.whose)
                for each in searched(rows, place, self._kinds, values)
            ]
        yield from tables

    def _walk(self, table: Searched) -> None:
        """Erase what is found in a table, some blocks at a time."""
        with self.transaction():
            blocks = table.blocks(self._session.rows)
        pace, at = Pace(self._limits, self._limits.first), 0
        while at < blocks:
            began, last = time.monotonic(), min(blocks, at + pace.size)
            try:
                with self.transaction():
                    count = table.erase(self._session.rows, at, last)
                    evidence = self._counted({table.table: count})
            except driver.DriverError as error:
                if self._session.ended(error) or driver.sqlstate(error) not in _BUSY:
                    raise
                rest = pace.failed(held=True)
                if rest is None:
                    raise
            else:
                self._evidence = evidence
                at, rest = last, pace.took(time.monotonic() - began)
            time.sleep(rest)

    def _end(self, names: Sequence[str]) -> None:
        """Erase the person's own rows, prove that nothing is left, and write that down."""
        rows = self._session.rows
        with self.transaction(statement=0):
            found, values = self._found(names)
            gone = Counter[str]()
            for person, keys in found:
                for name, number in person.erase(keys):
                    gone[name] += number
            self._counted(gone)
            left = Counter[str]()
            everything = Values(values.of_the_person, values.whose, {})
            for place in schemas_of(rows, self._request.whose):
                for table in searched(rows, place, self._kinds, everything):
                    for first in range(0, table.blocks(rows), _BLOCKS):
                        for column, count in table.left(rows, first, first + _BLOCKS):
                            left[column] += count
            if left:
                raise _LeftError(left)
            Requests(rows, self._request.whose).set(self._request.id, "verified")

    def _counted(self, rows: Mapping[str, int]) -> Counter[str]:
        """What the evidence says if the open transaction is committed."""
        evidence = self._evidence + Counter(rows)
        if evidence != self._evidence:
            Requests(self._session.rows).count(self._request.id, evidence)
        return evidence
