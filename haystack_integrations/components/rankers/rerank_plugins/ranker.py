"""The ranker. Saved pipelines name this file's module: it must not move."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Unpack, cast

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.core.errors import SerializationError
from haystack.tracing.tracer import NullSpan, Span, tracer
from haystack.utils import ComponentDevice, Secret
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from rerank_core import (
    AuthenticationError,
    InvalidRequestError,
    Reranker,
    RerankError,
    RerankResponse,
    RerankResult,
    Usage,
)
from rerank_core import Document as PlainDocument
from rerank_core.client.urls import check_base_url
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.option_fields import PlainAttributes
from rerank_core.option_text import with_arguments
from rerank_core.options import MODEL, PLAIN, PlainOptions, completed, effective_provider, with_options
from rerank_core.ranking import check_threshold
from rerank_core.results import raw_scores
from rerank_plugins.options import ENGINE_OPTIONS, EngineOptions
from rerank_plugins.results import highlights_after, retrieval_scores

_TEXTS = ("query_prefix", "query_suffix", "document_prefix", "document_suffix", "embedding_separator")
_SWITCHES = ("scale_score", "keep_retrieval_score")


@component
class CrossEncoderRanker(PlainAttributes):
    """Ranks documents by their relevance to the query with a cross-encoder, in this process or over HTTP.

    Documents that come twice, as they do when several retrievers are connected to ``documents``, are ranked once: of
    those with one id the one with the best retrieval score, in the place of the first. Documents are never changed;
    new ones with the new score come out, those with equal scores in the order they came in.

    Cheap to make: nothing is loaded, connected or read from the environment before the first use or :meth:`warm_up`.
    An attribute that is changed later counts from the next run on.

    Args:
        api_key: the API key, as ``Secret.from_env_var("...")`` if the pipeline is to be saved; None, or a secret that
            is not strict and not set, for the provider's own variable (``COHERE_API_KEY``, ...).
        top_k: most documents to return; None for all.
        score_threshold: documents below this probability (0..1) are left out, before ``top_k`` applies. It is
            compared with the probability whatever ``scale_score`` says, and drops nothing that was not judged
            (``on_failure="keep_order"``).
        scale_score: True for probabilities as scores, 0..1; False for the model's raw output, which few services give.
        keep_retrieval_score: whether the score a document came with goes to its ``meta["retrieval_score"]``.
        query_prefix: put before the query.
        query_suffix: put after the query.
        document_prefix: put before each document's text.
        document_suffix: put after each document's text.
        meta_fields_to_embed: metadata whose values are put before the content; only those that are None or absent
            are left out, 0 and False are not.
        embedding_separator: stands between those values and the content.
        calibration: a file of ``rerank calibrate``: scores, and so ``score_threshold``, are then probabilities fitted
            on labelled data. A pipeline is saved with the path, and the file must be there when it is loaded.
        device: one device; None for the best there is when the model is loaded.
        reranker: a ready engine (with a cache, a cascade, a fallback) instead of the options; a pipeline with one
            cannot be saved, and closing it is its owner's business.
        model: which model; see :class:`~rerank_core.options.ModelOption`.
        **options: see :class:`~rerank_core.options.PlainOptions` and ``docs/options.md``.

    Raises:
        ValueError: when an option has a value it cannot have (a blank model, a calibration that is no file of one), or
            does not go with the others.
        TypeError: when an argument has the wrong type, or is unknown.

    Example:
        >>> from haystack import Document
        >>> from rerank_plugins.haystack import CrossEncoderRanker
        >>> documents = [Document(content="Berlin is big."), Document(content="Paris is the capital of France.")]
        >>> CrossEncoderRanker(top_k=1).run("capital of France", documents)["documents"][0].content
        'Paris is the capital of France.'
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        api_key: Secret | SecretStr | str | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        scale_score: bool = True,
        keep_retrieval_score: bool = False,
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        calibration: str | Path | None = None,
        device: ComponentDevice | None = None,
        reranker: Reranker | None = None,
        **options: Unpack[PlainOptions],
    ) -> None:
        self.model = str(model) if isinstance(model, Path) else model
        self.api_key = _check_key(api_key)
        self.top_k = _check_top_k(top_k)
        self.score_threshold = check_threshold(score_threshold)
        self.scale_score = scale_score
        self.keep_retrieval_score = keep_retrieval_score
        self.query_prefix = query_prefix
        self.query_suffix = query_suffix
        self.document_prefix = document_prefix
        self.document_suffix = document_suffix
        self.meta_fields_to_embed = _check_fields(meta_fields_to_embed)
        self.embedding_separator = embedding_separator
        self.calibration = str(calibration) if isinstance(calibration, Path) else calibration
        self.device = device
        self.reranker = reranker
        for name, value in completed(options, PLAIN, CrossEncoderRanker.__init__).items():
            setattr(self, name, value)
        self._warm: Reranker | None = None
        self._options = self._check()

    # Haystack, and whoever else inspects it, sees every option.
    __init__.__signature__ = with_options(__init__, PLAIN)  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """The ranker as plain values, for saving.

        Raises:
            SerializationError: when it was given a ready engine, which has no saved form.
            ValueError: when the API key is a token instead of the name of an environment variable, or stands in
                ``base_url``.
        """
        if self.reranker is not None:
            raise SerializationError(
                "a CrossEncoderRanker with reranker= cannot be saved: a ready engine has no saved form. "
                "Give model=, provider= and the other options instead."
            )
        if self.base_url is not None:
            check_base_url(self.base_url)  # it may have been set since it was checked
        names = [name for name in inspect.signature(type(self).__init__).parameters if name not in ("self", "reranker")]
        values = {name: getattr(self, name) for name in names}
        return default_to_dict(self, **{k: list(v) if isinstance(v, list) else v for k, v in values.items()})

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: with the name of the key's variable, never with the key.

        Raises:
            ValueError: when the API key is a token, which has no saved form, as in :meth:`to_dict`.
        """
        if self.api_key is not None:
            self.api_key.to_dict()
        return self.__dict__ | {"_warm": None}

    def __copy__(self) -> CrossEncoderRanker:
        """A ranker with an engine of its own; within the process a token stays."""
        made = type(self).__new__(type(self))
        made.__dict__ |= self.__dict__ | {"_warm": None, "_options": copy.copy(self._options)}
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> CrossEncoderRanker:
        made = type(self).__new__(type(self))
        memo |= {id(shared): shared for shared in (self.api_key, self.reranker)}  # the caller's
        made.__dict__ |= copy.deepcopy(self.__dict__ | {"_warm": None}, memo)
        return made

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CrossEncoderRanker:
        """The ranker that :meth:`to_dict` described; ``data`` stays as it is.

        Raises:
            DeserializationError: when ``data`` describes something else.
            ValueError, TypeError: as the constructor.
        """
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        """Resolve the key, load the model and run it once, or connect to the server. Later calls do nothing.

        A pipeline calls it before its first run. With ``when_cold="keep_order"`` it does not load the model, because
        that run must not wait.

        Raises:
            AuthenticationError: when a hosted service's key is missing.
            ValueError: when ``api_key`` is a strict secret whose variable is not set.
            RerankError: when the model cannot be loaded or fails.
        """
        engine = self._engine()
        if engine is not self._warm:
            if self._engine_options(None)["when_cold"] == "wait":
                engine.warm_up()
            self._warm = engine

    async def warm_up_async(self) -> None:
        """:meth:`warm_up` while the event loop goes on.

        Raises:
            The same as :meth:`warm_up`.
        """
        if self._engine() is not self._warm:
            await SLOW_CALLS.run(self.warm_up)

    def close(self) -> None:
        """Let go of the model or the connections; the next run makes them anew."""
        self._warm = None
        self._options.close()

    async def close_async(self) -> None:
        """:meth:`close` for asynchronous code: the running loop's connections are closed when it returns."""
        self._warm = None
        await self._options.aclose()

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, Any]:
        """Rank ``documents`` by their relevance to ``query``.

        Args:
            query: what is looked for; not blank.
            documents: the documents; none gives none, and loads nothing.
            top_k: overrides the constructor's, unless None; as do the next two.
            score_threshold: a probability, 0..1.
            scale_score: True for probabilities, False for the model's raw output.

        Returns:
            ``documents``, best first, and ``meta``, always with ``model``; ``usage`` with ``prompt_tokens`` and
            ``total_tokens``, and ``cost`` and ``search_units`` where they are known; ``degraded``, whether a fallback
            ranked them because the model had failed; ``query_truncated``, whether the query was cut;
            ``truncated``, the ids of the documents returned that the model read only in part; ``windows``, by id the
            ``[start, end]`` of the content that got the score, where long documents are read in windows;
            ``highlights``, by id the best sentences of the content, where the option asks for them.

        Raises:
            ValueError: when ``query`` is blank, ``top_k`` not above 0, ``score_threshold`` not within 0..1, or
                ``scale_score=False`` asks for raw output that the service does not give.
            TypeError: when an argument has the wrong type.
            RerankError: when the model cannot be loaded or fails, or the server does.
        """
        call = self._call(query, documents, top_k, score_threshold, scale_score)
        if not call.documents:
            return self._nothing()
        with _span(call) as span:
            response = self._engine().rerank(call.query, call.read(), **call.limits())
            span.set_tags(_tags(response))
        return call.output(response)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, Any]:
        """:meth:`run` while the event loop goes on: neither loading nor scoring holds it up.

        Args:
            query: as in :meth:`run`.
            documents: as in :meth:`run`.
            top_k: as in :meth:`run`.
            score_threshold: as in :meth:`run`.
            scale_score: as in :meth:`run`.

        Returns:
            The same as :meth:`run`.

        Raises:
            The same as :meth:`run`.
        """
        call = self._call(query, documents, top_k, score_threshold, scale_score)
        if not call.documents:
            return self._nothing()
        with _span(call) as span:
            response = await self._engine().arerank(call.query, call.read(), **call.limits())
            span.set_tags(_tags(response))
        return call.output(response)

    def _check(self) -> EngineOptions:
        """The constructor's other checks; every attribute has its final, plain value afterwards."""
        for name in _TEXTS:
            _check_type(name, getattr(self, name), str, "a string")
        for name in _SWITCHES:
            _check_type(name, getattr(self, name), bool, "True or False")
        _check_type("device", self.device, ComponentDevice | None, "a ComponentDevice or None")
        self.api_key = _check_key(self.api_key)
        # Haystack has keys looked up when they are needed; one in its place shows whether there may be one.
        remote = self.reranker is None and effective_provider(self.provider, self.base_url) != "local"
        options = self._make_options(SecretStr("not-a-key") if remote or self.api_key is not None else None)
        for name in ENGINE_OPTIONS:
            if name not in ("api_key", "device"):
                setattr(self, name, getattr(options, name))
        if self.reranker is not None:
            self.model = self.reranker.model
        return options

    def _make_options(self, key: SecretStr | None) -> EngineOptions:
        try:
            return EngineOptions(**self._engine_options(key), reranker=self.reranker)
        except ValidationError as error:
            raise _as_haystack_has_it(error) from None

    def _engine_options(self, key: SecretStr | None) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in ENGINE_OPTIONS}
        return options | {"api_key": key, "device": _device_name(self.device)}

    def _engine(self) -> Reranker:
        """The engine for the attributes and the key as they are now."""
        if self.reranker is not None:
            return self.reranker
        secret = _check_key(self.api_key)
        value = None if secret is None else secret.resolve_value()
        key = None if value is None else SecretStr(value)
        if self._options.engine_options() != self._engine_options(key):
            self._options = self._make_options(key)
        return self._options.engine

    def _call(self, query: object, documents: object, top_k: object, threshold: object, scale_score: object) -> _Call:
        """One run's arguments, checked, with this ranker's own where they are None."""
        _check_type("scale_score", scale_score, bool | None, "True, False or None")
        candidates = _unique(_check_documents(documents))
        texts = [self._text(document) for document in candidates]
        return _Call(
            query=self.query_prefix + _check_query(query) + self.query_suffix,
            documents=candidates,
            texts=[text for text, _ in texts],
            starts=[start for _, start in texts],
            top_k=_check_top_k(self.top_k if top_k is None else top_k),
            score_threshold=check_threshold(self.score_threshold if threshold is None else threshold),
            scale_score=self.scale_score if scale_score is None else bool(scale_score),
            keep_retrieval_score=self.keep_retrieval_score,
        )

    def _text(self, document: Document) -> tuple[str, int]:
        """What the model reads of a document, and where its content starts there."""
        values = [document.meta.get(field) for field in self.meta_fields_to_embed]
        head = [f"{value}{self.embedding_separator}" for value in values if value is not None]
        start = "".join([self.document_prefix, *head])
        return start + (document.content or "") + self.document_suffix, len(start)

    def _nothing(self) -> dict[str, Any]:
        """The output for no documents."""
        response = RerankResponse(id="", model=self.model or str(self.provider), results=())
        return {"documents": [], "meta": _meta(response)}


