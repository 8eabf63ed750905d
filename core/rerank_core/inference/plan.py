"""One request: from its texts to model inputs, and from their logits to one per text."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, RerankError
from rerank_core.inference.encoding import ModelInput, TextEncoder

_PORTION_TEXTS = 32
_PORTION_CHARACTERS = 32_768


def share_out(texts: Sequence[str], most: int | None = None) -> list[range]:
    """Positions of the texts, in portions that are tokenised quickly, so that requests can take turns.

    Args:
        texts: the texts of a request.
        most: how many characters of a text are read; None means all.
    """
    portions: list[range] = []
    start = characters = 0
    for position, text in enumerate(texts):
        characters += len(text) if most is None else min(len(text), most)
        if characters >= _PORTION_CHARACTERS or position - start + 1 >= _PORTION_TEXTS:
            portions.append(range(start, position + 1))
            start, characters = position + 1, 0
    if start < len(texts):
        portions.append(range(start, len(texts)))
    return portions


@contextmanager
def tokenizer_errors() -> Iterator[None]:
    """Turn the errors of a tokenizer, which may hold the text, into one that does not.

    Raises:
        InferenceError: when the tokenizer fails.
    """
    try:
        yield
    except RerankError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise InferenceError(f"the tokenizer failed: {type(error).__name__}.") from error


class Portion:
    """Some texts of a request, which become model inputs. Each turn does a part of the work.

    Args:
        encode: encodes a text.
        texts: all texts of the request.
        positions: which of them are in this portion.

    Attributes:
        inputs: their model inputs, in order; complete once ``done``.
        done: whether there is nothing left to do.
    """

    def __init__(self, encode: TextEncoder, texts: Sequence[str], positions: range) -> None:
        self.inputs: list[ModelInput] = []
        self.done = False
        self._work = self._encode(encode, texts, positions)

    def turn(self) -> None:
        """Do some milliseconds of the work.

        Raises:
            InferenceError: when the tokenizer fails.
        """
        with tokenizer_errors():
            try:
                next(self._work)
            except StopIteration:
                self.done = True

    def _encode(self, encode: TextEncoder, texts: Sequence[str], positions: range) -> Generator[None, None, None]:
        for position in positions:
            self.inputs += yield from encode(position, texts[position])


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
