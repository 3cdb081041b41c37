"""What PostgreSQL refuses, whoever writes it: the rules of the tables."""

from typing import Any

import pytest

from acme_orders.chassis.errors import ConstraintViolated
from acme_orders.chassis.testing import ServiceUnderTest
from acme_orders.orders.models import Customer, Line, Order

from tests.orders.examples import order


@pytest.mark.parametrize(
    ("model", "column", "value"),
    [
        (Customer, "email", "a@"),
        (Order, "status", "lost"),
        (Order, "currency", "eur"),
        (Order, "total_cents", -1),
        (Line, "position", 0),
        (Line, "sku", ""),
        (Line, "quantity", 0),
        (Line, "unit_price_cents", -1),
    ],
)
async def test_a_value_that_cannot_be_is_refused(
    service: ServiceUnderTest, model: Any, column: str, value: Any
) -> None:
    """Also in an order that was stored long ago."""
    await service.process(order())
    with pytest.raises(ConstraintViolated) as refused:
        async with service.transaction():
            await service.manager.execute(model.update({column: value}))
    assert refused.value.constraint == f"{model._meta.table_name}_{column}_check"