CrossEncoderRanker.__doc__ = with_arguments(CrossEncoderRanker.__doc__, [MODEL, *PLAIN.values()])


@dataclass(frozen=True, slots=True)
class _Call:
    """One run: what the engine needs to know, and how its answer becomes the output."""

    query: str
    documents: list[Document]
    texts: list[str]
    starts: list[int]
    top_k: int | None
    score_threshold: float | None
    scale_score: bool
    keep_retrieval_score: bool

    def read(self) -> list[PlainDocument]:
        """The documents as the engine takes them."""
        pairs = zip(self.texts, self.documents, strict=True)
        return [PlainDocument(text, document.meta) for text, document in pairs]

    def limits(self) -> dict[str, Any]:
        return {
            "top_n": self.top_k,
            "score_threshold": self.score_threshold,
            "retrieval_scores": retrieval_scores(document.score for document in self.documents),
        }

    def output(self, response: RerankResponse) -> dict[str, Any]:
        meta = _meta(response)
        for result in response:
            document = self.documents[result.index]
            if result.truncated:
                meta["truncated"].append(document.id)
            if result.window is not None:
                meta["windows"][document.id] = self._window(result)
            if result.highlights:
                length = len(document.content or "")
                meta["highlights"][document.id] = highlights_after(result, self.starts[result.index], length)
        scored = zip(response, self._scores(response), strict=True)
        return {"documents": [self._ranked(result, score) for result, score in scored], "meta": meta}

    def _ranked(self, result: RerankResult, score: float) -> Document:
        document = self.documents[result.index]
        if self.keep_retrieval_score and document.score is not None:
            return replace(document, score=score, meta={**document.meta, "retrieval_score": document.score})
        return replace(document, score=score)

    def _scores(self, response: RerankResponse) -> list[float]:
        if self.scale_score:
            return [result.relevance_score for result in response]
        found = [score for score in raw_scores(response) if score is not None]
        if len(found) < len(response):
            raise InvalidRequestError(
                f"scale_score=False asks for raw scores, and {response.model!r} gives probabilities only; use "
                "scale_score=True.",
                code="no_raw_scores",
                param="scale_score",
            )
        return found

    def _window(self, result: RerankResult) -> list[int]:
        """The window's part of the content; the model also read what was put around it."""
        first, length = self.starts[result.index], len(self.documents[result.index].content or "")
        return [min(max(position - first, 0), length) for position in result.window or ()]


