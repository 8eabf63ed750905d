from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InferenceError, Span
from rerank_core.inference.encoding import ModelInput
from rerank_core.inference.plan import best_inputs, chunk_texts, encode_chunk

TEXTS = st.lists(st.integers(0, 40).map(lambda n: "w " * n), min_size=1, max_size=20)


def by_words(position, text):
    """An encoder that takes a word for a token and eight words for a window."""
    words = len(text.split())
    inputs = []
    for start in range(0, max(1, words), 8):
        ids = np.ones(min(8, words - start) + 1, np.int32)
        inputs.append(ModelInput(position, ids, ids.astype(np.int8), window=Span(start, start + 8)))
    return inputs


def encode(texts):
    return [item for chunk in chunk_texts(texts) for item in encode_chunk(by_words, texts, chunk)]


@given(st.lists(st.integers(0, 300_000), max_size=100))
def test_chunks_cover_the_texts_and_stay_small(lengths):
    chunks = chunk_texts([range(length) for length in lengths])
    assert [position for chunk in chunks for position in chunk] == list(range(len(lengths)))
    for chunk in chunks:
        assert 1 <= len(chunk) <= 32
        assert len(chunk) == 1 or sum(lengths[i] for i in chunk[:-1]) < 100_000


@given(TEXTS, st.randoms(use_true_random=False))
def test_the_best_window_wins_and_of_equals_the_first(texts, random):
    inputs = encode(texts)
    logits = np.array([random.choice([0.0, 1.0, -2.5]) for _ in inputs], np.float32)
    best = best_inputs(inputs, logits)
    assert [item.text for _, item in best] == list(range(len(texts)))
    for text, (logit, item) in enumerate(best):
        mine = [
            (value, -window.window.start) for value, window in zip(logits, inputs, strict=True) if window.text == text
        ]
        assert (logit, -item.window.start) == max(mine)


def test_a_tokenizer_that_fails_is_translated_without_the_text():
    def broken(_position, _text):
        raise Exception("cannot encode 'secret'")  # noqa: TRY002  (as tokenizers does)

    with pytest.raises(InferenceError, match="the tokenizer failed") as caught:
        encode_chunk(broken, ["secret"], range(1))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_no_repr_shows_tokens():
    assert "array" not in repr(encode(["secret"])[0])
