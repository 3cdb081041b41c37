"""What metrics are made with."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from acme_orders.chassis.observability.recorded import TracedHistogram  # feature: tracing
from acme_orders.chassis.observability.rows import HistogramOfRows

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600)
ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Of each label its values; or what `begin` calls them; or None if nobody knows them beforehand.
Labels = Mapping[str, tuple[str, ...] | str | None]
Family = TypeVar("Family", Counter, Gauge, Histogram)


class Families:
    """Makes metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.histogram_of_rows = partial(HistogramOfRows, registry=self.registry)
        self._labels: dict[Counter | Gauge | Histogram, Labels] = {}
        self._known: dict[str, tuple[str, ...]] = {}

    def counter(self, name: str, documentation: str, labels: Labels | None = None) -> Counter:
        """A number that only grows."""
        made = Counter(name, documentation, list(labels or ()), registry=self.registry)
        return self._made(made, labels)

    def gauge(self, name: str, documentation: str, labels: Labels | None = None) -> Gauge:
        """A number that goes up and down."""
        made = Gauge(name, documentation, list(labels or ()), registry=self.registry)
        return self._made(made, labels)

    def histogram(
        self,
        name: str,
        documentation: str,
        labels: Labels | None = None,
        *,
        buckets: tuple[float, ...],
    ) -> Histogram:
        """How many values were how large."""
        kind: type[Histogram] = Histogram
        kind = TracedHistogram  # feature: tracing
        made = kind(
            name, documentation, list(labels or ()), buckets=buckets, registry=self.registry
        )
        return self._made(made, labels)

    def begin(self, **known: Iterable[str]) -> None:
        """Make each series whose labels are known now.

        A series that begins with its first event shows no increase, and an alert on it no failure.

        Args:
            known: values of labels, by what the families call them.
        """
        self._known |= {name: tuple(values) for name, values in known.items()}
        for family, labels in self._labels.items():
            values = [
                self._known.get(each) if isinstance(each, str) else each for each in labels.values()
            ]
            for combination in product(*(each or () for each in values)):
                family.labels(*combination)

    def _made(self, family: Family, labels: Labels | None) -> Family:
        if labels:
            self._labels[family] = labels
        return family