def _meta(response: RerankResponse) -> dict[str, Any]:
    """What ``meta`` says of a call, without that of its documents yet."""
    return {
        "model": response.model,
        "usage": _usage(response.usage),
        "degraded": response.degraded,
        "query_truncated": response.query_truncated,
        "truncated": [],
        "windows": {},
        "highlights": {},
    }


def _usage(usage: Usage) -> dict[str, int | float]:
    """The tokens, and what is known of their cost."""
    tokens: dict[str, int | float] = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
    billed = {"cost": usage.cost, "search_units": usage.search_units}
    return tokens | {name: value for name, value in billed.items() if value is not None}


@contextmanager
def _span(call: _Call) -> Iterator[Span]:
    """A span for the engine's part of a run, inside the trace there is, if any; it holds no texts and no ids."""
    parent = tracer.current_span()
    if parent is None:
        yield NullSpan()
        return
    tags = {"haystack.ranker.documents": len(call.documents), "haystack.ranker.top_k": call.top_k}
    with tracer.trace("haystack.ranker.score", tags=tags, parent_span=parent) as span:
        yield span


def _tags(response: RerankResponse) -> dict[str, Any]:
    return {
        "haystack.ranker.model": response.model,
        "haystack.ranker.prompt_tokens": response.usage.prompt_tokens,
        "haystack.ranker.degraded": response.degraded,
        "haystack.ranker.truncated": sum(result.truncated for result in response),
    }


