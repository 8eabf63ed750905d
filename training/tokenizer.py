"""The pair tokenizer and padded blocks of token ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from .lexical import CLS_ID, SEP_ID
from .model import Block


def pair_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """``tokenizer`` with the template ``[CLS] query [SEP] [CLS] document [SEP]``.

    Padding and truncation stay unset: both belong to whoever runs the model.
    """
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] [CLS]:1 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS_ID), ("[SEP]", SEP_ID)],
    )
    return tokenizer


def pair_ids(query: Sequence[int], document: Sequence[int], max_tokens: int) -> tuple[list[int], int]:
    """Ids of one pair cut to ``max_tokens`` (the query to at most half), and the length of the query side."""
    query = query[: max_tokens // 2 - 2]
    document = document[: max_tokens - len(query) - 4]
    return [CLS_ID, *query, SEP_ID, CLS_ID, *document, SEP_ID], len(query) + 2


def collate(pairs: Sequence[tuple[list[int], int]]) -> Block:
    """Pad pairs on the right."""
    width = max(len(ids) for ids, _ in pairs)
    input_ids = torch.zeros(len(pairs), width, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    token_type_ids = torch.zeros_like(input_ids)
    for row, (ids, query_length) in enumerate(pairs):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
        token_type_ids[row, query_length : len(ids)] = 1
    return Block(input_ids, attention_mask, token_type_ids)
