"""What pruning and int8 are fitted to: training pairs, one a run, so that no padding is among them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from rerank_core.inference.observing import Feeds

from .export import INPUTS
from .mining import CandidateList
from .selection import DEVELOPMENT_TOKENS
from .tokenizer import Block, collate, pair_ids
from .train import TokenCache

QUERIES = 60
"""Of every source, each with its first positive and its hardest negative."""


def sample_blocks(lists: Sequence[CandidateList], tokenizer: Tokenizer, seed: int = 3) -> Iterator[Block]:
    """A few hundred pairs of ``lists``, the same for the same lists."""
    generator = random.Random(seed)
    cache = TokenCache(tokenizer)
    for source in sorted({item.source for item in lists}):
        chosen = [item for item in lists if item.source == source]
        generator.shuffle(chosen)
        for item in chosen[:QUERIES]:
            for text in (*item.negatives[:1], *item.positives[:1]):
                yield collate([pair_ids(cache[item.query], cache[text], DEVELOPMENT_TOKENS)])


def sample_inputs(lists: Sequence[CandidateList], tokenizer: Tokenizer) -> Iterator[Feeds]:
    """The same as inputs of the exported graph."""
    for block in sample_blocks(lists, tokenizer):
        yield {name: values.numpy() for name, values in zip(INPUTS, block, strict=True)}
