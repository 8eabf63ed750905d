"""The ranker by itself: what goes in, what comes out, what it is made of."""

from __future__ import annotations

import asyncio
import copy
import doctest
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("haystack")

from haystack import Document
from haystack.components.samplers import TopPSampler
from haystack.core.errors import DeserializationError, SerializationError
from haystack.core.serialization import component_to_dict
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.utils import ComponentDevice, Secret
from haystack.utils.device import Device, DeviceMap
from haystack.utils.misc import _deduplicate_documents

from rerank_core import AuthenticationError, InferenceError, ModelNotFoundError, Reranker
from rerank_core.ranking import sigmoid
from rerank_core.scoring import CachedScorer, FakeScorer, KeepOrderScorer
from rerank_core.scoring.base import Score, Scores
from rerank_plugins.haystack import CrossEncoderRanker
from rerank_plugins.options import ENGINE_OPTIONS

QUERY = "What is machine learning?"
TEXTS = [
    "Cats are popular pets worldwide.",
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks.",
]
META_VALUES = st.none() | st.booleans() | st.integers(0, 1) | st.text(max_size=3)
META_KEYS = {"model", "usage", "degraded", "query_truncated", "truncated", "windows"}
MODULE = "haystack_integrations.components.rankers.rerank_plugins.ranker"


def documents(*texts):
    return [Document(content=text) for text in texts or TEXTS]


def lexical(**options):
    """A ranker that counts the query's words, and the scorer behind it."""
    scorer = FakeScorer()
    return CrossEncoderRanker(reranker=Reranker(scorer=scorer), **options), scorer


def contents(output):
    return [document.content for document in output["documents"]]


class ProbabilityScorer(FakeScorer):
    """As many services: tells no logits."""

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
        "model": "rerank-mini-en-v1",
        "usage": {"prompt_tokens": expected.usage.prompt_tokens, "total_tokens": expected.usage.total_tokens},
        "degraded": False,
        "query_truncated": False,
        "truncated": [],
        "windows": {},
    }


def test_arguments_by_position_and_by_name_sync_and_async_are_the_same():
    ranker, _ = lexical()
    by_name = ranker.run(query="a b", documents=documents("x", "a", "a b"), top_k=2)
    assert ranker.run("a b", documents("x", "a", "a b"), 2) == by_name
    assert asyncio.run(ranker.run_async("a b", documents("x", "a", "a b"), 2)) == by_name
    assert contents(by_name) == ["a b", "a"]


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
    with pytest.raises(ValueError, match="'svc' tells probabilities only; use scale_score=True"):
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


# The facts


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
    ranker = CrossEncoderRanker("no-such-folder/model", local_files_only=True, on_failure="keep_order")
    for output in (
        ranker.run("a", documents("x", "a", "y"), top_k=2, score_threshold=0.9),
        asyncio.run(ranker.run_async("a", documents("x", "a", "y"), 2, 0.9)),
        ranker.run("a", documents("x", "a", "y"), top_k=2, scale_score=False),
    ):
        assert contents(output) == ["x", "a"]
        assert [document.score for document in output["documents"]] == [0.0, 0.0]
        assert output["meta"]["degraded"] is True
        assert set(output["meta"]) == META_KEYS


# What it is made of

OPTIONS = {
    "model": "some/model",
    "top_k": 3,
    "score_threshold": 0.25,
    "scale_score": False,
    "keep_retrieval_score": True,
    "query_prefix": "q",
    "query_suffix": "u",
    "document_prefix": "d",
    "document_suffix": "o",
    "meta_fields_to_embed": ["title", "year"],
    "embedding_separator": " ",
    "long_documents": "windows",
    "max_tokens": 128,
    "batch_tokens": 256,
    "threads": 2,
    "backend": "torch",
    "device": ComponentDevice.from_str("cuda:1"),
    "dtype": "float16",
    "device_map": "auto",
    "prompt": "p",
    "revision": "0" * 40,
    "trust_remote_code": True,
    "local_files_only": True,
    "on_failure": "keep_order",
}
API_OPTIONS = {
    "model": "served",
    "provider": "cohere",
    "base_url": "https://rerank.example/v2",
    "api_key": Secret.from_env_var(["MY_KEY", "OTHER_KEY"], strict=False),
    "timeout": 2.5,
    "max_retries": 0,
}


