from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.client import retry
from rerank_core.client.retry import AttemptError, Deadline, RetryPolicy, retry_after
from rerank_core.errors import InferenceError, OverloadedError, RateLimitError, TimeoutError  # noqa: A004  (ours)

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
real_jitter = retry.full_jitter


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}, 30.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=30), usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:05 -0000"}, 5.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "20", "retry-after": "9"}, 0.02),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_what_the_server_asks_for(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_a_wait_or_nothing(text):
    seconds = retry_after({"retry-after": text}, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(1, 100))
def test_full_jitter_stays_below_its_ceiling(number):
    assert 0 <= real_jitter(number) <= min(8.0, 0.5 * 2 ** (number - 1))


def policy(retries=5, seconds=60.0):
    seen = []
    return RetryPolicy(retries, Deadline(seconds, "there"), lambda *retry: seen.append(retry)), seen


def test_the_servers_wait_counts_however_long_it_is():
    one, seen = policy(seconds=500)
    assert one.decide(AttemptError(RateLimitError("x", retry_after=3.0), "yes")) == 3.0
    assert one.decide(AttemptError(RateLimitError("x", retry_after=240.0), "yes")) == 240.0
    assert one.decide(AttemptError(OverloadedError("x"), "yes")) == 0.001
    assert seen == [(1, 3.0, "rate_limit_exceeded"), (2, 240.0, "rate_limit_exceeded"), (3, 0.001, "overloaded")]


@pytest.mark.parametrize(("seconds", "asked"), [(2, 3.0), (100, 101.0), (100, 1e300)])
def test_a_wait_past_the_deadline_is_none(seconds, asked):
    one, seen = policy(seconds=seconds)
    assert one.decide(AttemptError(RateLimitError("x", retry_after=asked), "yes")) is None
    assert seen == []


def test_some_failures_are_tried_again_once_or_never():
    one, _ = policy()
    assert one.decide(AttemptError(InferenceError("x", code="server_error"), "once")) is not None
    assert one.decide(AttemptError(InferenceError("x", code="server_error"), "once")) is None
    assert one.decide(AttemptError(TimeoutError("x", code="read_timeout"), "once")) is not None
    assert one.decide(AttemptError(TimeoutError("x", code="read_timeout"), "once")) is None
    assert one.decide(AttemptError(InferenceError("x"), "no")) is None
    assert policy(retries=0)[0].decide(AttemptError(OverloadedError("x"), "yes")) is None


def test_a_deadline_that_is_over():
    deadline = Deadline(30, "https://h/v1/rerank")
    assert 0 < deadline.sooner(5).left <= 5
    assert deadline.sooner(99).left <= 30
    deadline.expire()
    assert deadline.left == 0
    assert "https://h/v1/rerank did not answer within 30 s" in str(deadline.error())
