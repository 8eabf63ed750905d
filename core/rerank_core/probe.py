"""Whether a model or server really ranks: a dozen pairs of each of its languages whose answers are known."""

from __future__ import annotations

import asyncio
import contextvars
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rerank_core import forks
from rerank_core.errors import InferenceError, ModelLoadError, ProtocolError, RerankError
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.known_pairs import PAIRS, Pair, languages_to_check
from rerank_core.models.registry import known
from rerank_core.models.spec import MANY
from rerank_core.physics import too_fast
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, checked_scores, loaded_by

_LONG_LISTS = 4  # queries that are also asked of all texts at once
_LEAST_RIGHT = 11  # of the dozen
_LEAST_MARGIN = 1.5  # chance gives about 0, a model that ranks 2 and more
_MOST_DRIFT = 0.05  # of the distance between relevant and irrelevant texts; bfloat16 stays below 0.02


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: ``answers``, ``order``, ``margin``, ``batch``, ``speed``; ``order in de`` for a further language.
        passed: whether it is as it should be.
        detail: what was seen.
    """

    name: str
    passed: bool
    detail: str

    @property
    def said(self) -> str:
        """The detail, with the language where that is not the main one."""
        _, _, language = self.name.partition(" in ")
        return f"{self.detail} (in {language})" if language else self.detail


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of a model or server found.

    Attributes:
        model: its name.
        findings: what was checked, up to the first that leaves nothing to check.
        seconds: how long its answers took, loading the model not included.
    """

    model: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it ranks."""
        return all(finding.passed for finding in self.findings)

    def __str__(self) -> str:
        failed = [finding.said for finding in self.findings if not finding.passed]
        return f"{self.model} ranks as it should" if self.passed else f"{self.model} does not rank: {'; '.join(failed)}"

    def require(self) -> None:
        """Nothing, if the check passed.

        Raises:
            ModelLoadError: with code ``check_failed`` and what was found, otherwise.
        """
        if not self.passed:
            raise ModelLoadError(f"{self}.", code="check_failed")


def check(scorer: Scorer, *, clock: Callable[[], float] = time.perf_counter) -> CheckReport:
    """Score a dozen pairs whose answers are known: 16 requests and about 4,000 tokens, 12 more per further language.

    Checked are that the answers are valid scores and the model's own, that the relevant text comes first, by a margin,
    and that a pair's score is the same among other texts, if the scorer is ``pointwise``. The pairs are in those of the
    model's languages that there are pairs for, of a model that is not known in English. A known model on the CPU of
    this machine must also not be faster than the CPU could be.

    Args:
        scorer: what scores.
        clock: seconds from any moment on.

    Raises:
        RerankError: when it cannot score at all: a model that cannot be loaded, a server that cannot be reached.
    """
    seconds = 0.0
    try:
        scorer.warm_up()
        main, *further = _languages(scorer)
        started = clock()
        pairs = _pairs(scorer, PAIRS[main])
        lists = [_list(scorer, PAIRS[main], position) for position in range(_LONG_LISTS)]
        others = {language: _pairs(scorer, PAIRS[language]) for language in further}
        seconds = clock() - started
        late = too_fast(scorer, clock)
    except (ProtocolError, InferenceError) as error:
        answers = Finding("answers", passed=False, detail=f"its answers are not valid scores ({error.message})")
        return CheckReport(scorer.model, (answers,), seconds)
    everything = [*pairs, *lists, *(scores for each in others.values() for scores in each)]
    if not all(scores.genuine for scores in everything):
        answers = Finding("answers", passed=False, detail="a fallback answered in its place")
        return CheckReport(scorer.model, (answers,), seconds)
    found = [Finding("answers", passed=True, detail=f"{len(everything)} valid answers"), *_ranks(pairs)]
    if scorer.pointwise and all(finding.passed for finding in found):
        found.append(_among_others(pairs, lists))
    found += [replace(_ordered(scores), name=f"order in {language}") for language, scores in others.items()]
    if late is not None:
        found.append(Finding("speed", *late))
    return CheckReport(scorer.model, tuple(found), seconds)


class FirstCheck:
    """A check that has to pass before the first answer: one at a time, however many calls wait for it.

    Args:
        scorer: what is checked.
        due: whether there is anything to check.
    """

    def __init__(self, scorer: Scorer, *, due: bool) -> None:
        self._scorer = scorer
        self._due = due
        self._lock = forks.Lock()
        self._begin_anew()
        forks.in_child(self._begin_anew)

    def __getstate__(self) -> dict[str, Any]:
        return {"_scorer": self._scorer, "_due": self._due}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_scorer"], due=state["_due"])  # type: ignore[misc]

    def wait(self) -> None:
        """Nothing, once it has passed. A failure is that of all who wait; the next call checks again.

        Raises:
            RerankError: when the scorer cannot score, or does not rank.
        """
        if self._due:
            _result(self._check())

    async def await_(self) -> None:
        """:meth:`wait` without blocking the event loop.

        Raises:
            The same as :meth:`wait`.
        """
        if not self._due:
            return
        mine: Future[Future[None]] = Future()  # whoever is cancelled cancels no other's check

        def done(check: Future[None]) -> None:
            with suppress(InvalidStateError):
                mine.set_result(check)

        self._check().add_done_callback(done)
        _result(await asyncio.wrap_future(mine))

    def _begin_anew(self) -> None:
        self._running: Future[None] | None = None

    def _check(self) -> Future[None]:
        """The check under way; a new one where there is none."""
        with self._lock:
            if self._running is None or self._running.done():
                context = contextvars.copy_context()
                self._running = SLOW_CALLS.submit(lambda: context.run(self._pass))
            return self._running

    def _pass(self) -> None:
        check(self._scorer).require()
        self._due = False


def _result(done: Future[None]) -> None:
    try:
        done.result()
    except RerankError as error:  # several calls raise it
        raise error.copied() from error


def _languages(scorer: Scorer) -> tuple[str, ...]:
    """The languages to ask in: the loaded model's, or those in the record of its name."""
    loaded, record = loaded_by(scorer), known(scorer.model)
    codes = loaded.language_codes if loaded is not None else () if record is None else record.language_codes
    return languages_to_check(tuple(codes), many=MANY in codes)


