"""A metric of what is recorded in a table, by processes that are gone when somebody asks."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector


class HistogramOfRows(Collector):
    """A histogram that is set as a whole.

    Args:
        name: of the metric.
        documentation: of it.
        labels: their names.
        buckets: upper bounds, ascending.
        registry: that shows it.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, list(labels)
        self._buckets = (*buckets, float("inf"))
        self._rows: Mapping[tuple[str, ...], Sequence[float]] = {}
        registry.register(self)

    def set(self, rows: Mapping[tuple[str, ...], Sequence[float]]) -> None:
        """Show these values, for each combination of labels, and no others."""
        self._rows = rows

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The values as Prometheus wants them."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, row in self._rows.items():
            counts = [
                (str(bound) if bound < float("inf") else "+Inf", sum(each <= bound for each in row))
                for bound in self._buckets
            ]
            family.add_metric(list(values), counts, sum(row))
        yield family
