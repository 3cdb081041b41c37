"""What a policy is: how long the rows of a table are kept, or why they may grow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from acme_orders.chassis.errors import ConfigurationError

Named = type[Any] | str


@dataclass(frozen=True)
class Retention:
    """Rows that are deleted when they are old enough, or that only forget whom they are about.

    Args:
        table: a model, or the name of a table.
        age: the column with the time from which on a row is kept; an index begins with it. A row
            that has none stays.
        keep: how long.
        children: the tables, at any depth, whose rows go with the row that they refer to.
        only: columns with the value that a row has to have to be deleted.
        name: of the policy; that of the table without it.
        archive: for the table or its children, the table where its rows are kept when they go, as
            they are. Without it they are gone.
        anonymise: columns, and what stands in each when a row is old enough. Then the row stays,
            and so does what refers to it.

    Raises:
        ConfigurationError: it would keep nothing, or its rows would both stay and go.
    """

    table: Named
    age: str
    keep: timedelta
    children: Sequence[Named] = ()
    only: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    archive: Mapping[Named, Named] = field(default_factory=dict)
    anonymise: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", table_name(self.table))
        object.__setattr__(self, "children", tuple(map(table_name, self.children)))
        object.__setattr__(self, "name", self.name or self.table)
        archive = {table_name(table): table_name(into) for table, into in self.archive.items()}
        object.__setattr__(self, "archive", archive)
        if self.keep <= timedelta():
            raise ConfigurationError(
                f"the policy {self.name} keeps rows for {self.keep}: say for how long, such as "
                "keep=timedelta(days=90)"
            )
        if self.anonymise and (self.children or self.archive):
            raise ConfigurationError(
                f"the policy {self.name} has anonymise, by which rows stay, and children or an "
                "archive for rows that go: make two of it, each with a name"
            )


@dataclass(frozen=True)
class Keep:
    """A table whose rows stay.

    Args:
        table: a model, or the name of a table.
        reason: why it may grow, or why it does not.

    Raises:
        ConfigurationError: there is no reason.
    """

    table: Named
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", table_name(self.table))
        if not self.reason.strip():
            raise ConfigurationError(
                f"Keep({self.table!r}) has no reason: say why it may grow, or how long its rows "
                "are kept: Retention(…, keep=timedelta(days=90))"
            )


Rule = Retention | Keep


def table_name(table: Named) -> str:
    """The name of the table of a model."""
    return table if isinstance(table, str) else str(table._meta.table_name)  # noqa: SLF001


def gathered(rules: Iterable[tuple[str, Sequence[Rule]]]) -> tuple[Rule, ...]:
    """All rules, each table with those of one owner.

    Args:
        rules: by their owner, such as the name of a slice.

    Raises:
        ConfigurationError: two say something about the same table.
    """
    owners, names, found = dict[str, str](), set[str](), list[Rule]()
    for owner, each in ((owner, each) for owner, some in rules for each in some):
        known = owners.setdefault(str(each.table), owner)
        name = each.name if isinstance(each, Retention) else str(each.table)
        if known != owner or name in names:
            raise ConfigurationError(
                f"{owner} has a rule of retention for {each.table}, and so has {known}: a table "
                "has one, or several with names of their own in one place"
            )
        names.add(name)
        found.append(each)
    return tuple(found)
