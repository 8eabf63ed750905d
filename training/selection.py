"""Choices made on development lists: the WiSE-FT coefficient and the weight of exact matches."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .mining import CandidateList
from .model import RerankMini
from .tokenizer import collate, pair_ids
from .train import Pair, TokenCache, pair_blocks

logger = logging.getLogger(__name__)

DEVELOPMENT_TOKENS = 320
CANDIDATES = 12
COEFFICIENTS = (0.0, 0.4, 0.7, 1.0)
TOLERANCE = 0.002
"""Mean nDCG@10 within which shares count as equal; the smallest of them, nearest to the base, is then taken."""
MIX_GRID = {"cosine": (4.0, 8.0), "bm25": (2.0, 4.0, 6.0), "phrase": (1.0, 2.0, 3.0)}
"""Weights tried; MaxSim's stays at 16, which only sets the scale."""
LEFT_OUT = ("medquad",)
"""Reported, but not in the mean that decides: labelled negatives from the positive's own page share its words, so
they would speak against exact matches whatever the collection. ``medquad_long`` takes the set's place."""

FloatArray = npt.NDArray[np.float32]


def interpolate(untrained: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """WiSE-FT (Wortsman et al. 2022): (1 - share) * untrained + share * trained, weight by weight."""
    return {
        name: torch.lerp(value, trained[name], share) if value.is_floating_point() else value
        for name, value in untrained.items()
    }


@dataclass(frozen=True)
class DevelopmentPairs:
    """Tokenized development lists: pairs, the list each belongs to, and its label."""

    sources: tuple[str, ...]
    pairs: tuple[Pair, ...]
    list_of_pair: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def tokenize_lists(lists: Sequence[CandidateList], tokenizer: Tokenizer) -> DevelopmentPairs:
    """Positives and the ``CANDIDATES`` hardest negatives of every list."""
    cache = TokenCache(tokenizer)
    pairs: list[Pair] = []
    list_of_pair: list[int] = []
    labels: list[int] = []
    for number, item in enumerate(lists):
        # Negatives first: a system that scores everything alike must not look good by the sort's stability.
        for label, texts in ((0, item.negatives[:CANDIDATES]), (1, item.positives[:3])):
            for text in texts:
                pairs.append(pair_ids(cache[item.query], cache[text], DEVELOPMENT_TOKENS))
                list_of_pair.append(number)
                labels.append(label)
    sources = tuple(item.source for item in lists)
    return DevelopmentPairs(sources, tuple(pairs), np.array(list_of_pair), np.array(labels))


@torch.no_grad()
def compute_features(model: RerankMini, pairs: Sequence[Pair]) -> tuple[FloatArray, FloatArray]:
    """(features [pairs, 5], head terms [pairs]) in float32 scores over a bfloat16 encoder."""
    features = np.zeros((len(pairs), len(RerankMini.FEATURES)), dtype=np.float32)
    head = np.zeros(len(pairs), dtype=np.float32)
    for rows in pair_blocks(pairs):
        input_ids, mask, types = collate([pairs[row] for row in rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = model.encode(input_ids, mask, types)
        parts, term = model.score_parts(states.float(), input_ids, mask, types)
        features[rows], head[rows] = parts.numpy(), term.numpy()
    return features, head


def mean_ndcg(data: DevelopmentPairs, scores: FloatArray) -> dict[str, float]:
    """nDCG@10 by source, and under ``"mean"`` the plain mean of all but ``LEFT_OUT``."""
    by_source: dict[str, list[float]] = {}
    discount = 1 / np.log2(np.arange(2, 12))
    for number, source in enumerate(data.sources):
        rows = np.flatnonzero(data.list_of_pair == number)
        labels = data.labels[rows]
        gains = labels[np.argsort(-scores[rows], kind="stable")][:10]
        ideal = discount[: min(10, int(labels.sum()))].sum()
        by_source.setdefault(source, []).append(float((gains * discount[: len(gains)]).sum() / ideal))
    result = {source: float(np.mean(values)) for source, values in by_source.items()}
    return {**result, "mean": float(np.mean([value for name, value in result.items() if name not in LEFT_OUT]))}


@dataclass(frozen=True)
class Choice:
    """One row of the development table."""

    share: float
    mix: dict[str, float]
    ndcg: dict[str, float]


def set_mix(model: RerankMini, mix: Mapping[str, float]) -> None:
    """Overwrite the weights of the named features."""
    with torch.no_grad():
        for name, weight in mix.items():
            model.mix[RerankMini.FEATURES.index(name)] = weight


def choose(
    model: RerankMini, untrained: Mapping[str, Tensor], trained: Mapping[str, Tensor], data: DevelopmentPairs
) -> list[Choice]:
    """Mean development nDCG@10 of every interpolation share with every combination of feature weights.

    The score is linear in the features, so each interpolated model runs once for the whole grid.
    """
    table: list[Choice] = []
    for share in COEFFICIENTS:
        model.load_state_dict(interpolate(untrained, trained, share))
        features, head = compute_features(model, data.pairs)
        rows = []
        for weights in itertools.product(*MIX_GRID.values()):
            mix = dict(zip(MIX_GRID, weights, strict=True))
            set_mix(model, mix)
            rows.append(Choice(share, mix, mean_ndcg(data, features @ model.mix.detach().numpy() + head)))
        best = max(rows, key=lambda row: row.ndcg["mean"])
        logger.info("share %.2f  %s  %s", share, best.mix, best.ndcg)
        table.extend(rows)
    return table


def select(table: Sequence[Choice]) -> Choice:
    """The best weights of the smallest share within ``TOLERANCE`` of the best mean.

    In the manner of the one-standard-error rule (Breiman et al. 1984): development lists are few and resemble
    the training sets, so between equals the model that moved least from its base is the safer one elsewhere.
    """
    best = max(row.ndcg["mean"] for row in table)
    share = min(row.share for row in table if row.ndcg["mean"] >= best - TOLERANCE)
    return max((row for row in table if row.share == share), key=lambda row: row.ndcg["mean"])
