"""What an order may say, and what it comes to. No database is needed for this."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.orders.examples import line, order


def test_the_total_is_that_of_all_lines() -> None:
    """Quantity by price."""
    assert order(lines=[line(2, 450), line(1, 99)]).total_cents == 999


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("customer_email", "ada"),
        ("currency", "euro"),
        ("lines", []),
        ("lines", [line(0, 450)]),
        ("lines", [line(1, -1)]),
        ("lines", [line(1000, 10**12)]),
        ("placed_at", "2026-01-31T12:00:00"),  # in which time zone?
    ],
)
def test_a_bad_order_is_refused(field: str, value: Any) -> None:
    """Whoever sent it is told which field it is."""
    with pytest.raises(ValidationError, match=field if value != [line(1000, 10**12)] else "total"):
        order(**{field: value})
