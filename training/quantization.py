"""Sample inputs for int8: training pairs, one per run of the graph, so that there is no padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from rerank_core.conversion.observing import Feeds

from .export import INPUTS
from .mining import CandidateList
from .selection import DEVELOPMENT_TOKENS
from .tokenizer import collate, pair_ids
from .train import TokenCache

QUERIES = 60
"""Of every source, each with its first positive and its hardest negative."""


def sample_inputs(lists: Sequence[CandidateList], tokenizer: Tokenizer, seed: int = 3) -> Iterator[Feeds]:
    """Graph inputs of a few hundred pairs of ``lists``, the same for the same lists."""
    generator = random.Random(seed)
    cache = TokenCache(tokenizer)
    for source in sorted({item.source for item in lists}):
        chosen = [item for item in lists if item.source == source]
        generator.shuffle(chosen)
        for item in chosen[:QUERIES]:
            for text in (*item.negatives[:1], *item.positives[:1]):
                block = collate([pair_ids(cache[item.query], cache[text], DEVELOPMENT_TOKENS)])
                yield {name: values.numpy() for name, values in zip(INPUTS, block, strict=True)}
