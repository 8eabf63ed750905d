"""The promises of the :class:`~rerank_core.scoring.Scorer` protocol, as checks that name the one that is broken."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

from rerank_core.errors import ProtocolError, RerankError
from rerank_core.inference.workers import Workers
from rerank_core.scores import Score, Scores, check_scores
from rerank_core.scoring.base import Scorer

T = TypeVar("T")

QUERY = "What is the capital of France?"
TEXTS = (
    "Berlin is in Germany.",
    "Paris is the capital of France.",
    "The weather is sunny.",
    "France is a country, and its capital is Paris.",
    "",
    "\x00 \U0001f600 \u202e",
)
_THREADS = 8
_MEMBERS = ("model", "identity", "pointwise", "score", "ascore", "warm_up", "close", "aclose")
_PROMISES = {
    "not_scores": "answers are Scores",
    "wrong_score_count": "one score per text",
    "wrong_score_type": "scores are Python numbers",
    "non_finite_score": "scores are finite",
    "score_out_of_range": "relevance scores are 0 to 1",
}


def assert_scorer_contract(
    scorer: Scorer,
    *,
    query: str = QUERY,
    texts: Sequence[str] = TEXTS,
    tolerance: float = 1e-4,
    seconds: float = 300.0,
) -> None:
    """Check that a scorer keeps the protocol's promises. It is warmed up, called many times, and closed at the end.

    These are: one valid score per text, in the order of the texts, the same every time; the same from several threads
    at once, and from ``ascore`` as from ``score``; where it is ``pointwise``, the same for a text whatever else is in
    the request; its arguments unchanged; no errors but those of :mod:`rerank_core.errors`; and closing twice works,
    synchronously and asynchronously.

    Args:
        scorer: the scorer; if it calls a server, that must be running.
        query: the query to score against.
        texts: the texts to score, at least two different ones that should get different scores: equal scores show no
            order.
        tolerance: how far apart equal relevance scores may be; rounding differs with the size of a batch.
        seconds: how long the calls from several threads, and each call of ``ascore``, may take.

    Raises:
        AssertionError: when a promise is broken; the message says which, and how. It holds neither query nor texts.
        ValueError: when there are no two different texts.

    Example:
        >>> from rerank_core.testing import FakeScorer, assert_scorer_contract
        >>> class Forgetful(FakeScorer):
        ...     def score(self, query, texts):
        ...         return super().score(query, texts[1:])
        >>> assert_scorer_contract(Forgetful())
        Traceback (most recent call last):
        ...
        AssertionError: broken promise: one score per text. the scorer for 'fake' gave 5 scores for 6 texts.
    """
    if len(set(texts)) < 2:  # noqa: PLR2004  (an order needs two)
        raise ValueError("texts must hold at least two different ones.")
    with closing(Workers(_THREADS, "rerank-contract", slow=True)) as workers:
        contract = _Contract(scorer, query, list(texts), tolerance=tolerance, seconds=seconds, workers=workers)
        contract.members()
        contract.answers()
        contract.company()
        contract.threads()
        contract.asynchronous()
        contract.closing()


class _Contract:
    """The promises, one method per group; later ones rely on earlier ones."""

    def __init__(
        self, scorer: Scorer, query: str, texts: list[str], *, tolerance: float, seconds: float, workers: Workers
    ) -> None:
        self._workers = workers
        self._scorer = scorer
        self._query = query
        self._texts = texts
        self._tolerance = tolerance
        self._seconds = seconds
        self._first: Scores

    def members(self) -> None:
        """Its members, and what they say of it."""
        for name in _MEMBERS:
            with _promise("it has all members of Scorer"):
                if not hasattr(self._scorer, name):
                    _broken("it has all members of Scorer", f"there is no {name!r}.")
        with _promise("warm_up() works"):
            self._scorer.warm_up()
        for name, kind in (("model", str), ("identity", str), ("pointwise", bool)):
            with _promise(f"{name} is a {kind.__name__}"):
                value = getattr(self._scorer, name)
                if type(value) is not kind or value == "":
                    _broken(f"{name} is a {kind.__name__}", f"it is {value!r}.")
                if getattr(self._scorer, name) != value:
                    _broken(f"{name} stays the same", "asked twice, it was another one.")

    def answers(self) -> None:
        """One valid score per text, the same the next time, and arguments unchanged."""
        given = list(self._texts)
        self._first = self._ask(given)
        if given != self._texts:
            _broken("arguments are left alone", "the list of texts was changed.")
        self._same(self._ask(tuple(self._texts)), self._first, "the same question has the same answer")
        if any(score.logit is not None for score in self._first.items):
            self._orders_agree()

    def company(self) -> None:
        """Scores belong to their texts: in another order, with others, or alone."""
        if self._scorer.pointwise is False:
            return  # a text's score may depend on the other texts and on its position
        backwards = self._ask(self._texts[::-1])
        self._same(backwards.items[::-1], self._first, "scores are in the order of the texts")
        twice = self._ask(self._texts + self._texts)
        self._same(twice.items, self._first.items * 2, "pointwise: equal texts have equal scores")
        for text, score in zip(self._texts, self._first.items, strict=True):
            self._same(self._ask([text]).items, [score], "pointwise: a text has the same score alone")

    def threads(self) -> None:
        """Several threads at once, each with texts of its own, get the scores that one thread gets."""
        promise = "safe to call from several threads at once"
        parts = [self._texts[i % len(self._texts) :] or self._texts for i in range(_THREADS)]
        expected = [self._ask(part) for part in parts]
        barrier = threading.Barrier(_THREADS)

        def ask(part: list[str]) -> Scores:
            barrier.wait(self._seconds)
            try:
                return self._ask(part)
            except AssertionError as error:  # one thread got a valid answer for the same texts
                _broken(promise, f"There it was not so: {error}", error.__cause__)

        futures = [self._workers.submit(partial(ask, part)) for part in parts]
        for future, right in zip(futures, expected, strict=True):
            self._same(self._result(future, promise), right, promise)

    def asynchronous(self) -> None:
        """``ascore`` gives what ``score`` gives: alone, several at once, and on another event loop."""
        promise = "ascore gives what score gives"

        async def several() -> list[Scores]:
            asked = [self._scorer.ascore(self._query, list(self._texts)) for _ in range(3)]
            return list(await asyncio.gather(*asked))

        for _ in range(2):
            with _promise(promise):
                for scores in self._run(several, promise):
                    self._same(self._checked(scores, len(self._texts)), self._first, promise)

    def closing(self) -> None:
        """Closing twice works, both ways; a call afterwards is answered, or fails with an error of ours."""
        for _ in range(2):
            with _promise("closing twice is fine"):
                self._scorer.close()
        for _ in range(2):
            with _promise("aclose() after close() is fine"):
                self._run(self._scorer.aclose, "aclose() after close() is fine")
        with _promise("errors are those of rerank_core.errors", allowed=RerankError):
            self._scorer.score(self._query, list(self._texts))

    def _ask(self, texts: Sequence[str]) -> Scores:
        with _promise("valid requests are answered"):
            scores = self._scorer.score(self._query, texts)
        return self._checked(scores, len(texts))

    def _checked(self, scores: object, expected: int) -> Scores:
        try:
            return check_scores(scores, expected, model=self._scorer.model)
        except ProtocolError as error:
            _broken(_PROMISES[error.code], error.message, error)

    def _orders_agree(self) -> None:
        for one in self._first.items:
            for other in self._first.items:
                if one.logit is None or other.logit is None:
                    continue
                if one.logit > other.logit and one.relevance_score < other.relevance_score - self._tolerance:
                    _broken("logits and relevance scores have one order", f"{_shown(one)} against {_shown(other)}.")

    def _same(self, seen: Scores | Sequence[Score], right: Scores | Sequence[Score], promise: str) -> None:
        ours, theirs = (each.items if isinstance(each, Scores) else each for each in (seen, right))
        for position, (score, expected) in enumerate(zip(ours, theirs, strict=True)):
            if not math.isclose(score.relevance_score, expected.relevance_score, abs_tol=self._tolerance):
                _broken(promise, f"position {position}: {_shown(score)}, expected {_shown(expected)}.")

    def _run(self, call: Callable[[], Coroutine[Any, Any, T]], promise: str) -> T:
        """Run it on a new event loop in a thread: the caller's own may be running."""
        return self._result(self._workers.submit(lambda: asyncio.run(call())), promise)

    def _result(self, future: Future[T], promise: str) -> T:
        try:
            return future.result(self._seconds)
        except TimeoutError as error:
            if future.done():
                raise
            _broken(promise, f"no answer within {self._seconds:g} s.", error)


@contextmanager
def _promise(promise: str, *, allowed: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """A context in which an error breaks the promise; one not of :mod:`rerank_core.errors` breaks that about errors."""
    try:
        yield
    except allowed:
        return
    except AssertionError:
        raise
    except RerankError as error:
        _broken(promise, f"{type(error).__name__}: {error.message}", error)
    except Exception as error:  # noqa: BLE001  (whatever a scorer raises)
        _broken("errors are those of rerank_core.errors", f"it raised {type(error).__name__}.", error)


def _broken(promise: str, how: str, cause: BaseException | None = None) -> NoReturn:
    raise AssertionError(f"broken promise: {promise}. {how}") from cause


def _shown(score: Score) -> str:
    return f"{score.relevance_score:.6f}"
