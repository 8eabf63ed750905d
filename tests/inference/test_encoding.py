from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import checkpoints
from rerank_core import InvalidRequestError, ModelLoadError
from rerank_core.inference.encoding import PairEncoder, pad_block, share_tokens
from rerank_core.inference.plan import Portion

LIMIT = 24
WORDPIECE = checkpoints.wordpiece()
ENCODER = PairEncoder(Tokenizer.from_str(WORDPIECE.to_str()))
BYTES = checkpoints.bytelevel(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
BYTES.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
)
BYTE_ENCODER = PairEncoder(Tokenizer.from_str(BYTES.to_str()), pad_id=3)

# Plain words, combining accents, CJK, emoji with joiners, control characters, any white space.
TEXTS = st.lists(
    st.sampled_from(["machine", "learning", "cafe\u0301", "東京", "👩‍👩‍👧", "🙂", "\u0000", "  ", "\n", "ﬁ", "x" * 40])
    | st.text(max_size=6),
    max_size=40,
).map(" ".join)


def encode(texts, *, query="machine learning", limit=LIMIT, windows=False, encoder=ENCODER, prompt=None):
    encode_text = encoder.start(query, max_tokens=limit, windows=windows, prompt=prompt)
    portion = Portion(encode_text, texts, range(len(texts)))
    while not portion.done:
        portion.turn()
    return portion.inputs


@given(st.integers(0, 100), st.integers(0, 100), st.integers(2, 100))
def test_the_query_is_cut_only_beyond_its_share(query, document, budget):
    kept_query, kept_document = share_tokens(query, document, budget)
    assert kept_query + kept_document <= budget
    assert (kept_query, kept_document) == (query, document) or kept_query + kept_document == budget
    if query <= budget // 2:
        assert kept_query == query
    else:
        assert kept_query >= min(query, budget // 2)


@pytest.mark.parametrize("encoder", [ENCODER, BYTE_ENCODER])
@given(texts=st.lists(TEXTS, max_size=3))
def test_nothing_is_longer_than_the_limit_and_every_text_has_one_input(encoder, texts):
    inputs = encode(texts, encoder=encoder)
    assert [item.text for item in inputs] == list(range(len(texts)))
    assert all(len(item.ids) == len(item.types) <= LIMIT for item in inputs)


@given(TEXTS)
def test_a_short_pair_is_what_the_tokenizer_makes_of_it(text):
    (item,) = encode([text], limit=4096)
    expected = WORDPIECE.encode("machine learning", text)
    assert item.ids.tolist() == expected.ids
    assert item.types.tolist() == expected.type_ids
    assert not item.truncated


@given(st.lists(TEXTS, max_size=30).map(" ".join))
def test_truncation_cuts_the_end_of_the_document_and_says_so(text):
    (whole,) = encode([text], limit=4096)
    (item,) = encode([text])
    assert item.truncated == (len(whole.ids) > LIMIT)
    assert item.ids.tolist() == (
        [*whole.ids[: LIMIT - 1].tolist(), whole.ids[-1]] if item.truncated else whole.ids.tolist()
    )


def test_a_query_beyond_its_share_is_cut_and_said():
    long, short = encode(["machine " * 50, "short"], query="learning " * 50)
    assert [item.truncated for item in (long, short)] == [True, True]
    assert [item.query_truncated for item in (long, short)] == [True, True]
    assert len(long.ids) == len(short.ids) == LIMIT
    assert long.types.tolist().count(0) == 1 + 10 + 1  # [CLS], half of the 21 tokens beside the template, [SEP]
    assert not encode(["short"])[0].query_truncated


@pytest.mark.parametrize(("encoder", "tokenizer"), [(ENCODER, WORDPIECE), (BYTE_ENCODER, BYTES)])
@given(text=TEXTS)
def test_windows_cover_the_text_and_their_spans_map_back_to_it(encoder, tokenizer, text):
    inputs = encode([text], windows=True, encoder=encoder)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    covered = {i for item in inputs for i in range(*item.window)}
    read = {i for start, stop in tokens.offsets for i in range(start, stop)}
    assert read <= covered
    assert all(len(item.ids) <= LIMIT and not item.truncated for item in inputs)
    for item in inputs:
        assert 0 <= item.window.start <= item.window.end <= len(text)
    if len(inputs) == 1:
        assert inputs[0].ids.tolist() == encode([text], limit=4096, encoder=encoder)[0].ids.tolist()


@given(st.lists(st.sampled_from(["machine", "learning", "東京", "cafe", "🙂"]), min_size=1, max_size=60))
def test_the_text_of_a_window_encodes_to_the_tokens_of_the_window(words):
    text = " ".join(words)
    for item in encode([text], windows=True):
        (again,) = encode([text[slice(*item.window)]], limit=4096)
        assert again.ids.tolist() == item.ids.tolist()


@pytest.mark.parametrize("windows", [True, False])
def test_an_empty_text_has_one_input(windows):
    (item,) = encode([""], windows=windows)
    assert item.ids.tolist() == WORDPIECE.encode("machine learning", "").ids


def test_a_prompt_stands_before_the_query():
    assert encode(["a"], prompt="deep ")[0].ids.tolist() == WORDPIECE.encode("deep machine learning", "a").ids


def test_many_texts_keep_their_positions():
    assert [item.text for item in encode(["a", "b c"] * 100)] == list(range(200))


def test_a_limit_without_room_for_text_is_an_error():
    with pytest.raises(InvalidRequestError, match="special tokens take 3") as caught:
        encode(["a"], limit=4)
    assert caught.value.param == "max_tokens"


@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_padding_is_masked_and_takes_nothing_away(texts, left):
    inputs = encode(texts)
    block = pad_block(inputs, pad_id=9, left=left)
    assert block.input_ids.dtype == block.attention_mask.dtype == block.token_type_ids.dtype == np.int64
    for row, item in enumerate(inputs):
        mask = block.attention_mask[row].astype(bool)
        assert block.input_ids[row][mask].tolist() == item.ids.tolist()
        assert block.token_type_ids[row][mask].tolist() == item.types.tolist()
        assert set(block.input_ids[row][~mask].tolist()) <= {9}
        assert mask[-1 if left else 0]


def test_a_broken_tokenizer_file_is_a_load_error(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ModelLoadError, match="cannot read the tokenizer file"):
        PairEncoder.from_file(path)


def test_a_tokenizer_that_swaps_the_sides_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$B [SEP] $A", special_tokens=[("[SEP]", 1)]
    )
    with pytest.raises(ModelLoadError, match="query followed by a document"):
        PairEncoder(tokenizer)


