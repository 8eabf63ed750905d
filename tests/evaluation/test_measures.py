from __future__ import annotations

import tracemalloc
from itertools import combinations, pairwise

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_core import InvalidRequestError
from rerank_core.evaluation import significance
from rerank_core.evaluation.assess import lost
from rerank_core.evaluation.calibration import fit_calibration
from rerank_core.evaluation.measures import MAIN, mean, measure, reordered
from rerank_core.evaluation.significance import LEVEL, compare, holm
from rerank_core.evaluation.thresholds import suggest_threshold
from rerank_core.ranking import logit_of, sigmoid
from rerank_core.scoring import CalibratedScorer, Calibration, FakeScorer

DOCUMENTS = [f"d{i}" for i in range(15)]
GRADES = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1)
RANKING = st.lists(st.sampled_from(DOCUMENTS), unique=True)
# trec_eval's own names.
JUDGE = {MAIN: "ndcg_cut_10", "MAP": "map", "P@1": "P_1", "Recall@10": "recall_10", "Recall@100": "recall_100"}


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.tuples(GRADES, RANKING), min_size=1), st.integers(1, 3))
def test_measures_equal_trec_evals(cases, relevant_grade):
    judgments = {query: grades for query, (grades, _) in cases.items()}
    ranking = {query: documents for query, (_, documents) in cases.items()}
    ours = measure(judgments, ranking, relevant_grade=relevant_grade)
    evaluator = pytrec_eval.RelevanceEvaluator(judgments, set(JUDGE.values()), relevance_level=relevant_grade)
    run = {query: {d: float(-rank) for rank, d in enumerate(documents)} for query, documents in ranking.items()}
    theirs = evaluator.evaluate({query: documents for query, documents in run.items() if documents})
    for name, judge in JUDGE.items():
        for query in judgments:
            assert ours[name][query] == pytest.approx(theirs.get(query, {}).get(judge, 0.0), abs=1e-4), (name, query)


@given(GRADES, RANKING)
def test_the_reciprocal_rank_is_that_of_the_first_relevant_document(grades, ranking):
    expected = next((1 / rank for rank, d in enumerate(ranking[:10], 1) if grades.get(d, 0) >= 1), 0.0)
    assert measure({"q": grades}, {"q": ranking})["MRR@10"]["q"] == pytest.approx(expected)


def test_a_query_without_results_counts_with_0():
    values = measure({"q1": {"d1": 1}, "q2": {"d1": 1}}, {"q1": ["d1"], "q2": []})[MAIN]
    assert values == {"q1": 1.0, "q2": 0.0}
    assert mean(values) == 0.5


@given(RANKING, st.integers(0, 20), st.data())
def test_reordering_a_part_keeps_the_rest(ranking, depth, data):
    scores = {document: data.draw(st.sampled_from([0.0, 1.0, 2.0])) for document in ranking}
    made = reordered(ranking, scores, depth)
    assert sorted(made) == sorted(ranking)
    assert made[depth:] == ranking[depth:]
    head = made[:depth]
    for one, other in pairwise(head):
        assert scores[one] > scores[other] or (
            scores[one] == scores[other] and ranking.index(one) < ranking.index(other)
        )


def test_a_loss_is_shown_by_what_fell_and_what_is_above_it():
    # a, the best, stays on top; b fell below d, which is worth nothing.
    assert lost(["a", "b", "c", "d"], ["a", "d", "c", "b"], {"a": 2, "b": 1}) == ("b", "d")
    assert lost(["a", "b", "c"], ["b", "c", "a"], {"a": 2, "b": 1}) == ("a", "b")
    assert lost(["a", "b", "c"], ["b", "c", "a"], {"a": 2, "b": 2}) == ("a", "c")


