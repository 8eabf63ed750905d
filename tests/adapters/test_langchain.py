from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager, CallbackManager
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda, RunnablePassthrough
from langchain_tools import QUERY, TEXTS, Runs, compressor, documents, ids
from pydantic import ValidationError

from loops import held_model, while_held
from rerank_core import AuthenticationError, InferenceError, InvalidRequestError, ModelNotFoundError, Reranker
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import ApiOptions, ApiScorer, CachedScorer, FakeScorer, Score, Scores
from rerank_plugins.langchain import CrossEncoderCompressor
from serving import serving
from waiting import BOUND, join


@pytest.fixture(autouse=True)
def _no_langsmith(monkeypatch):
    monkeypatch.delenv("LANGCHAIN_TRACING_V2", raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


def assert_same_ranking(ranked, expected):
    """Who shares a batch with whom moves the scores of an int8 model a little."""
    assert ids(ranked) == ids(expected)
    scores = [document.metadata["relevance_score"] for document in ranked]
    assert scores == pytest.approx([document.metadata["relevance_score"] for document in expected], abs=0.01)


class Note(Document):
    """A user's own kind of document."""

    author: str = "nobody"


class AsyncEvents(AsyncCallbackHandler):
    """A handler of which every method is a coroutine."""

    def __init__(self):
        self.seen = []

    async def on_chain_start(self, *_inputs, name, parent_run_id=None, **_rest):
        await asyncio.sleep(0)
        self.seen.append(("start", name, parent_run_id))

    async def on_chain_end(self, outputs, *, parent_run_id=None, **_rest):
        self.seen.append(("end", len(outputs), parent_run_id))


# What comes out


def test_the_bundled_model_ranks_without_any_option():
    ranked = CrossEncoderCompressor().compress_documents(documents(), QUERY)
    assert ids(ranked)[:2] == ["id-1", "id-3"]
    assert len(ranked) == 3
    scores = [document.metadata["relevance_score"] for document in ranked]
    assert all(type(score) is float for score in scores)
    assert scores == sorted(scores, reverse=True)


def test_it_is_the_documents_own_class_with_id_type_and_metadata():
    notes = [Note(text, id=str(i), author=f"author {i}", metadata={"n": i}) for i, text in enumerate(TEXTS)]
    for note in compressor(top_n=None).compress_documents(notes, QUERY):
        original = notes[int(note.id)]
        assert type(note) is Note
        assert note is not original
        assert (note.type, note.author, note.page_content) == ("Document", original.author, original.page_content)
        assert note.metadata == {"n": int(note.id), "relevance_score": note.metadata["relevance_score"]}


def test_nothing_that_goes_in_is_changed_nor_shared():
    given_ = documents()
    before = copy.deepcopy(given_)
    ranked = compressor(top_n=None).compress_documents(given_, QUERY)
    for document in ranked:
        document.metadata["deep"]["list"].append("changed")
    assert given_ == before


def test_metadata_that_cannot_be_copied_is_shared():
    lock = threading.Lock()
    (document,) = compressor().compress_documents([Document("a", metadata={"lock": lock, "deep": [1]})], QUERY)
    assert document.metadata["lock"] is lock


def test_top_n_and_threshold():
    ranked = compressor(top_n=None).compress_documents(documents(["a b", "x", "a", "b"]), "a b")
    assert ids(ranked) == ["id-0", "id-2", "id-3", "id-1"]
    assert len(compressor().compress_documents(documents(["a"] * 9), "a b")) == 3
    half = compressor(top_n=None, score_threshold=0.5)
    assert [document.id for document in half.compress_documents(documents(["a b", "x", "a", "b"]), "a b")] == [
        "id-0",
        "id-2",
        "id-3",
    ]
    assert compressor(score_threshold=1.0).compress_documents(documents(["x"]), "a") == []


def test_no_documents_need_no_model_and_no_key():
    assert CrossEncoderCompressor(model="no-such-model").compress_documents([], QUERY) == []
    hosted = pickle.loads(pickle.dumps(CrossEncoderCompressor(provider="cohere", model="rerank-v3.5", api_key="k")))
    assert asyncio.run(hosted.acompress_documents([], QUERY)) == []
    assert hosted.rerank([], QUERY) == asyncio.run(hosted.arerank([], QUERY)) == []


def test_scores_of_an_earlier_pass_are_replaced():
    old = {"relevance_score": 0.9, "rerank_truncated": True, "rerank_degraded": True, "rerank_window": [0, 1]}
    again = [Document("x", metadata=old | {"n": 1})]
    (document,) = compressor().compress_documents(again, "a")
    assert document.metadata == {"n": 1, "relevance_score": Score.from_logit(-6).relevance_score}
    assert again[0].metadata["relevance_score"] == 0.9


def test_the_retrieval_score_can_be_kept():
    keeping = compressor(keep_retrieval_score=True)
    found = [Document("a", metadata={"relevance_score": 0.0}), Document("a b")]
    once = keeping.compress_documents(found, "a b")
    assert [document.metadata.get("retrieval_score", "none") for document in once] == ["none", 0.0]
    twice = keeping.compress_documents(once, "a b")
    assert twice[1].metadata["retrieval_score"] == 0.0


def test_the_model_reads_fields_of_metadata_before_the_content():
    scorer = FakeScorer()
    reading = compressor(
        scorer, metadata_fields=["title", "year", "draft", "none", "missing"], metadata_separator=" | "
    )
    reading.compress_documents(
        [Document("text", metadata={"title": "T", "year": 0, "draft": False, "none": None})], QUERY
    )
    assert scorer.calls == [(QUERY, ("T | 0 | False | text",))]


def test_a_truncated_document_says_so():
    short, long = CrossEncoderCompressor(top_n=None).compress_documents(
        [Document(TEXTS[1]), Document("words " * 2000)], QUERY
    )
    assert "rerank_truncated" not in short.metadata
    assert long.metadata["rerank_truncated"] is True


@pytest.mark.parametrize("fields", [(), ("title",)])
def test_a_window_lies_in_the_content_whatever_was_read_before_it(fields):
    text = "Filler about nothing at all. " * 120 + TEXTS[1] + " More filler follows here." * 120
    windows = CrossEncoderCompressor(long_documents="windows", metadata_fields=fields)
    (document,) = windows.compress_documents([Document(text, metadata={"title": "A title " * 5})], QUERY)
    start, end = document.metadata["rerank_window"]
    assert TEXTS[1] in document.page_content[start:end]
    assert document.page_content[start:end] == document.page_content[start:end].strip()


def test_a_failing_model_can_leave_the_order():
    failing = Reranker(scorer=FakeScorer(error=InferenceError("broken")), on_failure="keep_order")
    ranked = CrossEncoderCompressor(reranker=failing, top_n=2, score_threshold=0.9).compress_documents(
        documents(), QUERY
    )
    assert ids(ranked) == ["id-0", "id-1"]
    assert all(document.metadata["rerank_degraded"] is True for document in ranked)
    every = CrossEncoderCompressor(reranker=failing, top_n=None)
    assert ids(asyncio.run(every.acompress_documents(documents(), QUERY))) == [f"id-{i}" for i in range(4)]
    unknown = CrossEncoderCompressor(model="/no/such/folder", on_failure="keep_order")
    with pytest.raises(ModelNotFoundError):
        unknown.compress_documents(documents(), QUERY)


@given(
    st.lists(
        st.tuples(
            st.text(alphabet="abx ", max_size=6),
            st.none() | st.text(max_size=3),
            st.dictionaries(st.sampled_from(["n", "relevance_score", "tags"]), st.lists(st.integers(), max_size=2)),
        ),
        max_size=12,
    )
)
def test_nothing_is_lost_doubled_or_changed_and_ties_keep_their_order(rows):
    given_ = [Document(text, id=id_, metadata=metadata | {"row": i}) for i, (text, id_, metadata) in enumerate(rows)]
    before = copy.deepcopy(given_)
    ranked = compressor(top_n=None).compress_documents(given_, "a b")
    assert given_ == before
    keys = [(-document.metadata["relevance_score"], document.metadata["row"]) for document in ranked]
    assert keys == sorted(keys)
    assert sorted(row for _, row in keys) == list(range(len(rows)))
    for document in ranked:
        original = given_[document.metadata["row"]]
        assert (document.id, document.page_content) == (original.id, original.page_content)
        assert document.metadata | {"relevance_score": 0} == original.metadata | {"relevance_score": 0}


class WrongCount(FakeScorer):
    def score(self, query, texts):
        return Scores(super().score(query, texts).items[1:], "wrong")


def test_too_few_scores_are_an_error_and_no_document_is_dropped():
    with pytest.raises(Exception, match="3 scores for 4 texts"):
        compressor(WrongCount()).compress_documents(documents(), QUERY)


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"top_n": 0},
        {"top_n": -1},
        {"score_threshold": 1.5},
        {"topn": 3},
        {"metadata_fields": "title"},
        {"backend": "tensorflow"},
        {"device": "cuda", "provider": "cohere"},
        {"reranker": Reranker(), "model": "x"},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        CrossEncoderCompressor(**options)


