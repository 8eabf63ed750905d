"""One request: from its texts to model inputs, and from their logits to one for each text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, RerankError
from rerank_core.inference.encoding import ModelInput, TextEncoder

_CHUNK_TEXTS = 32
_CHUNK_CHARACTERS = 100_000


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


def best_inputs(inputs: Sequence[ModelInput], logits: NDArray[np.float32]) -> list[tuple[float, ModelInput]]:
    """For every text its highest logit and the input that got it; of equal windows the first in the text.

    Args:
        inputs: the model inputs of one request.
        logits: one for each, shape [inputs].
    """
    best: dict[int, tuple[float, ModelInput]] = {}
    for item, logit in zip(inputs, logits.tolist(), strict=True):
        if item.text not in best or logit > best[item.text][0]:
            best[item.text] = (logit, item)
    return list(best.values())
