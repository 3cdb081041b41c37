"""The command line, through `python -m`."""

from acme_orders.chassis.cli.commands import main

if __name__ == "__main__":
    main()
