"""A batch that does not fit into the device's memory is halved, and the scores stay what they were."""

from __future__ import annotations

import logging

import pytest

from checkpoints import QUERY
from rerank_core import InferenceError, Reranker

pytestmark = pytest.mark.torch

TEXTS = [f"Document {number} tells of {'animals and plants ' * (number % 5 + 1)}" for number in range(23)]


class Room:
    """Makes torch run out of memory above a number of tokens, as a full device does."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.sizes = []
        self.refused = 0

    def __call__(self, _, inputs):
        import torch

        size = inputs[0].numel()
        if size > self.tokens:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.sizes.append(size)


@pytest.fixture
def room(checkpoint):
    """A reranker whose model has room for a number of tokens at once."""
    handles = []

    def make(tokens):
        reranker = Reranker(checkpoint("bert"), backend="torch", device="cpu")
        scorer = reranker.scorer
        scorer.warm_up()
        room = Room(tokens)
        words = scorer._loaded.backend.transformer.get_input_embeddings()
        handles.append(words.register_forward_pre_hook(room))
        return reranker, room

    yield make
    for handle in handles:
        handle.remove()


def test_a_batch_that_does_not_fit_is_run_in_halves(room, checkpoint, caplog):
    expected = Reranker(checkpoint("bert"), backend="torch", device="cpu").score(QUERY, TEXTS)
    reranker, space = room(100)
    with caplog.at_level(logging.WARNING, logger="rerank_core"):
        assert reranker.score(QUERY, TEXTS) == pytest.approx(expected, abs=1e-6)
    assert space.refused
    assert "did not fit into the memory of cpu" in caplog.text
    assert QUERY not in caplog.text
    refused = space.refused
    reranker.score(QUERY, TEXTS)
    assert space.refused == refused  # the next request keeps to what fits


def test_one_input_that_does_not_fit_is_an_error_that_says_what_to_do(room):
    reranker, _ = room(3)
    with pytest.raises(InferenceError, match="does not fit into the memory of cpu: give a lower") as caught:
        reranker.score(QUERY, TEXTS)
    assert caught.value.code == "out_of_memory"
