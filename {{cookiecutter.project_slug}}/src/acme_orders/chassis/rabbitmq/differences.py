"""What RabbitMQ has beside what is declared, and which of it loses messages."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from acme_orders.chassis.messaging.topology import EXCHANGE_TYPE, Problem, Queue

_INEQUIVALENT = re.compile(
    r"inequivalent arg '([^']+)' for (?:queue|exchange) .*received (.+) but current is (.+?)\"?$"
)
_VALUE = re.compile(r"the value '(.*)' of type '\w+'")
_DELETE = "delete it when it is empty, and the service declares it again; or give it another name"
# What changes where a queue is and how fast, but not what becomes of a message.
_HARMLESS = re.compile(
    r"(?:x-)?(?:ha-.*|max-in-memory-.*|queue-(?:leader|master)-locator|queue-(?:mode|version)"
    r"|(?:quorum-)?initial-(?:group|cluster)-size|target-group-size|single-active-consumer)"
)
_LONGEST_HOLD = 1_800_000  # ms; messages are held for less than the 30 minutes of the default
Change = Literal["loses", "differs"] | None


def _other(_: Queue, __: Any) -> Change:
    return "differs"


def _expires(_: Queue, __: Any) -> Change:
    return "loses"


def _overflow(queue: Queue, value: Any) -> Change:
    return "loses" if _refuses(queue) and value != "reject-publish" else None


def _max_length(queue: Queue, _: Any) -> Change:
    return None if _refuses(queue) else "loses"


def _message_ttl(queue: Queue, value: Any) -> Change:
    if queue.ttl is None:
        return "loses"
    return "differs" if value < queue.ttl * 1000 else None


def _delivery_limit(queue: Queue, value: Any) -> Change:
    if queue.delivery_limit is None or not 0 <= value < queue.delivery_limit:
        return None
    return "differs" if _refuses(queue) else "loses"


def _consumer_timeout(_: Queue, value: Any) -> Change:
    return "differs" if value < _LONGEST_HOLD else None


def _refuses(queue: Queue) -> bool:
    """Whether it refuses what is too much; the others drop the oldest message."""
    return queue.dead_letter_to is not None


_POLICIES: Mapping[str, Callable[[Queue, Any], Change]] = {
    "consumer-timeout": _consumer_timeout,
    "delivery-limit": _delivery_limit,
    "expires": _expires,
    "max-length": _max_length,
    "max-length-bytes": _max_length,
    "message-ttl": _message_ttl,
    "overflow": _overflow,
}


def of_declaration(error: Exception, queue: Queue | None = None) -> Problem:
    """What RabbitMQ says when it refuses a declaration: only the first difference."""
    if found := _INEQUIVALENT.search(str(error)):
        argument, wanted, there = (_VALUE.sub(r"\1", part) for part in found.groups())
        return _argument(argument, wanted.strip("'"), there.strip("'"), queue)
    return Problem(" ".join(str(error).split()), _DELETE)


def of_arguments(queue: Queue, there: Mapping[str, Any]) -> Iterator[Problem]:
    """All arguments of a queue that differ."""
    wanted = queue.arguments
    for name in sorted({*wanted, *there}):
        if wanted.get(name) != there.get(name) and not _HARMLESS.fullmatch(name):
            yield _argument(name, wanted.get(name, "none"), there.get(name, "none"), queue)


def of_policy(queue: Queue, policy: str, definition: Mapping[str, Any]) -> Iterator[Problem]:
    """What policies change of a queue; where its argument counts instead, they change nothing."""
    for name, value in sorted(definition.items()):
        if _HARMLESS.fullmatch(name) or name.startswith("dead-letter-"):  # its arguments count
            continue
        if changes := _POLICIES.get(name, _other)(queue, value):
            yield _policy(name, value, policy, loses=changes == "loses")


def of_exchange(policy: str, definition: Mapping[str, Any]) -> Iterator[Problem]:
    """What policies change of an exchange, such as where events go that nobody listens to."""
    for name, value in sorted(definition.items()):
        yield _policy(name, value, policy, loses=False)


def of_bindings(queue: Queue, exchange: str, there: set[tuple[str, str]]) -> Iterator[Problem]:
    """Which types of messages do not arrive."""
    for type_ in queue.bindings:
        if (exchange, type_) not in there:
            yield Problem(
                f"is not bound to {type_} on exchange {exchange}",
                "the service binds it when it starts; what was sent meanwhile is lost unless its "
                "sender was told (mandatory)",
                restorable=True,
            )


def _argument(name: str, wanted: object, there: object, queue: Queue | None) -> Problem:
    harmless = {"alternate-exchange"}
    if queue is not None and queue.dead_letter_to is not None:
        harmless = {"x-delivery-limit", "x-max-length", "x-max-length-bytes"}
    if queue is not None and queue.ttl is not None:
        harmless.add("x-message-ttl")
    return Problem(
        f"{name} is {there}, this version declares {wanted}",
        _DELETE
        if queue is not None
        else f"delete it: the service declares it as {EXCHANGE_TYPE}, "
        "and those who listen have to bind their queues again",
        loses=name not in harmless,
    )


def _policy(name: str, value: object, policy: str, *, loses: bool) -> Problem:
    return Problem(
        f"{name} is {value} by policy {policy}",
        f"clear the policy (rabbitmqctl clear_policy {policy}), or change its pattern",
        loses=loses,
    )
