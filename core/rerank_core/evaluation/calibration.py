"""Scores that mean the same across models: fitting a calibration on labelled data.

What is fitted is kept and applied by :mod:`rerank_core.scoring.calibrated`, which needs none of the libraries here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.fusion_fit import FusionFit
from rerank_core.evaluation.thresholds import Labelled
from rerank_core.optional import optional
from rerank_core.scoring.calibrated import Calibration

METHODS = ("logistic", "isotonic")

_LEAST_OF_EACH = 10


def check_labels(labels: Sequence[bool]) -> None:
    """Nothing, where there is enough to fit to.

    Raises:
        InvalidRequestError: when fewer than ten are relevant, or not relevant.
    """
    relevant = sum(labels)
    if min(relevant, len(labels) - relevant) < _LEAST_OF_EACH:
        raise InvalidRequestError(
            f"a calibration needs at least {_LEAST_OF_EACH} relevant and as many other documents; "
            f"there are {relevant} and {len(labels) - relevant}."
        )


def fit_calibration(
    pairs: Labelled,
    *,
    model: str,
    method: str = "logistic",
    origin: Mapping[str, Any] | None = None,
    fusion: FusionFit | None = None,
) -> Calibration:
    """The probabilities of relevance that a model's scores stand for, on data like this.

    ``logistic`` fits two numbers (Platt, 1999, with his targets, which keep the curve of few pairs from becoming a
    step) and needs little data; ``isotonic`` fits any rising curve (Zadrozny and Elkan, KDD 2002) and wants a thousand
    pairs or more.

    Args:
        pairs: (logit, whether relevant) of candidates as the reranker will meet them.
        model: whose scores these are.
        method: which of the two.
        origin: what the pairs come from, to be saved with the curve.
        fusion: what :func:`fit_fusion` found, to be saved with the curve, for ``Reranker(fusion="calibrated")``.

    Raises:
        InvalidRequestError: when there is no such method, or fewer than ten pairs are relevant, or not relevant.
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    if method not in METHODS:
        raise InvalidRequestError(f"method must be one of {', '.join(METHODS)}; got {method!r}.", param="method")
    check_labels([label for _, label in pairs])
    if not all(math.isfinite(logit) for logit, _ in pairs):
        raise InvalidRequestError("a calibration needs finite logits; one of these is NaN or infinity.")
    with optional("calibration", extra="eval"):
        import numpy as np
        from sklearn.isotonic import IsotonicRegression
        from sklearn.linear_model import LogisticRegression
    logits = np.array([logit for logit, _ in pairs])
    labels = np.array([label for _, label in pairs], int)
    share, origin = None if fusion is None else fusion.share, dict(origin or {})
    if fusion is not None:
        origin["fusion"] = fusion.to_dict()
    if method == "logistic":
        # A label between 0 and 1 is two of them with weights.
        targets = np.where(labels == 1, (labels.sum() + 1) / (labels.sum() + 2), 1 / ((1 - labels).sum() + 2))
        both, weights = np.repeat([1, 0], len(labels)), np.concatenate([targets, 1 - targets])
        fitted = LogisticRegression(C=1e6).fit(np.tile(logits, 2)[:, None], both, sample_weight=weights)
        slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if slope <= 0:
            raise InvalidRequestError("higher scores are not more relevant in this data: nothing can be calibrated.")
        return Calibration(model, "logistic", (slope, offset), origin, share)
    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(logits, labels)
    points = zip(curve.X_thresholds_, curve.y_thresholds_, strict=True)
    return Calibration(model, "isotonic", tuple(float(value) for point in points for value in point), origin, share)
