"""What a team adds to the chassis: slices of business, and the service that they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import (
    Any,
    Generic,
    TypeVar,
)

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.retention.policy import Rule
from acme_orders.chassis.settings import ChassisSettings, load_settings

Settings = TypeVar("Settings", bound=ChassisSettings)


@dataclass(frozen=True)
class Chassis(Generic[Settings]):
    """What a slice is built on; nothing is connected yet.

    Args:
        settings: of the process, with those of your own.
        manager: of the database, for its repositories.
        outbox: where its events go.
    """

    settings: Settings
    manager: Manager
    outbox: Outbox


@dataclass(frozen=True)
class Slice:
    """A part of the business, and all that it has.

    Args:
        name: of its folder.
        repositories: with its registered queries.
        handlers: by the type of the messages that they take.
        publishes: the types of its events.
        subjects: where people are known, who may ask to be erased.
        retention: how long rows of its tables are kept, or why they stay.
        routes: makes the router of its API, in a process that serves it.  # feature: http_api
    """

    name: str
    repositories: tuple[Repository, ...] = ()
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    publishes: Sequence[Event] = ()
    subjects: Sequence[Subject] = ()
    retention: Sequence[Rule] = ()
    routes: Callable[[], Any] | None = None  # feature: http_api


@dataclass(frozen=True)
class Definition(Generic[Settings]):
    """What a service is.

    Args:
        name: of the service: its queues and its connections have it, and it is the source of its
            events. With another name it is another service, with an empty inbox and empty queues.
        title: for people.
        settings: their class.
        slices: functions that make them.
        guard: makes what admits requests to the API; without it, all are.  # feature: http_api
    """

    name: str
    title: str
    settings: type[Settings]
    slices: tuple[Callable[[Chassis[Settings]], Slice], ...]
    guard: Callable[[Settings], Any] | None = None  # feature: http_api

    def load_settings(self, **overrides: Any) -> Settings:
        """Read the settings.

        Raises:
            ConfigurationError: one line for each bad or missing variable, with what is allowed.
        """
        return load_settings(self.settings, **overrides)

    def built_on(self, chassis: Chassis[Settings]) -> tuple[Slice, ...]:
        """Make the slices.

        Raises:
            ConfigurationError: two of them have one name, or take messages or publish events of one
                type.
        """
        slices = tuple(make(chassis) for make in self.slices)
        for (one, makes), (other, also) in combinations(zip(slices, self.slices, strict=True), 2):
            if one.name == other.name:
                raise ConfigurationError(
                    f"service.py lists two slices with the name {one.name!r}, made by "
                    f"{_title(makes)} and {_title(also)}: list each slice once, and give each a "
                    "name of its own"
                )
            _refuse_clash(one, other)
        return slices


def _title(make: Callable[..., Slice]) -> str:
    function = getattr(make, "func", make)  # of a partial
    return f"{function.__module__}.{function.__qualname__}"


def _refuse_clash(one: Slice, other: Slice) -> None:
    both = f"the slices {one.name!r} and {other.name!r} both"
    for type_ in one.handlers.keys() & other.handlers.keys():
        raise ConfigurationError(
            f"{both} have a handler of {type_!r}: a message has one; let the other slice handle "
            "an event that this one publishes"
        )
    for type_ in {each.name for each in one.publishes} & {each.name for each in other.publishes}:
        raise ConfigurationError(f"{both} publish {type_!r}: a type of events has one publisher")
