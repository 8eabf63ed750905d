from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.inference.batching import plan_batches, shared_budget

LENGTHS = st.lists(st.integers(1, 600), max_size=200)
BUDGETS = st.integers(1, 2000)


@given(LENGTHS, BUDGETS)
def test_every_input_is_in_exactly_one_batch(lengths, budget):
    batches = plan_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, BUDGETS)
def test_no_batch_exceeds_the_budget_unless_it_is_a_single_input(lengths, budget):
    for batch in plan_batches(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(LENGTHS, BUDGETS)
def test_padding_is_bounded(lengths, budget):
    for batch in plan_batches(lengths, budget):
        width = max(lengths[i] for i in batch)
        assert all(width - lengths[i] <= max(16, width * 0.2) for i in batch)


@given(LENGTHS, BUDGETS)
def test_the_longest_come_first(lengths, budget):
    longest = [max(lengths[i] for i in batch) for batch in plan_batches(lengths, budget)]
    assert longest == sorted(longest, reverse=True)


def test_similar_lengths_share_a_batch():
    assert plan_batches([100, 5, 98, 99, 6], 300) == [[0, 3, 2], [4, 1]]


def test_a_budget_below_one_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        plan_batches([1], 0)


@given(st.lists(st.integers(1, 600), min_size=1), BUDGETS, st.integers(1, 16))
def test_a_small_request_is_shared_by_the_workers(lengths, budget, workers):
    shared = shared_budget(lengths, budget, workers)
    assert 1 <= shared <= budget
    assert shared == budget or shared >= 64
