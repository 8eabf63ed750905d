"""LangChain: a document compressor that is a Runnable too, a retriever around it, and a cross-encoder.

- :class:`CrossEncoderCompressor` reorders documents, in a chain or inside ``ContextualCompressionRetriever``.
- :class:`RerankRetriever` puts it behind any retriever, on ``langchain-core`` alone.
- :class:`CrossEncoderScorer` is the same engine for code that wants a ``BaseCrossEncoder``.

Nothing here needs ``langchain``, ``langchain_classic`` or ``langchain_community``.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Self, cast

from pydantic import ConfigDict, Field, field_validator, model_validator
from typing_extensions import TypedDict  # pydantic asks for it below Python 3.12

from rerank_core import Document as PlainDocument
from rerank_core import InvalidRequestError, RerankResponse, RerankResult, fuse_lists
from rerank_core.documents import DocumentLike, check_documents
from rerank_core.optional import optional
from rerank_core.options import effective_provider
from rerank_core.wire.registry import dialect
from rerank_plugins.options import EngineOptions
from rerank_plugins.results import WRITTEN, highlights_after, result_metadata, result_scores, retrieval_scores

with optional("rerank_plugins.langchain", extra="langchain"):
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.cross_encoders import BaseCrossEncoder
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
    from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
    from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable, ensure_config

__all__ = ["CrossEncoderCompressor", "CrossEncoderScorer", "RerankInput", "RerankRetriever"]

# Cohere's convention: None means no limit, so "not given" needs a value of its own.
_UNSET = -1
_SCORE, _OLD_SCORE = "relevance_score", "retrieval_score"
# What a reranker writes into metadata; of an earlier pass it would be wrong.
_WRITTEN = (_SCORE, *WRITTEN)


class RerankInput(TypedDict):
    """What :class:`CrossEncoderCompressor` takes as a Runnable; other keys are left alone, as prompts do.

    Attributes:
        query: what is looked for.
        documents: the documents to rank.
    """

    query: str
    documents: Sequence[Document]


class CrossEncoderCompressor(EngineOptions, BaseDocumentCompressor, RunnableSerializable[RerankInput, list[Document]]):
    """Reorders documents by relevance to the query, and keeps the best.

    A document comes back as a copy of its own class with its ``id``, its metadata (copied, too) and
    ``metadata["relevance_score"]``, a probability. Where it is the case there is also ``rerank_truncated`` (the model
    read only part of it), ``rerank_degraded`` (the model failed; see ``on_failure``) and ``rerank_window``
    (``[start, end]`` in ``page_content``: the window that got the score). With ``highlights=n`` there is
    ``rerank_highlights``, the best sentences with ``start``, ``end``, ``text`` and ``score``. What goes in is never
    changed.

    It is a Runnable, so ``invoke``, ``batch``, ``with_retry``, ``with_fallbacks``, ... and their asynchronous twins
    work, and every call is a run of its own in the trace. ``top_n`` and ``score_threshold`` can be bound or given to a
    call: ``None`` means no limit, -1 the field.

    Saving: ``text = dumps(compressor)`` and, since LangChain loads no foreign class unasked, ``loads(text,
    allowed_objects=[CrossEncoderCompressor], valid_namespaces=["rerank_plugins"])``. An API key is never saved, only
    the name of its environment variable, for ``secrets_map=`` or ``secrets_from_env=``. With a ready ``reranker=``,
    which has no saved form, ``dumps`` writes ``not_implemented``, and ``loads`` raises ``NotImplementedError``.

    Raises:
        ValidationError: when an option is unknown, has a value it cannot have, or does not go with another.

    Example:
        >>> from langchain_core.documents import Document
        >>> from rerank_plugins.langchain import CrossEncoderCompressor
        >>> compressor = CrossEncoderCompressor(top_n=1)
        >>> documents = [Document("Berlin is big."), Document("Paris, of course.", id="p")]
        >>> compressor.invoke({"query": "What is the capital of France?", "documents": documents})[0].id
        'p'

        In a chain: ``{"documents": retriever, "query": RunnablePassthrough()} | compressor``.
    """

    # EngineOptions' own again: pydantic lets the last base win, and Serializable ignores what it does not know.
    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_assignment=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    top_n: int | None = Field(default=3, gt=0, description="Most documents to return; None for all.")
    metadata_fields: tuple[str, ...] = Field(
        default=(),
        description="Fields of metadata that the model reads before the content; those missing or None are left out.",
    )
    metadata_separator: str = Field(default="\n", description="What stands between those fields and the content.")
    retrieval_score_key: str | None = Field(
        default=None,
        description="The field of metadata that has the retriever's score, higher is better, for `fusion`; without it "
        "the order of the documents stands in.",
    )
    keep_retrieval_score: bool = Field(
        default=False, description="Whether a relevance_score that a document brings along is kept as retrieval_score."
    )

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best documents, best first; those with equal scores keep their order.

        Args:
            documents: the documents to rank; of none, none is returned, and nothing is loaded.
            query: what is looked for; not blank.
            callbacks: a run of this call is started under them.

        Raises:
            InvalidRequestError: when the query is blank, or a document is no ``Document``.
            RerankError: when the model cannot be loaded or fails, or a server does, unless ``on_failure`` says other.
        """
        return self.invoke({"query": query, "documents": documents}, {"callbacks": callbacks})

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """:meth:`compress_documents` for asynchronous code: the event loop goes on while the model works.

        Raises:
            The same as :meth:`compress_documents`.
        """
        return await self.ainvoke({"query": query, "documents": documents}, {"callbacks": callbacks})

    def invoke(
        self,
        input: RerankInput,  # noqa: A002  (Runnable's name for it)
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """:meth:`compress_documents` as a Runnable.

        Args:
            input: a mapping with ``query`` and ``documents``.
            config: callbacks, tags, metadata, run name of the run.
            **kwargs: ``top_n`` and ``score_threshold`` for this call.

        Raises:
            The same as :meth:`compress_documents`; TypeError for other keyword arguments.
        """
        return self._call_with_config(self._compress, input, self._traced(config), **kwargs)

    async def ainvoke(
        self,
        input: RerankInput,  # noqa: A002  (as above)
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """:meth:`invoke` for asynchronous code.

        Raises:
            The same as :meth:`invoke`.
        """
        return await self._acall_with_config(self._acompress, input, self._traced(config), **kwargs)

    def rerank(
        self,
        documents: Iterable[Document | DocumentLike],
        query: str,
        *,
        top_n: int | None = _UNSET,
        score_threshold: float | None = _UNSET,
    ) -> list[dict[str, Any]]:
        """The ranking alone, without documents, and without a run.

        Args:
            documents: ``Document`` objects, strings, or mappings with a ``text``, whose other fields are metadata.
            query: what is looked for; not blank.
            top_n: most results; None for all, -1 for the field.
            score_threshold: least probability; None for none, -1 for the field.

        Returns:
            ``{"index": ..., "relevance_score": ...}`` of each result, best first.

        Raises:
            The same as :meth:`compress_documents`.
        """
        plain = _plain(_listed(documents))
        if not plain:
            return []
        ranked = self.engine.rerank(query, self._read(plain), **self._limits(plain, top_n, score_threshold))
        return [{"index": result.index, _SCORE: result.relevance_score} for result in ranked]

    async def arerank(
        self,
        documents: Iterable[Document | DocumentLike],
        query: str,
        *,
        top_n: int | None = _UNSET,
        score_threshold: float | None = _UNSET,
    ) -> list[dict[str, Any]]:
        """:meth:`rerank` for asynchronous code.

        Raises:
            The same as :meth:`rerank`.
        """
        plain = _plain(_listed(documents))
        if not plain:
            return []
        ranked = await self.engine.arerank(query, self._read(plain), **self._limits(plain, top_n, score_threshold))
        return [{"index": result.index, _SCORE: result.relevance_score} for result in ranked]

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether ``dumps`` can save it."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The environment variable that stands for ``api_key`` in what is saved."""
        variable = None if self._provider == "local" else dialect(self._provider).key_variable
        return {} if variable is None else {"api_key": variable}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """What ``dumps`` writes; without the ready engine, loading would rank with another model unnoticed."""
        return super().to_json() if self.reranker is None else self.to_json_not_implemented()

    @property
    def _provider(self) -> str:
        if self.reranker is not None:
            return self.reranker.provider
        return effective_provider(self.provider, self.base_url)

    @property
    def _trace_metadata(self) -> dict[str, str]:
        """Which model, for traces; does not make the engine, so it cannot fail."""
        model = self.model if self.reranker is None else self.reranker.model
        return {"rerank_provider": self._provider} | ({} if model is None else {"rerank_model": model})

    def _traced(self, config: RunnableConfig | None) -> RunnableConfig:
        config = ensure_config(config)
        config["metadata"] = self._trace_metadata | config.get("metadata", {})
        return config

    def _compress(
        self, request: RerankInput, *, top_n: int | None = _UNSET, score_threshold: float | None = _UNSET
    ) -> list[Document]:
        query, documents = _unpacked(request)
        if not documents:
            return []
        plain = _plain(documents)
        response = self.engine.rerank(query, self._read(plain), **self._limits(plain, top_n, score_threshold))
        return self._ranked(documents, response)

    async def _acompress(
        self, request: RerankInput, *, top_n: int | None = _UNSET, score_threshold: float | None = _UNSET
    ) -> list[Document]:
        query, documents = _unpacked(request)
        if not documents:
            return []
        plain = _plain(documents)
        response = await self.engine.arerank(query, self._read(plain), **self._limits(plain, top_n, score_threshold))
        return self._ranked(documents, response)

    def _limits(
        self, documents: Iterable[PlainDocument], top_n: int | None, score_threshold: float | None
    ) -> dict[str, Any]:
        key = self.retrieval_score_key
        scores = None if key is None else retrieval_scores(document.metadata.get(key) for document in documents)
        return {
            "retrieval_scores": scores,
            "top_n": self.top_n if top_n == _UNSET else top_n,
            "score_threshold": self.score_threshold if score_threshold == _UNSET else score_threshold,
        }

    def _read(self, documents: list[PlainDocument]) -> list[PlainDocument]:
        """The documents with what the model reads of each as their text."""
        read = []
        for document in documents:
            values = [document.metadata.get(name) for name in self.metadata_fields]
            text = self.metadata_separator.join([*(str(v) for v in values if v is not None), document.text])
            read.append(PlainDocument(text, document.metadata))
        return read

    def _ranked(self, documents: list[Document], response: RerankResponse) -> list[Document]:
        return [self._scored(documents[result.index], result) for result in response]

    def _scored(self, document: Document, result: RerankResult) -> Document:
        """A copy of ``document`` with what is to be known of its ``result``."""
        metadata = _copied(document.metadata)
        old = metadata.get(_SCORE)
        for name in _WRITTEN:
            metadata.pop(name, None)
        if self.keep_retrieval_score and old is not None:
            metadata.setdefault(_OLD_SCORE, old)  # the first of several rerankers saw the retrieval's own
        metadata |= {_SCORE: result.relevance_score, **result_metadata(result)}
        before = len(result.text) - len(document.page_content)
        if result.highlights:
            metadata["rerank_highlights"] = highlights_after(result, before, len(document.page_content))
        if result.window is not None:
            metadata["rerank_window"] = [max(position - before, 0) for position in result.window]
        return document.model_copy(update={"metadata": metadata})


class RerankRetriever(BaseRetriever):
    """Any retriever, with its documents reranked; needs nothing but ``langchain-core``.

    Let the inner retriever find many documents (``search_kwargs={"k": 50}``), and the compressor keep the few best.
    In the trace, retrieval and reranking are two runs below this one's.

    Of several retrievers the lists are fused by reciprocal rank fusion (:func:`rerank_core.fuse_lists`): only ranks
    count, whatever their scores are; a document that several find (the same id, or without ids the same content) is
    ranked once. The compressor gets them in the fused order, which is what its ``fusion`` takes for the retriever's.

    ``invoke(query, top_n=5)`` limits one call; other keyword arguments go to the inner retriever. ``dumps`` works if it
    works for what is inside; for ``loads`` allow :class:`CrossEncoderCompressor` and the inner retriever's class, too.

    Raises:
        ValidationError: when an option is unknown or has a value it cannot have.

    Example:
        >>> from langchain_core.documents import Document
        >>> from langchain_core.runnables import RunnableLambda
        >>> from rerank_plugins.langchain import CrossEncoderCompressor, RerankRetriever
        >>> search = RunnableLambda(lambda query: [Document("Berlin is big."), Document("Paris, of course.")])
        >>> retriever = RerankRetriever(retriever=search, compressor=CrossEncoderCompressor(), top_n=1)
        >>> retriever.invoke("What is the capital of France?")[0].page_content
        'Paris, of course.'
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, validate_assignment=True, hide_input_in_errors=True
    )

    retriever: RetrieverLike | list[RetrieverLike] = Field(
        description="A retriever, or any Runnable from a query to documents; or a list of them."
    )
    compressor: Runnable[Any, list[Document]] = Field(
        default_factory=CrossEncoderCompressor,
        description="What ranks: a CrossEncoderCompressor, also with retries, fallbacks or bound options.",
    )
    top_n: int | None = Field(
        default=_UNSET, description="Most documents to return; None for all, -1 for the compressor's."
    )

    @field_validator("top_n")
    @classmethod
    def _check_top_n(cls, top_n: int | None) -> int | None:
        if top_n is not None and top_n != _UNSET and top_n < 1:
            raise ValueError("top_n must be at least 1, None for all, or -1 for the compressor's")
        return top_n

    @model_validator(mode="after")
    def _check_retrievers(self) -> Self:
        if not isinstance(self.retriever, list):
            return self
        if not self.retriever:
            raise ValueError("retriever must be at least one retriever; the list is empty")
        ours = self.compressor if isinstance(self.compressor, CrossEncoderCompressor) else None
        if len(self.retriever) > 1 and ours is not None and ours.retrieval_score_key is not None:
            raise ValueError(
                "the scores of several retrievers cannot be compared: leave the compressor's retrieval_score_key out, "
                "and the fused order counts"
            )
        return self

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether ``dumps`` can save it, as far as it can save what is inside."""
        return True

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        ours = self.compressor if isinstance(self.compressor, CrossEncoderCompressor) else None
        which = ours._trace_metadata if ours else {}  # noqa: SLF001  (one of us)
        return cast("LangSmithRetrieverParams", super()._get_ls_params(**kwargs) | which)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        top_n: int | None = _UNSET,
        **kwargs: Any,
    ) -> list[Document]:
        documents = _fused(
            [each.invoke(query, {"callbacks": run_manager.get_child()}, **kwargs) for each in self._retrievers]
        )
        if not documents:
            return []
        found: RerankInput = {"query": query, "documents": documents}
        return self.compressor.invoke(found, {"callbacks": run_manager.get_child()}, **self._limit(top_n))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        top_n: int | None = _UNSET,
        **kwargs: Any,
    ) -> list[Document]:
        runs = (each.ainvoke(query, {"callbacks": run_manager.get_child()}, **kwargs) for each in self._retrievers)
        documents = _fused(await asyncio.gather(*runs))
        if not documents:
            return []
        found: RerankInput = {"query": query, "documents": documents}
        return await self.compressor.ainvoke(found, {"callbacks": run_manager.get_child()}, **self._limit(top_n))

    @property
    def _retrievers(self) -> list[RetrieverLike]:
        return self.retriever if isinstance(self.retriever, list) else [self.retriever]

    def _limit(self, top_n: int | None) -> dict[str, Any]:
        """For the compressor; nothing at all when nobody asked, so that what is bound to it stays."""
        limit = self.top_n if top_n == _UNSET else top_n
        return {} if limit == _UNSET else {"top_n": limit}


