"""Scores turned into probabilities that were fitted on labelled data."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.ranking import logit_of, sigmoid
from rerank_core.scoring.base import Score, Scorer, Scores

_METHODS = ("logistic", "isotonic")
_LOGISTIC_VALUES = 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a model's logits map to probabilities of relevance; never changes an order.

    Attributes:
        model: whose logits.
        method: ``logistic`` or ``isotonic``.
        values: slope and offset of the logistic curve, or logit and probability of each point of the isotonic one.
        origin: what it was fitted to, for people: data and its checksum, the scorer's identity, versions, date.

    Raises:
        InvalidRequestError: when the values do not describe a rising curve.
    """

    model: str
    method: str
    values: tuple[float, ...]
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        values = self.values
        if self.method == "logistic" and len(values) == _LOGISTIC_VALUES and values[0] > 0:
            return
        logits, probabilities = values[::2], values[1::2]
        rising = list(logits) == sorted(logits) and list(probabilities) == sorted(probabilities)
        inside = all(0 <= value <= 1 for value in probabilities)
        if self.method == "isotonic" and values and len(logits) == len(probabilities) and rising and inside:
            return
        raise InvalidRequestError("this is not a calibration: its values are no rising curve.", param="calibration")

    def __call__(self, logit: float) -> float:
        """The probability, 0..1."""
        if self.method == "logistic":
            return sigmoid(self.values[0] * logit + self.values[1])
        logits, probabilities = self.values[::2], self.values[1::2]
        right = bisect_right(logits, logit)
        if right == 0:
            return probabilities[0]
        if right == len(logits):
            return probabilities[-1]
        share = (logit - logits[right - 1]) / (logits[right] - logits[right - 1])
        return probabilities[right - 1] + share * (probabilities[right] - probabilities[right - 1])

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps({"calibration": 1, **asdict(self)}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: str | Path) -> Calibration:
        """Read what :meth:`save` has written.

        Raises:
            InvalidRequestError: when the file is not one.
        """
        try:
            data = json.loads(Path(file).read_text(encoding="utf-8"))
            if data["calibration"] != 1 or data["method"] not in _METHODS:
                raise ValueError(data["calibration"])  # noqa: TRY301  (one message for all of them)
            values = tuple(float(value) for value in data["values"])
            return cls(str(data["model"]), data["method"], values, dict(data.get("origin", {})))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, InvalidRequestError):
                raise
            raise InvalidRequestError(f"{file} is not a calibration; make one with `rerank calibrate`.") from error


class CalibratedScorer:
    """Gives another scorer's scores as calibrated probabilities; logits, and so the order, stay as they are.

    Args:
        scorer: whose scores.
        calibration: what was fitted for it.

    Raises:
        InvalidRequestError: when the calibration was fitted for another model.
    """

    def __init__(self, scorer: Scorer, calibration: Calibration) -> None:
        if calibration.model != scorer.model:
            raise InvalidRequestError(
                f"this calibration is for {calibration.model!r}, not for {scorer.model!r}; make one with "
                "`rerank calibrate`.",
                param="calibration",
            )
        self._scorer = scorer
        self._calibration = calibration

    @property
    def model(self) -> str:
        """The inner scorer's model."""
        return self._scorer.model

    @property
    def identity(self) -> str:
        """The inner scorer's identity and the curve."""
        return repr(("calibrated", self._scorer.identity, self._calibration.method, self._calibration.values))

    @property
    def pointwise(self) -> bool:
        """Whether the inner scorer is."""
        return self._scorer.pointwise

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        return self._calibrated(self._scorer.score(query, texts))

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text without blocking the event loop.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        return self._calibrated(await self._scorer.ascore(query, texts))

    def warm_up(self) -> None:
        """Warm up the inner scorer."""
        self._scorer.warm_up()

    def close(self) -> None:
        """Close the inner scorer."""
        self._scorer.close()

    async def aclose(self) -> None:
        """Close the inner scorer."""
        await self._scorer.aclose()

    def _calibrated(self, scores: Scores) -> Scores:
        if scores.degraded or not scores.judged:  # a stand-in's scores, to which the curve says nothing
            return scores
        return replace(scores, items=tuple(map(self._one, scores.items)))

    def _one(self, score: Score) -> Score:
        # Where only a probability is known, its logit keeps the order among texts that a flat piece makes equal.
        logit = logit_of(score.relevance_score) if score.logit is None else score.logit
        return replace(score, relevance_score=self._calibration(logit), logit=logit)
