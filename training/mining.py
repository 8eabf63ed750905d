"""Lists to train and to calibrate on: each query with its positives and its hardest negatives."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from rerank_core.bm25 import Bm25

from .data import Example, Split, passages
from .model import RerankMini, pool
from .tokenizer import collate

EMBED_TOKENS = 160


@dataclass(frozen=True)
class CandidateList:
    """One query of one set; negatives are ordered hardest first."""

    source: str
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class GradedList:
    """One query of one source with its candidates and their grades."""

    source: str
    query: str
    texts: tuple[str, ...]
    grades: tuple[int, ...]


Kind = TypeVar("Kind", CandidateList, GradedList)


def write_lists(path: Path, lists: Sequence[CandidateList | GradedList]) -> None:
    """One JSON object a line."""
    part = path.with_suffix(".part")  # a file that is there is whole
    part.write_text("".join(json.dumps(asdict(item)) + "\n" for item in lists), encoding="utf-8")
    part.replace(path)


def read_lists(path: Path, kind: type[Kind]) -> list[Kind]:
    """What ``write_lists`` wrote of one kind; JSON's arrays are tuples again."""

    def record(line: str) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(line).items()}

    return [kind(**record(line)) for line in path.read_text(encoding="utf-8").splitlines()]


@torch.no_grad()
def embed(model: RerankMini, tokenizer: Tokenizer, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Bi-encoder embeddings: mean pooling over each text alone, normalised."""
    ids = [encoding.ids[:EMBED_TOKENS] for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    vectors = np.zeros((len(ids), model.shape.hidden), dtype=np.float32)
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        block = collate([(ids[row], len(ids[row])) for row in rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = model.encode(block).states.float()
        vectors[rows] = pool(states, block.attention_mask).numpy()
    return vectors


def mine(
    source: str,
    examples: Sequence[Example],
    corpus: Sequence[str],
    model: RerankMini,
    tokenizer: Tokenizer,
    *,
    bm25_depth: int,
    embedding_depth: int,
    skip: int = 0,
) -> list[CandidateList]:
    """Labelled negatives first, then the best non-relevant passages of BM25 and of the bi-encoder, alternating.

    ``skip`` leaves out that many of the best unlabelled passages of each: at the very top unlabelled often
    means relevant but not annotated.
    """
    queries = [example.query for example in examples]
    index = Bm25(corpus)
    lexical = [index.top(query, bm25_depth + 8) for query in queries]
    similarity = embed(model, tokenizer, queries) @ embed(model, tokenizer, corpus).T
    depth = min(embedding_depth + 8, len(corpus) - 1)
    semantic = np.argpartition(-similarity, depth, axis=1)[:, :depth]
    lists = []
    for row, example in enumerate(examples):
        ranked = semantic[row][np.argsort(-similarity[row, semantic[row]])]
        relevant = set(example.positives)
        by_words = [corpus[i] for i in lexical[row] if corpus[i] not in relevant][skip : skip + bm25_depth]
        by_meaning = [corpus[i] for i in ranked if corpus[i] not in relevant][skip : skip + embedding_depth]
        negatives = dict.fromkeys(text for text in example.negatives if text not in relevant)
        for rank in range(max(len(by_words), len(by_meaning))):
            negatives.update(dict.fromkeys(by_words[rank : rank + 1] + by_meaning[rank : rank + 1]))
        lists.append(CandidateList(source, example.query, example.positives, tuple(negatives)))
    return lists


Item = TypeVar("Item")


def sample(items: Sequence[Item], limit: int, seed: int) -> list[Item]:
    """At most ``limit`` items by a fixed seed."""
    chosen = list(items)
    random.Random(seed).shuffle(chosen)
    return chosen[:limit]


@dataclass(frozen=True)
class SetPlan:
    """How much of one set is used, and with which neighbours its negatives are mined."""

    training_queries: int
    held_out_queries: int
    held_out: float
    labelled_only: bool = False
    neighbours: tuple[str, ...] = ()


PLAN = {
    "nq_gold": SetPlan(3000, 150, 0.15, neighbours=("squad_dev36",)),
    "squad_dev36": SetPlan(5000, 100, 0.12),
    "squad_train_sent": SetPlan(4000, 60, 0.05),
    "selqa": SetPlan(2500, 150, 0.15),
    "medquad": SetPlan(3000, 100, 0.05, labelled_only=True),
    # The whole set is held out: technical abstracts stand in for collections unlike the training text.
    "pubmedqa": SetPlan(0, 150, 1.1),
}


def build_lists(
    examples: Mapping[str, Split], model: RerankMini, tokenizer: Tokenizer
) -> tuple[list[CandidateList], list[CandidateList]]:
    """(training lists, lists to calibrate on) for all sets of ``PLAN``."""
    training: list[CandidateList] = []
    held_out: list[CandidateList] = []
    for name, plan in PLAN.items():
        for side, limit, lists in (
            (0, plan.training_queries, training),
            (1, plan.held_out_queries, held_out),
        ):
            chosen = sample(examples[name][side], limit, seed=13)
            if not chosen:
                continue
            if plan.labelled_only:
                rows = [example for example in chosen if len(example.negatives) > 1]
                lists.extend(CandidateList(name, row.query, row.positives, row.negatives) for row in rows)
                continue
            corpus = passages(examples[name][side])
            for neighbour in plan.neighbours:
                corpus = list(dict.fromkeys(corpus + passages(examples[neighbour][side])))
            lists.extend(mine(name, chosen, corpus, model, tokenizer, bm25_depth=16, embedding_depth=12, skip=1 - side))
    return training, held_out
