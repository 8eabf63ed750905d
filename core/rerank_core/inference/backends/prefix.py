"""The beginning that all inputs of a batch share, computed once.

Most language models that rerank read instruction and query before the document. In such a model a token sees nothing
that comes after it, so the keys and values of that beginning are the same for all candidates of a query: they are
computed for one row, kept, and put before every row of the batch. Scores are those of the plain way up to rounding.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.inference.encoding import Block

_FAMILIES = frozenset({"qwen2", "qwen3"})
"""What was compared with the plain way: rotary positions, and keys and values for every token."""
_ATTENTION = frozenset({"eager", "sdpa"})
"""Kernels that take any mask: padding stands between the shared beginning and the rest of a row."""
_LEAST = 16
"""To put fewer tokens than these before every row saves nothing."""
_RUN = {"cpu": 64}
"""What a run of its own costs, in tokens."""
_RUN_ELSEWHERE = 1_024  # a GPU takes as long for a short run as for a longer one


class SharedPrefix:
    """Runs blocks of a causal language model, and keeps the keys and values of the last beginning it has met.

    One thread at a time may use it. What is kept is one row: for Qwen3-Reranker-0.6B 224 KB a token in float32.

    Args:
        model: the transformers model.
        device: where its inputs go.
    """

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._device = device
        self._run_tokens = _RUN.get(device, _RUN_ELSEWHERE)
        self._ids: tuple[int, ...] = ()
        self._kept: list[tuple[Any, Any]] = []

    @staticmethod
    def suits(model: Any) -> bool:
        """Whether a model's scores are known to stay the same: its family, attention over everything, one device."""
        config = model.config
        full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        attention = getattr(config, "_attn_implementation", None)
        spread = getattr(model, "hf_device_map", None)
        return config.model_type in _FAMILIES and attention in _ATTENTION and full and not spread

    def logits(self, block: Block) -> Any | None:
        """The logits after the last token of every row, shape [batch, vocabulary].

        None where too little is shared: then the block is to be run as it is.
        """
        shared = shared_tokens(block)
        known, rows = self._known(shared), len(block.input_ids)
        if (rows - 1) * len(shared) - self._run_tokens > rows * known:
            self._keep(shared)
            known = len(shared)
        elif known < _LEAST:
            return None
        return self._continued(block, known)

    def _known(self, shared: tuple[int, ...]) -> int:
        """How many of the shared tokens are the first ones of what is kept."""
        pairs = zip(shared, self._ids, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _keep(self, ids: tuple[int, ...]) -> None:
        import torch

        self._ids, self._kept = (), []  # not both in memory
        inputs = torch.tensor([ids], device=self._device)
        output = self._model(input_ids=inputs, use_cache=True, logits_to_keep=1)
        self._kept = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        self._ids = ids

    def _continued(self, block: Block, known: int) -> Any:
        """The logits, from the first ``known`` tokens of what is kept."""
        import torch
        from transformers import DynamicCache

        rows = len(block.input_ids)
        begun = [tuple(part[..., :known, :].expand(rows, -1, -1, -1) for part in layer) for layer in self._kept]
        rest = rest_of(block, known)
        ids, mask, positions = (torch.from_numpy(part).to(self._device) for part in rest)
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=DynamicCache(begun),
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]


def shared_tokens(block: Block) -> tuple[int, ...]:
    """The tokens that all rows of a block begin with, padding on the left apart; less than the whole of any row."""
    lengths = block.attention_mask.sum(axis=1)
    starts = block.input_ids.shape[1] - lengths
    columns = np.arange(int(lengths.min()) - 1)
    begun = np.take_along_axis(block.input_ids, starts[:, None] + columns, axis=1)
    equal = (begun == begun[0]).all(axis=0)
    count = len(equal) if equal.all() else int(equal.argmin())
    return tuple(begun[0, :count].tolist())


def rest_of(block: Block, shared: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """What follows the first ``shared`` tokens of every row, filled up on the left.

    Args:
        block: filled up on the left.
        shared: fewer tokens than any row has.

    Returns:
        Token ids and positions, each of shape [batch, sequence - shared], and the attention mask of the shared tokens
        and these together, shape [batch, sequence]. A token's position is its place in the row without padding.
    """
    width = block.input_ids.shape[1]
    starts = (width - block.attention_mask.sum(axis=1))[:, None]
    positions = np.arange(shared, width) - starts
    mask = np.ones_like(block.attention_mask)
    mask[:, shared:] = positions >= shared
    return block.input_ids[:, shared:], mask, np.maximum(positions, shared)
