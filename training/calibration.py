"""Platt scaling: the affine map from raw score to a logit whose sigmoid reads as a probability."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from .mining import CandidateList
from .model import RerankMini
from .selection import DEVELOPMENT_TOKENS, compute_features
from .tokenizer import pair_ids
from .train import Pair, TokenCache

HARD_NEGATIVES = 3
RANDOM_NEGATIVES = 3


def calibration_pairs(
    lists: Sequence[CandidateList], tokenizer: Tokenizer, seed: int = 13
) -> tuple[list[Pair], npt.NDArray[np.float64]]:
    """(pairs, labels): each held-out query with a positive, mined negatives and other queries' positives."""
    generator = random.Random(seed)
    cache = TokenCache(tokenizer)
    pairs: list[Pair] = []
    labels: list[float] = []
    for item in lists:
        others = [other for other in generator.sample(lists, 2 * RANDOM_NEGATIVES) if other.query != item.query]
        negatives = [
            *generator.sample(item.negatives, min(HARD_NEGATIVES, len(item.negatives))),
            *(other.positives[0] for other in others[:RANDOM_NEGATIVES]),
        ]
        for label, text in ((1.0, item.positives[0]), *((0.0, negative) for negative in negatives)):
            pairs.append(pair_ids(cache[item.query], cache[text], DEVELOPMENT_TOKENS))
            labels.append(label)
    return pairs, np.array(labels)


def fit_logistic(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.float64], iterations: int = 50
) -> tuple[float, float]:
    """(scale, offset) of sigmoid(scale * score + offset), by Newton's method; both classes weigh the same."""
    weights = np.where(labels == 1, 0.5 / (labels == 1).sum(), 0.5 / (labels == 0).sum())
    centre, spread = scores.mean(), scores.std()
    design = np.stack([(scores - centre) / spread, np.ones_like(scores)], axis=1)
    coefficients = np.zeros(2)
    for _ in range(iterations):
        probability = 1 / (1 + np.exp(-design @ coefficients))
        gradient = design.T @ (weights * (labels - probability))
        curvature = (design * (weights * probability * (1 - probability))[:, None]).T @ design
        coefficients += np.linalg.solve(curvature + 1e-6 * np.eye(2), gradient)
    scale = coefficients[0] / spread
    return float(scale), float(coefficients[1] - scale * centre)


def calibrate(model: RerankMini, lists: Sequence[CandidateList], tokenizer: Tokenizer) -> dict[str, float]:
    """Set the model's ``scale`` and ``offset``; returns what the calibrated probabilities look like."""
    pairs, labels = calibration_pairs(lists, tokenizer)
    features, head = compute_features(model, pairs)
    raw = (features @ model.mix.detach().numpy() + head).astype(np.float64)
    scale, offset = fit_logistic(raw, labels)
    with torch.no_grad():
        model.scale.fill_(scale)
        model.offset.fill_(offset)
    probability = 1 / (1 + np.exp(-(scale * raw + offset)))
    return {
        "scale": scale,
        "offset": offset,
        "relevant_median": float(np.median(probability[labels == 1])),
        "relevant_right": float((probability[labels == 1] > 0.5).mean()),  # noqa: PLR2004  (even odds)
        "negative_median": float(np.median(probability[labels == 0])),
        "negative_right": float((probability[labels == 0] < 0.5).mean()),  # noqa: PLR2004  (even odds)
    }
