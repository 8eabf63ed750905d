"""What a bi-encoder makes of all texts: token vectors and means, and MaxSim out of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.model import MASKED, RerankMini, pool

from .texts import Texts, by_length, half_precision, in_blocks

MAX_TOKENS = 384
"""Of a text."""
COMPARED_TOKENS = 256
"""Of a candidate, for MaxSim."""
LISTS_AT_ONCE = 24


@dataclass(frozen=True)
class Encodings:
    """The vectors of many texts.

    Attributes:
        tokens: of all texts, one after another, normalised, in half precision, and one row of zeros; [tokens, width].
        start: where each text begins in ``tokens``; [texts].
        length: how many tokens of it were read; [texts].
        means: the normalised mean over a text and its special tokens; [texts, width].
    """

    tokens: Tensor
    start: Tensor
    length: Tensor
    means: Tensor


@torch.no_grad()
def encode(
    model: RerankMini, texts: Texts, tokens_per_block: int, limit: int = MAX_TOKENS, *, half: bool = False
) -> Encodings:
    """Read every text by itself, cut to ``limit`` tokens."""
    device, width = texts.device, model.shape.hidden
    length = texts.length.clamp(max=limit)
    start = torch.cumsum(length, 0) - length
    tokens = torch.zeros(int(length.sum()) + 1, width, dtype=torch.float16, device=device)
    means = torch.zeros(len(length), width, device=device)
    for rows in by_length(length + 2, tokens_per_block):
        block = texts.alone(rows, limit)
        with half_precision(device, half=half):
            *_, states = model.read_alone(block)
        means[rows] = pool(states.float(), block.attention_mask)
        place = torch.arange(states.shape[1], device=device)[None]
        inside = (place >= 1) & (place <= length[rows][:, None])
        target = (start[rows][:, None] + place - 1)[inside]
        tokens[target] = functional.normalize(states.float(), dim=-1)[inside].half()
    return Encodings(tokens, start, length, means)


def cosines(encodings: Encodings, queries: Tensor, candidates: Tensor) -> Tensor:
    """Of every query [lists] with its candidates [lists, candidates]."""
    return torch.einsum("lw,lcw->lc", encodings.means[queries], encodings.means[candidates])


@torch.no_grad()
def maxsim(encodings: Encodings, texts: Texts, idf: Tensor, queries: Tensor, candidates: Tensor) -> Tensor:
    """ColBERT's MaxSim, the query's tokens weighted as an untrained model weighs them.

    Args:
        encodings: of all texts.
        texts: the same texts' tokens.
        idf: by token id.
        queries: rows of texts; [lists].
        candidates: rows of texts; [lists, candidates].

    Returns:
        [lists, candidates]; 0 where one of both has no tokens.
    """
    found = torch.zeros(candidates.shape, device=encodings.tokens.device)
    # Lists of similar width together: the largest block decides the memory.
    order = torch.argsort(encodings.length[candidates].amax(1))
    for part in in_blocks(len(order), LISTS_AT_ONCE):
        rows = order[part]
        query, present = _gather(encodings, queries[rows], encodings.length[queries[rows]])
        place = texts.start[queries[rows]][:, None] + torch.arange(query.shape[1], device=query.device)
        rarity = idf[texts.ids[torch.where(present, place, 0)]]
        weights = torch.softmax(0.5 * torch.log(rarity + 0.1) + ~present * MASKED, dim=1) * present

        compared = encodings.length[candidates[rows]].clamp(max=COMPARED_TOKENS)
        own, inside = _gather(encodings, candidates[rows], compared)
        similarity = torch.matmul(own.flatten(1, 2), query.transpose(1, 2)).view(*inside.shape, -1)
        best = similarity.masked_fill(~inside[..., None], -1.0).amax(2).float()
        best = best * inside.any(2)[..., None]
        found[rows] = (best * weights[:, None]).sum(2)
    return found


def _gather(encodings: Encodings, rows: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The first ``length`` token vectors [*rows, tokens, width] of texts, and flags of those that are there."""
    place = torch.arange(max(int(length.max()), 1), device=rows.device)
    present = place < length[..., None]
    return encodings.tokens[torch.where(present, encodings.start[rows][..., None] + place, 0)], present
