"""The reranker as a LlamaIndex node postprocessor.

Nodes become texts, :class:`~rerank_core.Reranker` ranks them, and its results become new nodes with scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Field, field_serializer, field_validator

from rerank_core import Document, InvalidRequestError, Reranker, RerankResult
from rerank_core.documents import check_query
from rerank_core.optional import optional
from rerank_plugins.options import EngineOptions
from rerank_plugins.results import WRITTEN, result_metadata, result_scores, retrieval_scores

with optional("CrossEncoderPostprocessor", extra="llama-index"):
    from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
    from llama_index.core.callbacks.base import EventContext
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it lacks an __all__
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle

__all__ = ["CrossEncoderPostprocessor"]

dispatcher = get_dispatcher(__name__)

RETRIEVAL_SCORE = "retrieval_score"


class CrossEncoderPostprocessor(EngineOptions, BaseNodePostprocessor):
    """Ranks nodes by relevance to the query with a cross-encoder, in this process or over HTTP.

    The nodes given are never changed: new ones come back, best first, with the probability of relevance as score;
    nodes with equal scores keep their order. Ids, subclasses, metadata and relationships survive. Where it is the case,
    the metadata of a copy of the node says so, hidden from prompts, embeddings and further reranking:
    ``rerank_truncated`` (the model read only part of it), ``rerank_degraded`` (a fallback ranked it),
    ``rerank_window`` (the characters of the text, metadata included where ``metadata_mode`` says so, that got the
    score), ``rerank_highlights`` (with ``highlights=n``, the best sentences with ``start`` and ``end`` in that text,
    ``text`` and ``score``). With ``on_failure="keep_order"`` degraded nodes score 0: ``score_threshold`` lets them
    through, a ``SimilarityPostprocessor`` afterwards would not.

    The model reads text. A node without any, such as an image, is ranked by its metadata.

    The options of :class:`~rerank_core.Reranker` that can be saved are fields (``model``, ``provider``, ``base_url``,
    ``api_key``, ``calibration`` as a file's path, ...), and so are ``top_n`` and ``score_threshold``. For the others
    (``scorer``, ``http_client``, ``hooks``) ``reranker=`` takes a ready engine instead. Fields are checked when they
    are set, also later. :meth:`to_dict` and pickles hold neither the API key nor a model.

    Raises:
        pydantic.ValidationError: when a field is unknown, or has a value it cannot have (a ``ValueError``).

    Example:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from rerank_plugins.llama_index import CrossEncoderPostprocessor
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("Berlin is big.", "Paris, of course.")]
        >>> CrossEncoderPostprocessor(top_n=1).postprocess_nodes(nodes, query_str="The capital of France?")[0].text
        'Paris, of course.'
    """

    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata the model reads with a node's text: as for embeddings."
    )
    keep_retrieval_score: bool = Field(
        default=False, description="Keep the score a node came with, or None, as its metadata 'retrieval_score'."
    )
    logits: bool = Field(
        default=False, description="Score nodes with the model's raw output; score_threshold stays a probability."
    )
    dedup: bool = Field(default=False, description="Of nodes with the same id, keep the best, and of equals the first.")

    @classmethod
    def class_name(cls) -> str:
        """The name in saved components."""
        return "CrossEncoderPostprocessor"

    @field_validator("callback_manager", mode="before")
    @classmethod
    def _check_callback_manager(cls, manager: Any) -> CallbackManager:
        # Its own schema takes anything, and None has always meant "none of my own".
        if manager is None:
            return CallbackManager()
        if not isinstance(manager, CallbackManager):
            raise ValueError(f"callback_manager must be a CallbackManager, got {type(manager).__name__}")  # noqa: TRY004  (pydantic wants a ValueError)
        return manager

    @field_serializer("metadata_mode")
    def _plain(self, mode: MetadataMode) -> str:
        return mode.value

    @dispatcher.span
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Rank ``nodes``, best first; none give none, without a model.

        Raises:
            ValueError: when there is no query, or a blank one.
            TypeError: when ``nodes`` are not ``NodeWithScore`` objects.
            ProtocolError: with ``logits=True``, when a server gives probabilities only.
            RerankError: when the model cannot be loaded or fails.
        """
        call = self._call(nodes, query_bundle)
        if call is None:
            return []
        dispatcher.event(call.started())
        with call.reported_to(self.callback_manager) as event:
            response = call.engine.rerank(call.query.query_str, call.documents, **self._limits(call.nodes))
            ranked = self._ranked(call.nodes, response)
            event.on_end(payload={EventPayload.NODES: ranked})
        dispatcher.event(ReRankEndEvent(nodes=ranked))
        return ranked

    # Only abstract methods get their span by themselves.
    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """:meth:`_postprocess_nodes` for asynchronous code: the event loop goes on while the model works.

        Raises:
            The same as :meth:`_postprocess_nodes`.
        """
        call = self._call(nodes, query_bundle)
        if call is None:
            return []
        await dispatcher.aevent(call.started())
        with call.reported_to(self.callback_manager) as event:
            response = await call.engine.arerank(call.query.query_str, call.documents, **self._limits(call.nodes))
            ranked = self._ranked(call.nodes, response)
            event.on_end(payload={EventPayload.NODES: ranked})
        await dispatcher.aevent(ReRankEndEvent(nodes=ranked))
        return ranked

    def _call(self, nodes: Iterable[NodeWithScore], query_bundle: QueryBundle | None) -> _Call | None:
        """What there is to do, checked; None when there is nothing. Comes before all events, so that they pair up."""
        query = _check_bundle(query_bundle)
        given = _check_nodes(nodes)
        if not given:
            return None
        check_query(query.query_str)
        read = [Document(_text(scored.node, self.metadata_mode), scored.node.metadata) for scored in given]
        return _Call(query, given, read, len(given) if self.top_n is None else self.top_n, self.engine)

    def _limits(self, nodes: Iterable[NodeWithScore]) -> dict[str, Any]:
        # Duplicates must not use up the limit: it comes after they are gone.
        return {
            "top_n": None if self.dedup else self.top_n,
            "score_threshold": self.score_threshold,
            "retrieval_scores": retrieval_scores(scored.score for scored in nodes),
        }

    def _ranked(self, given: Sequence[NodeWithScore], response: Iterable[RerankResult]) -> list[NodeWithScore]:
        results = list(response)
        if self.dedup:
            best: dict[str, RerankResult] = {}
            for result in results:
                best.setdefault(given[result.index].node.node_id, result)
            results = list(best.values())[: self.top_n]
        scores = result_scores(results, logits=self.logits)
        return [self._scored(given[result.index], result, score) for result, score in zip(results, scores, strict=True)]

    def _scored(self, scored: NodeWithScore, result: RerankResult, score: float) -> NodeWithScore:
        metadata = result_metadata(result)
        if self.keep_retrieval_score:
            metadata[RETRIEVAL_SCORE] = None if scored.score is None else float(scored.score)
        return scored.model_copy(update={"node": _with_metadata(scored.node, metadata), "score": score})

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The options as plain values for JSON or YAML, and back with ``from_dict``; without the API key.

        Raises:
            InvalidRequestError: when the engine was given ready, by ``reranker=``: it is an object, not options.
        """
        if self.reranker is not None:
            raise InvalidRequestError(
                "A postprocessor with a ready engine (reranker=) cannot be saved: the engine is an object. Give the "
                "engine's options (model=, provider=, ...) instead, or save what it is made of and make it anew.",
                param="reranker",
            )
        return super().to_dict(**kwargs)

    def __eq__(self, other: object) -> bool:
        """Equal options; who listens is no part of them, and every postprocessor has its own manager."""
        if not isinstance(other, CrossEncoderPostprocessor):
            return NotImplemented
        return type(self) is type(other) and _options(self) == _options(other)

    __hash__ = None  # type: ignore[assignment]  # its options can change

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy with its own options. Listeners and a ready engine are shared: they are the caller's."""
        memo = {} if memo is None else memo
        memo |= {id(shared): shared for shared in (self.callback_manager, self.reranker)}
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """For pickle: without the key, and without what belongs to this process: models and listeners."""
        state = EngineOptions.__getstate__(self)
        return state | {"__dict__": state["__dict__"] | {"callback_manager": None}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, state | {"__dict__": state["__dict__"] | {"callback_manager": CallbackManager()}})


