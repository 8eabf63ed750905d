"""Calibration: from logits to probabilities that were fitted on labelled data."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing
from rerank_core.models.registry import same_model
from rerank_core.ranking import as_float, sigmoid
from rerank_core.scores import Score, Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores
from rerank_core.scoring.wrapper import WrappingScorer

_METHODS = ("logistic", "isotonic")
_LOGISTIC_VALUES = 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a model's logits map to probabilities of relevance; never changes an order.

    Attributes:
        model: the model whose logits it maps.
        method: ``logistic`` or ``isotonic``.
        values: slope and offset of the logistic curve, or logit and probability of each point of the isotonic one.
        origin: what it was fitted on, for people: data and its checksum, the scorer's identity, versions, date.
        fusion: the retriever's share that was fitted with it, 0..1, for ``fusion="calibrated"``; None where none was.

    Raises:
        InvalidRequestError: when the values do not describe an increasing curve, or the share is none.
    """

    model: str
    method: str
    values: tuple[float, ...]
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    fusion: float | None = None

    def __post_init__(self) -> None:
        if self.fusion is not None:
            object.__setattr__(self, "fusion", _share(self.fusion))
        values = tuple(_finite(value) for value in self.values)
        object.__setattr__(self, "values", values)
        if self.method == "logistic" and len(values) == _LOGISTIC_VALUES and values[0] > 0:
            return
        logits, probabilities = values[::2], values[1::2]
        rising = list(logits) == sorted(logits) and list(probabilities) == sorted(probabilities)
        inside = all(0 <= value <= 1 for value in probabilities)
        bounded = bool(logits) and math.isfinite(logits[-1] - logits[0])
        if self.method == "isotonic" and len(logits) == len(probabilities) and rising and inside and bounded:
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
        between = probabilities[right - 1] + share * (probabilities[right] - probabilities[right - 1])
        return min(between, probabilities[right])  # rounding may overshoot

    def to_json(self) -> str:
        """What :meth:`save` writes."""
        return json.dumps({"calibration": 1, **asdict(self)}, indent=1, allow_nan=False)

    def save(self, file: Path) -> None:
        """Write it as JSON, which :meth:`load` reads.

        Raises:
            InvalidRequestError: when the file cannot be written.
        """
        with accessing(file, "write"):
            file.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: str | Path) -> Calibration:
        """Read what :meth:`save` has written.

        Raises:
            InvalidRequestError: when the file cannot be read, or is not one.
        """
        with accessing(file, param="calibration"):
            content = Path(file).read_bytes()
        try:
            data = json.loads(content.decode())
            if data["calibration"] != 1 or data["method"] not in _METHODS:
                raise _not_one(file)
            origin, fusion = dict(data.get("origin", {})), data.get("fusion")
            return cls(str(data["model"]), data["method"], tuple(data["values"]), origin, fusion)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, InvalidRequestError):
                raise
            raise _not_one(file) from error


def _finite(value: object) -> float:
    """A value of a curve as a Python float; NaN in a curve would make scores NaN."""
    number = as_float(value)
    if number is not None and math.isfinite(number):
        return number
    raise InvalidRequestError(
        f"this is not a calibration: one of its values is {value if isinstance(value, float) else type(value).__name__}"
        ", expected finite numbers.",
        param="calibration",
    )


def _share(value: object) -> float:
    """The retriever's share as a Python float."""
    number = as_float(value)
    if number is not None and 0 <= number <= 1:
        return number
    raise InvalidRequestError(
        "this is not a calibration: its fusion must be the retriever's share from 0 to 1, or none.", param="calibration"
    )


def _not_one(file: str | Path) -> InvalidRequestError:
    return InvalidRequestError(f"{file} is not a calibration; make one with `rerank calibrate`.", param="calibration")


class CalibratedScorer(WrappingScorer):
    """Turns another scorer's scores into calibrated probabilities; logits, and so the order, stay the same.

    Args:
        scorer: the scorer.
        calibration: the curve that was fitted for its model.

    Raises:
        InvalidRequestError: when the calibration was fitted for another model.
    """

    def __init__(self, scorer: Scorer, calibration: Calibration) -> None:
        if not same_model(calibration.model, scorer.model):
            raise InvalidRequestError(
                f"this calibration is for {calibration.model!r}, not for {scorer.model!r}; make one with "
                "`rerank calibrate`.",
                param="calibration",
            )
        super().__init__(scorer)
        self._calibration = calibration

    @property
    def identity(self) -> str:
        """The inner scorer's identity and the curve."""
        return repr(("calibrated", self._main.identity, self._calibration.method, self._calibration.values))

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        return self._calibrated(checked_scores(self._main, query, texts))

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text without blocking the event loop.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        return self._calibrated(await achecked_scores(self._main, query, texts))

    def _calibrated(self, scores: Scores) -> Scores:
        if not scores.judged_itself:  # another model's scores, for which the curve was not fitted
            return scores
        return replace(scores, items=tuple(self._one(score) if score.judged else score for score in scores.items))

    def _one(self, score: Score) -> Score:
        # Where only a probability is known, its logit keeps the order where the curve is flat.
        return replace(score, relevance_score=self._calibration(score.log_odds), logit=score.log_odds)
