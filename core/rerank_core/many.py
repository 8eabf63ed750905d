"""Many queries in one call: a window of them at work at once, the answers in the order of the questions.

Each query is a call of its own to the scorer, so that caches, fallbacks and cascades do for each what they do for one.
The queries meet where the scorer lets calls meet: in the queue of a local model, whose batches hold texts of several
queries, and in the parallel requests to a server. A query that is done makes room for the next one, whichever it is, so
that none waits for the slowest.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from rerank_core.call_group import CallGroup, ending
from rerank_core.documents import DocumentLike
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.inference.workers import Workers
from rerank_core.request import RerankRequest
from rerank_core.results import RerankResponse
from rerank_core.rules import NO_RULES, RankingRules
from rerank_core.scoring.base import Scorer, provider_of

Query = tuple[str, Iterable[DocumentLike]] | tuple[str, Iterable[DocumentLike], Iterable[float | None] | None]
"""A query, its documents, and what the retriever scored them with."""

# Enough for batches to be full where queries are short. What is tokenised and in memory ahead is bounded by texts, too.
LOCAL_REQUESTS = 16
MOST_TEXTS = 4096
_LENGTHS = (2, 3)


def rerank_many(
    scorer: Scorer, requests: Iterable[Query], *limits: float | None, rules: RankingRules = NO_RULES
) -> list[RerankResponse]:
    """:meth:`rerank_core.Reranker.rerank_many` with this scorer.

    The scorer is called from threads; those belong to this call, so that a scorer may make such calls itself without
    waiting for a thread that waits for it.
    """
    window: _Window[Future[RerankResponse]] = _Window(_places(scorer))
    group = CallGroup()
    workers = Workers(window.places, "rerank-many", slow=True)
    try:
        with ending(group.end):
            for request in _checked(requests, limits, rules):
                window.settle(window.done())
                while not window.has_room(len(request.texts)):
                    window.settle(_any_of(window.running))
                future: Future[RerankResponse] = Future()
                window.add(future, len(request.texts))
                workers.submit(group.bind(partial(request.answer, scorer)), future)
            while window.running:
                window.settle(_any_of(window.running))
    finally:
        group.end()
        workers.close()
    return window.results()


async def arerank_many(
    scorer: Scorer,
    requests: Iterable[Query] | AsyncIterable[Query],
    *limits: float | None,
    rules: RankingRules = NO_RULES,
) -> list[RerankResponse]:
    """:meth:`rerank_core.Reranker.arerank_many` with this scorer."""
    window: _Window[asyncio.Task[RerankResponse]] = _Window(_places(scorer))
    try:
        async for request in _achecked(requests, limits, rules):
            window.settle(window.done())
            while not window.has_room(len(request.texts)):
                window.settle(await _any_task_of(window.running))
            window.add(_started(request.aanswer(scorer)), len(request.texts))
        while window.running:
            window.settle(await _any_task_of(window.running))
    finally:
        for task in window.running:
            task.cancel()
        if window.running:  # nothing is at work any more when this returns
            await asyncio.wait(window.running)
    return window.results()


class _Pending(Protocol):
    """A future of either world."""

    def done(self) -> bool: ...
    def result(self) -> RerankResponse: ...


F = TypeVar("F", bound=_Pending)


@dataclass(slots=True)
class _Window(Generic[F]):
    """The queries at work, and what came of those that are done.

    Attributes:
        places: most queries at work at once.
        running: their futures, with their position and their number of texts.
    """

    places: int
    running: dict[F, tuple[int, int]] = field(default_factory=dict)
    _results: dict[int, RerankResponse] = field(default_factory=dict)
    _next: int = 0

    def has_room(self, texts: int) -> bool:
        """Whether a query with so many texts may start; one may always."""
        if not self.running:
            return True
        return len(self.running) < self.places and texts + sum(n for _, n in self.running.values()) <= MOST_TEXTS

    def add(self, future: F, texts: int) -> None:
        self.running[future] = (self._next, texts)
        self._next += 1

    def done(self) -> list[F]:
        """Those at work that have ended."""
        return [future for future in self.running if future.done()]

    def settle(self, done: Collection[F]) -> None:
        """Take the results of what has ended.

        Raises:
            RerankError: of the first query that failed, noting which it is.
        """
        for future in sorted(done, key=lambda each: self.running[each]):
            position, _ = self.running.pop(future)
            try:
                self._results[position] = future.result()
            except RerankError as error:
                raise _of_request(position, error) from error.__cause__

    def results(self) -> list[RerankResponse]:
        return [self._results[position] for position in range(len(self._results))]


def _places(scorer: Scorer) -> int:
    """How many queries are at work at once: a server gets as many requests as a single large call sends."""
    if provider_of(scorer) == "local":
        return LOCAL_REQUESTS
    from rerank_core.client.threads import IN_PARALLEL

    return IN_PARALLEL


def _any_of(futures: Collection[Future[RerankResponse]]) -> Collection[Future[RerankResponse]]:
    return wait(futures, return_when=FIRST_COMPLETED).done


async def _any_task_of(tasks: Collection[asyncio.Task[RerankResponse]]) -> Collection[asyncio.Task[RerankResponse]]:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done


def _started(work: Coroutine[Any, Any, RerankResponse]) -> asyncio.Task[RerankResponse]:
    task = asyncio.create_task(work)
    task.add_done_callback(lambda each: None if each.cancelled() else each.exception())  # looked at, whoever is gone
    return task


def _of_request(position: int, error: RerankError) -> RerankError:
    """The error with a note of whose it is; a copy, because scorers may raise one object again."""
    fresh = error.copied().with_traceback(error.__traceback__)
    fresh.add_note(f"The query that failed is requests[{position}].")
    return fresh


def _checked(requests: Iterable[Query], limits: Sequence[object], rules: RankingRules) -> Iterator[RerankRequest]:
    _check_iterable(requests)
    RerankRequest("limits", (), *limits)  # wrong ones are refused before anything is read
    for position, request in enumerate(requests):
        yield _read(position, request, limits, rules)


async def _achecked(
    requests: Iterable[Query] | AsyncIterable[Query], limits: Sequence[object], rules: RankingRules
) -> AsyncIterator[RerankRequest]:
    if not isinstance(requests, AsyncIterable):
        for request in _checked(requests, limits, rules):
            yield request
        return
    RerankRequest("limits", (), *limits)
    position = 0
    async for item in requests:
        yield _read(position, item, limits, rules)
        position += 1


def _read(position: int, request: object, limits: Sequence[object], rules: RankingRules) -> RerankRequest:
    """One item of the caller's.

    Raises:
        InvalidRequestError: when it is not a query with its documents; it says which item it is.
    """
    where = f"requests[{position}]"
    if not isinstance(request, tuple | list) or len(request) not in _LENGTHS:
        got = f"{len(request)} values" if isinstance(request, tuple | list) else type(request).__name__
        raise InvalidRequestError(
            f"{where} is {got}; expected a query and its documents, or these and their retrieval scores.",
            code="invalid_request",
            param=where,
        )
    try:
        query, documents, *retrieval = request
        return RerankRequest(
            query, documents, *limits, retrieval_scores=retrieval[0] if retrieval else None, rules=rules
        )
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"{where}: {error.message}", code=error.code, param=f"{where}.{error.param}" if error.param else where
        ) from None


def _check_iterable(requests: object) -> None:
    if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
        raise InvalidRequestError(
            "requests must be pairs of a query and its documents: [(query, documents), ...]; "
            f"got {type(requests).__name__}.",
            code="invalid_requests",
            param="requests",
        )