@dataclass(frozen=True)
class _Call:
    """One call that is about to happen."""

    query: QueryBundle
    nodes: list[NodeWithScore]
    documents: list[Document]
    limit: int
    engine: Reranker

    def started(self) -> ReRankStartEvent:
        # Should the call fail, the span's SpanDropEvent stands where ReRankEndEvent would.
        return ReRankStartEvent(query=self.query, nodes=self.nodes, top_n=self.limit, model_name=self.engine.model)

    @contextmanager
    def reported_to(self, manager: CallbackManager) -> Iterator[EventContext]:
        """The event for callback handlers; it ends with the exception when there is one."""
        payload: dict[str, Any] = {
            EventPayload.NODES: self.nodes,
            EventPayload.MODEL_NAME: self.engine.model,
            EventPayload.QUERY_STR: self.query.query_str,
            EventPayload.TOP_K: self.limit,
        }
        with manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield event


def _check_bundle(query_bundle: object) -> QueryBundle:
    if query_bundle is None:
        raise ValueError("Missing query bundle in extra info.")  # the words of all LlamaIndex rerankers
    if not isinstance(query_bundle, QueryBundle):
        raise TypeError(
            f"query_bundle must be a QueryBundle, got {type(query_bundle).__name__}. Pass a string as query_str=."
        )
    return query_bundle


