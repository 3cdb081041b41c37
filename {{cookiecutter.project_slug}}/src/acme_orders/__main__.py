"""`python -m acme_orders`, the same as the `acme-orders` command."""

from acme_orders.cli import main

if __name__ == "__main__":
    main()
