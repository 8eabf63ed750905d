"""Many texts' token ids in one flat tensor on a device, and padded blocks out of it without a loop over rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.lexical import CLS_ID, SEP_ID
from training.model import Block

BATCH = 4096
"""Texts that are tokenised at a time."""
MULTIPLE = 8
"""Blocks are padded to a multiple of it, which the matrix units of a GPU ask for."""


def half_precision(device: torch.device, *, half: bool) -> torch.autocast:
    """bfloat16, if ``half``."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


class Texts:
    """The tokens of all texts, without special ones.

    Args:
        tokenizer: splits the texts.
        texts: numbered as they stand.
        limits: the most tokens of each that are kept.
        device: where the tensors are.

    Attributes:
        ids: of all texts, one after another; [tokens].
        start: where each text begins in ``ids``; [texts].
        length: how many tokens it has; [texts].
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], limits: Sequence[int], device: torch.device) -> None:
        parts = [np.zeros(0, np.int32)]
        for first in range(0, len(texts), BATCH):
            end = first + BATCH
            encoded = tokenizer.encode_batch(list(texts[first:end]), add_special_tokens=False)
            parts += [
                np.array(item.ids[:limit], np.int32) for item, limit in zip(encoded, limits[first:end], strict=True)
            ]
        self.device = device
        self.length = torch.tensor([len(part) for part in parts[1:]], device=device)
        self.start = torch.cumsum(self.length, 0) - self.length
        # One more, so that a place behind the last token can be looked up before it is masked.
        self.ids = torch.from_numpy(np.concatenate([*parts, np.zeros(1, np.int32)])).to(device).long()

    def pair_lengths(self, queries: Tensor, documents: Tensor, limits: tuple[int, int]) -> Tensor:
        """Tokens of pairs that are cut to ``limits``, special ones included; [pairs]."""
        return self.length[queries].clamp(max=limits[0]) + self.length[documents].clamp(max=limits[1]) + 4

    def pairs(self, queries: Tensor, documents: Tensor, limits: tuple[int, int]) -> Block:
        """Texts side by side, [pairs] each, as ``collate(pair_ids(...))`` has them.

        Args:
            queries: which texts stand first.
            documents: which stand second.
            limits: the most tokens of a query and of a document.
        """
        side = self.length[queries].clamp(max=limits[0])[:, None] + 2
        total = self.pair_lengths(queries, documents, limits)[:, None]
        place = self._places(total)
        in_query = (place >= 1) & (place < side - 1)
        in_document = (place > side) & (place < total - 1)
        query_place = self.start[queries][:, None] + place - 1
        document_place = self.start[documents][:, None] + place - side - 1
        ids = self._look_up(torch.where(in_query, query_place, document_place), in_query | in_document)
        ids = torch.where((place == 0) | (place == side), CLS_ID, ids)
        ids = torch.where((place == side - 1) | (place == total - 1), SEP_ID, ids)
        present = place < total
        return Block(ids, present.long(), (present & (place >= side)).long())

    def alone(self, rows: Tensor, limit: int) -> Block:
        """Texts by themselves, [rows], cut to ``limit`` tokens."""
        total = self.length[rows].clamp(max=limit)[:, None] + 2
        place = self._places(total)
        inside = (place >= 1) & (place < total - 1)
        ids = self._look_up(self.start[rows][:, None] + place - 1, inside)
        ids = torch.where(place == 0, CLS_ID, ids)
        ids = torch.where(place == total - 1, SEP_ID, ids)
        return Block(ids, (place < total).long(), torch.zeros_like(ids))

    def tokens_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(which of ``rows`` a token belongs to, its id) of all their tokens."""
        length = self.length[rows]
        owner = torch.repeat_interleave(torch.arange(len(rows), device=self.device), length)
        before = torch.cumsum(length, 0) - length
        place = torch.arange(len(owner), device=self.device) - before[owner] + self.start[rows][owner]
        return owner, self.ids[place]

    def _places(self, total: Tensor) -> Tensor:
        width = -(-int(total.max()) // MULTIPLE) * MULTIPLE
        return torch.arange(width, device=self.device)[None]

    def _look_up(self, place: Tensor, inside: Tensor) -> Tensor:
        return torch.where(inside, self.ids[torch.where(inside, place, 0)], 0)


def inverse_document_frequency(texts: Texts, rows: Tensor, size: int) -> Tensor:
    """``lexical.inverse_document_frequency`` of the texts ``rows``, for a vocabulary of ``size``; [size]."""
    owner, ids = texts.tokens_of(rows)
    seen = torch.unique(owner * size + ids) % size
    frequency = torch.bincount(seen, minlength=size).clamp(min=1).float()
    idf = torch.log1p((len(rows) - frequency + 0.5) / (frequency + 0.5))
    idf[[0, CLS_ID, SEP_ID]] = 0.0
    return idf


def by_length(lengths: Tensor, tokens: int) -> list[Tensor]:
    """Row numbers of similar length, in blocks of at most so many padded tokens where a block has several rows."""
    order = torch.argsort(lengths)
    blocks, start = [], 0
    for place, length in enumerate(lengths[order].tolist()):
        if place > start and (place - start + 1) * length > tokens:
            blocks.append(order[start:place])
            start = place
    return [*blocks, order[start:]] if len(order) else []


def in_blocks(size: int, step: int) -> Iterator[slice]:
    """Slices of ``step`` rows of ``size``."""
    for first in range(0, size, step):
        yield slice(first, first + step)
