from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import ConnectionError as Unreachable
from rerank_core import InvalidRequestError, Reranker
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


def test_a_fallbacks_scores_are_left_alone():
    slow = FakeScorer("fake", error=Unreachable("no answer"))
    fallback = FallbackScorer([slow, FakeScorer("other")])
    answered = CalibratedScorer(fallback, CURVE).score(QUERY, TEXTS)
    assert answered == fallback.score(QUERY, TEXTS)
    kept = Reranker(scorer=slow, calibration=CURVE, on_failure="keep_order").rerank(QUERY, TEXTS)
    assert [r.relevance_score for r in kept] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), "0.5", None, True, 10**400])
@pytest.mark.parametrize(
    ("method", "values"), [("logistic", (1.0, 0.0)), ("isotonic", (-1.0, 0.1, 1.0, 0.9)), ("isotonic", (0.0, 0.5))]
)
def test_a_curve_is_of_finite_numbers(method, values, bad):
    Calibration("fake", method, values)
    for position in range(len(values)):
        with pytest.raises(InvalidRequestError, match="this is not a calibration"):
            Calibration("fake", method, (*values[:position], bad, *values[position + 1 :]))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '"0.5"', '"nan"', "true", "null", "[1]"])
def test_a_saved_curve_is_of_finite_numbers(tmp_path, value):
    file = tmp_path / "c.json"
    file.write_text(f'{{"calibration": 1, "model": "fake", "method": "logistic", "values": [0.5, {value}]}}')
    with pytest.raises(InvalidRequestError, match="not a calibration") as caught:
        Calibration.load(file)
    assert caught.value.param == "calibration"


def test_a_file_that_is_no_calibration_of_any_kind(tmp_path):
    file = tmp_path / "c.json"
    for content in (
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"calibration": 2}',
        b'{"calibration": 1, "method": "magic"}',
    ):
        file.write_bytes(content)
        with pytest.raises(InvalidRequestError, match="is not a calibration"):
            Calibration.load(file)


def test_a_curve_has_pythons_numbers(tmp_path):
    curve = Calibration("fake", "logistic", [np.float32(0.5), np.int64(-1)])
    assert [type(value) for value in curve.values] == [float, float]
    curve.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == curve == CURVE


@given(
    st.lists(st.tuples(st.floats(-1e308, 1e308), st.floats(0, 1)), min_size=1, max_size=6),
    st.lists(st.floats(-1e308, 1e308), min_size=2, max_size=6),
)
def test_no_curve_leaves_the_range_or_changes_an_order(points, logits):
    given_logits, probabilities = sorted(x for x, _ in points), sorted(p for _, p in points)
    values = [value for point in zip(given_logits, probabilities, strict=True) for value in point]
    if given_logits[-1] - given_logits[0] == float("inf"):
        with pytest.raises(InvalidRequestError):
            Calibration("m", "isotonic", tuple(values))
        return
    for curve in (Calibration("m", "isotonic", tuple(values)), Calibration("m", "logistic", (1e300, 1e300))):
        found = [curve(logit) for logit in sorted(logits)]
        assert found == sorted(found)
        assert all(0 <= probability <= 1 for probability in found)


def test_a_calibration_is_its_models_under_any_of_its_names(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for fitted, used in (
        ("bge-reranker-v2", "BAAI/bge-reranker-v2-m3"),
        ("BAAI/bge-reranker-v2-m3", "bge-reranker-v2"),
        ("mine", str(tmp_path / "mine")),
        ("unknown", "unknown"),
    ):
        CalibratedScorer(FakeScorer(used), Calibration(fitted, "logistic", (1.0, 0.0)))
    for fitted, used in (
        ("bge-reranker-v2", "bge-reranker-base"),
        ("mine", "yours"),
        ("x" * 5000, "mine"),
        ("a\0b", "mine"),
        ("~nobody-of-this-name", "mine"),
    ):
        with pytest.raises(InvalidRequestError, match="this calibration is for"):
            CalibratedScorer(FakeScorer(used), Calibration(fitted, "logistic", (1.0, 0.0)))


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
