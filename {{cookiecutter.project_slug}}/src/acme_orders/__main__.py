"""The command line, through `python -m`."""

from acme_orders.cli import main

if __name__ == "__main__":
    main()
