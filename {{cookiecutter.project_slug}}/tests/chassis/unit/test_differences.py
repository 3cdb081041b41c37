"""Which differences in RabbitMQ lose messages, which are only worth a word, and which are none."""

from collections.abc import Mapping
from typing import Any

import pytest

from acme_orders.chassis.messaging.topology import Problem, Queue, Topology
from acme_orders.chassis.rabbitmq.differences import (
    of_arguments,
    of_bindings,
    of_declaration,
    of_exchange,
    of_policy,
)

TOPOLOGY = Topology.of(
    "shop", ["sale.made"], ladder=[5, 30], delivery_limit=100, suspect_deliveries=3
)
MAIN, STEP = TOPOLOGY.main, TOPOLOGY.ladder[0]
SUSPECTS, DEAD_LETTERS = TOPOLOGY.suspects, TOPOLOGY.dead_letters


def kinds(problems: object) -> list[str]:
    """Of each problem whether it loses messages."""
    assert isinstance(problems, list)
    return ["loses" if problem.loses else "differs" for problem in problems]


@pytest.mark.parametrize(
    ("policy", "main", "step", "dead_letters"),
    [
        # Messages that expire become dead letters, and dead letters are dropped.
        ({"message-ttl": 1000}, "loses", "differs", "loses"),
        ({"message-ttl": 60_000}, "loses", "", "loses"),
        ({"expires": 60_000}, "loses", "loses", "loses"),
        # Our queues refuse what is too much; of dead letters RabbitMQ would drop the oldest.
        ({"max-length": 10}, "", "", "loses"),
        ({"max-length-bytes": 10}, "", "", "loses"),
        ({"overflow": "drop-head"}, "loses", "loses", ""),
        ({"overflow": "reject-publish"}, "", "", ""),
        # The smaller limit counts, whoever it comes from.
        ({"delivery-limit": 7}, "differs", "", "loses"),
        ({"delivery-limit": 2_000_000}, "", "", ""),
        ({"delivery-limit": -1}, "", "", ""),
        # Of these RabbitMQ takes the arguments of the queue.
        ({"dead-letter-exchange": "other"}, "", "", ""),
        ({"dead-letter-routing-key": "other"}, "", "", ""),
        ({"dead-letter-strategy": "at-most-once"}, "", "", ""),
        ({"consumer-timeout": 60_000}, "differs", "differs", "differs"),
        ({"consumer-timeout": 3_600_000}, "", "", ""),
        ({"federation-upstream-set": "all"}, "differs", "differs", "differs"),
        ({"something-of-the-future": 1}, "differs", "differs", "differs"),
        ({"queue-leader-locator": "balanced"}, "", "", ""),
        ({"ha-mode": "all", "ha-sync-mode": "automatic"}, "", "", ""),
        ({}, "", "", ""),
    ],
)
def test_policies(policy: Mapping[str, Any], main: str, step: str, dead_letters: str) -> None:
    """Each is said with its name, its value, and how to get rid of it."""
    for queue, kind in ((MAIN, main), (STEP, step), (DEAD_LETTERS, dead_letters)):
        found = list(of_policy(queue, "limits", policy))
        assert kinds(found) == [kind] * bool(kind)
        for problem in found:
            ((name, value),) = policy.items()
            assert problem.what == f"{name} is {value} by policy limits"
            assert "rabbitmqctl clear_policy limits" in problem.helps
            assert not problem.restorable


@pytest.mark.parametrize(
    ("queue", "changes", "kind"),
    [
        (MAIN, {"x-queue-type": "classic"}, "loses"),
        (MAIN, {"x-dead-letter-exchange": None}, "loses"),
        (MAIN, {"x-overflow": "drop-head"}, "loses"),
        (MAIN, {"x-message-ttl": 5}, "loses"),
        (MAIN, {"x-expires": 5}, "loses"),
        (MAIN, {"x-delivery-limit": 7}, "differs"),
        (MAIN, {"x-max-length": 7}, "differs"),
        (SUSPECTS, {"x-delivery-limit": 7}, "differs"),
        (DEAD_LETTERS, {"x-delivery-limit": 20}, "loses"),
        (DEAD_LETTERS, {"x-max-length": 20}, "loses"),
        (STEP, {"x-message-ttl": 9}, "differs"),
        (STEP, {"x-dead-letter-routing-key": "nowhere"}, "loses"),
        (MAIN, {"x-queue-leader-locator": "balanced"}, ""),
        (MAIN, {}, ""),
    ],
)
def test_arguments(queue: Queue, changes: dict[str, Any], kind: str) -> None:
    """Both values are said."""
    there = {
        name: value for name, value in {**queue.arguments, **changes}.items() if value is not None
    }
    found = list(of_arguments(queue, there))
    assert kinds(found) == [kind] * bool(kind)
    for problem in found:
        ((name, value),) = changes.items()
        wanted = queue.arguments.get(name, "none")
        assert problem.what == f"{name} is {value or 'none'}, this version declares {wanted}"


SAID = "PRECONDITION_FAILED - inequivalent arg '{}' for {} in vhost '/': received {} but current {}"


@pytest.mark.parametrize(
    ("said", "queue", "problem"),
    [
        (
            ("x-queue-type", "queue 'shop'", "the value 'quorum' of type 'longstr'", "is none"),
            MAIN,
            "x-queue-type is none, this version declares quorum",
        ),
        (
            ("x-delivery-limit", "queue 'shop.dead-letters'", "the value '1000000' of type 'long'",
             "is the value '7' of type 'long'"),
            DEAD_LETTERS,
            "x-delivery-limit is 7, this version declares 1000000",
        ),
        (
            ("type", "exchange 'events'", "'topic'", "is 'fanout'"),
            None,
            "type is fanout, this version declares topic",
        ),
    ],
)  # fmt: skip
def test_what_rabbitmq_says(said: tuple[str, ...], queue: Queue | None, problem: str) -> None:
    """It says only the first difference."""
    found = of_declaration(Exception(SAID.format(*said)), queue)
    assert found.what == problem
    assert found.loses


def test_what_rabbitmq_says_otherwise() -> None:
    """It is passed on as it is."""
    locked = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'shop'"
    assert of_declaration(Exception(locked), MAIN).what == locked


def test_an_alternate_exchange_makes_a_difference() -> None:
    """Events that nobody listens to go there, and nobody is told; they are not lost by that."""
    said = ("alternate-exchange", "exchange 'events'", "none", "is the value 'others' of type 't'")
    assert not of_declaration(Exception(SAID.format(*said))).loses
    assert kinds(list(of_exchange("p", {"alternate-exchange": "others"}))) == ["differs"]


def test_bindings() -> None:
    """What is not bound does not arrive, and only has to be bound again."""
    assert list(of_bindings(MAIN, "events", {("events", "sale.made"), ("", "shop")})) == []
    (problem,) = of_bindings(MAIN, "events", {("other", "sale.made"), ("events", "sale.#")})
    assert isinstance(problem, Problem)
    assert problem.what == "is not bound to sale.made on exchange events"
    assert problem.loses
    assert problem.restorable
