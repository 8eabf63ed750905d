"""The retriever's scores in each framework: where they come from, what is missing, and what is saved."""

from __future__ import annotations

import json

import pytest
from numbers_as_texts import ByNumber

from fresh import fresh
from rerank_core import Reranker
from rerank_core.scoring import Score

QUERY = "q"
TEXTS = ["1", "2", "3"]
BEST_FIRST = {None: ["3", "2", "1"], 1.0: ["2", "3", "1"]}
SCORES = [0.1, 7.0, 0.5]  # the middle one is what the retriever likes best


def llama_index(reranker, scores):
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from rerank_plugins.llama_index import CrossEncoderPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text), score=score) for text, score in zip(TEXTS, scores, strict=True)]
    ranked = CrossEncoderPostprocessor(reranker=reranker, top_n=None).postprocess_nodes(nodes, query_str=QUERY)
    return [(node.text, node.score) for node in ranked]


def langchain(reranker, scores):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from rerank_plugins.langchain import CrossEncoderCompressor

    documents = [Document(text, metadata={"similarity": score}) for text, score in zip(TEXTS, scores, strict=True)]
    compressor = CrossEncoderCompressor(reranker=reranker, top_n=None, retrieval_score_key="similarity")
    ranked = compressor.compress_documents(documents, QUERY)
    return [(document.page_content, document.metadata["relevance_score"]) for document in ranked]


def haystack(reranker, scores):
    pytest.importorskip("haystack")
    from haystack import Document

    from rerank_plugins.haystack import CrossEncoderRanker

    documents = [Document(id=text, content=text, score=score) for text, score in zip(TEXTS, scores, strict=True)]
    ranker = CrossEncoderRanker(reranker=reranker, top_k=3)
    return [(document.content, document.score) for document in ranker.run(QUERY, documents)["documents"]]


ADAPTERS = pytest.mark.parametrize("adapter", [llama_index, langchain, haystack])


@ADAPTERS
@pytest.mark.parametrize("fusion", BEST_FIRST)
def test_the_frameworks_scores_count_where_they_should(adapter, fusion):
    ranked = adapter(Reranker(scorer=ByNumber(), fusion=fusion), SCORES)
    assert [text for text, _ in ranked] == BEST_FIRST[fusion]
    for text, score in ranked:  # still the model's probability
        assert score == pytest.approx(Score.from_logit(float(text)).relevance_score)


@ADAPTERS
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_where_one_is_missing_the_order_stands_in(adapter, missing):
    ranked = adapter(Reranker(scorer=ByNumber(), fusion=1.0), [0.1, missing, 0.5])
    assert [text for text, _ in ranked] == TEXTS


def test_without_a_key_langchains_order_stands_in():
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from rerank_plugins.langchain import CrossEncoderCompressor

    compressor = CrossEncoderCompressor(reranker=Reranker(scorer=ByNumber(), fusion=1.0), top_n=None)
    documents = [Document(text, metadata={"similarity": score}) for text, score in zip(TEXTS, SCORES, strict=True)]
    assert [document.page_content for document in compressor.compress_documents(documents, QUERY)] == TEXTS


SAVED = {
    "llama_index": (
        "from rerank_plugins.llama_index import CrossEncoderPostprocessor as Adapter",
        "json.dumps(Adapter(fusion={fusion!r}).to_dict())",
        "Adapter.from_dict(json.loads({saved!r})).fusion",
    ),
    "langchain_core": (
        """from langchain_core.load import dumps, loads
from rerank_plugins.langchain import CrossEncoderCompressor as Adapter""",
        "dumps(Adapter(fusion={fusion!r}, retrieval_score_key='similarity'))",
        "loads({saved!r}, valid_namespaces=['rerank_plugins'], allowed_objects=[Adapter]).fusion",
    ),
    "haystack": (
        "from rerank_plugins.haystack import CrossEncoderRanker as Adapter",
        "json.dumps(Adapter(fusion={fusion!r}).to_dict())",
        "Adapter.from_dict(json.loads({saved!r})).fusion",
    ),
}


@pytest.mark.parametrize("fusion", [0.25, "rrf"])
@pytest.mark.parametrize("framework", SAVED)
def test_the_option_is_saved_and_loaded_in_a_new_process(framework, fusion):
    pytest.importorskip(framework)
    imports, save, load = SAVED[framework]
    saved = fresh(f"import json\n{imports}\nprint({save.format(fusion=fusion)})").strip()
    assert json.loads(saved)
    assert fresh(f"import json\n{imports}\nprint({load.format(saved=saved)})").strip() == str(fusion)


@pytest.mark.parametrize("framework", SAVED)
def test_a_wrong_share_is_refused_when_the_adapter_is_made(framework):
    pytest.importorskip(framework)
    module = {"langchain_core": "langchain"}.get(framework, framework)
    names = {"llama_index": "CrossEncoderPostprocessor", "langchain": "CrossEncoderCompressor"}
    adapter = getattr(__import__(f"rerank_plugins.{module}", fromlist=["x"]), names.get(module, "CrossEncoderRanker"))
    with pytest.raises(ValueError, match="fusion must be the retriever's share"):
        adapter(fusion=1.5)
