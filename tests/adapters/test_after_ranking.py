"""What comes after ranking in each framework: diversity, sources, highlights, and how these options are saved."""

from __future__ import annotations

import json

import pytest

from fresh import fresh
from rerank_core import InferenceError, Reranker
from rerank_core.scoring import FakeScorer, FallbackScorer, Score, Scores

QUERY = "q"
TEXTS = ["red cat 3", "red cat 2", "blue dog 1"]
SOURCES = ["a", "a", "b"]


class ByNumber(FakeScorer):
    """The logit of a text is its last word, a number."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(float(text.split()[-1].strip("."))) for text in texts), self.model)


def llama_index(reranker):
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

    from rerank_plugins.llama_index import CrossEncoderPostprocessor

    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata={"source": source}))
        for text, source in zip(TEXTS, SOURCES, strict=True)
    ]
    postprocessor = CrossEncoderPostprocessor(reranker=reranker, top_n=2, metadata_mode=MetadataMode.NONE)
    return [node.text for node in postprocessor.postprocess_nodes(nodes, query_str=QUERY)]


def langchain(reranker):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from rerank_plugins.langchain import CrossEncoderCompressor

    documents = [Document(text, metadata={"source": source}) for text, source in zip(TEXTS, SOURCES, strict=True)]
    ranked = CrossEncoderCompressor(reranker=reranker, top_n=2).compress_documents(documents, QUERY)
    return [document.page_content for document in ranked]


def haystack(reranker):
    pytest.importorskip("haystack")
    from haystack import Document

    from rerank_plugins.haystack import CrossEncoderRanker

    documents = [Document(content=text, meta={"source": source}) for text, source in zip(TEXTS, SOURCES, strict=True)]
    ranked = CrossEncoderRanker(reranker=reranker, top_k=2).run(QUERY, documents)["documents"]
    return [document.content for document in ranked]


ADAPTERS = pytest.mark.parametrize("adapter", [llama_index, langchain, haystack])


@ADAPTERS
@pytest.mark.parametrize("options", [{"diversify": 0.5}, {"max_per_source": 1}])
def test_results_differ_in_text_or_in_source(adapter, options):
    assert adapter(Reranker(scorer=ByNumber())) == TEXTS[:2]
    assert adapter(Reranker(scorer=ByNumber(), **options)) == [TEXTS[0], TEXTS[2]]


SAVED = {
    "llama_index": (
        "from rerank_plugins.llama_index import CrossEncoderPostprocessor as Adapter",
        "json.dumps(Adapter(**options).to_dict())",
        "Adapter.from_dict(json.loads({saved!r}))",
    ),
    "langchain_core": (
        """from langchain_core.load import dumps, loads
