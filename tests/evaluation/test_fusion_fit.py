"""The retriever's share, fitted with the probabilities and kept with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rerank_core import InvalidRequestError, Reranker
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import FusionFit, ScoredCandidates, fit_calibration, fit_fusion
from rerank_core.evaluation.fusion_fit import SHARES
from rerank_core.evaluation.measures import MAIN, main_measure, mean, measure
from rerank_core.scoring import Calibration, FakeScorer, Score, Scores


def made(queries, *, model_noise, retrieval_noise, documents=12):
    """Candidates whose logits and retrieval scores are the truth and noise of their own."""
    generator = np.random.default_rng(7)
    lists, judgments = {}, {}
    for number in range(queries):
        ids = [f"q{number}d{place}" for place in range(documents)]
        truth = np.zeros(documents)
        truth[generator.integers(documents)] = 1
        logits, scores = (truth + generator.normal(0, noise, documents) for noise in (model_noise, retrieval_noise))
        lists[f"q{number}"] = ScoredCandidates(ids, logits.tolist(), scores.tolist())
        judgments[f"q{number}"] = {name: int(grade) for name, grade in zip(ids, truth, strict=True)}
    return lists, judgments


def test_two_equally_good_sides_share_alike_and_gain():
    found = fit_fusion(*made(200, model_noise=0.8, retrieval_noise=0.8))
    assert 0.3 <= found.share <= 0.7
    assert found.fused > max(found.alone, found.retriever)
    assert found.gain.verdict == "helps"
    assert found.gain.low > 0
    assert found.gain.difference == pytest.approx(found.fused - max(found.alone, found.retriever))


@pytest.mark.parametrize(
    ("model_noise", "retrieval_noise", "least", "most"), [(0.4, 50.0, 0.0, 0.3), (50.0, 0.4, 0.7, 1.0)]
)
def test_noise_gets_no_share_and_gains_nothing(model_noise, retrieval_noise, least, most):
    found = fit_fusion(*made(60, model_noise=model_noise, retrieval_noise=retrieval_noise))
    assert least <= found.share <= most
    assert found.gain.verdict != "helps"


def test_the_ends_are_each_side_alone():
    lists, judgments = made(30, model_noise=1, retrieval_noise=1)
    found = fit_fusion(lists, judgments)
    for value, side in ((found.alone, "logits"), (found.retriever, "retrieval")):
        ranking = {
            query: [each.documents[i] for i in np.argsort(-np.array(getattr(each, side)), kind="stable")]
            for query, each in lists.items()
        }
        assert value == pytest.approx(mean(measure(judgments, ranking)[MAIN]))
        assert main_measure(judgments, ranking) == measure(judgments, ranking)[MAIN]
    assert found.share in SHARES


def test_without_scores_the_order_counts():
    lists, judgments = made(40, model_noise=1, retrieval_noise=1)
    bare = {query: ScoredCandidates(each.documents, each.logits) for query, each in lists.items()}
    ranks = {
        query: each._replace(retrieval=[-float(rank) for rank in range(len(each.documents))])
        for query, each in lists.items()
    }
    assert fit_fusion(bare, judgments) == fit_fusion(ranks, judgments)


def test_a_query_without_candidates_counts_zero_on_both_sides():
    lists, judgments = made(30, model_noise=1, retrieval_noise=1)
    before = fit_fusion(lists, judgments)
    after = fit_fusion(lists | {"none": ScoredCandidates([], [], [])}, judgments | {"none": {"d": 1}})
    assert after.alone == pytest.approx(before.alone * 30 / 31)


def test_few_queries_fit_no_weight():
    with pytest.raises(InvalidRequestError, match="at least 25 queries; there are 24"):
        fit_fusion(*made(24, model_noise=1, retrieval_noise=1))


def test_the_file_holds_both(tmp_path):
    fusion = fit_fusion(*made(60, model_noise=0.8, retrieval_noise=0.8))
    pairs = [(2.0, True)] * 10 + [(1.0, False)] * 10
    fitted = fit_calibration(pairs, model="fake", origin={"data": "mine"}, fusion=fusion)
    fitted.save(tmp_path / "c.json")
    loaded = Calibration.load(tmp_path / "c.json")
    assert loaded == fitted
    assert loaded.fusion == fusion.share
    assert loaded.values == fit_calibration(pairs, model="fake").values
    kept = loaded.origin["fusion"]
    assert loaded.origin["data"] == "mine"
    assert (kept["measure"], kept["gain"]["low"], kept["gain"]["high"]) == (MAIN, fusion.gain.low, fusion.gain.high)
    assert isinstance(fusion, FusionFit)


class ByNumber(FakeScorer):
    """The logit of a text is the number that it is."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(float(text)) for text in texts), self.model)


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_a_reranker_takes_the_weight_out_of_the_file(tmp_path, share):
    Calibration("fake", "logistic", (2.0, 1.0), fusion=share).save(tmp_path / "c.json")
    arguments = ("q", ["1", "2", "4"])
    scores = {"retrieval_scores": [3.0, 9.0, 1.0]}
    fitted = Reranker(scorer=ByNumber("fake"), calibration=tmp_path / "c.json", fusion="calibrated")
    given = Reranker(scorer=ByNumber("fake"), calibration=tmp_path / "c.json", fusion=share)
    plain = Reranker(scorer=ByNumber("fake"), calibration=tmp_path / "c.json")
    assert fitted.rerank(*arguments, **scores).results == given.rerank(*arguments, **scores).results
    assert all(result.fused is None for result in plain.rerank(*arguments, **scores))


