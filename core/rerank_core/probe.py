"""Whether a model or server really ranks: a dozen pairs whose answers are known."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rerank_core.errors import InferenceError, ModelLoadError, ProtocolError
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, checked_scores

# A query, a text that answers it, and one about something else.
_PAIRS = (
    (
        "What is the capital of France?",
        "Paris is the capital and largest city of France.",
        "The Amazon rainforest is home to many species of birds.",
    ),
    (
        "how to boil an egg",
        "Put the egg into boiling water for eight minutes, then cool it under cold water.",
        "The stock market fell by two percent on Tuesday.",
    ),
    (
        "symptoms of the flu",
        "Common flu symptoms are fever, cough, a sore throat and muscle aches.",
        "Install the package with pip and import it in your code.",
    ),
    (
        "when did the second world war end",
        "The Second World War ended in 1945.",
        "Whisk the butter and the sugar until the mixture is pale.",
    ),
    (
        "python read a file line by line",
        "In Python, open the file and loop over it to read it line by line.",
        "Penguins live almost only in the southern hemisphere.",
    ),
    (
        "who wrote Romeo and Juliet",
        "Romeo and Juliet is a tragedy written by William Shakespeare.",
        "A healthy lawn should be watered early in the morning.",
    ),
    (
        "how far is the moon from the earth",
        "The moon is on average 384,400 kilometres away from the earth.",
        "The restaurant serves lunch from noon until three o'clock.",
    ),
    (
        "reset my password",
        "To reset your password, click 'Forgot password' on the login page.",
        "The oldest tree in the park was planted in 1820.",
    ),
    (
        "what do pandas eat",
        "Giant pandas eat almost nothing but bamboo.",
        "The meeting about the budget was moved to Friday.",
    ),
    (
        "return policy for shoes",
        "Shoes can be returned within 30 days if they have not been worn.",
        "Light travels faster than sound.",
    ),
    (
        "chemical formula of water",
        "Water's chemical formula is H2O.",
        "He scored two goals in the second half of the match.",
    ),
    ("cheap flights to Rome", "Find low-cost flights to Rome from 29 euros.", "Photosynthesis needs light."),
)
_LONG_LISTS = 4  # queries that are also asked of all texts at once
_LEAST_RIGHT = 11  # of the dozen
_LEAST_MARGIN = 1.5  # chance gives about 0, a model that ranks 2 and more
_MOST_DRIFT = 0.05  # of the distance between relevant and irrelevant texts; bfloat16 stays below 0.02


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: ``answers``, ``order``, ``margin`` or ``batch``.
        passed: whether it is as it should be.
        detail: what was seen.
    """

    name: str
    passed: bool
    detail: str


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
        failed = [finding.detail for finding in self.findings if not finding.passed]
        return f"{self.model} ranks as it should" if self.passed else f"{self.model} does not rank: {'; '.join(failed)}"

    def require(self) -> None:
        """Nothing, if the check passed.

        Raises:
            ModelLoadError: with code ``check_failed`` and what was found, otherwise.
        """
        if not self.passed:
            raise ModelLoadError(f"{self}.", code="check_failed")


def check(scorer: Scorer) -> CheckReport:
    """Score a dozen pairs whose answers are known: 16 requests, about 4,000 tokens.

    Checked are that the answers are valid scores and the model's own, that the relevant text comes first, by a margin,
    and that a pair's score is the same among other texts, if the scorer is ``pointwise``. The pairs are in English.

    Args:
        scorer: what scores.

    Raises:
        RerankError: when it cannot score at all: a model that cannot be loaded, a server that cannot be reached.
    """
    seconds = 0.0
    try:
        scorer.warm_up()
        started = time.perf_counter()
        pairs = [_pair(scorer, position) for position in range(len(_PAIRS))]
        lists = [_list(scorer, position) for position in range(_LONG_LISTS)]
        seconds = time.perf_counter() - started
    except (ProtocolError, InferenceError) as error:
        answers = Finding("answers", passed=False, detail=f"its answers are not valid scores ({error.message})")
        return CheckReport(scorer.model, (answers,), seconds)
    if not all(scores.genuine for scores in (*pairs, *lists)):
        answers = Finding("answers", passed=False, detail="a fallback answered in its place")
        return CheckReport(scorer.model, (answers,), seconds)
    found = [Finding("answers", passed=True, detail=f"{len(pairs) + len(lists)} valid answers"), *_ranks(pairs)]
    if scorer.pointwise and all(finding.passed for finding in found):
        found.append(_among_others(pairs, lists))
    return CheckReport(scorer.model, tuple(found), seconds)


def _pair(scorer: Scorer, position: int) -> Scores:
    """The scores of the relevant text and the other one; which of them is sent first changes from pair to pair."""
    query, relevant, other = _PAIRS[position]
    if position % 2 == 0:
        return checked_scores(scorer, query, [relevant, other])
    scores = checked_scores(scorer, query, [other, relevant])
    return Scores(scores.items[::-1], scores.model)


def _list(scorer: Scorer, position: int) -> Scores:
    """The scores of all relevant texts, those of the other texts in between."""
    return checked_scores(scorer, _PAIRS[position][0], [text for pair in _PAIRS for text in pair[1:]])


def _ranks(pairs: Sequence[Scores]) -> list[Finding]:
    """Whether the relevant text is first, and by how much: in standard deviations, whatever the scale of the scores."""
    relevant, others = [list(column) for column in zip(*(scores.keys() for scores in pairs), strict=True)]
    right = sum(one > other for one, other in zip(relevant, others, strict=True))
    order = f"the relevant text is first in {right} of {len(pairs)} pairs"
    if len({*relevant, *others}) == 1:
        order = "all scores are equal: has the model a trained head?"
    elif right <= len(pairs) - _LEAST_RIGHT:
        order += ": the scores are upside down"
    elif right < _LEAST_RIGHT:
        order += ": is a template missing, or are scores mixed up?"
    spread = (statistics.pstdev(relevant) + statistics.pstdev(others)) / 2
    distance = statistics.fmean(relevant) - statistics.fmean(others)
    margin = distance / spread if spread else distance and float("inf")
    return [
        Finding("order", right >= _LEAST_RIGHT, order),
        Finding("margin", margin >= _LEAST_MARGIN, f"relevant and other texts are {margin:.1f} deviations apart"),
    ]


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
