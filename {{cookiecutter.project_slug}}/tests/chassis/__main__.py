"""The command line of this service; its processes are started with it."""

from acme_orders.chassis.cli.commands import command_line

from tests.chassis.service import SERVICE

if __name__ == "__main__":
    command_line(lambda: SERVICE)
