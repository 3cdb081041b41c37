"""What metrics are made with."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from acme_orders.chassis.observability.rows import HistogramOfRows

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600)
ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Families:
    """Makes metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counter = partial(Counter, registry=self.registry)
        self.gauge = partial(Gauge, registry=self.registry)
        self.histogram = partial(Histogram, registry=self.registry)
        self.histogram_of_rows = partial(HistogramOfRows, registry=self.registry)