def _unique(documents: list[Document]) -> list[Document]:
    """One document per id: the one with the best score, in the place of the first."""
    best: dict[str, Document] = {}
    for document in documents:
        kept = best.get(document.id)
        if kept is None or _retrieved(document) > _retrieved(kept):
            best[document.id] = document
    return list(best.values())


def _retrieved(document: Document) -> float:
    return -inf if document.score is None else document.score


def _as_haystack_has_it(error: ValidationError) -> Exception:
    """A TypeError where nothing but types is wrong, a ValueError otherwise; a missing key stays one."""
    found = error.errors()
    missing = [each["ctx"]["error"] for each in found if isinstance(each.get("ctx", {}).get("error"), RerankError)]
    if len(found) == 1 and isinstance(missing[0] if missing else None, AuthenticationError):
        return cast("AuthenticationError", missing[0])
    message = "; ".join(map(_problem, found))
    return TypeError(message) if all(each["type"].endswith("_type") for each in found) else InvalidRequestError(message)


def _problem(found: ErrorDetails) -> str:
    """One of pydantic's findings, in the engine's words where the engine found it."""
    said = found.get("ctx", {}).get("error", found["msg"])
    return ": ".join([*map(str, found["loc"]), str(said)])


def _device_name(device: ComponentDevice | None) -> str | None:
    if device is not None and device.has_multiple_devices:
        raise ValueError('device must be a single device; to spread a model over several, use device_map="auto".')
    return None if device is None else device.to_torch_str()


