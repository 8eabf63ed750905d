"""Raw scores and features of many pairs with one model, in blocks of similar length, in the order of the pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.model import Block, Encoded, RerankMini

from .candidates import Lists
from .texts import Texts, by_length, half_precision

LIMITS = (64, 256)
"""The most tokens of a query and of a document where nothing else is said."""


@dataclass(frozen=True)
class Reader:
    """A model with the tokens of all texts in its vocabulary.

    Attributes:
        tokens_per_block: padded tokens that it reads at a time.
        half: whether it reads in bfloat16; scores are made in float32 at any rate.
    """

    model: RerankMini
    texts: Texts
    tokens_per_block: int
    half: bool = False

    def score(
        self, queries: Tensor, documents: Tensor, limits: tuple[int, int] = LIMITS, *, block_tokens: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """(raw scores [pairs], the documents' mean vectors [pairs, hidden]); gradients are kept where torch keeps any.

        Args:
            queries: rows of texts; [pairs].
            documents: rows of texts; [pairs].
            limits: the most tokens of both.
            block_tokens: in place of ``tokens_per_block``.
        """
        blocks = self._blocks(queries, documents, limits, block_tokens)
        scores, means = [], []
        for rows in blocks:
            encoded, block = self._read(queries[rows], documents[rows], limits)
            scores.append(self.model.raw_score(*self.model.score_parts(encoded, block)))
            means.append(encoded.means()[1])
        place = torch.argsort(torch.cat(blocks))
        return torch.cat(scores)[place], torch.cat(means)[place]

    @torch.no_grad()
    def features(self, queries: Tensor, documents: Tensor, limits: tuple[int, int] = LIMITS) -> tuple[Tensor, Tensor]:
        """(features [pairs, 5] in the order of ``RerankMini.FEATURES``, the head's term [pairs])."""
        blocks = self._blocks(queries, documents, limits, None)
        parts = [self.model.score_parts(*self._read(queries[rows], documents[rows], limits)) for rows in blocks]
        place = torch.argsort(torch.cat(blocks))
        features, terms = (torch.cat(column)[place] for column in zip(*parts, strict=True))
        return features, terms

    @torch.no_grad()
    def score_lists(self, lists: Lists) -> Tensor:
        """Raw scores of all candidates, [lists, candidates]; 0 where there is none."""
        queries, documents = pairs_of(lists)
        scores, _ = self.score(queries, documents)
        return spread_out(scores, lists)

    def _blocks(self, queries: Tensor, documents: Tensor, limits: tuple[int, int], tokens: int | None) -> list[Tensor]:
        return by_length(self.texts.pair_lengths(queries, documents, limits), tokens or self.tokens_per_block)

    def _read(self, queries: Tensor, documents: Tensor, limits: tuple[int, int]) -> tuple[Encoded, Block]:
        block = self.texts.pairs(queries, documents, limits)
        with half_precision(self.texts.device, half=self.half):
            encoded = self.model.encode(block)
        return encoded.in_float32(), block


def pairs_of(lists: Lists) -> tuple[Tensor, Tensor]:
    """(queries, documents), each [pairs], of the candidates that are there, list by list."""
    queries = lists.queries[:, None].expand_as(lists.candidates)
    return queries[lists.valid], lists.candidates[lists.valid]


def spread_out(values: Tensor, lists: Lists) -> Tensor:
    """``values`` [pairs, ...] of ``pairs_of(lists)`` as [lists, candidates, ...], 0 where no candidate is."""
    found = torch.zeros(*lists.valid.shape, *values.shape[1:], device=values.device)
    found[lists.valid] = values
    return found