def test_options_are_checked_on_assignment_and_count_from_then_on():
    ranking = compressor()
    with pytest.raises(ValidationError):
        ranking.top_n = 0
    assert ranking.top_n == 3
    ranking.top_n = 1
    assert len(ranking.compress_documents(documents(), QUERY)) == 1
    with pytest.raises(ValueError, match=r"there is no option 'topn'\. Did you mean 'top_n'"):
        ranking.topn = 1


@pytest.mark.parametrize(
    ("query", "given_", "code"),
    [
        (" ", documents(), "empty_query"),
        (3, documents(), "invalid_query"),
        (QUERY, ["a string"], "invalid_document"),
        (QUERY, "a string", "invalid_documents"),
        (QUERY, Document("one"), "invalid_documents"),
        (QUERY, None, "invalid_documents"),
    ],
)
def test_wrong_arguments_are_refused(query, given_, code):
    with pytest.raises(InvalidRequestError) as caught:
        compressor().compress_documents(given_, query)
    assert caught.value.code == code


def test_a_key_that_a_pickle_left_out_is_missed_at_the_first_use(monkeypatch):
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    hosted = pickle.loads(pickle.dumps(CrossEncoderCompressor(provider="cohere", model="rerank-v3.5", api_key="k")))
    runs = Runs()
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        hosted.compress_documents(documents(), QUERY, callbacks=[runs])
    assert "COHERE_API_KEY" in runs.roots[0].error


