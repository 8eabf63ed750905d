"""Choices made on development lists: the WiSE-FT coefficient and the weight of exact matches."""

from __future__ import annotations

import logging
from collections import Counter
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
COEFFICIENTS = (0.4, 0.7, 1.0)
SHARE = 0.4
"""The share that is taken. It is set, not chosen: the development lists come from the training sets' own domains, so
their loss falls with every share (their nDCG does not), while texts of another kind bear less training."""
LEFT_OUT = ("medquad",)
"""Reported, but not in the means that decide: labelled negatives from the positive's own page share its words, so
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


def fit_mix(
    features: FloatArray, head: FloatArray, start: FloatArray, data: DevelopmentPairs
) -> tuple[FloatArray, float]:
    """Non-negative feature weights with the least mean listwise cross-entropy, and that mean.

    Every source weighs the same. Cross-entropy rather than nDCG: most lists have their positive on top under
    any sensible weights, so nDCG hangs on a handful of lists and its best grid point is mostly chance.
    """
    columns, terms = torch.from_numpy(features), torch.from_numpy(head)
    counts = Counter(source for source in data.sources if source not in LEFT_OUT)
    # Weights are squares, which keeps them from going negative, in units of each feature's spread.
    spread = columns.std(0)
    roots = (torch.from_numpy(start) * spread).sqrt().requires_grad_()
    lists = []
    for number, source in enumerate(data.sources):
        if source not in LEFT_OUT:
            rows = np.flatnonzero(data.list_of_pair == number)
            target = torch.from_numpy(data.labels[rows]).float()
            lists.append((torch.from_numpy(rows), target / target.sum(), 1 / counts[source] / len(counts)))

    def loss() -> Tensor:
        scores = (columns / spread) @ roots.square() + terms
        parts = [-share * (torch.log_softmax(scores[rows], 0) * target).sum() for rows, target, share in lists]
        return torch.stack(parts).sum()

    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value.item()

    optimizer = torch.optim.LBFGS([roots], max_iter=80, line_search_fn="strong_wolfe")
    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return (roots.square() / spread).numpy(), loss().item()


@dataclass(frozen=True)
class Choice:
    """One row of the development table."""

    share: float
    mix: list[float]
    loss: float
    ndcg: dict[str, float]


def set_mix(model: RerankMini, mix: Sequence[float]) -> None:
    """Overwrite the feature weights, in the order of ``RerankMini.FEATURES``."""
    with torch.no_grad():
        model.mix.copy_(torch.tensor(mix))


def choose(
    model: RerankMini, untrained: Mapping[str, Tensor], trained: Mapping[str, Tensor], data: DevelopmentPairs
) -> list[Choice]:
    """Fit the feature weights of every interpolation share, and measure them.

    The share with the highest mean nDCG@10 is the one to take. The loss would not do for that: on lists drawn
    like the training lists it falls the further the model moves, also where the order gets no better.
    """
    table: list[Choice] = []
    for share in COEFFICIENTS:
        model.load_state_dict(interpolate(untrained, trained, share))
        features, head = compute_features(model, data.pairs)
        mix, loss = fit_mix(features, head, model.mix.detach().numpy(), data)
        table.append(Choice(share, [float(weight) for weight in mix], loss, mean_ndcg(data, features @ mix + head)))
        logger.info("share %.2f  loss %.4f  %s  %s", share, loss, table[-1].mix, table[-1].ndcg)
    return table