def _check_nodes(nodes: Iterable[object]) -> list[NodeWithScore]:
    given: list[NodeWithScore] = []
    for position, node in enumerate(nodes):
        if isinstance(node, BaseNode):
            raise TypeError(
                f"nodes[{position}] is a {type(node).__name__} without a score. "
                "Wrap each one: NodeWithScore(node=node), from llama_index.core.schema."
            )
        if not isinstance(node, NodeWithScore):
            raise TypeError(f"nodes[{position}] is {type(node).__name__}; expected a list of NodeWithScore objects.")
        given.append(node)
    return given


def _text(node: BaseNode, mode: MetadataMode) -> str:
    """What the model reads: never what an earlier reranker wrote, whichever metadata is asked for."""
    written = node.metadata.keys() & (WRITTEN | {RETRIEVAL_SCORE})
    if written:
        rest = {key: value for key, value in node.metadata.items() if key not in written}
        node = node.model_copy(update={"metadata": rest})
    return node.get_content(metadata_mode=mode)


def _with_metadata(node: BaseNode, metadata: dict[str, Any]) -> BaseNode:
    """A copy of the node with ``metadata`` hidden from prompts and embeddings, in place of an earlier call's."""
    if not metadata and not node.metadata.keys() & WRITTEN:
        return node
    kept = {key: value for key, value in node.metadata.items() if key not in WRITTEN}
    return node.model_copy(
        update={
            "metadata": kept | metadata,
            "excluded_embed_metadata_keys": [*dict.fromkeys([*node.excluded_embed_metadata_keys, *metadata])],
            "excluded_llm_metadata_keys": [*dict.fromkeys([*node.excluded_llm_metadata_keys, *metadata])],
        }
    )


def _options(postprocessor: CrossEncoderPostprocessor) -> dict[str, Any]:
    return {
        name: getattr(postprocessor, name) for name in type(postprocessor).model_fields if name != "callback_manager"
    }
