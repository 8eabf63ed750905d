"""The ranker by itself: what goes in, what comes out."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("haystack")

from haystack import Document
from haystack.components.samplers import TopPSampler
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.utils.misc import _deduplicate_documents
from haystack_tools import QUERY, TEXTS, contents, documents, lexical

from rerank_core import InferenceError, ModelLoadError, Reranker
from rerank_core.models import DEFAULT_MODEL
from rerank_core.ranking import sigmoid
from rerank_core.scores import Score, Scores
from rerank_core.scoring import FakeScorer, KeepOrderScorer
from rerank_plugins.haystack import CrossEncoderRanker

META_VALUES = st.none() | st.booleans() | st.integers(0, 1) | st.text(max_size=3)
META_KEYS = {"model", "usage", "degraded", "query_truncated", "truncated", "windows", "highlights"}


class ProbabilityScorer(FakeScorer):
    """As many services: gives no logits."""

    def _answer(self, query, texts):
        scores = super()._answer(query, texts)
        items = tuple(Score(score.relevance_score) for score in scores.items)
        return Scores(items, scores.model, scores.tokens)


# What comes out


def test_it_ranks_as_the_engine_does(bundled):
    output = CrossEncoderRanker().run(QUERY, documents())
    expected = bundled.rerank(QUERY, TEXTS)
    assert contents(output) == [result.text for result in expected]
    assert [document.score for document in output["documents"]] == [result.relevance_score for result in expected]
    assert output["meta"] == {
        "model": DEFAULT_MODEL,
        "usage": {"prompt_tokens": expected.usage.prompt_tokens, "total_tokens": expected.usage.total_tokens},
        "degraded": False,
        "query_truncated": False,
        "truncated": [],
        "windows": {},
        "highlights": {},
    }


def test_arguments_by_position_and_by_name_sync_and_async_are_the_same():
    ranker, _ = lexical()
    by_name = ranker.run(query="a b", documents=documents("x", "a", "a b"), top_k=2)
    assert ranker.run("a b", documents("x", "a", "a b"), 2) == by_name
    assert asyncio.run(ranker.run_async("a b", documents("x", "a", "a b"), 2)) == by_name
    assert contents(by_name) == ["a b", "a"]


@pytest.mark.torch  # the sampler needs it
def test_scores_are_python_floats_that_haystacks_sampler_takes():
    output = CrossEncoderRanker().run(QUERY, documents())
    assert all(type(document.score) is float for document in output["documents"])
    sampled = TopPSampler(top_p=0.9).run(documents=output["documents"])
    assert sampled["documents"]


def test_documents_given_are_not_changed():
    given_documents = [Document(content=text, meta={"n": [1]}, score=0.5) for text in ("x", "a", "a b")]
    before = copy.deepcopy(given_documents)
    ranker, _ = lexical(keep_retrieval_score=True)
    output = ranker.run("a b", given_documents)
    assert given_documents == before
    assert all(ours is not theirs for ours in output["documents"] for theirs in given_documents)


@dataclass
class Page(Document):
    number: int = 0


# Haystack takes the construction of any dataclass derived from Document for a mutation.
@pytest.mark.filterwarnings("ignore:Mutating attribute 'id' on an instance of 'Page':Warning")
def test_everything_else_about_a_document_survives():
    page = Page(
        id="p",
        content="a",
        number=7,
        meta={"source": "s"},
        embedding=[0.1, 0.2],
        sparse_embedding=SparseEmbedding(indices=[1], values=[0.5]),
        blob=ByteStream(b"data", mime_type="text/plain"),
    )
    [ranked] = lexical()[0].run("a", [page])["documents"]
    assert type(ranked) is Page
    assert ranked == replace(page, score=ranked.score)
    assert ranked.number == 7


def test_a_document_without_text_is_ranked_like_any_other():
    ranker, scorer = lexical()
    picture = Document(content=None, blob=ByteStream(b"x"))
    assert ranker.run("a", [picture, Document(content="a")])["documents"][1].id == picture.id
    assert scorer.calls == [("a", ("", "a"))]


def test_documents_with_equal_scores_keep_their_order():
    ranker, _ = lexical(top_k=None)
    given_documents = [Document(id=str(n), content=text) for n, text in enumerate(["x", "a", "y", "a", "z"])]
    assert [document.id for document in ranker.run("a", given_documents)["documents"]] == ["1", "3", "0", "2", "4"]


@pytest.mark.parametrize(
    "scores", [(0.1, 0.9, 0.5), (None, 0.2, None), (0.3, None, 0.3), (None, None, None), (-1, 0, 0)]
)
def test_duplicates_are_those_of_haystacks_own_helper(scores):
    given_documents = [Document(id="one", content="a", meta={"from": n}, score=s) for n, s in enumerate(scores)]
    given_documents.insert(1, Document(id="two", content="a"))
    expected = _deduplicate_documents(given_documents)
    ranked = lexical()[0].run("a", given_documents)["documents"]
    assert [(document.id, document.meta) for document in ranked] == [(d.id, d.meta) for d in expected]


def test_the_retrieval_score_is_kept_when_asked_for():
    given_documents = [Document(id="1", content="a", score=0.25, meta={"k": 1}), Document(id="2", content="b")]
    ranker, _ = lexical(keep_retrieval_score=True)
    assert [d.meta for d in ranker.run("a", given_documents)["documents"]] == [{"k": 1, "retrieval_score": 0.25}, {}]
    assert [d.meta for d in lexical()[0].run("a", given_documents)["documents"]] == [{"k": 1}, {}]


IDS = st.sampled_from(["a", "b", "c", "d", "e"])
ANY_SCORE = st.none() | st.floats(-5, 5)
ANY_DOCUMENT = st.builds(
    Document,
    id=IDS,
    content=st.none() | st.sampled_from(["", "a", "b", "a b", "x"]),
    meta=st.dictionaries(
        st.sampled_from(["t", "u"]), st.none() | st.booleans() | st.integers(0, 1) | st.text(max_size=3)
    ),
    score=ANY_SCORE,
)


@given(st.lists(ANY_DOCUMENT, max_size=12), st.none() | st.integers(1, 6), st.none() | st.sampled_from([0.0, 0.3, 1.0]))
def test_nothing_is_lost_doubled_or_changed(given_documents, top_k, threshold):
    before = copy.deepcopy(given_documents)
    ranker, _ = lexical(meta_fields_to_embed=["t"], top_k=None)
    unique = _deduplicate_documents(given_documents)
    everything = ranker.run("a b", given_documents)["documents"]
    assert given_documents == before
    assert sorted(document.id for document in everything) == sorted(document.id for document in unique)
    positions = {document.id: place for place, document in enumerate(unique)}
    kept = {document.id: document for document in unique}
    keys = [(-document.score, positions[document.id]) for document in everything]
    assert keys == sorted(keys)
    assert all(document == replace(kept[document.id], score=document.score) for document in everything)
    some = ranker.run("a b", given_documents, top_k, threshold)["documents"]
    assert some == [d for d in everything if threshold is None or d.score >= threshold][:top_k]


# What the model reads


@pytest.mark.parametrize(
    ("options", "document", "expected"),
    [
        ({}, Document(content="text"), "text"),
        ({"meta_fields_to_embed": ["title"]}, Document(content="text", meta={"title": "T"}), "T\ntext"),
        ({"meta_fields_to_embed": ["a", "b", "c"]}, Document(content="t", meta={"a": 0, "b": False}), "0\nFalse\nt"),
        ({"meta_fields_to_embed": ["a", "b"]}, Document(content="t", meta={"a": None, "b": ""}), "\nt"),
        ({"meta_fields_to_embed": ["b", "a"]}, Document(content="t", meta={"a": "A", "b": 1.5}), "1.5\nA\nt"),
        ({"meta_fields_to_embed": ["a"]}, Document(meta={"a": "A"}), "A\n"),
        ({"meta_fields_to_embed": ("a",), "embedding_separator": " | "}, Document(content="t", meta={"a": 1}), "1 | t"),
        (
            {"meta_fields_to_embed": ["a"], "document_prefix": "<", "document_suffix": ">"},
            Document(content="t", meta={"a": "A"}),
            "<A\nt>",
        ),
        ({"document_prefix": "<", "document_suffix": ">"}, Document(), "<>"),
    ],
)
def test_a_documents_text(options, document, expected):
    ranker, scorer = lexical(**options)
    ranker.run("q", [document])
    assert scorer.calls == [("q", (expected,))]


def test_the_querys_prefix_and_suffix():
    ranker, scorer = lexical(query_prefix="find: ", query_suffix="?")
    ranker.run("a", documents("a"))
    assert scorer.calls == [("find: a?", ("a",))]
    with pytest.raises(ValueError, match="query must not be blank"):
        ranker.run(" ", documents("a"))


# Limits, threshold, scale


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_limit_below_one(top_k):
    with pytest.raises(ValueError, match=f"^top_k must be > 0, but got {top_k}$"):
        CrossEncoderRanker(top_k=top_k)
    ranker, _ = lexical()
    for given_documents in ([], documents()):
        with pytest.raises(ValueError, match=f"^top_k must be > 0, but got {top_k}$"):
            ranker.run(QUERY, given_documents, top_k)
        with pytest.raises(ValueError, match=f"^top_k must be > 0, but got {top_k}$"):
            asyncio.run(ranker.run_async(QUERY, given_documents, top_k))


def test_how_many_come_out():
    many = documents(*(f"a {n}" for n in range(12)))
    assert len(lexical()[0].run("a", many)["documents"]) == 10
    assert len(lexical(top_k=None)[0].run("a", many)["documents"]) == 12
    assert len(lexical(top_k=3)[0].run("a", many)["documents"]) == 3
    assert len(lexical(top_k=3)[0].run("a", many, top_k=11)["documents"]) == 11


def test_the_threshold_is_inclusive_and_comes_before_the_limit():
    given_documents = documents("x", "a", "a b")
    half = sigmoid(0.0)
    ranker, _ = lexical(score_threshold=half)
    assert contents(ranker.run("a b", given_documents)) == ["a b", "a"]
    assert contents(ranker.run("a b", given_documents, top_k=1)) == ["a b"]
    assert contents(ranker.run("a b", given_documents, score_threshold=0.0)) == ["a b", "a", "x"]
    assert contents(ranker.run("a b", given_documents, score_threshold=0.6)) == ["a b"]
    assert contents(ranker.run("a b", given_documents, score_threshold=1.0)) == []


def test_raw_scores_and_the_probability_they_are_held_against():
    given_documents = documents("x", "a", "a b")
    raw, _ = lexical(scale_score=False)
    scaled, _ = lexical()
    assert [document.score for document in raw.run("a b", given_documents)["documents"]] == [6.0, 0.0, -6.0]
    assert scaled.run("a b", given_documents, scale_score=False) == raw.run("a b", given_documents)
    assert raw.run("a b", given_documents, scale_score=True) == scaled.run("a b", given_documents)
    assert contents(raw.run("a b", given_documents, score_threshold=0.5)) == ["a b", "a"]


def test_raw_scores_that_nobody_tells():
    ranker = CrossEncoderRanker(reranker=Reranker(scorer=ProbabilityScorer("svc")), scale_score=False)
    with pytest.raises(ValueError, match="'svc' gives probabilities only; use scale_score=True"):
        ranker.run("a", documents("a"))
    assert ranker.run("a", documents("a"), scale_score=True)["documents"][0].score == sigmoid(6.0)
    nobody = CrossEncoderRanker(reranker=Reranker(scorer=KeepOrderScorer()), scale_score=False)
    assert nobody.run("a", documents("x", "a"))["documents"][1].score == 0.0


# Inputs that are none


def test_no_documents_give_every_output_and_load_nothing(monkeypatch):
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    rankers = {
        "no-such-model": CrossEncoderRanker("no-such-model"),
        "rerank-v3.5": CrossEncoderRanker("rerank-v3.5", provider="cohere"),
        "tei": CrossEncoderRanker(provider="tei", base_url="http://127.0.0.1:9"),
        "fake": lexical()[0],
    }
    for model, ranker in rankers.items():
        output = ranker.run(QUERY, [])
        assert output["documents"] == []
        assert set(output["meta"]) == META_KEYS
        assert output["meta"]["model"] == model
        assert output["meta"]["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
        assert asyncio.run(ranker.run_async(QUERY, [])) == output


@pytest.mark.parametrize("query", ["", " \n"])
@pytest.mark.parametrize("given_documents", [[], documents("a")])
def test_a_blank_query(query, given_documents):
    ranker, scorer = lexical()
    with pytest.raises(ValueError, match="query must not be blank"):
        ranker.run(query, given_documents)
    assert scorer.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": None}, "query must be a string, but got NoneType"),
        ({"query": 3}, "query must be a string, but got int"),
        ({"documents": None}, "documents must be a list of Haystack Documents, but got NoneType"),
        ({"documents": "text"}, "documents must be a list of Haystack Documents, but got str"),
        ({"documents": Document(content="a")}, "documents must be a list of Haystack Documents, but got Document"),
        ({"documents": [Document(content="a"), "b"]}, r"documents\[1\] must be a Haystack Document, but got str"),
        ({"top_k": "3"}, "top_k must be a whole number or None, but got str"),
        ({"top_k": True}, "top_k must be a whole number or None, but got bool"),
        ({"scale_score": "no"}, "scale_score must be True, False or None, but got str"),
    ],
)
def test_arguments_of_the_wrong_type(arguments, message):
    ranker, _ = lexical()
    arguments = {"query": "a", "documents": documents("a")} | arguments
    with pytest.raises(TypeError, match=message):
        ranker.run(**arguments)
    with pytest.raises(TypeError, match=message):
        asyncio.run(ranker.run_async(**arguments))


def test_a_threshold_that_is_no_probability():
    for threshold in (-0.1, 1.1, "0.5", float("nan")):
        with pytest.raises(ValueError, match="score_threshold must be a number from 0 to 1"):
            CrossEncoderRanker(score_threshold=threshold)
        with pytest.raises(ValueError, match="score_threshold must be a number from 0 to 1"):
            lexical()[0].run("a", [], score_threshold=threshold)


# What is known of a call


def test_documents_read_in_part_are_named():
    long = Document(id="long", content="Machine learning reads books. " * 200)
    short = Document(id="short", content="Cats.")
    output = CrossEncoderRanker(max_tokens=64).run(QUERY, [short, long])
    assert output["meta"]["truncated"] == ["long"]
    assert output["meta"]["windows"] == {}
    assert CrossEncoderRanker(max_tokens=64).run(QUERY, [short, long], 1)["meta"]["truncated"] == ["long"]
    assert all(document.meta == {} for document in output["documents"])


def test_windows_are_those_of_the_content():
    needle = "Machine learning is a subset of artificial intelligence."
    text = "Cats sleep all day long. " * 60 + needle + " Dogs bark at night. " * 60
    ranker = CrossEncoderRanker(
        long_documents="windows", max_tokens=64, meta_fields_to_embed=["title"], document_prefix="passage: "
    )
    meta = ranker.run(QUERY, [Document(id="d", content=text, meta={"title": "Animals " * 20})])["meta"]
    [[start, end]] = meta["windows"].values()
    assert needle in text[start:end]
    assert meta["truncated"] == []
    title = Document(id="t", content="", meta={"title": needle + " Cats sleep all day long." * 60})
    assert ranker.run(QUERY, [title])["meta"]["windows"] == {"t": [0, 0]}


def test_a_model_that_fails_and_documents_in_their_order():
    broken = FakeScorer(error=InferenceError("it broke"))
    with pytest.raises(InferenceError):
        CrossEncoderRanker(reranker=Reranker(scorer=broken)).run("a", documents("x", "a"))
    with pytest.raises(ModelLoadError):
        CrossEncoderRanker("no-such/model", local_files_only=True, on_failure="keep_order").run("a", documents("x"))
    ranker = CrossEncoderRanker(reranker=Reranker(scorer=broken, on_failure="keep_order"))
    for output in (
        ranker.run("a", documents("x", "a", "y"), top_k=2, score_threshold=0.9),
        asyncio.run(ranker.run_async("a", documents("x", "a", "y"), 2, 0.9)),
        ranker.run("a", documents("x", "a", "y"), top_k=2, scale_score=False),
    ):
        assert contents(output) == ["x", "a"]
        assert [document.score for document in output["documents"]] == [0.0, 0.0]
        assert output["meta"]["degraded"] is True
        assert set(output["meta"]) == META_KEYS
