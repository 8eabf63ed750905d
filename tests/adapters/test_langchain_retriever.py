from __future__ import annotations

import asyncio
import pickle

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import create_retriever_tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests.retrievers import RetrieversIntegrationTests
from langchain_tools import QUERY, TEXTS, Runs, compressor, documents, ids
from pydantic import ValidationError

from rerank_core import InferenceError, InvalidRequestError
from rerank_core.scoring import FakeScorer
from rerank_plugins.langchain import CrossEncoderCompressor, RerankRetriever


@pytest.fixture(autouse=True)
def _no_langsmith(monkeypatch):
    monkeypatch.delenv("LANGCHAIN_TRACING_V2", raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


class Shelf(BaseRetriever):
    """Finds its documents, in their order."""

    found: tuple[Document, ...] = ()
    k: int = 10

    @classmethod
    def is_lc_serializable(cls):
        return True

    def _get_relevant_documents(self, query, *, run_manager, k=None):  # noqa: ARG002  (LangChain's)
        return list(self.found[: self.k if k is None else k])

    async def _aget_relevant_documents(self, query, *, run_manager, k=None):  # noqa: ARG002  (LangChain's)
        return list(self.found[: self.k if k is None else k])


class Broken(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):  # noqa: ARG002  (LangChain's)
        raise OSError("the index is gone")


class Shouting(BaseDocumentTransformer):
    def transform_documents(self, documents, **_options):
        return [document.model_copy(update={"page_content": document.page_content.upper()}) for document in documents]


def inner_retriever():
    return Shelf(found=tuple(documents()))


def vector_store():
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    store.add_documents(documents())
    return store


# The suite leaves this to pytest-asyncio's "auto" mode, which ours does not use, and forbids overriding its tests.
pytest.mark.asyncio(RetrieversIntegrationTests.test_ainvoke_returns_documents)


class TestTheStandardSuite(RetrieversIntegrationTests):
    """What LangChain asks of a retriever, with the bundled model over a vector store."""

    @property
    def retriever_constructor(self):
        return RerankRetriever

    @property
    def retriever_constructor_params(self):
        return {"retriever": vector_store().as_retriever(search_kwargs={"k": 4})}

    @property
    def retriever_query_example(self):
        return QUERY

    @property
    def num_results_arg_name(self):
        return "top_n"


# The retriever


def test_it_reranks_what_any_retriever_finds():
    expected = ["id-1", "id-3", "id-0"]
    for inner in (inner_retriever(), vector_store().as_retriever(), RunnableLambda(lambda _: documents())):
        retriever = RerankRetriever(retriever=inner)
        assert ids(retriever.invoke(QUERY))[:2] == expected[:2]
        assert ids(asyncio.run(retriever.ainvoke(QUERY)))[:2] == expected[:2]
    assert RerankRetriever(retriever=inner_retriever()).batch([QUERY, QUERY])[1][0].metadata["relevance_score"] > 0.5


def test_top_n_is_the_calls_or_the_retrievers_or_the_compressors():
    counts = []
    for options in ({}, {"top_n": 1}, {"top_n": None}, {"top_n": -1}):
        retriever = RerankRetriever(retriever=inner_retriever(), compressor=compressor(top_n=2), **options)
        counts.append(
            [
                len(retriever.invoke(QUERY)),
                len(retriever.invoke(QUERY, top_n=3)),
                len(retriever.invoke(QUERY, top_n=None)),
                len(asyncio.run(retriever.ainvoke(QUERY, top_n=3))),
            ]
        )
    assert counts == [[2, 3, 4, 3], [1, 3, 4, 3], [4, 3, 4, 3], [2, 3, 4, 3]]
    with pytest.raises(InvalidRequestError):
        retriever.invoke(QUERY, top_n=0)


@pytest.mark.parametrize("options", [{"top_n": 0}, {"top_n": -2}, {"k": 3}, {"compressor": "rerank"}, {"retriever": 3}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        RerankRetriever(**{"retriever": inner_retriever()} | options)


def test_other_arguments_of_a_call_go_to_the_inner_retriever():
    retriever = RerankRetriever(retriever=inner_retriever(), compressor=compressor())
    assert ids(retriever.invoke(QUERY, k=1)) == ["id-0"]
    assert ids(asyncio.run(retriever.ainvoke(QUERY, k=1))) == ["id-0"]
    store = RerankRetriever(retriever=vector_store().as_retriever(), compressor=compressor(top_n=None))
    assert len(store.invoke(QUERY, k=2)) == 2


def test_nothing_found_is_nothing_ranked():
    retriever = RerankRetriever(retriever=Shelf(), compressor=CrossEncoderCompressor(model="no-such-model"))
    assert retriever.invoke(QUERY) == []
    assert asyncio.run(retriever.ainvoke(QUERY)) == []


def test_the_inner_retrievers_documents_are_not_touched():
    inner = inner_retriever()
    RerankRetriever(retriever=inner, compressor=compressor()).invoke(QUERY)
    assert list(inner.found) == documents()


def test_the_compressor_may_have_retries_fallbacks_or_bound_options():
    failing = compressor(FakeScorer(error=InferenceError("broken")))
    for ranking in (failing.with_fallbacks([compressor()]), compressor().with_retry(), compressor().bind(top_n=2)):
        retriever = RerankRetriever(retriever=inner_retriever(), compressor=ranking)
        assert len(retriever.invoke(QUERY, top_n=1)) == 1
        assert len(asyncio.run(retriever.ainvoke(QUERY))) in (2, 3)
    bound = RerankRetriever(retriever=inner_retriever(), compressor=compressor().bind(top_n=2))
    assert len(bound.invoke(QUERY)) == 2


def test_it_has_fallbacks_like_any_runnable():
    broken = RerankRetriever(retriever=Broken(), compressor=compressor())
    assert len(broken.with_fallbacks([inner_retriever()]).invoke(QUERY)) == 4
    with pytest.raises(OSError, match="index"):
        broken.invoke(QUERY)


def test_a_cascade_of_retrievers():
    first = RerankRetriever(retriever=inner_retriever(), compressor=compressor(top_n=3))
    second = RerankRetriever(retriever=first, compressor=CrossEncoderCompressor(top_n=2, keep_retrieval_score=True))
    found = second.invoke(QUERY)
    assert len(found) == 2
    assert all(0 <= document.metadata["retrieval_score"] <= 1 for document in found)


def test_a_pickled_retriever_finds_the_same():
    retriever = RerankRetriever(retriever=inner_retriever(), compressor=CrossEncoderCompressor(top_n=2))
    twin = pickle.loads(pickle.dumps(retriever))
    assert twin == retriever
    assert twin.invoke(QUERY) == retriever.invoke(QUERY)


def test_an_agents_tool_has_the_documents_as_its_artifact():
    retriever = RerankRetriever(retriever=inner_retriever(), compressor=compressor(), top_n=1)
    tool = create_retriever_tool(retriever, "search", "Searches.", response_format="content_and_artifact")
    call = {"args": {"query": QUERY}, "name": "search", "id": "1", "type": "tool_call"}
    for message in (tool.invoke(call), asyncio.run(tool.ainvoke(call))):
        assert message.content == TEXTS[1]
        assert ids(message.artifact) == ["id-1"]


# Traces


def test_retrieval_and_reranking_are_two_runs_below_the_retrievers():
    runs = Runs()
    retriever = RerankRetriever(retriever=inner_retriever(), compressor=compressor())
    found = retriever.invoke(QUERY, {"callbacks": [runs]})
    assert asyncio.run(retriever.ainvoke(QUERY, {"callbacks": [runs]})) == found
    for root in runs.roots:
        assert (root.name, root.run_type, root.inputs) == ("RerankRetriever", "retriever", {"query": QUERY})
        assert root.outputs == {"documents": found}
        assert root.metadata["ls_retriever_name"] == "rerank"
        assert root.metadata["rerank_model"] == "fake"
        assert [(run.name, run.run_type) for run in root.child_runs] == [
            ("Shelf", "retriever"),
            ("CrossEncoderCompressor", "chain"),
        ]
        assert root.child_runs[1].outputs == {"output": found}


def test_an_error_of_the_model_ends_both_runs():
    runs = Runs()
    failing = compressor(FakeScorer(error=InferenceError("broken")))
    with pytest.raises(InferenceError):
        RerankRetriever(retriever=inner_retriever(), compressor=failing).invoke(QUERY, {"callbacks": [runs]})
    (root,) = runs.roots
    assert "broken" in root.error
    assert [run.error is None for run in root.child_runs] == [True, False]


def test_events_show_every_step():
    retriever = RerankRetriever(retriever=inner_retriever(), compressor=compressor())

    async def events():
        return [(event["event"], event["name"]) async for event in retriever.astream_events(QUERY, version="v2")]

    assert asyncio.run(events()) == [
        ("on_retriever_start", "RerankRetriever"),
        ("on_retriever_start", "Shelf"),
        ("on_retriever_end", "Shelf"),
        ("on_chain_start", "CrossEncoderCompressor"),
        ("on_chain_end", "CrossEncoderCompressor"),
        ("on_retriever_end", "RerankRetriever"),
    ]


# langchain_classic


def test_in_a_contextual_compression_retriever_with_its_trace():
    runs = Runs()
    classic = ContextualCompressionRetriever(base_compressor=compressor(), base_retriever=inner_retriever())
    found = classic.invoke(QUERY, {"callbacks": [runs]})
    assert ids(found)[0] == "id-1"
    assert asyncio.run(classic.ainvoke(QUERY, {"callbacks": [runs]})) == found
    assert classic.invoke(QUERY) == found
    for root in runs.roots:
        assert [run.name for run in root.child_runs] == ["Shelf", "CrossEncoderCompressor"]
        reranked = root.child_runs[1]
        assert reranked.parent_run_id == root.id
        assert reranked.inputs == {"query": QUERY, "documents": documents()}
        assert reranked.outputs == {"output": found}


def test_in_a_compressor_pipeline_with_its_trace():
    runs = Runs()
    pipeline = DocumentCompressorPipeline(transformers=[Shouting(), compressor(top_n=2)])
    classic = ContextualCompressionRetriever(base_compressor=pipeline, base_retriever=vector_store().as_retriever())
    found = classic.invoke(QUERY, {"callbacks": [runs]})
    assert ids(found)[0] == "id-1"
    assert found[0].page_content == TEXTS[1].upper()
    assert len(found) == 2
    assert ids(asyncio.run(classic.ainvoke(QUERY, {"callbacks": [runs]}))) == ids(found)
    for root in runs.roots:
        assert [run.name for run in root.child_runs] == ["VectorStoreRetriever", "CrossEncoderCompressor"]


def test_a_runs_child_events_appear_in_classics_event_stream():
    classic = ContextualCompressionRetriever(base_compressor=compressor(), base_retriever=inner_retriever())

    async def names():
        return [event["name"] async for event in classic.astream_events(QUERY, version="v2")]

    assert asyncio.run(names()).count("CrossEncoderCompressor") == 2


# Several retrievers


def test_several_retrievers_are_fused_before_ranking():
    seen = []

    def compress(found):
        seen.append([document.page_content for document in found["documents"]])
        return found["documents"]

    one = RunnableLambda(lambda _: [Document("a", id="1"), Document("b"), Document("c")])
    other = RunnableLambda(lambda _: [Document("b"), Document("a again", id="1"), Document("d")])
    retriever = RerankRetriever(retriever=[one, other], compressor=RunnableLambda(compress))
    found = retriever.invoke("q")
    assert seen == [["a", "b", "c", "d"]]
    assert [document.page_content for document in found] == seen[0]
    assert asyncio.run(retriever.ainvoke("q")) == found
    assert seen[1] == seen[0]


def test_a_list_of_one_is_that_retriever_and_an_empty_one_is_refused():
    one = RunnableLambda(lambda _: [Document("a"), Document("a")])
    compressor = RunnableLambda(lambda found: found["documents"])
    assert len(RerankRetriever(retriever=[one], compressor=compressor).invoke("q")) == 2
    with pytest.raises(ValueError, match="the list is empty"):
        RerankRetriever(retriever=[])


def test_scores_of_several_retrievers_are_not_compared():
    one = RunnableLambda(lambda _: [])
    compressor = CrossEncoderCompressor(retrieval_score_key="score")
    assert RerankRetriever(retriever=one, compressor=compressor)
    with pytest.raises(ValueError, match="cannot be compared"):
        RerankRetriever(retriever=[one, one], compressor=compressor)