from rerank_plugins.langchain import CrossEncoderCompressor as Adapter""",
        "dumps(Adapter(**options))",
        "loads({saved!r}, valid_namespaces=['rerank_plugins'], allowed_objects=[Adapter])",
    ),
    "haystack": (
        "from rerank_plugins.haystack import CrossEncoderRanker as Adapter",
        "json.dumps(Adapter(**options).to_dict())",
        "Adapter.from_dict(json.loads({saved!r}))",
    ),
}
OPTIONS = {"diversify": 0.7, "max_per_source": 2, "source_field": "file", "highlights": 3}


@pytest.mark.parametrize("framework", SAVED)
def test_the_options_are_saved_and_loaded_in_a_new_process(framework):
    pytest.importorskip(framework)
    imports, save, load = SAVED[framework]
    saved = fresh(f"import json\n{imports}\noptions = {OPTIONS!r}\nprint({save})").strip()
    loaded = fresh(
        f"import json\n{imports}\nloaded = {load.format(saved=saved)}\n"
        f"print(json.dumps({{name: getattr(loaded, name) for name in {list(OPTIONS)}}}))"
    )
    assert json.loads(loaded) == OPTIONS


@pytest.mark.parametrize("framework", SAVED)
def test_a_wrong_value_is_refused_when_the_adapter_is_made(framework):
    pytest.importorskip(framework)
    module = {"langchain_core": "langchain"}.get(framework, framework)
    names = {"llama_index": "CrossEncoderPostprocessor", "langchain": "CrossEncoderCompressor"}
    adapter = getattr(__import__(f"rerank_plugins.{module}", fromlist=["x"]), names.get(module, "CrossEncoderRanker"))
    with pytest.raises(ValueError, match="diversify"):
        adapter(diversify=1.5)


SENTENCES = "Bread is baked 1. Paris is in France 9."
HEAD = "Title 0"


def test_llama_index_hands_highlights_on():
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from rerank_plugins.llama_index import CrossEncoderPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=SENTENCES))]
    postprocessor = CrossEncoderPostprocessor(reranker=Reranker(scorer=ByNumber(), highlights=1))
    (ranked,) = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    (highlight,) = ranked.node.metadata["rerank_highlights"]
    assert SENTENCES[highlight["start"] : highlight["end"]] == highlight["text"] == "Paris is in France 9."
    assert "rerank_highlights" in ranked.node.excluded_llm_metadata_keys
    again = CrossEncoderPostprocessor(reranker=Reranker(scorer=ByNumber())).postprocess_nodes([ranked], query_str=QUERY)
    assert "rerank_highlights" not in again[0].node.metadata
    assert "rerank_highlights" not in nodes[0].node.metadata


def test_langchain_hands_highlights_on():
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from rerank_plugins.langchain import CrossEncoderCompressor

    reranker = Reranker(scorer=ByNumber(), highlights=3)
    compressor = CrossEncoderCompressor(reranker=reranker, metadata_fields=("title",), metadata_separator=".\n\n")
    (ranked,) = compressor.compress_documents([Document(SENTENCES, metadata={"title": HEAD})], QUERY)
    found = ranked.metadata["rerank_highlights"]  # the title is no part of the content
    assert [each["text"] for each in found] == ["Paris is in France 9.", "Bread is baked 1."]
    assert all(SENTENCES[each["start"] : each["end"]] == each["text"] for each in found)
    (again,) = CrossEncoderCompressor(reranker=Reranker(scorer=ByNumber())).compress_documents([ranked], QUERY)
    assert "rerank_highlights" not in again.metadata


def test_haystack_hands_highlights_on():
    pytest.importorskip("haystack")
    from haystack import Document

    from rerank_plugins.haystack import CrossEncoderRanker

    reranker = Reranker(scorer=ByNumber(), highlights=3)
    ranker = CrossEncoderRanker(reranker=reranker, meta_fields_to_embed=["title"], embedding_separator=".\n\n")
    document = Document(content=SENTENCES, meta={"title": HEAD})
    found = ranker.run(QUERY, [document])["meta"]["highlights"][document.id]
    assert [each["text"] for each in found] == ["Paris is in France 9.", "Bread is baked 1."]
    assert all(SENTENCES[each["start"] : each["end"]] == each["text"] for each in found)


class Negative(FakeScorer):
    """A logit of -5 for each text."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(-5.0) for _ in texts), self.model)


def raw_llama_index(reranker, texts):
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from rerank_plugins.llama_index import CrossEncoderPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    ranked = CrossEncoderPostprocessor(reranker=reranker, logits=True).postprocess_nodes(nodes, query_str=QUERY)
    return [node.score for node in ranked]


def raw_langchain(reranker, texts):
    pytest.importorskip("langchain_core")
    from rerank_plugins.langchain import CrossEncoderScorer

    return CrossEncoderScorer(reranker=reranker, logits=True).score([(QUERY, text) for text in texts])


def raw_haystack(reranker, texts):
    pytest.importorskip("haystack")
    from haystack import Document

    from rerank_plugins.haystack import CrossEncoderRanker

    documents = [Document(content=text) for text in texts]
    ranked = CrossEncoderRanker(reranker=reranker, scale_score=False, top_k=None).run(QUERY, documents)["documents"]
    return [document.score for document in ranked]


@pytest.mark.parametrize("raw_scores", [raw_llama_index, raw_langchain, raw_haystack])
def test_what_there_was_no_time_for_has_no_raw_score_above_the_rest(raw_scores):
    """A raw score of 0 would be above many of those that the model gave, and frameworks sort by it."""
    reranker = Reranker(scorer=Negative(), max_latency=1e-9)
    reranker.warm_up()
    assert raw_scores(reranker, ["a", "b", "c"]) == [-5.0, -5.0, -5.0]


@pytest.mark.parametrize("raw_scores", [raw_llama_index, raw_langchain, raw_haystack])
def test_a_fallback_that_has_no_raw_scores_gives_its_probabilities(raw_scores):
    class Rising(FakeScorer):
        def score(self, _query, texts):
            return Scores(tuple(Score((1 + place) / 10) for place in range(len(texts))), self.model)

    fallback = FallbackScorer([FakeScorer(error=InferenceError("it broke")), Rising()])
    assert sorted(raw_scores(Reranker(scorer=fallback), ["a", "b"])) == [0.1, 0.2]
