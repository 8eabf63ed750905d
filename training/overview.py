"""What a model that leaves out tokens starts from: its teacher's weights, and an overview fitted to the rest."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from .mining import CandidateList
from .model import RerankMini, sides
from .tokenizer import collate, pair_ids
from .train import Pair, TokenCache, pair_blocks

LISTS = 300
TOKENS = 256
RIDGE = 1e-4


def start_from(model: RerankMini, teacher: RerankMini, lists: Sequence[CandidateList], tokenizer: Tokenizer) -> None:
    """Give ``model`` the weights of ``teacher``, which reads all tokens, and fit the overview on a sample of lists."""
    model.load_state_dict(teacher.state_dict(), strict=False)
    cache, generator = TokenCache(tokenizer), random.Random(0)
    sample = generator.sample(lists, min(LISTS, len(lists)))
    pairs = [
        pair_ids(cache[item.query], cache[text], TOKENS)
        for item in sample
        for text in (item.positives[0], *item.negatives[:1])
    ]
    fit_overview(model, teacher, pairs)


@torch.no_grad()
def fit_overview(model: RerankMini, teacher: RerankMini, pairs: Sequence[Pair]) -> None:
    """Ridge regression from the states where tokens are left out to the last layer's states of the same tokens."""
    if model.overview is None:
        raise TypeError("a model that reads all tokens has no overview")
    size = model.shape.hidden
    moment, product = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for rows in pair_blocks(pairs):
        block = collate([pairs[row] for row in rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            early, late = model.first_states(block), teacher.encode(block).states
            encoded = model.encode(block)
        if encoded.columns is None:
            continue
        _, document = sides(early.float(), block)
        kept = torch.zeros_like(document).scatter_add(1, encoded.columns, encoded.tokens.attention_mask.float())
        left_out = document * (1.0 - kept) > 0
        inputs, outputs = early[left_out].double(), late[left_out].double()
        moment += inputs.T @ inputs
        product += inputs.T @ outputs
    ridge = RIDGE * moment.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    model.overview.weight.copy_(torch.linalg.solve(moment + ridge, product).T.float())
