"""A replica's metrics in Ray's own, which every node exports for all the replicas on it."""

from __future__ import annotations

from rerank_core.optional import optional
from rerank_core.server.metrics import Metrics

with optional("Ray Serve", extra="ray"):
    from ray.serve.metrics import Gauge


class RayMetrics:
    """Hands metrics to Ray, under their names and labels and those that Serve adds: deployment, replica, application.

    Each sample becomes a gauge, those of counters and histograms too: Ray's counters and histograms take what is added,
    never what has come together. ``rate`` and ``histogram_quantile`` read gauges alike.

    Args:
        metrics: those of this replica.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._gauges: dict[str, Gauge] = {}

    def publish(self) -> None:
        """Hand over how things stand now."""
        for family in self._metrics.collect():
            for sample in family.samples:
                if sample.name.endswith("_created"):  # no figure: when counting began
                    continue
                if sample.name not in self._gauges:
                    self._gauges[sample.name] = Gauge(sample.name, family.documentation, tuple(sample.labels))
                self._gauges[sample.name].set(sample.value, dict(sample.labels))