# The ranking alone


def test_rerank_takes_documents_strings_and_mappings():
    ranking = compressor(metadata_fields=("title",))
    ranked = ranking.rerank([Document("x"), "a", {"text": "b", "title": "a"}, Document("a b c")], "a b c")
    assert [result["index"] for result in ranked] == [3, 2, 1]
    assert all(
        set(result) == {"index", "relevance_score"} and type(result["relevance_score"]) is float for result in ranked
    )
    assert asyncio.run(ranking.arerank(["x", "a"], "a")) == ranking.rerank(["x", "a"], "a")


def test_rerank_limits_mean_the_field_all_or_what_they_say():
    ranking = compressor(top_n=2, score_threshold=0.5)
    texts = ["a", "a", "a", "x"]
    assert len(ranking.rerank(texts, "a")) == 2
    assert len(ranking.rerank(texts, "a", top_n=-1)) == 2
    assert len(ranking.rerank(texts, "a", top_n=None)) == 3
    assert len(ranking.rerank(texts, "a", top_n=1)) == 1
    assert len(ranking.rerank(texts, "a", top_n=None, score_threshold=None)) == 4
    assert len(ranking.rerank(texts, "a", top_n=None, score_threshold=0.0)) == 4
    for wrong in ({"top_n": 0}, {"top_n": -2}, {"score_threshold": 2}):
        with pytest.raises(InvalidRequestError):
            ranking.rerank(texts, "a", **wrong)
    with pytest.raises(InvalidRequestError):
        ranking.rerank("one text", "a")
    with pytest.raises(InvalidRequestError):
        asyncio.run(ranking.arerank([3], "a"))


# As a Runnable


def test_it_is_a_compressor_and_a_runnable():
    ranking = compressor()
    assert isinstance(ranking, BaseDocumentCompressor)
    assert isinstance(ranking, Runnable)
    request = {"query": QUERY, "documents": documents(), "extra": "ignored"}
    expected = ranking.compress_documents(documents(), QUERY)
    assert ranking.invoke(request) == expected
    assert ranking.batch([request, request]) == [expected, expected]
    assert asyncio.run(ranking.ainvoke(request)) == expected
    assert asyncio.run(ranking.abatch([request, request])) == [expected, expected]
    assert list(ranking.stream(request)) == [expected]


