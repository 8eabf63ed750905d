from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InvalidRequestError
from rerank_core.ranking import check_threshold, check_top_n, logit_of, order, sigmoid, unique

LOGITS = st.floats(-50, 50)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_sigmoid_is_a_probability_and_never_overflows(logit):
    assert 0 <= sigmoid(logit) <= 1
    assert math.isclose(sigmoid(logit) + sigmoid(-logit), 1)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_sigmoid_keeps_order(a, b):
    if a <= b:
        assert sigmoid(a) <= sigmoid(b)


TAILS = [
    0.0, math.ulp(0.0), 1e-323, 1e-310, 1e-301, 1e-300, 1e-299, 1e-100, 1e-16, 1e-13, 1e-12, 1e-11, 0.1, 0.5, 0.9,
    1 - 1e-11, 1 - 1e-12, 1 - 1e-13, 1 - 2**-52, 1 - 2**-53, 1.0,
]  # fmt: skip


def test_logits_recovered_from_probabilities_keep_their_order_in_both_tails():
    logits = [logit_of(probability) for probability in TAILS]
    assert all(map(math.isfinite, logits))
    assert all(one < other for one, other in pairwise(logits))
    assert logits[0] == math.log(math.ulp(0.0)) - math.log(2)
    assert logits[-1] == 54 * math.log(2)


@given(st.floats(0, 1))
def test_a_recovered_logit_gives_the_probability_again(probability):
    assert math.isclose(sigmoid(logit_of(probability)), probability, rel_tol=1e-12, abs_tol=1e-323)


def test_sigmoid_does_not_saturate_where_float32_would():
    assert 1 > sigmoid(30) > sigmoid(29) > sigmoid(28)


@given(st.lists(st.text(max_size=3)))
def test_unique_values_rebuild_the_input(values):
    distinct, index = unique(values)
    assert [distinct[i] for i in index] == values
    assert len(set(distinct)) == len(distinct)


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0])), st.none() | st.floats(0, 1), st.none() | st.integers(1, 5))
def test_order_is_stable_complete_and_threshold_comes_before_limit(logits, threshold, top_n):
    probabilities = [sigmoid(logit) for logit in logits]
    positions = order(logits, probabilities, threshold=threshold, top_n=top_n)
    expected = [i for i in range(len(logits)) if threshold is None or probabilities[i] >= threshold]
    expected.sort(key=lambda i: (-logits[i], i))
    assert positions == expected[:top_n]


def test_the_threshold_is_inclusive():
    assert order([0.0], [0.5], threshold=0.5) == [0]


def test_no_threshold_drops_what_nobody_judged():
    assert order([1.0, 3.0, 2.0], [0.4, None, 0.6], threshold=0.5) == [1, 2]
    assert order([1.0, 3.0, 2.0], [0.4, None, 0.6], threshold=1.0, top_n=1) == [1]


@pytest.mark.parametrize("top_n", [0, -1, True, 1.0, "3"])
def test_a_wrong_top_n_is_named(top_n):
    with pytest.raises(InvalidRequestError, match="at least 1") as caught:
        check_top_n(top_n)
    assert (caught.value.code, caught.value.param) == ("invalid_top_n", "top_n")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, True, "0.5", math.nan, 10**400, Fraction(-(10**400))])
def test_a_wrong_threshold_is_named(threshold):
    with pytest.raises(InvalidRequestError, match="from 0 to 1") as caught:
        check_threshold(threshold)
    assert (caught.value.code, caught.value.param) == ("invalid_score_threshold", "score_threshold")


def test_numpy_numbers_are_numbers():
    assert check_top_n(np.int64(3)) == 3
    assert check_threshold(np.float32(0.5)) == 0.5


@pytest.mark.parametrize("threshold", [0, 0.0, 1])
def test_the_ends_of_the_range_are_thresholds(threshold):
    assert check_threshold(threshold) == float(threshold)
