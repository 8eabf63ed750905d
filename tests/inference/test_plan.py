from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InferenceError, Span
from rerank_core.inference.encoding import ModelInput
from rerank_core.inference.plan import Portion, best_inputs, share_out

TEXTS = st.lists(st.integers(0, 40).map(lambda n: "w " * n), min_size=1, max_size=20)


def by_words(position, text):
    """An encoder that takes a word for a token and eight words for a window."""
    words = len(text.split())
    inputs = []
    for start in range(0, max(1, words), 8):
        ids = np.ones(min(8, words - start) + 1, np.int32)
        inputs.append(ModelInput(position, ids, ids.astype(np.int8), window=Span(start, start + 8)))
        yield
    return inputs


def encode(texts):
    portions = [Portion(by_words, texts, positions) for positions in share_out(texts)]
    while waiting := [portion for portion in portions if not portion.done]:
        for portion in waiting:
            portion.turn()
    return [item for portion in portions for item in portion.inputs]


@given(st.lists(st.integers(0, 300_000), max_size=100), st.none() | st.integers(1, 10_000))
def test_portions_cover_the_texts_and_stay_small(lengths, most):
    portions = share_out([range(length) for length in lengths], most)
    read = [length if most is None else min(length, most) for length in lengths]
    assert [position for portion in portions for position in portion] == list(range(len(lengths)))
    for portion in portions:
        assert 1 <= len(portion) <= 32
        assert len(portion) == 1 or sum(read[i] for i in portion[:-1]) < 32_768


def test_what_is_not_read_does_not_count():
    assert len(share_out(["w" * 1_000_000] * 32, 1000)) == 1
    assert len(share_out(["w" * 1_000_000] * 32)) == 32


def test_each_turn_does_a_part():
    portion = Portion(by_words, ["w " * 20, "w " * 8], range(2))
    seen = []
    while not portion.done:
        portion.turn()
        seen.append(len(portion.inputs))
    assert seen == [0, 0, 0, 3, 4]


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
        Portion(broken, ["secret"], range(1)).turn()
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_no_repr_shows_tokens():
    assert "array" not in repr(encode(["secret"])[0])
