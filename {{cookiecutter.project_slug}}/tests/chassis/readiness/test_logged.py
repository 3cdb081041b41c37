"""Data of people in the log, whatever the log is set up to."""

import structlog

from acme_orders.chassis.observability import logs

from readiness.logged import complaints, recorded

ADA = {"ada@example.com": "buyers.email"}


def test_each_record_is_heard() -> None:
    """Also one that the level leaves out, as INFO is in `make readiness`, and what is bound."""
    logs.configure(level="WARNING", style="json")
    with recorded() as log, structlog.contextvars.bound_contextvars(buyer="ada@example.com"):
        structlog.get_logger().info("noted", sale=7)
    assert [*complaints(log, ADA)] == [
        "the log has buyers.email, which is personal, in 'noted': log an id instead"
    ]


def test_a_word_inside_another_is_none() -> None:
    """Ada is not in Adamant."""
    assert not [*complaints([("noted", "nada@example.community")], ADA)]