class CrossEncoderScorer(EngineOptions, BaseCrossEncoder):
    """The engine as a ``BaseCrossEncoder``: pairs of texts in, one float per pair out.

    For code that takes one, such as ``langchain_classic``'s ``CrossEncoderReranker(model=CrossEncoderScorer())``.
    Scores are probabilities, 0..1, or with ``logits=True`` the model's raw outputs, which tell apart what is so sure
    that its probability rounds to 1. There is no ``top_n`` and no ``score_threshold``: every pair gets a score.

    Raises:
        ValidationError: when an option is unknown, has a value it cannot have, or does not go with another.

    Example:
        >>> from rerank_plugins.langchain import CrossEncoderScorer
        >>> query = "What is the capital of France?"
        >>> berlin, paris = CrossEncoderScorer().score([(query, "Berlin is big."), (query, "Paris, of course.")])
        >>> paris > berlin
        True
    """

    top_n: None = Field(
        default=None, repr=False, exclude=True, description="Not for a scorer: every pair gets a score."
    )
    score_threshold: None = Field(default=None, repr=False, exclude=True, description="Not for a scorer, either.")
    logits: bool = Field(default=False, description="Raw outputs of the model instead of probabilities.")

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """One score per pair, in their order; pairs with the same query are scored together.

        Raises:
            InvalidRequestError: when a pair is not two texts, or a query is blank.
            ProtocolError: with ``logits=True``, when a server gives probabilities only.
            RerankError: when the model cannot be loaded or fails, or a server does, unless ``on_failure`` says other.
        """
        groups = _by_query(text_pairs)
        return self._in_order(groups, self.engine.rerank_many(_requests(groups)))

    async def ascore(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """:meth:`score` for asynchronous code.

        Raises:
            The same as :meth:`score`.
        """
        groups = _by_query(text_pairs)
        return self._in_order(groups, await self.engine.arerank_many(_requests(groups)))

    def _in_order(self, groups: Groups, responses: list[RerankResponse]) -> list[float]:
        scores: dict[int, float] = {}
        for group, response in zip(groups.values(), responses, strict=True):
            positions = list(group)
            found = zip(response, result_scores(response, logits=self.logits), strict=True)
            scores |= {positions[result.index]: score for result, score in found}
        return [scores[position] for position in range(len(scores))]


def _fused(lists: list[list[Document]]) -> list[Document]:
    """What several retrievers found, in one order; of a single one as it is."""
    if len(lists) == 1:
        return lists[0]
    found: dict[tuple[str, str], Document] = {}
    keys = [[_identity(document) for document in documents] for documents in lists]
    for key, document in zip(chain(*keys), chain(*lists), strict=True):
        found.setdefault(key, document)
    return [found[key] for key, _ in fuse_lists([(key, None) for key in each] for each in keys)]


def _identity(document: Document) -> tuple[str, str]:
    return ("content", document.page_content) if document.id is None else ("id", document.id)


Groups = dict[str, dict[int, str]]
"""The texts of each query, by their position in the list of pairs."""


def _is_pair(pair: object) -> bool:
    if isinstance(pair, str) or not isinstance(pair, Sequence):
        return False
    return len(pair) == 2 and all(isinstance(text, str) for text in pair)  # noqa: PLR2004  (a pair)


def _by_query(text_pairs: Sequence[tuple[str, str]]) -> Groups:
    if isinstance(text_pairs, str | bytes | Mapping) or not isinstance(text_pairs, Iterable):
        raise InvalidRequestError(
            f"text_pairs must be a list of pairs, query and text; got {type(text_pairs).__name__}.",
            code="invalid_document",
            param="text_pairs",
        )
    groups: Groups = {}
    for position, pair in enumerate(text_pairs):
        if not _is_pair(pair):
            raise InvalidRequestError(
                f"text_pairs[{position}] must be two strings, query and text.",
                code="invalid_document",
                param=f"text_pairs[{position}]",
            )
        if not pair[0].strip():
            raise InvalidRequestError(
                f"the query of text_pairs[{position}] is blank; give it words.",
                code="empty_query",
                param=f"text_pairs[{position}]",
            )
        groups.setdefault(pair[0], {})[position] = pair[1]
    return groups


def _requests(groups: Groups) -> Iterator[tuple[str, list[str]]]:
    return ((query, list(group.values())) for query, group in groups.items())


def _unpacked(request: object) -> tuple[str, list[Document]]:
    """Query and documents of a Runnable's input."""
    if not isinstance(request, Mapping) or not {"query", "documents"} <= request.keys():
        got = f"the keys {sorted(map(str, request))}" if isinstance(request, Mapping) else type(request).__name__
        raise InvalidRequestError(
            f'the input must be a mapping with "query" and "documents"; got {got}.', code="invalid_input", param="input"
        )
    documents = _listed(request["documents"])
    for position, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InvalidRequestError(
                f"documents[{position}] is {type(document).__name__}; expected a LangChain Document.",
                code="invalid_document",
                param=f"documents[{position}]",
            )
    return request["query"], documents


def _listed(documents: object) -> list[Any]:
    """Several documents as a list; a single one is iterable, too, but not meant."""
    if isinstance(documents, str | bytes | Mapping | Document | PlainDocument) or not isinstance(documents, Iterable):
        raise InvalidRequestError(
            f"documents must be a list of documents; got {type(documents).__name__}.",
            code="invalid_documents",
            param="documents",
        )
    return list(documents)


def _plain(documents: list[Any]) -> list[PlainDocument]:
    """LangChain's documents, and all that the engine takes, as the engine's."""
    return check_documents(
        [PlainDocument(each.page_content, each.metadata) if isinstance(each, Document) else each for each in documents]
    )


def _copied(metadata: Mapping[Any, Any]) -> dict[Any, Any]:
    """A deep copy; what cannot be copied (a lock, a connection) is shared rather than refused."""
    memo: dict[int, Any] = {}
    copied = {}
    for name, value in metadata.items():
        try:
            copied[name] = copy.deepcopy(value, memo)
        except Exception:  # noqa: BLE001  (whatever copying a foreign object raises)
            copied[name] = value
    return copied
