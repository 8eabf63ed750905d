"""The LlamaIndex postprocessor in whole pipelines, and against others."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.callbacks import CBEventType
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import RetrieverTool
from llama_index_tools import QUERY, TEXTS, Callbacks, GivenRetriever, both_ways, faked, ids, nodes

from rerank_core.errors import InferenceError
from rerank_core.scoring import FakeScorer
from rerank_plugins.llama_index import CrossEncoderPostprocessor
from serving import serving

# Whole pipelines


@pytest.fixture
def mocked(monkeypatch):
    """LlamaIndex with a model that repeats its prompt, and no network."""
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=4))
    return Settings


def test_a_query_engine_over_an_index(mocked):
    index = VectorStoreIndex([scored.node for scored in nodes()])
    callbacks = Callbacks()
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=4),
        node_postprocessors=[CrossEncoderPostprocessor(top_n=2, keep_retrieval_score=True)],
        callback_manager=callbacks.manager,
    )
    response = engine.query(QUERY)
    assert ids(response.source_nodes) == ["n1", "n3"]
    assert "retrieval_score" in response.source_nodes[0].metadata
    assert "retrieval_score" not in str(response)  # the model repeats its prompt
    assert TEXTS[1] in str(response)
    assert TEXTS[2] not in str(response)
    awaited = asyncio.run(engine.aquery(QUERY))
    assert ids(awaited.source_nodes) == ["n1", "n3"]
    assert [kind for kind, *_ in callbacks.started].count(CBEventType.RERANKING) == 2
    assert all("retrieval_score" not in node.metadata for node in index.docstore.docs.values())


def test_a_streaming_query_engine(mocked):
    engine = RetrieverQueryEngine.from_args(
        GivenRetriever(nodes()), node_postprocessors=[CrossEncoderPostprocessor(top_n=1)], streaming=True
    )
    response = engine.query(QUERY)
    assert TEXTS[1] in "".join(response.response_gen)
    assert ids(response.source_nodes) == ["n1"]


def test_a_similarity_cutoff_after_it_reads_its_scores(mocked):
    ranked = CrossEncoderPostprocessor().postprocess_nodes(nodes(), query_str=QUERY)
    engine = RetrieverQueryEngine.from_args(
        GivenRetriever(nodes()),
        node_postprocessors=[
            CrossEncoderPostprocessor(),
            SimilarityPostprocessor(similarity_cutoff=(ranked[0].score + ranked[1].score) / 2),
        ],
    )
    assert ids(engine.query(QUERY).source_nodes) == ["n1"]
    assert ids(asyncio.run(engine.aquery(QUERY)).source_nodes) == ["n1"]


def test_a_query_engine_goes_on_without_its_reranker(mocked):
    failing = FakeScorer(error=InferenceError("it broke"))
    engine = RetrieverQueryEngine.from_args(
        GivenRetriever(nodes()),
        node_postprocessors=[faked(failing, on_failure="keep_order", top_n=2, score_threshold=0.5)],
    )
    response = engine.query(QUERY)
    assert ids(response.source_nodes) == ["n0", "n1"]
    assert "rerank_degraded" not in str(response)


@pytest.mark.parametrize("kind", [ContextChatEngine, CondensePlusContextChatEngine])
def test_chat_engines(mocked, kind):
    engine = kind.from_defaults(
        retriever=GivenRetriever(nodes()),
        node_postprocessors=[CrossEncoderPostprocessor(top_n=2)],
        llm=MockLLM(),
        memory=ChatMemoryBuffer.from_defaults(token_limit=3000),  # the default one leaves a database open
    )
    response = engine.chat(QUERY)
    assert ids(response.source_nodes) == ["n1", "n3"]
    engine.reset()
    assert ids(asyncio.run(engine.achat(QUERY)).source_nodes) == ["n1", "n3"]
    engine.reset()
    streamed = engine.stream_chat(QUERY)
    assert "".join(streamed.response_gen)
    assert ids(streamed.source_nodes) == ["n1", "n3"]


def test_a_retriever_tool():
    tool = RetrieverTool.from_defaults(
        GivenRetriever(nodes()), node_postprocessors=[CrossEncoderPostprocessor(top_n=1)], description="finds things"
    )
    assert TEXTS[1] in tool.call(QUERY).content
    assert ids(asyncio.run(tool.acall(QUERY)).raw_output) == ["n1"]


# Against others


@pytest.mark.torch
def test_the_peer_on_the_same_checkpoint_gives_the_same(checkpoint):
    from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

    folder = str(checkpoint("bert"))
    # Unasked, it reads 512 tokens, even with a model that breaks beyond 64.
    peer = SentenceTransformerRerank(model=folder, device="cpu", top_n=9, cross_encoder_kwargs={"max_length": 64})
    ours = CrossEncoderPostprocessor(model=folder, backend="torch", device="cpu", top_n=9)
    texts = [*TEXTS, "Machine learning. Deep learning. " * 30, "", "naïve café"]
    expected = peer.postprocess_nodes(nodes(texts, metadata={"file": "a.txt"}), query_str=QUERY)
    result = both_ways(ours, nodes(texts, metadata={"file": "a.txt"}))
    assert ids(result) == ids(expected)
    assert [node.score for node in result] == pytest.approx([node.score for node in expected], abs=1e-5)
    assert len({round(node.score, 4) for node in result}) > 3


def test_over_http_it_ranks_the_same(bundled):
    here = CrossEncoderPostprocessor(reranker=bundled, metadata_mode="none")
    with serving(rerankers={"rerank-mini-en-v1": bundled}) as served:
        there = CrossEncoderPostprocessor(base_url=served.url, model="rerank-mini-en-v1", metadata_mode="none")
        given = nodes([*TEXTS, TEXTS[1], ""])
        expected, result = both_ways(here, given), both_ways(there, given)
        there.close()
    assert ids(result) == ids(expected)
    assert [node.score for node in result] == pytest.approx([node.score for node in expected], abs=1e-5)
