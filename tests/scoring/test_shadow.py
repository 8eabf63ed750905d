"""A candidate on trial: it is compared, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import threading
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from forking import in_child
from rerank_core import InvalidRequestError, ProtocolError, Reranker
from rerank_core.cli import evaluate  # noqa: F401  (adds the command)
from rerank_core.cli.app import app
from rerank_core.events import ShadowCompared, ShadowDropped
from rerank_core.scoring import FakeScorer, LocalScorer, Score, Scores, ShadowScorer
from rerank_core.scoring.shadow import Comparison
from serving import serving
from waiting import BOUND, wait_for

QUERY, TEXTS = "a b c", ["x y", "a b", "a b c", "a"]


class Backwards(FakeScorer):
    """The other way round."""

    def score(self, query, texts):
        scores = super().score(query, texts)
        return Scores(tuple(Score(1 - each.relevance_score) for each in scores.items), self.model)


class Failing(FakeScorer):
    def score(self, _query, _texts):
        raise ProtocolError("no")


class Waiting(FakeScorer):
    """Waits until ``open`` is set."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()

    def score(self, query, texts):
        assert self.open.wait(BOUND)
        return super().score(query, texts)


class Seen(list):
    """The events so far; a hook."""

    def __call__(self, event):
        self.append(event)


def of_logits(*logits):
    return Scores(tuple(map(Score.from_logit, map(float, logits))), "m")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_live_answer_is_returned_and_the_candidates_compared(mode, tmp_path):
    seen, log = Seen(), tmp_path / "shadow.jsonl"
    scorer = ShadowScorer(FakeScorer(), Backwards("other"), top_n=2, log=log, hooks=[seen])
    scores = scorer.score(QUERY, TEXTS) if mode == "sync" else asyncio.run(scorer.ascore(QUERY, TEXTS))
    assert scores == FakeScorer().score(QUERY, TEXTS)
    (event,) = wait_for(lambda: seen)
    assert isinstance(event, ShadowCompared)
    assert (event.candidate, event.documents, event.top_n, event.first_differs) == ("other", 4, 2, True)
    line = json.loads(wait_for(lambda: log.is_file() and log.read_text().endswith("\n") and log.read_text()))
    assert line.items() >= asdict(event).items()
    assert not any(text in json.dumps(line) for text in (QUERY, *TEXTS[:3]))


def test_equal_models_do_not_differ():
    seen = Seen()
    reranker = Reranker(scorer=ShadowScorer(LocalScorer("rerank-tiny-en-v1"), LocalScorer(), hooks=[seen]))
    assert reranker.rerank("capital of France", ["Berlin", "Paris is the capital of France."])[0].index == 1
    (event,) = wait_for(lambda: seen)
    assert (event.moved, event.overlap, event.first_differs) == (0, 1.0, False)


def test_no_call_waits_for_the_candidate_and_what_is_too_much_is_dropped():
    seen, gated = Seen(), Waiting()
    scorer = ShadowScorer(FakeScorer(), gated, queue=2, hooks=[seen])
    for _ in range(5):  # none of these would return if it waited
        scorer.score(QUERY, TEXTS)
    assert [event.code for event in seen if isinstance(event, ShadowDropped)] == ["queue_full"] * 3
    gated.open.set()
    wait_for(lambda: len(seen) == 5)
    scorer.score(QUERY, TEXTS)  # there is room again
    wait_for(lambda: len(seen) == 6)
    assert isinstance(seen[-1], ShadowCompared)


def test_a_candidate_that_fails_is_reported(tmp_path):
    seen, log = Seen(), tmp_path / "shadow.jsonl"
    scorer = ShadowScorer(FakeScorer(), Failing(), log=log, hooks=[seen])
    scorer.score(QUERY, TEXTS)
    (event,) = wait_for(lambda: seen)
    assert event.code == "protocol_error"


def test_copies_and_forked_children_have_queues_of_their_own():
    scorer = ShadowScorer(FakeScorer(), Backwards(), queue=1)
    assert pickle.loads(pickle.dumps(scorer)).score(QUERY, TEXTS) == scorer.score(QUERY, TEXTS)
    if hasattr(os, "fork"):
        assert in_child(lambda: scorer.score(QUERY, TEXTS)) == 0


def test_what_is_wrong_with_its_options():
    for options in ({"top_n": 0}, {"queue": True}):
        with pytest.raises(InvalidRequestError, match="must be a whole number"):
            ShadowScorer(FakeScorer(), FakeScorer(), **options)


@pytest.mark.parametrize("name", ["absent/shadow.jsonl", "."])
def test_a_log_that_cannot_be_written_is_known_at_once(tmp_path, name):
    with pytest.raises(InvalidRequestError, match=r"the shadow log .* cannot be written") as caught:
        ShadowScorer(FakeScorer(), FakeScorer(), log=tmp_path / name)
    assert caught.value.param == "log"


@given(st.lists(st.integers(-50, 50), min_size=1, unique=True), st.integers(1, 30))
def test_a_ranking_equals_itself_and_is_far_from_its_reverse(logits, top_n):
    same = Comparison.of(of_logits(*logits), of_logits(*(3 * each for each in logits)), top_n)
    assert (same.moved, same.overlap, same.first_differs) == (0, 1.0, False)
    other = Comparison.of(of_logits(*logits), of_logits(*(-each for each in logits)), top_n)
    assert 0 <= other.overlap <= 1
    assert other.first_differs == (len(logits) > 1)
    assert other.moved == len(logits) - len(logits) % 2


def test_the_log_is_summed_up(tmp_path):
    log = tmp_path / "shadow.jsonl"
    scorer = ShadowScorer(FakeScorer("live"), Backwards("other"), log=log, top_n=2)
    failing = ShadowScorer(FakeScorer("live"), Failing("other"), log=log)
    for each in (scorer, scorer, failing):
        each.score(QUERY, TEXTS)
    wait_for(lambda: log.is_file() and log.read_text().count("\n") == 3)
    done = CliRunner().invoke(app, ["evaluate", "--shadow-log", str(log)])
    assert done.exit_code == 0, done.output
    assert "other beside live: 2 requests compared" in done.stdout
    assert "another text comes first in 100% of the requests" in done.stdout
    assert "not compared (protocol_error): 1" in done.stdout


@pytest.mark.parametrize("line", ["[]", "{}", "not JSON"])
def test_a_line_that_is_no_log(tmp_path, line):
    log = tmp_path / "shadow.jsonl"
    log.write_text(line + "\n")
    done = CliRunner().invoke(app, ["evaluate", "--shadow-log", str(log)])
    assert done.exit_code == 2
    assert "shadow.jsonl:1" in done.stderr


def test_a_server_measures_its_candidate(tmp_path):
    log = tmp_path / "shadow.jsonl"
    with serving(models=("rerank-mini-en-v1",), shadow="rerank-tiny-en-v1", shadow_log=log) as served:
        model = {"model": "rerank-mini-en-v1"}
        assert served.rerank(**model).status_code == 200
        wait_for(lambda: served.metric("rerank_shadow_overlap_count", **model) == 1)
    assert json.loads(log.read_text())["candidate"] == "rerank-tiny-en-v1"