@settings(max_examples=200)
@given(GRADES, st.lists(st.sampled_from(DOCUMENTS), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_every_loss_has_a_document_that_fell_below_a_lesser_one(grades, before, random):
    after = random.sample(before, len(before))
    values = [measure({"q": grades}, {"q": ranking})[MAIN]["q"] for ranking in (before, after)]
    if values[1] < values[0] - 1e-9:
        wanted, preferred = lost(before, after, grades)
        assert grades[wanted] > grades.get(preferred, 0)
        assert before.index(wanted) < after.index(wanted)
        assert after.index(preferred) < after.index(wanted)


def test_clear_differences_are_found_and_chance_is_not():
    before = [0.5] * 40
    assert compare(before, [0.6] * 40).verdict == "helps"
    assert compare(before, [0.4] * 40).verdict == "hurts"
    assert compare(before, [0.6, 0.4] * 20).verdict == "no difference found"
    assert compare(before, before).p_value == 1.0


def test_many_queries_take_no_more_memory_and_give_the_same_figures(monkeypatch):
    generator = np.random.default_rng(0)
    before, after = generator.random((2, 2000))
    after += 0.01
    tracemalloc.start()
    found = compare(before, after)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000  # all at once, the flipped differences are 160 MB
    monkeypatch.setattr(significance, "_AT_ONCE", 10**9)
    assert compare(before, after) == found


def test_five_queries_prove_nothing():
    few = compare([0.0] * 5, [1.0] * 5)
    assert (few.low, few.high, few.bounded) == (-1.0, 1.0, False)
    assert few.p_value == 2 / 32  # of the sign patterns are as extreme
    assert few.verdict == "too few queries to tell"
    assert compare([0.0] * 24, [1.0] * 24).verdict == "too few queries to tell"
    assert compare([0.0] * 25, [1.0] * 25).verdict == "helps"
    assert few.caution == "5 queries prove nothing: label at least 25."
    assert compare([0.0], [1.0]).caution.startswith("1 query proves nothing")
    assert not compare([0.0] * 25, [1.0] * 25).caution


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_a_comparison_counts_every_query_once(pairs):
    before, after = zip(*pairs, strict=True)
    found = compare(before, after)
    assert found.wins + found.losses + found.ties == len(pairs)
    assert found.difference == pytest.approx(np.mean(np.subtract(after, before)), abs=1e-12)
    assert 0 <= found.p_value <= 1
    if found.wins + found.losses and len(pairs) > 1:
        assert found.low - 1e-9 <= found.difference <= found.high + 1e-9


@given(st.lists(st.integers(-10, 10), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_interval_says_what_the_verdict_says(tenths):
    found = compare([0.0] * len(tenths), [change / 10 for change in tenths])
    if found.wins + found.losses:
        rules_out_0 = not found.low - 1e-9 <= 0 <= found.high + 1e-9
        assert rules_out_0 == (found.p_value < LEVEL and found.difference != 0) or 0 in np.round(
            (found.low, found.high), 9
        )


def test_the_interval_is_the_changes_that_the_test_does_not_rule_out():
    changes = np.random.default_rng(3).normal(0.04, 0.1, 12).round(3)
    found = compare([0.0] * 12, changes)
    assert found.bounded
    for end, step in ((found.low, 1e-6), (found.high, -1e-6)):
        inside, outside = (compare([0.0] * 12, changes - end - way) for way in (step, -step))
        assert inside.p_value >= 0.05 > outside.p_value


def test_the_interval_holds_what_it_should_as_often_as_it_should():
    generator = np.random.default_rng(0)
    found = [compare([0.0] * 12, generator.normal(0.03, 0.1, 12)) for _ in range(200)]
    assert 0.92 <= np.mean([one.low <= 0.03 <= one.high for one in found]) <= 0.98


def test_a_threshold_is_measured_on_queries_it_was_not_chosen_on():
    clear = {f"q{i}": [(0.9, True), (0.8, True), (0.3, False), (0.1, False)] for i in range(10)}
    found = suggest_threshold(clear)
    assert (found.value, found.precision, found.recall, found.kept) == (0.8, 1.0, 1.0, 0.5)


@pytest.mark.parametrize("least", [5e-5, 1 / 3, 0.123456789012345678, 0.99999999])
def test_a_threshold_is_a_score_that_was_measured(least):
    small = {f"q{i}": [(least, True), (least / 2, False)] for i in range(10)}
    found = suggest_threshold(small)
    assert (found.value, found.precision, found.recall, found.kept) == (least, 1.0, 1.0, 0.5)
    assert least * 0.98 < float(found.shown) <= least
    assert 1 - float(found.shown) < 1.2 * (1 - least) + 1e-12


@given(st.lists(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=6), min_size=5, max_size=12))
def test_a_threshold_never_claims_more_than_there_is(queries):
    found = suggest_threshold({f"q{i}": pairs for i, pairs in enumerate(queries)})
    if sum(label for pairs in queries for _, label in pairs) < 10:
        assert found is None
    else:
        assert all(0 <= value <= 1 for value in (found.value, found.precision, found.recall, found.kept))


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_calibrated_scores_are_the_shares_that_are_relevant(method):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, 4000)
    labels = generator.random(4000) < [sigmoid(0.7 * logit - 1) for logit in logits]
    fitted = fit_calibration(list(zip(logits.tolist(), labels.tolist(), strict=True)), model="m", method=method)
    for logit in (-4.0, -1.0, 0.0, 2.0, 5.0):
        assert fitted(logit) == pytest.approx(sigmoid(0.7 * logit - 1), abs=0.08)
    ordered = sorted(generator.normal(0, 5, 200).tolist())
    values = [fitted(logit) for logit in ordered]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)


def test_few_clear_pairs_make_no_step():
    fitted = fit_calibration([(2.0, True)] * 10 + [(1.0, False)] * 10, model="m")
    assert fitted(2.0) == pytest.approx(11 / 12, abs=0.001)  # Platt's targets
    assert fitted(1.0) == pytest.approx(1 / 12, abs=0.001)


def test_a_calibration_needs_both_kinds():
    with pytest.raises(InvalidRequestError, match="at least 10 relevant"):
        fit_calibration([(1.0, True)] * 30 + [(0.0, False)] * 9, model="m")
    with pytest.raises(InvalidRequestError, match="nothing can be calibrated"):
        fit_calibration([(-1.0, True)] * 30 + [(1.0, False)] * 30, model="m")
    with pytest.raises(InvalidRequestError, match="logistic, isotonic"):
        fit_calibration([], model="m", method="magic")
    for logit in (float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError, match="finite logits"):
            fit_calibration([(1.0, True)] * 30 + [(logit, False)] * 30, model="m")


@pytest.mark.parametrize(
    ("method", "values"),
    [("logistic", (-1.0, 0.0)), ("logistic", (1.0,)), ("isotonic", ()), ("isotonic", (0.0, 0.5, 1.0)),
     ("isotonic", (0.0, 0.9, 1.0, 0.1)), ("isotonic", (0.0, 1.5)), ("magic", (1.0, 0.0))],
)  # fmt: skip
def test_what_is_no_rising_curve_is_no_calibration(method, values):
    with pytest.raises(InvalidRequestError, match="not a calibration"):
        Calibration("m", method, values)


def test_a_calibration_is_saved_and_belongs_to_its_model(tmp_path):
    fitted = Calibration("fake", "isotonic", (-1.0, 0.1, 1.0, 0.9))
    fitted.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == fitted
    assert fitted(0.0) == pytest.approx(0.5)
    CalibratedScorer(FakeScorer("fake"), fitted)
    with pytest.raises(InvalidRequestError, match="for 'fake', not for 'other'"):
        CalibratedScorer(FakeScorer("other"), fitted)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(InvalidRequestError, match="rerank calibrate"):
        Calibration.load(tmp_path / "c.json")


@given(st.floats(0, 1))
def test_logit_of_is_the_inverse_of_sigmoid(probability):
    assert sigmoid(logit_of(probability)) == pytest.approx(probability, abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_adjustment_keeps_the_order_and_is_never_below_the_p_value(values):
    adjusted = holm(values)
    assert all(value <= more <= 1 for value, more in zip(values, adjusted, strict=True))
    for one, two in combinations(range(len(values)), 2):
        if values[one] <= values[two]:
            assert adjusted[one] <= adjusted[two]


def test_holms_adjustment_of_his_own_kind_of_example():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
