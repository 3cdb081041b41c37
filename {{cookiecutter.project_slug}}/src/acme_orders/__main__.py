"""The command line, installed as `acme-orders`."""

from typing import TYPE_CHECKING, Any

from acme_orders.chassis.cli.commands import command_line

if TYPE_CHECKING:
    from acme_orders.chassis.slice import Definition


def main() -> None:
    """Run it."""
    command_line(_service)


def _service() -> "Definition[Any]":
    from acme_orders.service import SERVICE  # noqa: PLC0415

    return SERVICE


if __name__ == "__main__":
    main()
