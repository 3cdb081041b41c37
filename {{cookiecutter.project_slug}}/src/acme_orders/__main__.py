"""The command line, installed as `acme-orders`."""

from acme_orders.chassis.cli.commands import command_line
from acme_orders.service import SERVICE


def main() -> None:
    """Run it."""
    command_line(SERVICE)


if __name__ == "__main__":
    main()
