"""What Prometheus sees. One registry per application, so that several can live in one process."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

from rerank_core.events import (
    BatchScored,
    CacheUsed,
    Event,
    Failed,
    Hook,
    Scored,
    ShadowCompared,
    ShadowDropped,
    Truncated,
)
from rerank_core.server.admission import Admission

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """Counters and histograms, filled by the engine's events and by the request handler."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        model = ["model"]
        self.requests = Counter(
            "rerank_requests", "Answers given, by route and status.", ["route", "status"], registry=registry
        )
        self.errors = Counter("rerank_errors", "Errors answered, by code.", ["code"], registry=registry)
        self.request_seconds = Histogram(
            "rerank_request_seconds",
            "From request to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._queued_pairs = Gauge(
            "rerank_queue_pairs", "Pairs accepted and not yet answered.", model, registry=registry
        )
        self._queued_requests = Gauge(
            "rerank_queue_requests", "Requests accepted and not yet answered.", model, registry=registry
        )
        self.documents = Counter("rerank_documents", "Documents ranked.", model, registry=registry)
        self._tokens = Counter("rerank_tokens", "Tokens fed to the model.", model, registry=registry)
        self.cost = Counter("rerank_cost_dollars", "Dollars, where they are known.", model, registry=registry)
        self._truncated = Counter(
            "rerank_truncated_documents", "Documents read only in part.", model, registry=registry
        )
        self.unscored = Counter(
            "rerank_unscored_documents", "Documents there was no time or no model for yet.", model, registry=registry
        )
        self._padding = Counter("rerank_padding_tokens", "Filling fed to the model.", model, registry=registry)
        self._batch_size = Histogram("rerank_batch_size", "Pairs in a batch.", model, buckets=_SIZES, registry=registry)
        self._batch_tokens = Histogram(
            "rerank_batch_tokens", "Tokens in a batch, filling included.", model, buckets=_TOKENS, registry=registry
        )
        self._inference = Histogram(
            "rerank_inference_seconds", "Time of a batch in the model.", model, buckets=_SECONDS, registry=registry
        )
        self._waited = Histogram(
            "rerank_queue_seconds", "Time in line before a batch.", model, buckets=_SECONDS, registry=registry
        )
        self._cache = Counter("rerank_cache", "Scores looked up.", ["model", "outcome"], registry=registry)
        self._failures = Counter("rerank_failures", "Requests the model failed.", ["model", "code"], registry=registry)

        self._shadow = Counter(
            "rerank_shadow_requests", "Requests by what came of the candidate.", ["model", "outcome"], registry=registry
        )
        self._shadow_moved = Counter(
            "rerank_shadow_moved_documents", "Documents that the candidate puts elsewhere.", model, registry=registry
        )
        self._shadow_overlap = Histogram(
            "rerank_shadow_overlap",
            "Share of the first results that live model and candidate have both.",
            model,
            buckets=_SHARES,
            registry=registry,
        )
        self._shadow_seconds = Histogram(
            "rerank_shadow_seconds", "Time of the candidate.", model, buckets=_SECONDS, registry=registry
        )

    def watch(self, model: str, queue: Admission) -> None:
        """Show the queue of the model with this public name, as it is whenever somebody looks."""
        self._queued_pairs.labels(model).set_function(lambda: queue.pairs)
        self._queued_requests.labels(model).set_function(lambda: queue.requests)

    def hook(self, model: str) -> Hook:
        """A hook that counts what the engine reports, under the model's public name."""
        return partial(self._count, model)

    def _count(self, model: str, event: Event) -> None:
        match event:
            case BatchScored():
                self._batch_size.labels(model).observe(event.inputs)
                self._batch_tokens.labels(model).observe(event.tokens + event.padding)
                self._padding.labels(model).inc(event.padding)
                self._inference.labels(model).observe(event.seconds)
                self._waited.labels(model).observe(event.waited)
            case Scored():
                self._tokens.labels(model).inc(event.tokens)
            case Truncated():
                self._truncated.labels(model).inc(event.documents)
            case CacheUsed():
                self._cache.labels(model, "hit").inc(event.hits)
                self._cache.labels(model, "miss").inc(event.misses)
            case Failed():
                self._failures.labels(model, event.code).inc()
            case ShadowCompared():
                self._shadow.labels(model, "other_first" if event.first_differs else "same_first").inc()
                self._shadow_moved.labels(model).inc(event.moved)
                self._shadow_overlap.labels(model).observe(event.overlap)
                self._shadow_seconds.labels(model).observe(event.seconds)
            case ShadowDropped():
                self._shadow.labels(model, event.code).inc()

    def collect(self) -> Iterable[Metric]:
        """Everything, as it is now."""
        return self._registry.collect()

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
