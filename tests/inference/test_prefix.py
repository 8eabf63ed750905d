"""What all candidates of a query begin with is computed once, and no score shows it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import TEXTS, answering, language_model
from rerank_core import Reranker
from rerank_core.inference.backends.prefix import SharedPrefix, rest_of, shared_tokens
from rerank_core.inference.encoding import ModelInput, pad_block
from rerank_core.models import templates

PAD = 9
MAX_TOKENS = 300
TOLERANCE = 1e-4
"""Of logits between about -20 and 20, in float32."""
QUERIES = ("what is machine learning and who uses it", "the weather of tomorrow in the north")
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=6)
DOCUMENT_FIRST = (
    "{{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }} is the document; the "
    "query is {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}, is it relevant?"
)


def block_of(rows):
    inputs = [ModelInput(0, np.array(row, np.int32), np.zeros(len(row), np.int8)) for row in rows]
    return pad_block(inputs, pad_id=PAD, left=True)


@given(ROWS)
def test_what_is_shared_is_the_longest_beginning_that_leaves_every_row_a_token(rows):
    shared = shared_tokens(block_of(rows))
    most = min(map(len, rows)) - 1
    differing = (column for column in range(most) if len({row[column] for row in rows}) > 1)
    longest = next(differing, most)
    assert list(shared) == rows[0][:longest]


@given(ROWS, st.data())
def test_the_rest_of_a_row_is_all_that_is_not_shared_at_its_own_positions(rows, data):
    block = block_of(rows)
    shared = data.draw(st.integers(0, len(shared_tokens(block))))
    ids, mask, positions = rest_of(block, shared)
    assert mask.shape == block.attention_mask.shape
    assert mask[:, :shared].all()
    for row, own_ids, own_mask, own_positions in zip(rows, ids, mask[:, shared:].astype(bool), positions, strict=True):
        assert own_ids[own_mask].tolist() == row[shared:]
        assert own_positions[own_mask].tolist() == list(range(shared, len(row)))


@pytest.fixture(scope="module", params=[("Qwen3", "QWEN3", ("yes", "no")), ("Qwen2", "MXBAI", ("1", "0"))], ids=str)
def folder(request, tmp_path_factory):
    family, template, answers = request.param
    folder = tmp_path_factory.mktemp(family)
    language_model(folder, answers=answers, template=getattr(templates, template), max_tokens=MAX_TOKENS, family=family)
    return answering(folder, answers)


def backend_of(reranker):
    reranker.warm_up()
    return reranker.scorer._load().backend


def logits(reranker, query, texts=TEXTS):
    found = {result.index: result.logit for result in reranker.rerank(query, texts)}
    return [found[index] for index in range(len(texts))]


@pytest.fixture
def seen(monkeypatch):
    """The shapes of what every model reads from now on."""
    shapes = []
    plain = SharedPrefix.__init__

    def init(self, model, device):
        plain(self, model, device)
        model.get_input_embeddings().register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))

    monkeypatch.setattr(SharedPrefix, "__init__", init)
    return shapes


@pytest.fixture
def reranker(folder, seen):
    with Reranker(folder, device="cpu", max_tokens=MAX_TOKENS, batch_tokens=800) as reranker:
        assert backend_of(reranker).shared_prefix is not None
        seen.clear()
        yield reranker


@pytest.mark.torch
def test_scores_are_those_of_the_plain_way(reranker, monkeypatch):
    found = [logits(reranker, query) for query in QUERIES]
    assert len({round(value, 3) for value in found[0]}) > 3
    monkeypatch.setattr(backend_of(reranker), "shared_prefix", None)
    plain = [logits(reranker, query) for query in QUERIES]
    np.testing.assert_allclose(found, plain, atol=TOLERANCE, rtol=0)
    alone = [[logits(reranker, query, [text])[0] for text in TEXTS] for query in QUERIES]
    np.testing.assert_allclose(found, alone, atol=TOLERANCE, rtol=0)


@pytest.mark.torch
def test_queries_may_alternate_and_share_batches(reranker):
    alone = [logits(reranker, query) for query in QUERIES]
    again = [logits(reranker, query) for query in QUERIES]
    np.testing.assert_allclose(again, alone, atol=TOLERANCE, rtol=0)
    many = reranker.rerank_many([(query, TEXTS) for query in QUERIES])
    together = [[found.logit for found in sorted(each, key=lambda found: found.index)] for each in many]
    np.testing.assert_allclose(together, alone, atol=TOLERANCE, rtol=0)


@pytest.mark.torch
def test_the_beginning_is_run_once_for_all_batches_of_a_query(reranker, seen):
    texts = [f"{number} is a number among others" for number in range(20)]
    response = reranker.rerank(QUERIES[0], texts)
    (begun, *rest) = seen
    assert begun[0] == 1
    assert sum(rows for rows, _ in rest) == len(texts)
    assert len(rest) > 1
    saved = response.usage.total_tokens - sum(rows * width for rows, width in seen)
    assert saved > 0.9 * (len(texts) - 1) * begun[1]
    seen.clear()
    one = reranker.rerank(QUERIES[0], texts[:1])
    ((rows, width),) = seen
    assert rows == 1
    assert one.usage.total_tokens - width == pytest.approx(begun[1], abs=2)  # the documents of a batch may begin alike


@pytest.mark.torch
def test_a_template_with_the_document_first_shares_nothing_and_runs_as_it_is(tmp_path, seen):
    folder = language_model(tmp_path, answers=("yes", "no"), template=DOCUMENT_FIRST, max_tokens=MAX_TOKENS)
    with Reranker(answering(folder, ("yes", "no")), device="cpu", max_tokens=MAX_TOKENS) as reranker:
        assert backend_of(reranker).shared_prefix is not None
        seen.clear()
        texts = [f"{number} comes first" for number in range(5)]
        assert len({round(value, 3) for value in logits(reranker, QUERIES[0], texts)}) > 1
        assert [rows for rows, _ in seen] == [5]


@pytest.mark.parametrize(
    ("settings", "spread", "expected"),
    [
        ({}, None, True),
        ({"model_type": "qwen2"}, None, True),
        ({"model_type": "qwen3_5_text"}, None, False),
        ({"model_type": "gpt2"}, None, False),
        ({"layer_types": ["full_attention", "sliding_attention"]}, None, False),
        ({"layer_types": ["full_attention"] * 2}, None, True),
        ({"_attn_implementation": "flash_attention_2"}, None, False),
        ({"_attn_implementation": "eager"}, None, True),
        ({}, {"": "cpu"}, False),
    ],
)
def test_only_models_that_were_compared_run_this_way(settings, spread, expected):
    config = SimpleNamespace(**{"model_type": "qwen3", "_attn_implementation": "sdpa"} | settings)
    assert SharedPrefix.suits(SimpleNamespace(config=config, hf_device_map=spread)) is expected
