"""One request: which inputs go to the model in which batches, and what its logits mean for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, RerankError
from rerank_core.inference.batching import plan_batches, shared_budget
from rerank_core.inference.encoding import Encoder, ModelInput


# No repr: tokens are the text.
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Plan:
    """The model inputs of one request, and the batches they travel in.

    Attributes:
        texts: how many texts were asked about.
        inputs: the model inputs, one or more a text.
        batches: positions of the inputs, one list a batch.
        query_truncated: whether the query had to be cut.
    """

    texts: int
    inputs: list[ModelInput]
    batches: list[list[int]]
    query_truncated: bool

    @property
    def tokens(self) -> int:
        """Tokens fed to the model, padding not counted."""
        return sum(len(item.ids) for item in self.inputs)


def make_plan(
    encoder: Encoder,
    query: str,
    texts: Sequence[str],
    *,
    max_tokens: int,
    windows: bool,
    prompt: str | None,
    budget: int,
    in_flight: int,
) -> Plan:
    """Tokenise the pairs and pack them.

    Args:
        encoder: the model's encoder.
        query: what is looked for.
        texts: what is ranked.
        max_tokens: most tokens of one model input.
        windows: whether long texts are cut into windows instead of truncated.
        prompt: the model's instruction.
        budget: most tokens of one batch; 0 means one input a batch.
        in_flight: how many batches may run at once; a small request is split among them.

    Raises:
        InvalidRequestError: when ``max_tokens`` leaves no room for text.
        InferenceError: when the tokenizer fails.
    """
    try:
        encoded = encoder.encode(query, texts, max_tokens=max_tokens, windows=windows, prompt=prompt)
    except RerankError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise InferenceError(f"the tokenizer failed: {type(error).__name__}.") from error
    lengths = [len(item.ids) for item in encoded.inputs]
    batches = plan_batches(lengths, shared_budget(lengths, budget, in_flight) if budget else 1)
    return Plan(len(texts), encoded.inputs, batches, encoded.query_truncated)


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
    return [best[text] for text in range(plan.texts)]
