"""Orders to test with."""

from typing import Any
from uuid import UUID, uuid4

from acme_orders.orders.messages import OrderPlaced


def order(number: int | None = None, **changes: Any) -> OrderPlaced:
    """The example of an order with another id, that of a number if it matters."""
    order_id = uuid4() if number is None else UUID(int=number)
    return OrderPlaced.model_validate({**OrderPlaced.example(), "order_id": order_id, **changes})


def line(quantity: int, unit_price_cents: int) -> dict[str, Any]:
    """One article."""
    return {"sku": "TEA-1", "quantity": quantity, "unit_price_cents": unit_price_cents}
