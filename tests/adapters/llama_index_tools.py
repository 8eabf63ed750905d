"""What the tests of the LlamaIndex adapter share: nodes, listeners, a retriever, postprocessors that need no model."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import PrivateAttr

from rerank_core import Reranker
from rerank_core.scoring import FakeScorer, Scores
from rerank_plugins.llama_index import CrossEncoderPostprocessor

QUERY = "What is machine learning?"
TEXTS = [
    "The weather today is sunny and warm.",
    "Machine learning is a subset of artificial intelligence.",
    "Cats are popular pets worldwide.",
    "Deep learning uses neural networks.",
]


def nodes(texts=TEXTS, **fields):
    """Scored nodes, best retrieval score first."""
    return [
        NodeWithScore(node=TextNode(id_=f"n{i}", text=text, **fields), score=0.9 - i / 10)
        for i, text in enumerate(texts)
    ]


def ids(scored):
    return [node.node_id for node in scored]


class Events(BaseEventHandler):
    """Keeps the events of a dispatcher; knows whether they came by the asynchronous way."""

    _seen: list = PrivateAttr(default_factory=list)
    _awaited: list = PrivateAttr(default_factory=list)

    def handle(self, event, **_):
        self._seen.append(event)

    async def ahandle(self, event, **_):
        self._awaited.append(event)
        self.handle(event)

    @property
    def seen(self):
        return self._seen

    @property
    def awaited(self):
        return self._awaited

    @property
    def names(self):
        return [event.class_name() for event in self._seen]


@contextmanager
def watching(name="rerank_plugins.llama_index"):
    """The events and spans of everything in the block."""
    dispatcher = get_dispatcher(name)
    events, spans = Events(), SimpleSpanHandler()
    before = dispatcher.event_handlers, dispatcher.span_handlers
    dispatcher.event_handlers = [*before[0], events]
    dispatcher.span_handlers = [*before[1], spans]
    try:
        yield events, spans
    finally:
        dispatcher.event_handlers, dispatcher.span_handlers = before


class Callbacks(BaseCallbackHandler):
    """Keeps the legacy callback events."""

    def __init__(self):
        super().__init__([], [])
        self.started, self.ended = [], []

    def on_event_start(self, event_type, payload=None, event_id="", **_):
        self.started.append((event_type, payload, event_id))
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **_):
        self.ended.append((event_type, payload, event_id))

    def start_trace(self, trace_id=None):
        pass

    def end_trace(self, trace_id=None, trace_map=None):
        pass

    @property
    def manager(self):
        return CallbackManager([self])


class GivenRetriever(BaseRetriever):
    """Finds what it was given, whatever the query is."""

    def __init__(self, found):
        super().__init__()
        self._found = found

    def _retrieve(self, query_bundle):  # noqa: ARG002  (the interface's)
        return list(self._found)


def faked(scorer=None, **options):
    """A postprocessor that scores by shared words, at once."""
    engine = Reranker(scorer=FakeScorer() if scorer is None else scorer, on_failure=options.pop("on_failure", "raise"))
    return CrossEncoderPostprocessor(reranker=engine, **options)


class Scripted(FakeScorer):
    """Gives the scores it was made with."""

    def __init__(self, *scores, judged=True):
        super().__init__()
        self.scores, self.judged = scores, judged

    def _answer(self, query, texts):
        self.calls.append((query, tuple(texts)))
        return Scores(self.scores[: len(texts)], self.model, judged=self.judged)


def both_ways(postprocessor, given, query=QUERY):
    """What it gives, synchronously and asynchronously; they must agree."""
    given = list(given)
    result = postprocessor.postprocess_nodes(given, query_str=query)
    awaited = asyncio.run(postprocessor.apostprocess_nodes(given, query_str=query))
    assert ids(awaited) == ids(result)
    assert [node.metadata for node in awaited] == [node.metadata for node in result]
    return result
