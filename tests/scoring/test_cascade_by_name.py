"""A cascade written as a model: ``CHEAP>EXPENSIVE``, wherever a model of this process is named."""

from __future__ import annotations

import pickle

import pytest

from rerank_core import InvalidRequestError, Reranker
from rerank_core.scoring import CachedScorer, CascadeScorer, FakeScorer, LocalScorer
from rerank_core.scoring.cascade import KEEP, stacked
from rerank_core.scoring.making import model_names

TINY, MINI = "rerank-tiny-en-v1", "rerank-mini-en-v1"
CASCADE = f"{TINY}>{MINI}"
QUERY = "how do I get my money back"
TEXTS = [f"Paragraph {number} is about {topic}." for number in range(9) for topic in ("refunds", "parcels", "offices")]


def logits(scorer, texts=TEXTS):
    return scorer.score(QUERY, texts).keys()


def test_a_name_is_the_cascade_that_a_user_would_write():
    named = Reranker(CASCADE).scorer
    assert isinstance(named, CascadeScorer)
    assert logits(named) == logits(CascadeScorer(LocalScorer(TINY), LocalScorer(MINI), keep=KEEP))
    assert named.identity == CascadeScorer(LocalScorer(TINY), LocalScorer(MINI)).identity


def test_few_documents_have_the_expensive_models_scores():
    assert logits(Reranker(CASCADE).scorer, TEXTS[:KEEP]) == logits(LocalScorer(MINI), TEXTS[:KEEP])


def test_options_are_of_each_model():
    reranker = Reranker(f" {TINY} > {MINI} ", max_tokens=48)
    assert [part.options.max_tokens for part in reranker.scorer._parts] == [48, 48]
    assert reranker.model == MINI


def test_a_copy_in_another_process_is_the_same_cascade():
    scorer = pickle.loads(pickle.dumps(Reranker(CASCADE).scorer))
    assert logits(scorer) == logits(Reranker(CASCADE).scorer)


def test_an_adapter_saves_the_name():
    pytest.importorskip("langchain_core")
    from rerank_plugins.langchain import CrossEncoderCompressor

    compressor = CrossEncoderCompressor(model=CASCADE)
    assert compressor.model == CASCADE
    assert isinstance(compressor.engine.scorer, CascadeScorer)


@pytest.mark.parametrize("name", ["rerank-tiny-en-v1>", ">rerank-mini-en-v1", "a>>b"])
def test_a_missing_name_is_an_error(name):
    with pytest.raises(InvalidRequestError, match="blank"):
        Reranker(name)


def test_one_revision_cannot_be_of_two_models():
    with pytest.raises(InvalidRequestError, match="cascade of 2"):
        Reranker("owner/a>owner/b", revision="main")


def test_a_path_may_have_the_sign_in_it(tmp_path):
    (folder := tmp_path / "a>b").mkdir()
    assert model_names(str(folder)) == [str(folder)]
    assert model_names(folder / "c>d") == [folder / "c>d"]


def test_a_stack_of_three_hands_the_best_on():
    first, second, third = (FakeScorer(name) for name in ("first", "second", "third"))
    stacked([first, second, third], keep=3).score("a b c", ["x", "a", "a b", "a b c", "y"])
    assert [texts for _, texts in third.calls] == [("a b c", "a b", "a")]
    assert second.calls == []  # as many as it would hand on


def test_a_cache_around_each_model_keeps_scores_that_one_around_the_cascade_could_not():
    cheap, expensive = FakeScorer("cheap"), FakeScorer("expensive")
    cascade = stacked([CachedScorer(cheap), CachedScorer(expensive)], keep=2)
    texts = ["a b c", "a b", "a"]
    assert cascade.score("a b c", texts).keys() == cascade.score("a b c", texts[::-1]).keys()[::-1]
    assert (len(cheap.calls), len(expensive.calls)) == (1, 1)
