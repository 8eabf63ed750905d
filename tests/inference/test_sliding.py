"""Windows over a list, and what a model writes about one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.inference.listwise.sliding import places, read_order, share, windows

COUNTS = st.integers(0, 60)


@st.composite
def shapes(draw):
    """A window and a stride of at most its size: no text is passed over."""
    size = draw(st.integers(2, 8))
    return size, draw(st.integers(1, size))


@given(COUNTS, shapes())
def test_windows_cover_the_list_from_the_bottom_to_the_top(count, shape):
    size, stride = shape
    every = windows(count, size, stride)
    if count < 2:
        assert every == []
        return
    assert every[-1].start == 0
    assert max(window.stop for window in every) == count
    assert {place for window in every for place in window} == set(range(count))
    assert all(len(window) == min(size, count) for window in every)
    assert all(upper.start < lower.start for lower, upper in pairwise(every))


@given(st.lists(st.integers(), unique=True, min_size=1, max_size=40))
def test_the_best_reach_the_top_in_one_pass(values):
    order = list(values)
    for window in windows(len(order), 4, 2):
        order[window.start : window.stop] = sorted(order[window.start : window.stop])
    assert order[: min(2, len(values))] == sorted(values)[:2]


@given(st.permutations(range(4)))
def test_an_order_is_read_back(order):
    written = " > ".join(f"[{position + 1}]" for position in order)
    assert read_order(f"The order is {written}.", 4) == list(order)


@pytest.mark.parametrize(
    "answer", ["", "[1] > [2]", "[1] > [1] > [2]", "[0] > [1] > [2]", "[1] > [2] > [9]", "1 > 2 > 3"]
)
def test_what_is_no_order_is_none(answer):
    assert read_order(answer, 3) is None


@given(st.lists(st.integers(0, 50), unique=True, min_size=1))
def test_places_fall_with_the_rank_and_stay_between_0_and_1(values):
    order = sorted(range(len(values)), key=lambda position: values[position])
    scores = places(order)
    assert sorted(range(len(values)), key=lambda position: -scores[position]) == order
    assert all(0 < score < 1 for score in scores)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(0, 500))
def test_texts_share_the_room(lengths, room):
    most = share(lengths, room)
    used = sum(min(length, most) for length in lengths)
    assert used <= room
    if any(length > most for length in lengths):  # something was cut: then hardly anything is left over
        assert room - used < len(lengths)
