"""Choices made on development lists: the WiSE-FT share and the weights of the features."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from rerank_core.evaluation.measures import MAIN, measure

from .mining import GradedList
from .model import RerankMini
from .tokenizer import collate, pair_ids
from .train import Pair, TokenCache, pair_blocks

logger = logging.getLogger(__name__)

DEVELOPMENT_TOKENS = 256
LISTS_PER_SOURCE = 40

FloatArray = npt.NDArray[np.float32]


def interpolate(untrained: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """WiSE-FT (Wortsman et al. 2022): (1 - share) * untrained + share * trained, weight by weight."""
    return {
        name: torch.lerp(value, trained[name], share) if value.is_floating_point() else value
        for name, value in untrained.items()
    }


@dataclass(frozen=True)
class DevelopmentPairs:
    """Tokenized development lists: the source of each list; the pairs, the list each belongs to, and its grade."""

    sources: tuple[str, ...]
    pairs: tuple[Pair, ...]
    list_of_pair: npt.NDArray[np.int64]
    grades: npt.NDArray[np.int64]


def tokenize_lists(lists: Sequence[GradedList], tokenizer: Tokenizer) -> DevelopmentPairs:
    """The first ``LISTS_PER_SOURCE`` lists of every source."""
    cache = TokenCache(tokenizer)
    taken: Counter[str] = Counter()
    sources: list[str] = []
    pairs: list[Pair] = []
    list_of_pair: list[int] = []
    grades: list[int] = []
    for item in lists:
        taken[item.source] += 1
        if taken[item.source] <= LISTS_PER_SOURCE:
            pairs.extend(pair_ids(cache[item.query], cache[text], DEVELOPMENT_TOKENS) for text in item.texts)
            list_of_pair.extend([len(sources)] * len(item.texts))
            grades.extend(item.grades)
            sources.append(item.source)
    return DevelopmentPairs(tuple(sources), tuple(pairs), np.array(list_of_pair), np.array(grades))


@torch.no_grad()
def compute_features(model: RerankMini, pairs: Sequence[Pair]) -> tuple[FloatArray, FloatArray]:
    """(features [pairs, 5], head terms [pairs]) in float32 scores over a bfloat16 encoder."""
    features = np.zeros((len(pairs), len(RerankMini.FEATURES)), dtype=np.float32)
    head = np.zeros(len(pairs), dtype=np.float32)
    for rows in pair_blocks(pairs):
        block = collate([pairs[row] for row in rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            encoded = model.encode(block)
        parts, term = model.score_parts(encoded.in_float32(), block)
        features[rows], head[rows] = parts.numpy(), term.numpy()
    return features, head


def list_ndcg(data: DevelopmentPairs, scores: FloatArray) -> list[float]:
    """nDCG@10 (linear gain) of every list."""
    judgments: dict[str, dict[str, int]] = {}
    ranking: dict[str, list[str]] = {}
    for number in range(len(data.sources)):
        rows = np.flatnonzero(data.list_of_pair == number)
        judgments[str(number)] = {str(row): int(data.grades[row]) for row in rows}
        ranking[str(number)] = [str(row) for row in rows[np.argsort(-scores[rows], kind="stable")]]
    values = measure(judgments, ranking)[MAIN]
    return [values[str(number)] for number in range(len(data.sources))]


def mean_ndcg(data: DevelopmentPairs, scores: FloatArray) -> dict[str, float]:
    """nDCG@10 by source, and under ``"mean"`` the plain mean of them."""
    by_source: dict[str, list[float]] = {}
    for source, value in zip(data.sources, list_ndcg(data, scores), strict=True):
        by_source.setdefault(source, []).append(value)
    result = {source: float(np.mean(values)) for source, values in by_source.items()}
    return {**result, "mean": float(np.mean(list(result.values())))}


def fit_mix(
    features: FloatArray, head: FloatArray, start: FloatArray, data: DevelopmentPairs
) -> tuple[FloatArray, float]:
    """Non-negative feature weights with the least mean listwise cross-entropy, and that mean.

    The target is each grade's square, so that an answer weighs nine times a text that is only on the topic.
    Every source weighs the same. Cross-entropy rather than nDCG: that hangs on a handful of lists, and its best
    grid point is mostly chance.
    """
    columns, terms = torch.from_numpy(features), torch.from_numpy(head)
    counts = Counter(data.sources)
    # Weights are squares, which keeps them from going negative, in units of each feature's spread.
    spread = columns.std(0)
    roots = (torch.from_numpy(start).clamp(min=0.1) * spread).sqrt().requires_grad_()
    lists = []
    for number, source in enumerate(data.sources):
        rows = np.flatnonzero(data.list_of_pair == number)
        target = torch.from_numpy(data.grades[rows]).float().square()
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
    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with torch.no_grad():
        return (roots.square() / spread).numpy(), loss().item()


@dataclass(frozen=True)
class Choice:
    """One row of the development table."""

    share: float
    mix: list[float]
    loss: float
    ndcg: dict[str, float]


def write_choices(path: Path, choices: Sequence[Choice]) -> None:
    """One JSON file for a model."""
    path.write_text(json.dumps({"choices": [asdict(row) for row in choices]}, indent=1), encoding="utf-8")


def read_choices(path: Path) -> list[Choice]:
    """What ``write_choices`` wrote."""
    return [Choice(**row) for row in json.loads(path.read_text(encoding="utf-8"))["choices"]]


def best_of(choices: Sequence[Choice]) -> Choice:
    """The choice with the highest mean nDCG@10."""
    return max(choices, key=lambda row: row.ndcg["mean"])


def set_mix(model: RerankMini, mix: Sequence[float]) -> None:
    """Overwrite the feature weights, in the order of ``RerankMini.FEATURES``."""
    with torch.no_grad():
        model.mix.copy_(torch.tensor(mix))


def choose(
    model: RerankMini,
    untrained: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    shares: Sequence[float],
    data: DevelopmentPairs,
) -> list[Choice]:
    """Fit the feature weights of every interpolation share, and measure them."""
    table: list[Choice] = []
    for share in shares:
        model.load_state_dict(interpolate(untrained, trained, share))
        features, head = compute_features(model, data.pairs)
        mix, loss = fit_mix(features, head, model.mix.detach().numpy(), data)
        table.append(Choice(share, [float(weight) for weight in mix], loss, mean_ndcg(data, features @ mix + head)))
        logger.info("share %.2f  loss %.4f  %s  %s", share, loss, table[-1].mix, table[-1].ndcg)
    return table
