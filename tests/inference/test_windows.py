from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import Span
from rerank_core.inference.windows import character_span, likely_ranges, window_ranges


@given(st.integers(0, 5000), st.integers(1, 600))
def test_windows_cover_every_token_and_none_is_too_long(length, size):
    ranges = window_ranges(length, size)
    assert {i for start, stop in ranges for i in range(start, stop)} == set(range(length))
    assert all(0 <= stop - start <= size for start, stop in ranges)


@given(st.integers(0, 5000), st.integers(4, 600))
def test_neighbours_overlap_by_a_quarter(length, size):
    ranges = window_ranges(length, size)
    for (_, stop), (start, _) in pairwise(ranges):
        assert stop - start >= size // 4


@given(st.integers(1, 5000), st.integers(1, 600))
def test_no_window_is_shorter_than_it_could_be(length, size):
    assert all(stop - start == min(length, size) for start, stop in window_ranges(length, size))


def test_a_text_that_fits_is_one_window():
    assert window_ranges(10, 10) == [(0, 10)]
    assert window_ranges(0, 10) == [(0, 0)]


def test_a_window_needs_room():
    with pytest.raises(ValueError, match="at least one token"):
        window_ranges(3, 0)


TOKENS = st.lists(st.integers(0, 30), max_size=400).map(lambda ids: np.array(ids, np.int32))


@given(TOKENS, TOKENS, st.integers(1, 50), st.integers(1, 8))
def test_likely_windows_are_some_of_all_in_order_with_the_first(query, text, size, most):
    every = window_ranges(len(text), size)
    likely = likely_ranges(query, text, every, most)
    assert len(likely) == min(most, len(every))
    assert [window for window in every if window in set(likely)] == likely
    assert likely[0] == every[0]


def test_the_window_with_the_rarer_words_of_the_query_is_likely():
    text = np.repeat([1, 2, 3, 4, 5, 6], 10)
    text[[5, 15, 25, 35, 45]] = 7  # in all windows but the last
    text[58] = 8  # in the last one only
    every = [(start, start + 10) for start in range(0, 60, 10)]
    assert likely_ranges(np.array([7, 8]), text, every, 2) == [(0, 10), (50, 60)]
    assert likely_ranges(np.array([7]), text, every, 3) == every[:3]
    assert likely_ranges(np.array([9]), text, every, 2) == every[:2]


def test_the_span_of_bytes_that_share_a_character():
    offsets = np.array([(0, 1), (2, 3), (2, 3), (2, 3), (4, 6)])
    assert character_span(offsets, 1, 3) == Span(2, 3)
    assert character_span(offsets, 0, 5) == Span(0, 6)
    assert character_span(offsets, 2, 2) == Span(0, 0)
