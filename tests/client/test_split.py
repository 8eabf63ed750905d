from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rerank_core.client.split import halves, split


@given(st.lists(st.text(max_size=20), max_size=40), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 60))
def test_nothing_is_lost_and_limits_hold(texts, most, size):
    runs = split(range(len(texts)), texts, max_documents=most, max_bytes=size)
    assert [i for run in runs for i in run] == list(range(len(texts)))
    for run in runs:
        assert len(run) >= 1
        assert most is None or len(run) <= most
        assert len(run) == 1 or sum(len(texts[i].encode("utf-8", "surrogatepass")) + 4 for i in run) <= size


def test_runs_are_as_long_as_they_may_be():
    assert [list(run) for run in split([0, 2, 3], "abcd", max_documents=2, max_bytes=99)] == [[0, 2], [3]]
    assert len(split(range(1000), ["x"] * 1000, max_documents=100, max_bytes=10**6)) == 10


@given(st.integers(2, 99))
def test_halves_are_smaller_and_lose_nothing(count):
    one, two = halves(range(count))
    assert [*one, *two] == list(range(count))
    assert 0 <= len(one) - len(two) <= 1