def _pairs(scorer: Scorer, pairs: Sequence[Pair]) -> list[Scores]:
    return [_pair(scorer, pairs, position) for position in range(len(pairs))]


def _pair(scorer: Scorer, pairs: Sequence[Pair], position: int) -> Scores:
    """The scores of the relevant text and the other one; which of them is sent first changes from pair to pair."""
    query, relevant, other = pairs[position]
    if position % 2 == 0:
        return checked_scores(scorer, query, [relevant, other])
    scores = checked_scores(scorer, query, [other, relevant])
    return Scores(scores.items[::-1], scores.model)


def _list(scorer: Scorer, pairs: Sequence[Pair], position: int) -> Scores:
    """The scores of all relevant texts, those of the other texts in between."""
    return checked_scores(scorer, pairs[position][0], [text for pair in pairs for text in pair[1:]])


def _ranks(pairs: Sequence[Scores]) -> list[Finding]:
    """Whether the relevant text is first, and by how much: in standard deviations, whatever the scale of the scores."""
    relevant, others = _columns(pairs)
    spread = (statistics.pstdev(relevant) + statistics.pstdev(others)) / 2
    distance = statistics.fmean(relevant) - statistics.fmean(others)
    margin = distance / spread if spread else distance and float("inf")
    return [
        _ordered(pairs),
        Finding("margin", margin >= _LEAST_MARGIN, f"relevant and other texts are {margin:.1f} deviations apart"),
    ]


def _ordered(pairs: Sequence[Scores]) -> Finding:
    """Whether the relevant text is first."""
    relevant, others = _columns(pairs)
    right = sum(one > other for one, other in zip(relevant, others, strict=True))
    order = f"the relevant text is first in {right} of {len(pairs)} pairs"
    if len({*relevant, *others}) == 1:
        order = "all scores are equal: has the model a trained head?"
    elif right <= len(pairs) - _LEAST_RIGHT:
        order += ": the scores are upside down"
    elif right < _LEAST_RIGHT:
        order += ": is a template missing, or are scores mixed up?"
    return Finding("order", right >= _LEAST_RIGHT, order)


def _columns(pairs: Sequence[Scores]) -> tuple[list[float], list[float]]:
    """The keys of the relevant texts, and of the others."""
    keys = [scores.keys() for scores in pairs]
    return [relevant for relevant, _ in keys], [other for _, other in keys]


def _among_others(pairs: Sequence[Scores], lists: Sequence[Scores]) -> Finding:
    """Whether the scores of a pair are the same when they are asked for among 22 other texts."""
    distance = statistics.fmean(one - other for one, other in (scores.keys() for scores in pairs))
    drift = max(
        abs(alone - among)
        for position, scores in enumerate(lists)
        for alone, among in zip(pairs[position].keys(), scores.keys()[2 * position :][:2], strict=True)
    )
    share = drift / distance
    said = f"a score changes by at most {share:.1%} of the distance between relevant and other texts in another batch"
    return Finding("batch", share <= _MOST_DRIFT, said)
