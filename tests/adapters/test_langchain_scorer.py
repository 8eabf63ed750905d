from __future__ import annotations

import asyncio
import pickle

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from pydantic import ValidationError

from checkpoints import QUERY, TEXTS
from rerank_core import InferenceError, InvalidRequestError, ProtocolError, Reranker
from rerank_core.ranking import sigmoid
from rerank_core.scoring import FakeScorer, Score, Scores
from rerank_plugins.langchain import CrossEncoderScorer


def scorer(fake=None, **options):
    return CrossEncoderScorer(reranker=Reranker(scorer=fake or FakeScorer()), **options)


def test_one_float_a_pair_in_order_with_many_queries():
    pairs = [(f"a{i % 3} b", text) for i in range(7) for text in ("a0", "a1 b", "x", "a1 b")]
    fake = FakeScorer()
    scores = scorer(fake).score(pairs)
    assert len(fake.calls) == 3
    assert all(type(score) is float for score in scores)
    assert scores == [scorer().score([pair])[0] for pair in pairs]
    assert asyncio.run(scorer().ascore(pairs)) == scores
    assert scorer().score([]) == asyncio.run(scorer().ascore([])) == []
    assert isinstance(scorer(), BaseCrossEncoder)


def test_logits_on_request():
    assert scorer(logits=True).score([("a", "a"), ("a", "x")]) == [6.0, -6.0]
    assert scorer().score([("a", "a")]) == [sigmoid(6.0)]


class ProbabilitiesOnly(FakeScorer):
    def score(self, query, texts):  # noqa: ARG002  (the protocol's)
        return Scores((Score(0.5),) * len(texts), "probabilities")


def test_logits_that_are_not_there_are_an_error():
    assert scorer(ProbabilitiesOnly()).score([("a", "a")]) == [0.5]
    with pytest.raises(ProtocolError, match="probabilities only"):
        scorer(ProbabilitiesOnly(), logits=True).score([("a", "a")])


@pytest.mark.parametrize("logits", [False, True])
def test_a_failing_model_can_leave_the_order(logits):
    engine = Reranker(scorer=FakeScorer(error=InferenceError("broken")), on_failure="keep_order")
    reranker = CrossEncoderReranker(model=CrossEncoderScorer(reranker=engine, logits=logits), top_n=2)
    found = [Document("x"), Document("a"), Document("b")]
    assert reranker.compress_documents(found, "a") == found[:2]


@pytest.mark.parametrize("pairs", [["ab"], [("a",)], [("a", 3)], [("a", "b", "c")], [3], [None]])
def test_what_is_no_pair_is_refused(pairs):
    with pytest.raises(InvalidRequestError, match=r"text_pairs\[1\]"):
        scorer().score([("a", "b"), *pairs])


@pytest.mark.parametrize("pairs", [None, 3, "ab", {"a": "b"}])
def test_what_is_no_list_of_pairs_is_refused(pairs):
    with pytest.raises(InvalidRequestError, match=f"must be a list of pairs, .*got {type(pairs).__name__}"):
        scorer().score(pairs)


@pytest.mark.parametrize("options", [{"top_n": 3}, {"score_threshold": 0.5}, {"batch": 3}, {"backend": "x"}])
def test_options_that_a_scorer_has_not_are_refused(options):
    with pytest.raises(ValidationError):
        CrossEncoderScorer(**options)


def test_the_bundled_model_behind_classics_reranker():
    found = [Document("Berlin is big.", id="b"), Document("Paris is the capital of France.", id="p"), Document("x")]
    reranker = CrossEncoderReranker(model=CrossEncoderScorer(), top_n=2)
    ranked = reranker.compress_documents(found, "What is the capital of France?")
    assert ranked[0].id == "p"
    assert reranker.compress_documents([], "query") == []
    assert pickle.loads(pickle.dumps(reranker)).compress_documents(found, "What is the capital of France?") == ranked


@pytest.mark.torch
def test_it_scores_and_orders_like_sentence_transformers(checkpoint):
    from sentence_transformers import CrossEncoder

    folder = str(checkpoint("bert"))
    pairs = [(QUERY, text) for text in TEXTS]
    theirs = CrossEncoder(folder, device="cpu").predict(pairs)
    for backend in ("torch", "auto"):
        ours = CrossEncoderScorer(model=folder, backend=backend, device="cpu")
        assert ours.score(pairs) == pytest.approx(theirs.tolist(), abs=1e-5)
        ranked = CrossEncoderReranker(model=ours, top_n=99).compress_documents(
            [Document(text) for text in TEXTS], QUERY
        )
        order = sorted(range(len(TEXTS)), key=lambda i: -theirs[i])
        assert [document.page_content for document in ranked] == [TEXTS[i] for i in order]
