"""Hard negatives: high scores, below the positives', and never a positive."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InvalidRequestError, Reranker
from rerank_core.bulk import Band, Columns, Job, hard_negatives, run, scored_rows
from rerank_core.scoring import FakeScorer

SCORES = st.floats(0, 1, allow_nan=False)


def row(score, text, query="q", **more):
    return {"query": query, "document": text, "relevance_score": score} | more


def test_negatives_are_in_the_band_hardest_first():
    rows = [
        row(0.99, "unlabelled answer"),
        row(0.8, "answer", label=1),
        row(0.9, "better answer", label=True),
        *(row(score, f"at {score}") for score in (0.1, 0.77, 0.5, 0.3, 0.76)),
    ]
    (mined,) = hard_negatives(rows, Band(lowest=0.2))
    assert mined.positive == ("better answer", "answer")
    assert mined.negative == ("at 0.76", "at 0.5", "at 0.3")  # .77 is above .95 of .8
    (few,) = hard_negatives(rows, Band(lowest=0.2, skip=1, most=1))
    assert few.negative == ("at 0.5",)
    (wide,) = hard_negatives(rows, Band(of_positive=1))
    assert wide.negative[0] == "at 0.77"


def test_what_a_job_wrote_is_mined(tmp_path):
    rows = [
        {"query_id": 1, "query": "a b", "documents": [{"text": "a b", "id": "d1"}, {"text": "a c", "id": "d2"}]},
        {"query_id": 2, "query": "x", "documents": [{"text": "x", "id": "d3"}]},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(Job([tmp_path / "in.jsonl"], tmp_path / "out", rows_per_part=1), Reranker(scorer=FakeScorer()))
    (mined,) = hard_negatives(scored_rows(tmp_path / "out"), positives={1: {"d1"}})
    assert (mined.query, mined.positive, mined.negative) == ("a b", ("a b",), ("a c",))
    with pytest.raises(InvalidRequestError, match="there is no such file"):
        next(scored_rows(tmp_path))


def test_labels_may_be_in_candidates_and_columns_have_other_names():
    rows = [
        {"q": "a", "found": [{"text": "x", "good": True}, {"text": "y"}, "z"], "re_relevance_score": [0.9, 0.8, 0.1]}
    ]
    (mined,) = hard_negatives(rows, label="good", columns=Columns("q", documents="found", prefix="re_"))
    assert (mined.positive, mined.negative) == (("x",), ("y", "z"))


@given(
    st.lists(st.tuples(SCORES, st.sampled_from("abcdef"), st.booleans()), max_size=12),
    SCORES,
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_whatever_the_scores_negatives_are_no_positives_and_below_them(texts, lowest, skip, most):
    rows = [row(score, text, label=label) for score, text, label in texts]
    band = Band(lowest=lowest, skip=skip, most=most)
    found = list(hard_negatives(rows, band))
    positives = {text for _, text, label in texts if label}
    assert len(found) == bool(positives)
    for mined in found:
        worst = min(score for score, _, label in texts if label)
        assert set(mined.positive) == positives
        assert not positives & set(mined.negative)
        assert len(set(mined.negative)) == len(mined.negative) <= most
        for text in mined.negative:
            assert any(lowest <= score <= 0.95 * worst for score, each, _ in texts if each == text)


@pytest.mark.parametrize(
    "wrong",
    [{"lowest": 0.6, "highest": 0.5}, {"highest": 1.5}, {"of_positive": 0}, {"skip": -1}, {"most": 0}],
)
def test_a_band_out_of_range_is_refused(wrong):
    with pytest.raises(InvalidRequestError, match="got"):
        Band(**wrong)


def test_rows_that_were_not_scored_are_refused_and_not_shown():
    for wrong in ({"query": "secret", "document": "secret"}, {"query": "secret", "relevance_score": 0.5}):
        with pytest.raises(InvalidRequestError, match="expected scored rows") as caught:
            list(hard_negatives([wrong]))
        assert "secret" not in str(caught.value)