def test_an_older_file_is_loaded_and_has_no_weight(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"calibration": 1, "model": "fake", "method": "logistic", "values": [1, 0]}))
    assert Calibration.load(file).fusion is None
    assert Reranker(scorer=FakeScorer("fake"), calibration=file, fusion=0.5)
    with pytest.raises(InvalidRequestError, match=r"this calibration has no fusion weight.*rerank calibrate") as caught:
        Reranker(scorer=FakeScorer("fake"), calibration=file, fusion="calibrated")
    assert caught.value.param == "fusion"


def test_calibrated_needs_a_calibration():
    with pytest.raises(InvalidRequestError, match="there is no calibration; make one"):
        Reranker(scorer=FakeScorer("fake"), fusion="calibrated")


@pytest.mark.parametrize("share", [-0.1, 1.1, True, "rrf", float("nan")])
def test_a_wrong_share_makes_no_calibration(tmp_path, share):
    with pytest.raises(InvalidRequestError, match="share from 0 to 1"):
        Calibration("fake", "logistic", (1.0, 0.0), fusion=share)
    file = tmp_path / "c.json"
    values = {"calibration": 1, "model": "fake", "method": "logistic", "values": [1, 0], "fusion": share}
    file.write_text(json.dumps(values))
    with pytest.raises(InvalidRequestError, match="not a calibration"):
        Calibration.load(file)


def rows(queries, *, scores):
    texts = ["Cats purr.", "Dogs bark.", "Cars drive."]
    for number in range(queries):
        documents = [{"text": text, "score": 1 / (place + 1)} for place, text in enumerate(texts)] if scores else texts
        yield {"query": f"feline pets {number}", "documents": documents, "relevant": [0]}


@pytest.mark.parametrize("scores", [True, False])
def test_the_command_fits_both_on_one_file(tmp_path, scores):
    data, out = tmp_path / "mine.jsonl", tmp_path / "c.json"
    data.write_text("\n".join(map(json.dumps, rows(25, scores=scores))))
    done = CliRunner().invoke(app, ["calibrate", str(data), "-o", str(out), "--cache", str(tmp_path / "scores.db")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    kept = Calibration.load(out)
    assert (
        f"fusion: the retriever's share is {kept.fusion:g}. nDCG@10 on held-out queries 1.000, the model alone" in said
    )
    assert (kept.fusion in SHARES, kept.origin["fusion"]["verdict"]) == (True, "no difference found")
    arguments = ("feline pets", ["Cars", "Dogs", "Cats"])
    fitted, given = (
        Reranker(calibration=out, fusion=fusion).rerank(*arguments) for fusion in ("calibrated", kept.fusion)
    )
    assert [result.fused for result in fitted] == [result.fused for result in given]
    assert fitted[0].fused is not None


def test_the_command_says_that_queries_are_too_few(tmp_path):
    data, out = tmp_path / "mine.jsonl", tmp_path / "c.json"
    data.write_text("\n".join(map(json.dumps, rows(24, scores=True))))
    done = CliRunner().invoke(app, ["calibrate", str(data), "-o", str(out), "--cache", str(tmp_path / "scores.db")])
    assert done.exit_code == 0, done.output
    assert "24 queries are too few to tell; label 25 or more" in " ".join(done.output.split())
    assert Calibration.load(out).fusion is None
