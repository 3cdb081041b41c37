"""One person is erased: first what is found elsewhere, at the end their own rows, with a proof.

The rows by which a person is known go last, in the transaction that proves that nothing is left:
whoever is killed before finds the same person again.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from acme_orders.chassis.erasure.classes import Kinds
from acme_orders.chassis.erasure.person import Person
from acme_orders.chassis.erasure.places import schemas_of
from acme_orders.chassis.erasure.portions import LeftError, Portions
from acme_orders.chassis.erasure.requests import Requests
from acme_orders.chassis.erasure.search import Searched, Values, searched
from acme_orders.chassis.erasure.shapes import SHORTEST
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.errors import ConfigurationError

_BLOCKS = 2000  # that are read at a time for the proof
_EXISTS = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL"
Found = tuple[Person, list[str]]  # rows of somebody, by their keys


class Erasing:
    """Carries out one request.

    Args:
        portions: of the request.
        subjects: where people are known.
        kinds: of the columns of each table.
    """

    def __init__(self, portions: Portions, subjects: Sequence[Subject], kinds: Kinds) -> None:
        self._portions, self._request = portions, portions.request
        self._subjects, self._kinds = subjects, kinds

    def go(self, names: Sequence[str]) -> None:
        """Erase the person.

        Args:
            names: of the person, as far as they are known: that of the request first, and others
                that are searched for as well.

        Raises:
            Held: somebody has to keep the data.
            ConfigurationError: it cannot be done; says why, and what helps.
        """
        left = self._portions.until_nothing_is_left(
            partial(self._search, names), partial(self._end, names)
        )
        if left:
            raise ConfigurationError(
                f"the person's own rows are as they were, because the values are still in {left}: "
                "a column with data of people is personal or free_text in the Meta of its model; "
                "then `erase run` goes on"
            )

    def _search(self, names: Sequence[str]) -> None:
        """Erase what is found elsewhere."""
        with self._portions.transaction():
            _, values = self._found(names)
            tables = list(self._tables(values))
        for each in tables:
            self._portions.walk(each)

    def _found(self, names: Sequence[str]) -> tuple[list[Found], Values]:
        """The rows of the person, locked, and what is searched for."""
        rows, found = self._portions.rows, list[Found]()
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
        rows = self._portions.rows
        for place in schemas_of(rows, self._request.whose):
            yield from searched(rows, place, self._kinds, values)

    def _end(self, names: Sequence[str]) -> None:
        """Erase the person's own rows, prove that nothing is left, and write that down."""
        rows = self._portions.rows
        with self._portions.transaction(statement=0):
            found, values = self._found(names)
            gone = Counter[str]()
            for person, keys in found:
                for name, number in person.erase(keys):
                    gone[name] += number
            self._portions.counted(gone)
            left = Counter[str]()
            for table in self._tables(Values(values.of_the_person, values.whose, {})):
                for first in range(0, table.blocks(rows), _BLOCKS):
                    for column, count in table.left(rows, first, first + _BLOCKS):
                        left[column] += count
            if left:
                raise LeftError(left)
            Requests(rows, self._request.whose).set(self._request.id, "verified")