def _check_key(key: object) -> Secret | None:
    """The key as a Secret; a string becomes one that is a token, which is never saved."""
    value = key.get_secret_value() if isinstance(key, SecretStr) else key
    if isinstance(value, str):
        return Secret.from_token(value)
    _check_type("api_key", value, Secret | None, "a Secret, a string, a SecretStr or None")
    return cast("Secret | None", value)


def _check_top_k(top_k: object) -> int | None:
    if top_k is None:
        return None
    if isinstance(top_k, bool) or not isinstance(top_k, int):
        raise TypeError(f"top_k must be a whole number or None, but got {type(top_k).__name__}")
    if top_k <= 0:
        raise ValueError(f"top_k must be > 0, but got {top_k}")
    return top_k


def _check_query(query: object) -> str:
    if not isinstance(query, str):
        raise TypeError(f"query must be a string, but got {type(query).__name__}")
    if not query.strip():
        raise ValueError("query must not be blank: there is nothing to compare the documents with")
    return query


def _check_documents(documents: object) -> list[Document]:
    if not isinstance(documents, list | tuple):
        raise TypeError(f"documents must be a list of Haystack Documents, but got {type(documents).__name__}")
    for position, document in enumerate(documents):
        _check_type(f"documents[{position}]", document, Document, "a Haystack Document")
    return list(documents)


def _check_fields(fields: object) -> list[str]:
    if fields is None:
        return []
    if not isinstance(fields, list | tuple) or not all(isinstance(field, str) for field in fields):
        raise TypeError("meta_fields_to_embed must be a list of strings, or None")
    return list(fields)


def _check_type(name: str, value: object, kinds: Any, expected: str) -> None:
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {expected}, but got {type(value).__name__}")