@pytest.mark.parametrize(("name", "expected"), [("[PAD]", 1), ("<pad>", 1), ("nothing", 0)])
def test_the_padding_token_is_found_in_the_file_or_by_name(tmp_path, name, expected):
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, name: 1}, unk_token="[UNK]"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    inputs = PairEncoder.from_file(tmp_path / "tokenizer.json")
    assert inputs._pad_id == expected
    tokenizer.enable_padding(pad_id=5, pad_token="x")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert PairEncoder.from_file(tmp_path / "tokenizer.json")._pad_id == 5


def test_the_likely_windows_are_those_of_all_with_the_query_in_them():
    text = "cats " * 3000 + "machine learning " + "dogs " * 3000
    every = encode([text], windows=True)
    encode_text = ENCODER.start("machine learning", max_tokens=LIMIT, windows=True, prompt=None, most_windows=3)
    portion = Portion(encode_text, [text], range(1))
    while not portion.done:
        portion.turn()
    spans = [item.window for item in portion.inputs]
    assert len(spans) == 3
    assert set(spans) < {item.window for item in every}
    assert spans[0].start == 0
    assert any("machine learning" in text[span.start : span.end] for span in spans)
    assert all(item.truncated for item in portion.inputs)
    assert not any(item.truncated for item in every)


def test_windows_are_cut_in_turns():
    """A long text's windows are not all cut in one go."""
    portion = Portion(ENCODER.start("machine", max_tokens=LIMIT, windows=True), ["machine " * 2000], range(1))
    turns = 0
    while not portion.done:
        portion.turn()
        turns += 1
    assert len(portion.inputs) > 100
    assert turns == 1 + len(portion.inputs) // 64


def test_white_space_is_read_over():
    spaces = "machine" + " " * 5000 + "learning " * 20
    (item,) = encode([spaces])
    assert item.ids.tolist() == encode(["machine " + "learning " * 20])[0].ids.tolist()


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(("word", "cut"), [("x" * 101, True), ("x" * 100, False), ("한" * 40, True), ("☃" * 9, False)])
def test_a_word_that_is_unknown_for_its_length_is_truncated(word, cut, windows):
    """Of decomposed Hangul three letters are one character of the text; an unknown symbol was read."""
    (item,) = encode([f"machine {word} learning"], limit=256, windows=windows)
    assert (item.truncated, item.query_truncated) == (cut, False)
    (item,) = encode(["machine"], query=word, limit=256, windows=windows)
    assert (item.truncated, item.query_truncated) == (cut, cut)


def test_what_unknown_words_beyond_the_cut_are_does_not_matter():
    assert not encode(["machine"], query="learning")[0].truncated
    assert encode(["machine " * 50 + "x" * 101])[0].truncated
