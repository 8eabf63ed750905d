"""Scores that mean the same across models: fitting a calibration on labelled data.

What is fitted is kept and applied by :mod:`rerank_core.scoring.calibrated`, which needs none of the libraries here.
"""

from __future__ import annotations

from rerank_core.errors import InvalidRequestError, missing_dependency
from rerank_core.evaluation.thresholds import Labelled
from rerank_core.scoring.calibrated import Calibration

METHODS = ("logistic", "isotonic")

_LEAST_OF_EACH = 10


def fit_calibration(pairs: Labelled, *, model: str, method: str = "logistic") -> Calibration:
    """The probabilities of relevance that a model's scores stand for, on data like this.

    ``logistic`` fits two numbers (Platt, 1999) and needs little data; ``isotonic`` fits any rising curve (Zadrozny and
    Elkan, KDD 2002) and wants a thousand pairs or more.

    Args:
        pairs: (logit, whether relevant) of candidates as the reranker will meet them.
        model: whose scores these are.
        method: which of the two.

    Raises:
        InvalidRequestError: when there is no such method, or fewer than ten pairs are relevant, or not relevant.
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    if method not in METHODS:
        raise InvalidRequestError(f"method must be one of {', '.join(METHODS)}; got {method!r}.", param="method")
    relevant = sum(label for _, label in pairs)
    if min(relevant, len(pairs) - relevant) < _LEAST_OF_EACH:
        raise InvalidRequestError(
            f"a calibration needs at least {_LEAST_OF_EACH} relevant and as many other documents; "
            f"there are {relevant} and {len(pairs) - relevant}."
        )
    try:
        import numpy as np
        from sklearn.isotonic import IsotonicRegression
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise missing_dependency("scikit-learn", extra="eval", what="calibration") from error
    logits = np.array([logit for logit, _ in pairs])
    labels = np.array([label for _, label in pairs], int)
    if method == "logistic":
        fitted = LogisticRegression(C=1e6).fit(logits[:, None], labels)
        slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if slope <= 0:
            raise InvalidRequestError("higher scores are not more relevant in this data: nothing can be calibrated.")
        return Calibration(model, "logistic", (slope, offset))
    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(logits, labels)
    points = zip(curve.X_thresholds_, curve.y_thresholds_, strict=True)
    return Calibration(model, "isotonic", tuple(float(value) for point in points for value in point))
