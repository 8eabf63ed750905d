"""OpenTelemetry spans, for processes that have a tracer provider. Without one, these calls do nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace

from rerank_core.wire.messages import WireResponse

_tracer = trace.get_tracer("rerank_core.server")


@contextmanager
def span(headers: Mapping[str, str], model: str, documents: int) -> Iterator[Callable[[WireResponse], None]]:
    """A span around one ranking; what is yielded notes the outcome on it.

    Its parent is the span of the request, where the framework or an instrumentation made one, or else the one that
    the request's headers name.
    """
    inside = trace.get_current_span().get_span_context().is_valid
    context = None if inside else propagate.extract(headers)
    attributes: dict[str, str | int] = {"rerank.model": model, "rerank.documents": documents}
    with _tracer.start_as_current_span(
        f"rerank {model}",
        context=context,
        attributes=attributes,
        record_exception=False,  # a message may hold what a client sent
        set_status_on_exception=False,  # as above
    ) as current:

        def note(response: WireResponse) -> None:
            current.set_attribute("rerank.tokens", response.tokens)
            current.set_attribute("rerank.results", len(response.results))
            current.set_attribute("rerank.truncated_documents", len(response.truncated))

        try:
            yield note
        except BaseException as error:
            current.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            raise
