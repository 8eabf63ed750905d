from __future__ import annotations

import asyncio

import pytest

from rerank_core import ConnectionError as Unreachable
from rerank_core import Reranker
from rerank_core.scoring import CalibratedScorer, Calibration, FakeScorer, FallbackScorer

CURVE = Calibration("fake", "logistic", (0.5, -1.0))
QUERY, TEXTS = "cats and dogs", ["cats", "cats and dogs", "birds"]


def test_the_order_and_the_logits_stay_and_the_probabilities_are_the_curves():
    plain = Reranker(scorer=FakeScorer()).rerank(QUERY, TEXTS)
    calibrated = Reranker(scorer=FakeScorer(), calibration=CURVE).rerank(QUERY, TEXTS)
    later = asyncio.run(Reranker(scorer=FakeScorer(), calibration=CURVE).arerank(QUERY, TEXTS))
    assert [(r.index, r.logit) for r in calibrated] == [(r.index, r.logit) for r in plain]
    assert [r.relevance_score for r in calibrated] == [CURVE(r.logit) for r in plain]
    assert later.results == calibrated.results


def test_a_threshold_is_one_of_calibrated_probabilities():
    engine = Reranker(scorer=FakeScorer(), calibration=CURVE)
    (best,) = engine.rerank(QUERY, TEXTS, score_threshold=0.8)
    assert best.index == 1


def test_a_stand_ins_scores_are_left_alone():
    slow = FakeScorer("fake", error=Unreachable("no answer"))
    stand_in = FallbackScorer([slow, FakeScorer("other")])
    answered = CalibratedScorer(stand_in, CURVE).score(QUERY, TEXTS)
    assert answered == stand_in.score(QUERY, TEXTS)
    kept = Reranker(scorer=slow, calibration=CURVE, on_failure="keep_order").rerank(QUERY, TEXTS)
    assert [r.relevance_score for r in kept] == [0.0, 0.0, 0.0]


def test_it_passes_on_what_it_does_not_change():
    inner = FakeScorer("fake")
    scorer = CalibratedScorer(inner, CURVE)
    scorer.warm_up()
    assert scorer.model == "fake"
    assert scorer.identity != inner.identity
    scorer.close()
    asyncio.run(scorer.aclose())


@pytest.mark.parametrize("logit", [-50.0, -1.0, 0.0, 0.5, 2.0, 50.0])
def test_an_isotonic_curve_is_flat_outside_and_straight_inside(logit):
    curve = Calibration("m", "isotonic", (-1.0, 0.2, 1.0, 0.8))
    expected = min(max(0.5 + 0.3 * logit, 0.2), 0.8)
    assert curve(logit) == pytest.approx(expected)