def test_limits_can_be_bound_or_configured():
    ranking = compressor(top_n=2)
    request = {"query": "a", "documents": documents(["a", "a", "x"])}
    assert len(ranking.invoke(request, top_n=1)) == 1
    assert len(ranking.bind(top_n=None).invoke(request)) == 3
    assert len(ranking.bind(top_n=None, score_threshold=0.5).batch([request])[0]) == 2
    chosen = ranking.configurable_fields(top_n=ConfigurableField(id="n"))
    assert len(chosen.with_config(configurable={"n": 1}).invoke(request)) == 1
    with pytest.raises(TypeError, match="topn"):
        ranking.invoke(request, topn=1)


@pytest.mark.parametrize("request_", [{"query": "a"}, {"docs": [], "query": "a"}, "a", None])
def test_an_input_that_is_no_request_is_refused(request_):
    with pytest.raises(InvalidRequestError, match='"query" and "documents"'):
        compressor().invoke(request_)


def test_it_stands_in_a_chain():
    chain = {"documents": RunnableLambda(lambda _: documents()), "query": RunnablePassthrough()} | compressor()
    expected = compressor().compress_documents(documents(), QUERY)
    assert chain.invoke(QUERY) == expected
    assert asyncio.run(chain.ainvoke(QUERY)) == expected
    assert list(chain.stream(QUERY)) == [expected]
    assert chain.batch([QUERY, QUERY]) == [expected] * 2
    assert set(compressor().get_input_jsonschema()["$defs"]["RerankInput"]["properties"]) == {"query", "documents"}
    assert chain.get_graph().draw_mermaid()


class FailsOnce(FakeScorer):
    def score(self, query, texts):
        self._error = None if self.calls else InferenceError("broken")
        return super().score(query, texts)


def test_retries_and_fallbacks():
    request = {"query": QUERY, "documents": documents()}
    retried = compressor(FailsOnce()).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    assert len(retried.invoke(request, top_n=1)) == 1
    failing = compressor(FakeScorer(error=InferenceError("broken")))
    assert len(failing.with_fallbacks([compressor()]).invoke(request, top_n=1)) == 1
    assert len(asyncio.run(failing.with_fallbacks([compressor()]).ainvoke(request))) == 3


# In the trace


def test_a_call_is_a_run_with_inputs_outputs_and_the_model():
    runs = Runs()
    key = "sk-very-private"
    hosted = CrossEncoderCompressor(
        model="m", base_url="http://127.0.0.1:9", api_key=key, on_failure="keep_order", max_retries=0
    )
    ranked = hosted.compress_documents(documents(), QUERY, callbacks=[runs])
    (run,) = runs.roots
    assert (run.name, run.run_type, run.error) == ("CrossEncoderCompressor", "chain", None)
    assert run.inputs == {"query": QUERY, "documents": documents()}
    assert run.outputs == {"output": ranked}
    assert run.metadata == {"rerank_provider": "native", "rerank_model": "m"}
    assert key not in str(vars(run))


def test_a_runs_name_tags_and_metadata_can_be_given():
    runs = Runs()
    named = compressor(name="mine").with_config(tags=["t"], metadata={"user": 1})
    named.invoke({"query": QUERY, "documents": documents()}, {"callbacks": [runs]})
    assert runs.roots[0].name == "mine"
    assert runs.roots[0].tags == ["t"]
    assert runs.roots[0].metadata == {"user": 1, "rerank_provider": "local", "rerank_model": "fake"}
    CrossEncoderCompressor().compress_documents([], QUERY, callbacks=[runs])
    assert runs.roots[1].metadata["rerank_model"] == DEFAULT_MODEL


def test_a_run_says_where_the_model_is_behind_a_cache_too():
    runs = Runs()
    far = CachedScorer(ApiScorer("m", "cohere", ApiOptions("http://127.0.0.1:9", "a-key")))
    engine = Reranker(scorer=far, on_failure="keep_order")
    CrossEncoderCompressor(reranker=engine).compress_documents([], QUERY, callbacks=[runs])
    assert runs.roots[0].metadata == {"rerank_provider": "cohere", "rerank_model": "m"}


