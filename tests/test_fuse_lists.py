"""The lists of several retrievers as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InvalidRequestError, fuse_lists
from rerank_core.fusion import RRF_K

KEYS = st.sampled_from("abcdefg")
SCORES = st.integers(-50, 50).map(float)
LISTS = st.lists(st.lists(st.tuples(KEYS, SCORES), max_size=7, unique_by=lambda pair: pair[0]), max_size=4)
METHODS = st.sampled_from(["rrf", "weighted"])


@given(LISTS, METHODS)
def test_every_key_comes_once_and_best_first(lists, method):
    found = fuse_lists(lists, method=method)
    keys = [key for key, _ in found]
    assert sorted(keys) == sorted({key for each in lists for key, _ in each})
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)


@given(st.lists(st.tuples(KEYS, SCORES), max_size=7, unique_by=lambda pair: pair[0]), METHODS)
def test_of_one_list_the_order_is_that_of_its_scores(items, method):
    expected = [key for key, _ in sorted(items, key=lambda pair: -pair[1])]
    assert [key for key, _ in fuse_lists([items], method=method)] == expected


@given(LISTS)
def test_reciprocal_ranks_are_those_of_the_formula_and_know_no_units(lists):
    found = dict(fuse_lists(lists))
    ordered = [[key for key, _ in sorted(each, key=lambda pair: -pair[1])] for each in lists]
    for key, score in found.items():
        expected = sum(1 / (RRF_K + each.index(key) + 1) for each in ordered if key in each)
        assert score == pytest.approx(expected)
    cubed = [[(key, score**3 * 1e6) for key, score in each] for each in lists]
    assert fuse_lists(cubed) == fuse_lists(lists)


@given(LISTS, st.integers(0, 3))
def test_a_list_of_weight_0_decides_nothing(lists, position):
    weights = [float(place != position) for place in range(len(lists))]
    found = dict(fuse_lists(lists, weights=weights))
    rest = dict(fuse_lists(each for place, each in enumerate(lists) if place != position))
    for key, score in found.items():
        assert score == pytest.approx(rest.get(key, 0.0))


def test_weighted_by_hand():
    # z-scores 1 and -1 in both lists; what a list does not have gets its lowest one.
    found = fuse_lists([[("a", 9.0), ("b", 5.0)], [("b", 0.9), ("c", 0.1)]], method="weighted", weights=[1, 2])
    assert [key for key, _ in found] == ["b", "a", "c"]
    assert [score for _, score in found] == pytest.approx([1.0, -1.0, -3.0])


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), "7"])
def test_where_a_score_is_missing_the_order_counts(missing):
    assert [key for key, _ in fuse_lists([[("a", 1.0), ("b", missing), ("c", 9.0)]])] == ["a", "b", "c"]


def test_of_a_key_twice_in_a_list_the_better_one_counts():
    assert [key for key, _ in fuse_lists([[("a", 1.0), ("b", 2.0), ("a", 3.0)]])] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "param"),
    [({"method": "sum"}, "method"), ({"weights": [1]}, "weights"),
     ({"weights": [1, -1]}, "weights"), ({"weights": [1, float("nan")]}, "weights"), ({"lists": [["ab"]]}, "lists"),
     ({"lists": [[("a", 1, 2)]]}, "lists")],
)  # fmt: skip
def test_wrong_arguments_are_refused(arguments, param):
    with pytest.raises(InvalidRequestError) as caught:
        fuse_lists(**({"lists": [[("a", 1.0)], [("b", 1.0)]]} | arguments))
    assert caught.value.param == param
