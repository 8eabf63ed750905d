"""One request: which inputs go to the model in which batches, and what its logits mean for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, RerankError
from rerank_core.inference.batching import plan_batches, shared_budget
from rerank_core.inference.encoding import ModelInput, TextEncoder

_CHUNK_TEXTS = 32
_CHUNK_CHARACTERS = 100_000


# No repr: tokens are the text.
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Plan:
    """The model inputs of one request, and the batches they travel in.

    Attributes:
        inputs: the model inputs, one or more a text, in the order of the texts.
        batches: positions of the inputs, one list a batch.
    """

    inputs: list[ModelInput]
    batches: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens fed to the model, padding not counted."""
        return sum(len(item.ids) for item in self.inputs)


def chunk_texts(texts: Sequence[str]) -> list[range]:
    """Positions of the texts in portions that are quickly tokenised, so that requests can take turns."""
    chunks: list[range] = []
    start = characters = 0
    for position, text in enumerate(texts):
        characters += len(text)
        if characters >= _CHUNK_CHARACTERS or position - start + 1 >= _CHUNK_TEXTS:
            chunks.append(range(start, position + 1))
            start, characters = position + 1, 0
    if start < len(texts):
        chunks.append(range(start, len(texts)))
    return chunks


def encode_chunk(encode: TextEncoder, texts: Sequence[str], chunk: range) -> list[ModelInput]:
    """The model inputs of one portion of the texts.

    Raises:
        InferenceError: when the tokenizer fails.
    """
    try:
        return [item for position in chunk for item in encode(position, texts[position])]
    except RerankError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise InferenceError(f"the tokenizer failed: {type(error).__name__}.") from error


def pack(inputs: list[ModelInput], *, budget: int, in_flight: int) -> Plan:
    """Group the inputs of a request into batches.

    Args:
        inputs: the model inputs.
        budget: most tokens of one batch; 0 means one input a batch.
        in_flight: how many batches may run at once; a small request is split among them.
    """
    lengths = [len(item.ids) for item in inputs]
    return Plan(inputs, plan_batches(lengths, shared_budget(lengths, budget, in_flight) if budget else 1))


def best_inputs(plan: Plan, logits: Sequence[NDArray[np.float32]]) -> list[tuple[float, ModelInput]]:
    """For every text its highest logit and the input that got it; of equal windows the first in the text.

    Args:
        plan: the request.
        logits: one array a batch, shape [batch].
    """
    by_input = np.empty(len(plan.inputs), np.float32)
    for batch, values in zip(plan.batches, logits, strict=True):
        by_input[batch] = values
    best: dict[int, tuple[float, ModelInput]] = {}
    for item, logit in zip(plan.inputs, by_input.tolist(), strict=True):
        if item.text not in best or logit > best[item.text][0]:
            best[item.text] = (logit, item)
    return list(best.values())