def test_an_error_ends_the_run():
    runs = Runs()
    failing = compressor(FakeScorer(error=InferenceError("broken")))
    with pytest.raises(InferenceError):
        failing.compress_documents(documents(), QUERY, callbacks=CallbackManager([runs]))
    with pytest.raises(InferenceError):
        asyncio.run(failing.acompress_documents(documents(), QUERY, callbacks=[runs]))
    with pytest.raises(InvalidRequestError):
        compressor().invoke({"query": QUERY}, {"callbacks": [runs]})
    assert ["broken" in run.error for run in runs.roots] == [True, True, False]
    assert "InvalidRequestError" in runs.roots[2].error


def test_callbacks_need_not_be_handed_on_inside_a_chain():
    runs = Runs()
    step = RunnableLambda(lambda query: compressor().compress_documents(documents(), query))
    step.invoke(QUERY, {"callbacks": [runs]})
    assert [run.name for run in runs.roots[0].child_runs] == ["CrossEncoderCompressor"]


def test_asynchronous_callbacks_work_in_both_worlds():
    for run in (
        lambda manager: compressor().compress_documents(documents(), QUERY, callbacks=manager),
        lambda manager: asyncio.run(compressor().acompress_documents(documents(), QUERY, callbacks=manager)),
    ):
        events, runs = AsyncEvents(), Runs()
        parent = "00000000-0000-7000-8000-000000000001"
        run(AsyncCallbackManager([events, runs], parent_run_id=parent))
        assert events.seen == [("start", "CrossEncoderCompressor", parent), ("end", 3, parent)]


def test_the_synchronous_path_inside_a_running_loop_reports_to_asynchronous_callbacks():
    events = AsyncEvents()

    async def main():
        return compressor().compress_documents(documents(), QUERY, callbacks=AsyncCallbackManager([events]))

    assert len(asyncio.run(main())) == 3
    assert [event[0] for event in events.seen] == ["start", "end"]


# Event loops, threads, the network


def test_async_leaves_the_event_loop_free(bundled, monkeypatch):
    ranking = CrossEncoderCompressor(top_n=None, reranker=bundled)
    expected = ranking.compress_documents(documents(), QUERY)
    held = held_model(monkeypatch, bundled)
    assert asyncio.run(while_held(ranking.acompress_documents(documents(), QUERY), held)) == expected


def test_one_compressor_serves_several_event_loops_and_threads():
    ranking = CrossEncoderCompressor()
    expected = ranking.compress_documents(documents(), QUERY)
    for _ in range(2):
        assert asyncio.run(ranking.acompress_documents(documents(), QUERY)) == expected
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(ranking.compress_documents(documents(), QUERY)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    join(*threads)
    for ranked in results:
        assert_same_ranking(ranked, expected)


def test_over_http_it_ranks_the_same():
    local = CrossEncoderCompressor(top_n=None).compress_documents(documents(), QUERY)
    with serving() as served:
        remote = CrossEncoderCompressor(model="rerank-mini-en-v1", base_url=served.url, top_n=None)
        synchronous = remote.compress_documents(documents(), QUERY)
        # The same compressor in two event loops: connections of a loop that is gone are of no use.
        asynchronous = [asyncio.run(remote.acompress_documents(documents(), QUERY)) for _ in range(2)]
        remote.close()
    for ranked in (synchronous, *asynchronous):
        assert_same_ranking(ranked, local)


def test_a_pickled_or_copied_compressor_ranks_the_same():
    ranking = CrossEncoderCompressor(top_n=2, metadata_fields=("n",))
    expected = ranking.compress_documents(documents(), QUERY)
    for twin in (pickle.loads(pickle.dumps(ranking)), copy.deepcopy(ranking), ranking.model_copy()):
        assert twin == ranking
        assert twin.compress_documents(documents(), QUERY) == expected


# Importing


def isolated(code):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["core", "."])}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND, check=True, env=environment
    ).stdout.strip()


def test_importing_brings_langchain_core_and_nothing_else_heavy():
    heavy = (
        "langchain",
        "langchain_classic",
        "langchain_community",
        "llama_index",
        "haystack",
        "torch",
        "transformers",
    )
    code = f"import sys, rerank_plugins.langchain; print([name for name in {heavy} if name in sys.modules])"
    assert isolated(code) == "[]"


def test_without_langchain_core_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from rerank_core import MissingDependencyError\n"
        "try:\n    import rerank_plugins.langchain\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    assert isolated(code).endswith("pip install 'rerank-plugins[langchain]'")