def test_every_option_is_an_attribute_and_reaches_the_engine():
    ranker = CrossEncoderRanker(**OPTIONS)
    assert {name: getattr(ranker, name) for name in OPTIONS} == OPTIONS
    engine = ranker._engine()
    local = engine._asked.options
    wanted = {name: OPTIONS[name] for name in ENGINE_OPTIONS if hasattr(local, name) and name != "device"}
    assert {name: getattr(local, name) for name in wanted} == wanted
    assert (engine.model, local.device) == ("some/model", "cuda:1")
    assert engine.scorer is not engine._asked  # a stand-in is there


def test_every_option_of_an_api_reaches_it(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sesame")
    ranker = CrossEncoderRanker(**API_OPTIONS)
    assert {name: getattr(ranker, name) for name in API_OPTIONS} == API_OPTIONS
    api = ranker._engine().scorer
    assert (api.model, api.provider, api.options.timeout, api.options.max_retries) == ("served", "cohere", 2.5, 0)
    assert api.url.startswith("https://rerank.example/v2/")
    assert api.options.api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(ranker) + repr(vars(ranker))


def test_making_one_reads_loads_and_connects_nothing(monkeypatch):
    for name in ("COHERE_API_KEY", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    hosted = CrossEncoderRanker("rerank-v3.5", provider="cohere")
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        hosted.warm_up()
    strict = CrossEncoderRanker("rerank-v3.5", provider="cohere", api_key=Secret.from_env_var("UNSET"))
    with pytest.raises(ValueError, match="UNSET"):
        strict.warm_up()
    lenient = CrossEncoderRanker("m", provider="cohere", api_key=Secret.from_env_var("UNSET", strict=False))
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        lenient.run("q", documents("a"))
    monkeypatch.setenv("COHERE_API_KEY", "sesame")
    lenient.warm_up()
    absent = CrossEncoderRanker("no-such-model", local_files_only=True)
    with pytest.raises(ModelNotFoundError):
        absent.warm_up()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_tokens": 0}, ValueError, "^max_tokens: Input should be greater than 0$"),
        ({"backend": "tensorflow"}, ValueError, "^backend: "),
        ({"dtype": "int4"}, ValueError, "^dtype: "),
        ({"on_failure": "ignore"}, ValueError, "^on_failure: "),
        ({"provider": "nobody"}, ValueError, "^Unknown provider 'nobody'"),
        ({"provider": "cohere"}, ValueError, "^provider='cohere' needs the name of a model"),
        ({"provider": "vllm", "model": "m"}, ValueError, "base_url"),
        ({"timeout": 3}, ValueError, "^timeout is for models reached over HTTP"),
        ({"api_key": Secret.from_env_var("X")}, ValueError, "^api_key is for models reached over HTTP"),
        ({"base_url": "http://localhost", "threads": 2}, ValueError, "^threads is for models in this process"),
        ({"base_url": "http://me:pw@localhost", "model": "m"}, ValueError, "credentials"),
        ({"device": "cpu"}, TypeError, "^device must be a ComponentDevice or None, but got str$"),
        (
            {"device": ComponentDevice.from_multiple(DeviceMap({"a": Device.cpu()}))},
            ValueError,
            'device_map="auto"',
        ),
        ({"provider": "cohere", "api_key": "sesame"}, TypeError, "^api_key must be a Secret or None, but got str$"),
        ({"query_prefix": None}, TypeError, "^query_prefix must be a string, but got NoneType$"),
        ({"scale_score": None}, TypeError, "^scale_score must be True or False, but got NoneType$"),
        ({"meta_fields_to_embed": "title"}, TypeError, "^meta_fields_to_embed must be a list of strings"),
        ({"meta_fields_to_embed": [1]}, TypeError, "^meta_fields_to_embed must be a list of strings"),
        ({"reranker": "engine"}, ValueError, "reranker"),
        ({"reranker": Reranker(), "threads": 2}, ValueError, "reranker= brings its own threads"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_options_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message) as caught:
        CrossEncoderRanker(**options)
    assert "sesame" not in str(caught.value)


def test_the_model_has_a_name():
    assert CrossEncoderRanker().model == "rerank-mini-en-v1"
    assert lexical()[0].model == "fake"
    assert CrossEncoderRanker(provider="tei", base_url="http://localhost").model is None


def test_an_attribute_or_key_that_changes_counts(monkeypatch):
    ranker, _ = lexical()
    ranker.top_k = 1
    ranker.score_threshold = 0.5
    assert contents(ranker.run("a b", documents("a", "a b"))) == ["a b"]
    ranker.top_k = 0
    with pytest.raises(ValueError, match="top_k must be > 0, but got 0"):
        ranker.run("a", documents("a"))
    monkeypatch.setenv("MY_KEY", "first")
    api = CrossEncoderRanker(**API_OPTIONS)
    first = api._engine()
    assert api._engine() is first
    monkeypatch.setenv("MY_KEY", "second")
    assert api._engine().scorer.options.api_key.get_secret_value() == "second"
    api.timeout = 9.0
    assert api._engine().scorer.options.timeout == 9.0


# Warm and closed


class CountingScorer(FakeScorer):
    warmed = closed = 0

    def warm_up(self):
        self.warmed += 1

    def close(self):
        self.closed += 1

    async def aclose(self):
        self.closed += 1


def test_warm_once_and_left_open_when_it_is_somebody_elses():
    scorer = CountingScorer()
    ranker = CrossEncoderRanker(reranker=Reranker(scorer=scorer))
    ranker.warm_up()
    asyncio.run(ranker.warm_up_async())
    ranker.warm_up()
    assert scorer.warmed == 1
    ranker.close()
    asyncio.run(ranker.close_async())
    assert scorer.closed == 0


def test_warm_ups_do_not_run_the_model_again():
    ranker = CrossEncoderRanker(threads=1)
    ranker.warm_up()
    engine = ranker._engine()
    assert engine.loaded is not None
    seen = []
    engine.scorer._hooks = (seen.append,)
    ranker.warm_up()
    asyncio.run(ranker.warm_up_async())
    assert seen == []


def test_it_works_after_it_was_closed_and_without_warming_up():
    ranker = CrossEncoderRanker()
    first = ranker.run(QUERY, documents())
    ranker.close()
    ranker.close()
    assert ranker.run(QUERY, documents()) == first
    asyncio.run(ranker.close_async())
    assert asyncio.run(ranker.run_async(QUERY, documents())) == first
    ranker.warm_up()
    engine = ranker._engine()
    ranker.close()
    ranker.warm_up()
    assert ranker._engine() is not engine
    assert ranker._engine().loaded is not None


# Saving


def test_the_saved_form():
    data = CrossEncoderRanker(**OPTIONS).to_dict()
    assert data["type"] == f"{MODULE}.CrossEncoderRanker"
    nothing = dict.fromkeys(("provider", "base_url", "api_key", "timeout", "max_retries", "calibration"))
    assert data["init_parameters"] == OPTIONS | nothing | {"device": {"type": "single", "device": "cuda:1"}}
    secret = {"type": "env_var", "env_vars": ["MY_KEY", "OTHER_KEY"], "strict": False}
    assert CrossEncoderRanker(**API_OPTIONS).to_dict()["init_parameters"]["api_key"] == secret


@pytest.mark.parametrize("options", [{}, OPTIONS, API_OPTIONS, {"top_k": None}, {"meta_fields_to_embed": ("a", "b")}])
def test_from_dict_undoes_to_dict(options):
    ranker = CrossEncoderRanker(**options)
    data = component_to_dict(ranker, "ranker")
    before = copy.deepcopy(data)
    loaded = CrossEncoderRanker.from_dict(data)
    assert data == before
    assert loaded.to_dict() == data
    names = data["init_parameters"]
    assert {name: getattr(loaded, name) for name in names} == {name: getattr(ranker, name) for name in names}


def test_the_saved_form_and_the_ranker_share_nothing():
    fields = ["title"]
    ranker = CrossEncoderRanker(meta_fields_to_embed=fields)
    data = ranker.to_dict()
    loaded = CrossEncoderRanker.from_dict(data)
    for shared in (fields, data["init_parameters"]["meta_fields_to_embed"]):
        shared.append("other")
    assert ranker.meta_fields_to_embed == loaded.meta_fields_to_embed == ["title"]


def test_values_are_saved_as_plain_ones(tmp_path):
    import numpy as np

    ranker = CrossEncoderRanker(tmp_path, score_threshold=np.float64(0.5), on_failure="keep_order")
    saved = ranker.to_dict()["init_parameters"]
    assert (saved["model"], type(saved["model"])) == (str(tmp_path), str)
    assert type(saved["score_threshold"]) is float


def test_what_cannot_be_saved():
    with pytest.raises(SerializationError, match="reranker= cannot be saved"):
        lexical()[0].to_dict()
    keyed = CrossEncoderRanker("m", base_url="http://localhost")
    keyed.base_url = "http://localhost?api-key=sesame"
    with pytest.raises(ValueError, match="its query string holds a key"):
        keyed.to_dict()
    token = CrossEncoderRanker("m", provider="cohere", api_key=Secret.from_token("sesame"))
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        token.to_dict()
    with pytest.raises(DeserializationError):
        CrossEncoderRanker.from_dict({"type": "some.Other", "init_parameters": {}})
    with pytest.raises(TypeError, match="no_such_option"):
        CrossEncoderRanker.from_dict({"type": f"{MODULE}.CrossEncoderRanker", "init_parameters": {"no_such_option": 1}})


def test_copies_work_by_themselves(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame")
    ranker = CrossEncoderRanker()
    expected = ranker.run(QUERY, documents())
    for copied in (copy.deepcopy(ranker), pickle.loads(pickle.dumps(ranker))):
        assert copied._engine() is not ranker._engine()
        assert copied.run(QUERY, documents()) == expected
    api = CrossEncoderRanker(**API_OPTIONS)
    api._engine()
    assert b"sesame" not in pickle.dumps(api)
    assert pickle.loads(pickle.dumps(api))._engine().scorer.options.api_key.get_secret_value() == "sesame"


def test_a_cache_behind_it():
    scorer = FakeScorer()
    ranker = CrossEncoderRanker(reranker=Reranker(scorer=CachedScorer(scorer)))
    first = ranker.run("a", documents("a", "b"))
    assert ranker.run("a", documents("a", "b"))["documents"] == first["documents"]
    assert len(scorer.calls) == 1


def test_the_docstrings_example():
    from haystack_integrations.components.rankers.rerank_plugins import ranker

    result = doctest.testmod(ranker)
    assert (result.failed, result.attempted) == (0, 4)


def test_no_telemetry():
    assert not hasattr(CrossEncoderRanker, "_get_telemetry_data")


# Importing


def python(code, *, folder):
    """Run ``code`` in a fresh process elsewhere, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_adds_nothing_heavy(tmp_path):
    # Haystack itself imports torch where it is installed; with torch hidden, only our own imports could bring it.
    code = """
import sys
sys.modules["torch"] = None
import rerank_plugins.haystack
heavy = {"langchain", "langchain_core", "llama_index", "transformers", "sentence_transformers", "onnxruntime"}
print(sorted(heavy & set(sys.modules)))
"""
    assert python(code, folder=tmp_path) == "[]"


def test_it_is_found_beside_other_rankers_from_any_folder(tmp_path):
    code = """
import haystack_integrations.components.rankers as rankers
from haystack_integrations.components.rankers.rerank_plugins import CrossEncoderRanker
import rerank_plugins.haystack
assert CrossEncoderRanker is rerank_plugins.haystack.CrossEncoderRanker
assert not hasattr(rankers, "__file__") or rankers.__file__ is None
print(CrossEncoderRanker.__module__)
"""
    assert python(code, folder=tmp_path) == MODULE


def test_without_haystack_the_error_names_the_extra(tmp_path):
    code = """
import sys
sys.modules["haystack"] = None
try:
    import rerank_plugins.haystack
except ImportError as error:
    print(type(error).__name__, error)
"""
    printed = python(code, folder=tmp_path)
    assert printed.startswith("MissingDependencyError CrossEncoderRanker needs the package 'haystack-ai'")
    assert "rerank-plugins[haystack]" in printed
