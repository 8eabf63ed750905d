"""Batches that fit: what is too large for the device's memory is halved, not failed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError
from rerank_core.inference.encoding import Encoder, ModelInput

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import Backend

logger = logging.getLogger("rerank_core")


class FittingRunner:
    """Pads inputs and runs them; a batch that does not fit is run in halves, down to single inputs.

    Args:
        encoder: pads.
        backend: runs; its ``InferenceError`` with the code ``out_of_memory`` says that a block did not fit.
        device: where, for the warning.
    """

    def __init__(self, encoder: Encoder, backend: Backend, device: str) -> None:
        self._encoder = encoder
        self._backend = backend
        self._device = device
        self._most: int | None = None

    def budget(self, asked: int | None) -> int:
        """The token budget of a batch: what is asked for, or the backend's, and no more than was seen to fit.

        0 means one input per batch; no option overrides that, because such a graph must run its inputs one at a time.
        """
        budget = self._backend.batch_tokens and (asked or self._backend.batch_tokens)
        return budget if self._most is None else min(budget, self._most)

    def __call__(self, inputs: list[ModelInput]) -> NDArray[np.float32]:
        """The logits of a batch, one per input.

        Raises:
            InferenceError: when the model fails, or one input alone does not fit.
        """
        block = self._encoder.pad(inputs)
        try:
            return self._backend.run(block)
        except InferenceError as error:
            if error.code != "out_of_memory" or len(inputs) == 1:
                raise
        self._lower(block.input_ids.size // 2)
        middle = len(inputs) // 2
        return np.concatenate([self(inputs[:middle]), self(inputs[middle:])])

    def _lower(self, tokens: int) -> None:
        if self._most is None or tokens < self._most:
            self._most = tokens
            logger.warning(
                "A batch did not fit into the memory of %s; from now on one has at most %d tokens.",
                self._device,
                tokens,
            )
