from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.inference.batching import BatchQueue, Pending

LENGTHS = st.lists(st.integers(1, 600), max_size=60)
REQUESTS = st.lists(LENGTHS, max_size=6)
BUDGETS = st.integers(1, 2000)


def queue_of(requests, *, budget=512, limit=100):
    """A queue with these requests, and each request's lengths by its name."""
    queue = BatchQueue()
    for name, lengths in enumerate(requests):
        queue.add(Pending(name, lengths, budget=budget, limit=limit))
    return queue


def drain(queue, workers=1):
    """All batches, each as (request, position) pairs; every batch is done before the next one leaves."""
    batches = []
    while batch := queue.next_batch(workers):
        batches.append([(waiting.owner, position) for waiting, taken in batch for position in taken])
        for waiting, _ in batch:
            waiting.in_flight -= 1
    return batches


@given(REQUESTS, BUDGETS, st.integers(1, 8))
def test_every_input_is_in_exactly_one_batch(requests, budget, workers):
    queue = queue_of(requests, budget=budget)
    batches = drain(queue, workers)
    everything = [(name, position) for name, lengths in enumerate(requests) for position in range(len(lengths))]
    assert sorted(item for batch in batches for item in batch) == everything
    assert not len(queue)


@given(REQUESTS, BUDGETS, st.integers(1, 8))
def test_no_batch_exceeds_the_budget_unless_it_is_a_single_input(requests, budget, workers):
    for batch in drain(queue_of(requests, budget=budget), workers):
        width = max(requests[name][position] for name, position in batch)
        assert len(batch) == 1 or len(batch) * width <= budget


@given(REQUESTS, BUDGETS, st.integers(1, 8))
def test_padding_is_bounded(requests, budget, workers):
    for batch in drain(queue_of(requests, budget=budget), workers):
        lengths = [requests[name][position] for name, position in batch]
        assert all(max(lengths) - length <= max(16, max(lengths) * 0.2) for length in lengths)


@given(REQUESTS)
def test_without_a_budget_every_input_travels_alone(requests):
    assert all(len(batch) == 1 for batch in drain(queue_of(requests, budget=0)))


@given(st.lists(LENGTHS.filter(bool), min_size=1, max_size=6))
def test_a_newcomer_waits_at_most_two_turns_for_everyone_before_it(requests):
    batches = drain(queue_of(requests))
    first = [min(i for i, batch in enumerate(batches) if name in dict(batch)) for name in range(len(requests))]
    assert all(position <= 2 * name for name, position in enumerate(first))


def test_a_long_request_goes_on_though_newcomers_never_end():
    queue = queue_of([[500] * 20])
    turns = []
    for number in range(100):
        queue.add(Pending(f"new {number}", [10], budget=512, limit=1))
        turns += [waiting.owner for waiting, _ in queue.next_batch(1)]
        for waiting in queue:
            waiting.in_flight = 0
    assert turns.count(0) == 20


@given(LENGTHS, st.integers(1, 40))
def test_a_short_request_leaves_at_once_though_a_long_one_is_waiting(lengths, size):
    queue = queue_of([[8192] * 100])
    for _ in range(2):
        queue.next_batch(1)
    queue.add(Pending("short", [30] * min(size, 17), budget=512, limit=1))
    assert [(waiting.owner, len(taken)) for waiting, taken in queue.next_batch(1)] == [("short", min(size, 17))]


def test_inputs_of_different_requests_share_a_batch_when_their_lengths_are_alike():
    batches = drain(queue_of([[100, 5], [98, 96], [300]], budget=600))
    assert batches[0] == [(0, 0), (1, 0), (1, 1)]


def test_requests_with_different_budgets_do_not_share():
    queue = queue_of([[10]])
    queue.add(Pending("other", [10], budget=100, limit=1))
    assert all(len(batch) == 1 for batch in drain(queue))


def test_a_request_at_its_limit_lets_others_go_first():
    queue = BatchQueue()
    queue.add(Pending("bound", [500, 500], budget=512, limit=1))
    queue.add(Pending("free", [10], budget=512, limit=1))
    (first,) = queue.next_batch(2)
    (second,) = queue.next_batch(1)
    assert (first[0].owner, second[0].owner) == ("bound", "free")
    assert queue.next_batch(1) == []
    first[0].in_flight -= 1
    assert queue.next_batch(1)[0][0].owner == "bound"


def test_little_work_is_split_among_free_workers():
    queue = queue_of([[50] * 10], budget=5000)
    assert [len(batch) for batch in (queue.next_batch(2)[0][1], queue.next_batch(1)[0][1])] == [5, 5]


def test_what_is_dropped_is_not_run():
    queue = BatchQueue()
    gone, kept = (Pending(name, [10] * 100, budget=64, limit=9) for name in ("gone", "kept"))
    queue.add(gone)
    queue.add(kept)
    gone.drop()
    gone.drop()
    assert queue.ready == kept.most_batches
    assert {name for batch in drain(queue) for name, _ in batch} == {"kept"}


@pytest.mark.parametrize("lengths", [[], [7]])
def test_a_request_without_inputs_never_stands_in_line(lengths):
    assert len(queue_of([lengths])) == len(lengths)
