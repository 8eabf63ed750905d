"""Trying a candidate on live traffic: its scores are computed beside the live ones, compared, and thrown away."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_core import forks
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Hook, ShadowCompared, ShadowDropped, emit, logger
from rerank_core.inference.workers import Workers
from rerank_core.ranking import order
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores
from rerank_core.scoring.base import judges as scores_relevance
from rerank_core.scoring.wrapper import WrappingScorer

_THREADS = Workers(1, "rerank-shadow", slow=True)


class ShadowScorer(WrappingScorer):
    """Answers with ``live``, and lets ``candidate`` score the same texts afterwards, one request at a time.

    No call waits for the candidate: what does not fit in the queue is dropped, and what fails is reported. A candidate
    in this process shares its CPUs with the live scorer; one behind a URL costs nothing here. Differences go to the
    hooks (``ShadowCompared``, ``ShadowDropped``) and to ``log``, without queries and texts.

    Args:
        live: whose scores are returned.
        candidate: what is tried.
        top_n: how many of the first results are compared.
        queue: most requests that wait for the candidate.
        log: a file that gets a line of JSON per request; ``rerank evaluate --shadow-log`` reads it.
        hooks: called with each event.

    Raises:
        InvalidRequestError: when ``top_n`` or ``queue`` is below 1, or the log cannot be written.
    """

    def __init__(
        self,
        live: Scorer,
        candidate: Scorer,
        *,
        top_n: int = 10,
        queue: int = 16,
        log: str | Path | None = None,
        hooks: Sequence[Hook] = DEFAULT_HOOKS,
    ) -> None:
        for name, value in (("top_n", top_n), ("queue", queue)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidRequestError(f"{name} must be a whole number of at least 1, got {value!r}.", param=name)
        super().__init__(live, candidate)
        self._top_n = top_n
        self._queue = queue
        self._log = None if log is None else _writable(Path(log).absolute())
        self._hooks = tuple(hooks)
        self._begin_anew()
        forks.in_child(self._begin_anew)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_places"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin_anew()
        forks.in_child(self._begin_anew)

    @property
    def judges(self) -> bool:
        """Whether the live scorer scores relevance."""
        return scores_relevance(self._main)

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The live scorer's scores.

        Raises:
            RerankError: whatever the live scorer raises.
        """
        started = time.perf_counter()
        scores = checked_scores(self._main, query, texts)
        self._try_candidate(query, texts, scores, time.perf_counter() - started)
        return scores

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """The live scorer's scores.

        Raises:
            RerankError: whatever the live scorer raises.
        """
        started = time.perf_counter()
        scores = await achecked_scores(self._main, query, texts)
        self._try_candidate(query, texts, scores, time.perf_counter() - started)
        return scores

    def warm_up(self) -> None:
        """Warm up the live scorer; the candidate warms up with its first request.

        Raises:
            RerankError: when it cannot be warmed up.
        """
        self._main.warm_up()

    def _begin_anew(self) -> None:
        self._places = deque(range(self._queue))  # whoever waits has one; taken and given back in single steps

    def _try_candidate(self, query: str, texts: Sequence[str], live: Scores, seconds: float) -> None:
        """Queue the request for the candidate, unless the queue is full."""
        places = self._places
        try:
            place = places.pop()
        except IndexError:
            self._drop("queue_full")
            return
        kept = tuple(texts)

        def run() -> None:
            try:
                self._compare(query, kept, live, seconds)
            finally:
                places.append(place)

        try:
            _THREADS.submit(run)
        except RerankError as error:  # Python is exiting
            places.append(place)
            self._drop(error.code)

    def _compare(self, query: str, texts: Sequence[str], live: Scores, live_seconds: float) -> None:
        started = time.perf_counter()
        try:
            found = checked_scores(self.others[0], query, texts)
        except RerankError as error:
            self._drop(error.code)
            return
        except Exception:  # noqa: BLE001  (a candidate may be anything, and must not end the thread)
            logger.exception("the candidate %r failed", self.others[0].model)
            self._drop("internal_error")
            return
        if not (live.genuine and found.genuine):
            self._drop("degraded")
            return
        seconds = time.perf_counter() - started
        compared = Comparison.of(live, found, self._top_n)
        models = (self._main.model, self.others[0].model)
        event = ShadowCompared(*models, len(texts), **asdict(compared), seconds=seconds, live_seconds=live_seconds)
        emit(self._hooks, event)
        self._write(asdict(event) | {"live_scores": _rounded(live), "scores": _rounded(found), "tokens": found.tokens})

    def _drop(self, code: str) -> None:
        event = ShadowDropped(self._main.model, self.others[0].model, code)
        emit(self._hooks, event)
        self._write(asdict(event))

    def _write(self, line: dict[str, Any]) -> None:
        if self._log is None:
            return
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            logger.warning("the shadow log cannot be written (%s); the comparison goes on without it.", error.strerror)
            self._log = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two rankings of the same texts differ.

    Attributes:
        moved: how many texts have another place.
        top_n: how many of the first were compared.
        overlap: the share of these that both rankings have, 0..1.
        first_differs: whether another text comes first.
    """

    moved: int
    top_n: int
    overlap: float
    first_differs: bool

    @classmethod
    def of(cls, live: Scores, candidate: Scores, top_n: int) -> Comparison:
        """Compare the rankings that the scores of one and of the other give."""
        one, other = (order(scores.keys(), [None] * len(scores.items)) for scores in (live, candidate))
        compared = min(top_n, len(one))
        return cls(
            moved=sum(a != b for a, b in zip(one, other, strict=True)),
            top_n=compared,
            overlap=len({*one[:compared]} & {*other[:compared]}) / compared,
            first_differs=one[0] != other[0],
        )


def _writable(log: Path) -> Path:
    """The log, which is there afterwards: a trial of a week must not find out at its end that nothing was kept."""
    try:
        log.open("a", encoding="utf-8").close()
    except OSError as error:
        raise InvalidRequestError(
            f"the shadow log {log} cannot be written: {error.strerror}. Name a file in a folder that is there.",
            param="log",
        ) from error
    return log


def _rounded(scores: Scores) -> list[float]:
    return [round(key, 4) for key in scores.keys()]  # noqa: SIM118  (a method of ours, not a mapping's)
